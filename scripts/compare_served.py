"""Served runs beside the data sheet's roof and our prediction: nothing measured may beat the roof, or it is named.

    pip install -e '.[silicon]' && python scripts/compare_served.py > served.md

Reads the end-to-end runs of aiconfigurator-core (silicon_sample.csv): time per output token of whole servers, prefill
interference and queueing included, so that they bound a prediction from above and calibrate nothing. What is left out,
and why, is said on stderr.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Final

from kinetics.prediction.silicon import time_cases
from kinetics.prediction.silicon_fits import device_of
from kinetics.prediction.silicon_package import package_version, systems_folder
from kinetics.prediction.step_silicon import StepQuery, step_operations, step_time
from kinetics.specs.cache_formats import find_cache_format
from kinetics.specs.known_models import find_architecture
from kinetics.specs.weight_formats import WeightFormats, find_weight_format
from kinetics.tables.table import Table

FORMATS: Final = {"fp8": "fp8", "fp8_block": "fp8_block", "nvfp4": "nvfp4", "int4_wo": "int4", "bfloat16": "bf16"}
_QUANTISED: Final = re.compile(r"-(FP8|NVFP4)$")
_ORGANISATIONS: Final = {"zhipuai/GLM-5": "zai-org/GLM-5", "nvidia/DeepSeek-V3.1": "deepseek-ai/DeepSeek-V3"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One run as a decode step of its mean batch: what it took, our prediction, and the roof. Seconds."""

    name: str
    model: str
    system: str
    concurrency: int
    measured_s: float
    roof_s: float
    predicted_s: float


def read_served(path: Path, left_out: Counter[str]) -> Iterator[Served]:
    """Every run that one tensor-parallel group served; the others are counted by the reason."""
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            try:
                yield _served(row)
            except ValueError as error:
                left_out[str(error)] += 1


def _served(row: Mapping[str, str]) -> Served:
    """Raises: ValueError saying why a run is left out."""
    stated = re.search(r"silicon_concurrency=(\d+)", row["silicon_data_source"])
    if row["mode"] != "agg":
        raise ValueError("prefill and decoding on different devices")
    if int(row["pp_size"] or 1) > 1 or int(row["attention_dp_size"] or 1) > 1 or int(row["moe_ep_size"] or 1) > 1:
        raise ValueError("pipeline, data or expert parallelism")
    if stated is None or int(stated[1]) != int(row["batch_size"]):
        raise ValueError("its batch is not its concurrency, or none is stated")
    context_len = int(row["isl"]) + int(row["osl"]) // 2
    roof_s, predicted_s = _times(
        row["model_path"], row["gemm_quant_mode"], row["moe_quant_mode"], row["system"], row["backend"],
        int(row["tp_size"]), int(row["batch_size"]), context_len,
    )  # fmt: skip
    return Served(
        name=row["id"], model=row["model_path"], system=row["system"], concurrency=int(row["batch_size"]),
        measured_s=float(row["silicon_tpot_ms"]) / 1e3, roof_s=roof_s, predicted_s=predicted_s,
    )  # fmt: skip


@cache
def _times(
    model: str, gemm: str, moe: str, system: str, framework: str, tp: int, batch: int, context_len: int
) -> tuple[float, float]:
    """Roof and prediction of a step, with an fp8 cache: the fewest bytes that such a run reads."""
    name = _QUANTISED.sub("", model)
    architecture = find_architecture(_ORGANISATIONS.get(name, name))
    weights = None
    if gemm in FORMATS:
        dense = find_weight_format(FORMATS[gemm])
        weights = WeightFormats(dense=dense, experts=find_weight_format(FORMATS.get(moe, FORMATS[gemm])))
    query = StepQuery(
        architecture=architecture, batch=batch, context_len=context_len, num_devices=tp, weights=weights,
        cache=find_cache_format("fp8"),
    )  # fmt: skip
    device = device_of(system)
    roof_s = sum(
        count * time_cases(cases, device, framework, fits=()).seconds for _, count, cases in step_operations(query)
    )
    return roof_s, step_time(query, device, framework).seconds


def band_table(runs: list[Served]) -> Table:
    """Measured over roof and over prediction, medians by concurrency."""
    groups: dict[int, list[Served]] = defaultdict(list)
    for run in runs:
        groups[run.concurrency].append(run)
    rows = tuple(
        (
            concurrency, len(group), f"{median(r.measured_s / r.roof_s for r in group):.2f}",
            f"{min(r.measured_s / r.roof_s for r in group):.2f}",
            f"{median(r.measured_s / r.predicted_s for r in group):.2f}",
            f"{sum(r.measured_s < r.predicted_s for r in group) / len(group):.0%}",
        )
        for concurrency, group in sorted(groups.items()) if len(group) >= 10
    )  # fmt: skip
    columns = ("concurrency", "runs", "over the roof", "least", "over the prediction", "below it")
    return Table(name="served", columns=columns, rows=rows)


def main() -> None:
    folder = systems_folder()
    if folder is None:
        sys.exit("skipped: aiconfigurator-core is not installed, which holds the served runs")
    left_out: Counter[str] = Counter()
    runs = list(read_served(folder / "silicon_sample.csv", left_out))
    for reason, count in left_out.most_common():
        print(f"left out: {count} runs: {reason}", file=sys.stderr)
    print(f"### Served runs of aiconfigurator-core {package_version()}\n")
    print(f"{len(runs)} of {len(runs) + left_out.total()} runs.\n\n{band_table(runs).as_markdown()}")
    beaten = sorted((run for run in runs if run.measured_s < run.roof_s), key=lambda run: run.measured_s / run.roof_s)
    print(f"{len(beaten)} beat the roof.\n" + "\n".join(_line(run) for run in beaten))


def _line(run: Served) -> str:
    return f"- {run.name}: {1e3 * run.measured_s:.2f} ms, roof {1e3 * run.roof_s:.2f} ms"


if __name__ == "__main__":
    main()
