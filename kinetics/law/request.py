"""What is asked of the law, and what a run of it comes to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinetics.cost.query import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class LawRequest:
    """Options of `kinetics law`; empty texts mean not given.

    `problems`: questions and gold answers of files that hold answers alone. `traces`: a folder of logs to cost in
    every way, instead of `files` or `fetch`. With none of the three the published curves are the source.
    `framework`: whose kernels price the device `on`, of which `num_devices` share a model; without one its data
    sheet does.
    """

    out: Path
    files: tuple[Path, ...] = ()
    traces: Path | None = None
    fetch: str = ""
    draws_figures: bool = True
    on: str = ""
    framework: str = ""
    num_devices: int = 1
    measured: Path | None = None
    mode: Mode = Mode.EXACT
    grader: str = "recorded"
    tokenizer: str = ""
    problems: Path | None = None
    grades_cuts: bool = False
    prompt_len: int = 200
    architectures: tuple[str, ...] = ()
    batch: int = 0
    num_dense_layers: int = 0
    reads_prompt_to_longest: bool = False
    seed: int = 0
    dollars_per_hour: float | None = None
    asks_claims: bool = False
    keeps_going: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LawOutcome:
    """What to print: a document, the same for people, remarks, and whether the run counts as failed."""

    document: dict[str, Any]
    text: str
    remarks: tuple[str, ...]
    has_failed: bool
