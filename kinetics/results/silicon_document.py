"""Pairs of dense and sparse modules as one JSON document: what `kinetics silicon --json` prints and what is committed.

Base SI units; the cells of a pair stand column by column, one pair a line. `silicon_pairs.json` is that document, made
with the package of tables installed: where it is not, the verb reads it from here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from kinetics.files.atomic import to_strict
from kinetics.results.sparse_silicon import Cell, PairKind, SparsePair, crossovers_of

SCHEMA: Final = 1
_CELL_FIELDS: Final = tuple(field.name for field in fields(Cell))
_FACTS: Final = tuple(field.name for field in fields(SparsePair) if field.name not in ("kind", "cells"))
_DIGITS: Final = 5


def pairs_text(pairs: Iterable[SparsePair]) -> str:
    """The document of these pairs, one a line."""
    lines = (json.dumps(to_strict(_record(pair)), separators=(",", ":"), allow_nan=False) for pair in pairs)
    return f'{{"schema":{SCHEMA},"pairs":[\n' + ",\n".join(lines) + "\n]}\n"


def parse_pairs(text: str) -> list[SparsePair]:
    """The pairs of a document that `pairs_text` wrote."""
    return [_pair(record) for record in json.loads(text)["pairs"]]


@lru_cache(maxsize=1)
def committed_pairs() -> tuple[SparsePair, ...]:
    """The pairs that come with the suite."""
    return tuple(parse_pairs((files("kinetics.results") / "silicon_pairs.json").read_text(encoding="utf-8")))


def _record(pair: SparsePair) -> dict[str, Any]:
    cells = {name: [_rounded(getattr(cell, name)) for cell in pair.cells] for name in _CELL_FIELDS}
    crossings = [{key: _rounded(value) for key, value in asdict(one).items()} for one in crossovers_of(pair)]
    facts = {name: getattr(pair, name) for name in _FACTS}
    return {"pair": pair.kind.value, **facts, "cells": cells, "crossovers": crossings}


def _pair(record: dict[str, Any]) -> SparsePair:
    columns = [record["cells"][name] for name in _CELL_FIELDS]
    cells = tuple(Cell(**dict(zip(_CELL_FIELDS, row, strict=True))) for row in zip(*columns, strict=True))
    return SparsePair(kind=PairKind(record["pair"]), **{name: record[name] for name in _FACTS}, cells=cells)


def _rounded(value: Any) -> Any:
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
