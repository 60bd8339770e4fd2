"""The installed package `aiconfigurator-core` as data: where its tables are, and rows of them that share a kernel.

None of its code is imported. A table of another version, which lacks a column that is read, is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kinetics.files.lines import DataFileError
from kinetics.prediction.silicon_cases import Cases
from kinetics.prediction.silicon_fit import Array

if TYPE_CHECKING:
    import pandas as pd

PACKAGE: Final = "aiconfigurator_core"
WEIGHT_FORMATS: Final = {
    "bfloat16": "bf16", "fp8": "fp8", "fp8_block": "fp8_block", "nvfp4": "nvfp4", "int4_wo": "int4",
    "w4a16_mxfp4": "mxfp4",
}  # fmt: skip
"""Names of formats in the tables, as `kinetics.specs.weight_formats` has them."""


_OPTIONAL: Final = {"window_size": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """Where and by what a group of rows was measured. `system` as the package spells devices."""

    system: str
    framework: str
    version: str
    name: str

    def __str__(self) -> str:
        return f"{self.name} of {self.framework} {self.version} on {self.system}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Rows of one kernel, dtype and variant, in an order of shapes that no measured time decides."""

    kernel: Kernel
    cases: Cases
    seconds: Array

    def take(self, rows: Any) -> Measured:
        """These rows only."""
        columns = {name: column[rows] for name, column in self.cases.columns.items()}
        return replace(self, cases=replace(self.cases, columns=columns), seconds=self.seconds[rows])


def systems_folder() -> Path | None:
    """The package's folder of tables; None if it is not installed."""
    found = find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0]) / "systems"


def package_version() -> str:
    """The installed package's version."""
    from importlib.metadata import version

    return version(PACKAGE.replace("_", "-"))


def published_source() -> str:
    """Whose tables these are, and of which version."""
    return f"{PACKAGE.replace('_', '-')} {package_version()} (NVIDIA, Apache-2.0)"


def read_table(path: Path, columns: Sequence[str], *, only: Mapping[str, int]) -> pd.DataFrame:
    """The columns that are read, of rows with these values; repeated cells by their median, in order of shape.

    Older tables have no window_size: nothing slid then.

    Raises: DataFileError naming the file and the column that is missing, or why it cannot be read.
    """
    import pyarrow.parquet

    try:
        present = set(pyarrow.parquet.read_schema(path).names)
        missing = [name for name in (*columns, "latency") if name not in present | _OPTIONAL.keys()]
        if missing:
            raise DataFileError(f"{path}: table must have a column {missing[0]}, got none; is it of another version?")
        filters = [(name, "==", value) for name, value in only.items()] or None
        wanted = [name for name in (*columns, "latency") if name in present]
        table: pd.DataFrame = pyarrow.parquet.read_table(path, columns=wanted, filters=filters).to_pandas()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataFileError(f"{path}: table cannot be read ({str(error).splitlines()[0]})") from error
    table = table[table["latency"] > 0].assign(
        **{n: v for n, v in _OPTIONAL.items() if n in columns and n not in present}
    )
    return median_cells(table, columns)


def median_cells(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """One row a cell, cells that repeat by their median, in order of shape."""
    medians: pd.DataFrame = table.groupby(list(columns), dropna=False)["latency"].median().reset_index()
    return medians


Rows = Iterator[tuple[str, Cases, Array]]
"""Groups of rows: name of the kernel, shapes, seconds."""


def seconds_of(rows: pd.DataFrame) -> Array:
    """Measured times; tables hold milliseconds."""
    return np.asarray(rows["latency"], float) * 1e-3


def column(rows: pd.DataFrame, name: str) -> Array:
    """A column of numbers."""
    return np.asarray(rows[name], float)
