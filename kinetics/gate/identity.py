"""Identity first: a case that is the same code in both revisions is SAME, and need not be timed.

Each side's fingerprints come from a process of its own, by the candidate's copy of `witness/`; here they are
asked for and compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from kinetics.gate.evidence import BASE, CANDIDATE
from kinetics.gate.process import PREPARE_TIMEOUT_S, CaseRefused, WorkerLost, WorkerProcess
from kinetics.gate.witness.fingerprint import LAUNCH, SOURCE, VERSION, Fingerprint

WITNESS = Path(__file__).with_name("witness") / "worker.py"

Specs = Mapping[str, Mapping[str, Any]]
"""What a worker needs to make each case, by the case's name."""


class SameCode(NamedTuple):
    """Whether two fingerprints are of the same code, and which parts are not."""

    is_same: bool
    differing: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whether a case is the same code on both sides; if not, what differs, or why it cannot be told."""

    is_same: bool
    differing: tuple[str, ...] = ()
    reason: str | None = None


def same_code(base: Mapping[str, str], candidate: Mapping[str, str]) -> SameCode:
    """Compare two fingerprints part by part; one without sources, arguments and versions is the same as nothing."""
    parts = dict.fromkeys([*base, *candidate])
    differing = tuple(part for part in parts if base.get(part) != candidate.get(part))
    is_whole = LAUNCH in parts and all(any(part.startswith(kind) for part in parts) for kind in (SOURCE, VERSION))
    return SameCode(is_same=is_whole and not differing, differing=differing)


def fingerprints(side: str, root: Path, device: str, specs: Specs) -> dict[str, Fingerprint | str]:
    """The fingerprint of every case in the checkout at `root`; in its place, in a line, why there is none."""
    return ask_witness("fingerprint", side, root, device, specs)


def identities(roots: Mapping[str, Path], device: str, specs: Specs) -> dict[str, Identity]:
    """Every case's identity between the checkouts of BASE and CANDIDATE."""
    answers = ask_both("fingerprint", roots, device, specs)
    return {name: _identity(answers[BASE][name], answers[CANDIDATE][name]) for name in specs}


def ask_both(
    question: str, roots: Mapping[str, Path], device: str, specs: Specs
) -> dict[str, dict[str, dict[str, Any] | str]]:
    """The answers of a process of each side, both asked at the same time."""
    with ThreadPoolExecutor() as pool:
        asked = {side: pool.submit(ask_witness, question, side, root, device, specs) for side, root in roots.items()}
    return {side: answer.result() for side, answer in asked.items()}


def ask_witness(question: str, side: str, root: Path, device: str, specs: Specs) -> dict[str, dict[str, Any] | str]:
    """What a process of the checkout at `root` answers of every case; in its place, in a line, why it does not."""
    found: dict[str, dict[str, Any] | str] = {}
    with WorkerProcess(side, root, device, script=WITNESS) as worker:
        for name, spec in specs.items():
            try:
                reply = worker.ask({"do": question, "spec": dict(spec)}, timeout_s=PREPARE_TIMEOUT_S)
                found[name] = reply[question]
            except CaseRefused as refusal:
                found[name] = str(refusal)
            except WorkerLost as loss:
                return found | {other: str(loss) for other in specs if other not in found}
    return found


def _identity(base: Fingerprint | str, candidate: Fingerprint | str) -> Identity:
    for side, found in ((BASE, base), (CANDIDATE, candidate)):
        if isinstance(found, str):
            return Identity(is_same=False, reason=f"the {side} gives no fingerprint: {found}")
    assert not isinstance(base, str)
    assert not isinstance(candidate, str)
    is_same, differing = same_code(base, candidate)
    return Identity(is_same=is_same, differing=differing)
