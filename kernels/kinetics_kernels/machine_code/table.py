"""The committed table of machine code: how it is read, written and compared.

This file knows CSV. What is counted, and of which kernels, is said by `machine_code` and `machine_code_cases`.
"""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from kinetics_kernels.machine_code.compile import MachineCode

TABLE = Path(__file__).parents[2] / "machine_code.csv"
COUNTS = tuple(field.name for field in fields(MachineCode))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The machine code of one watched launch for one target, by one version of Triton."""

    triton: str
    target: str
    case: str
    code: MachineCode


def read_table(path: Path = TABLE) -> list[Row]:
    """The rows of the table."""
    with path.open(newline="", encoding="utf-8") as lines:
        return [
            Row(
                triton=line["triton"],
                target=line["target"],
                case=line["case"],
                code=MachineCode(**{name: int(line[name]) for name in COUNTS}),
            )
            for line in csv.DictReader(lines)
        ]


def write_table(rows: list[Row], path: Path = TABLE) -> None:
    """Replace the table."""
    with path.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(["triton", "target", "case", *COUNTS])
        writer.writerows([row.triton, row.target, row.case, *asdict(row.code).values()] for row in rows)


def differences(committed: list[Row], compiled: list[Row]) -> list[str]:
    """What changed, a sentence per row: counts as `registers 168 -> 170`, rows that came or went."""
    old = {(row.target, row.case): row for row in committed}
    new = {(row.target, row.case): row for row in compiled}
    gone = [f"{target} {case}: no longer compiled" for target, case in old if (target, case) not in new]
    added = [f"{target} {case}: not in the table" for target, case in new if (target, case) not in old]
    changed = [
        f"{target} {case}: {counts}"
        for (target, case), row in new.items()
        if (target, case) in old and (counts := _changed_counts(old[target, case].code, row.code))
    ]
    return gone + added + changed


def _changed_counts(old: MachineCode, new: MachineCode) -> str:
    pairs = ((name, getattr(old, name), getattr(new, name)) for name in COUNTS)
    return ", ".join(f"{name} {before} -> {after}" for name, before, after in pairs if before != after)
