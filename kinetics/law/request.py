"""What is asked of the law, and what a run of it comes to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinetics.cost.query import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class LawRequest:
    """Options of `kinetics law`; empty texts mean not given."""

    files: tuple[Path, ...]
    out: Path
    draws_figures: bool
    fetch: str
    on: str
    measured: Path | None
    mode: Mode
    grader: str
    tokenizer: str
    grades_cuts: bool
    prompt_len: int
    architectures: tuple[str, ...]
    batch: int
    num_dense_layers: int
    reads_prompt_to_longest: bool
    seed: int
    keeps_going: bool
    traces: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LawOutcome:
    """What to print: a document, the same for people, remarks, and whether the run counts as failed."""

    document: dict[str, Any]
    text: str
    remarks: tuple[str, ...]
    has_failed: bool
