"""The base's part in judging, so that a change of the gate does not let another change pass: stopwatch, witness, rules.

The candidate's gate drives a run: when a launch is due, in which order the sides run, which launches count, and what
number one is given. The base's, where the two differ and the base can, are the worker with its stopwatch, which runs
both sides, and the rules by which launches become verdicts. Where it cannot, being older or of another protocol, and
where the candidate changes what stays its own, a remark says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from kinetics.files.atomic import to_strict
from kinetics.gate.base_answers import ask_base
from kinetics.gate.decision import Verdict
from kinetics.gate.evidence import CANDIDATE
from kinetics.gate.gate_file import complete
from kinetics.gate.process import WORKER, CaseRefused, WorkerLost, WorkerProcess
from kinetics.gate.verdicts import CaseVerdict
from kinetics.results.store import Document

_PACKAGE = Path(__file__).resolve().parents[1]
_STOPWATCH = ("gate/worker.py", "gate/revision_before_door.py", "measure/timing.py")
_WITNESS_FOLDER, _WITNESS = "gate/witness", ("gate/identity.py", "gate/instructions.py")
_DRIVER = ("gate/lockstep.py", "gate/launch.py", "gate/watch.py", "gate/evidence.py")
NOT_JUDGED = "Judged by the candidate's rules: the run ended before the base could judge"
"""Stands in a document until the base has judged it."""
_SCRIPT = Path(__file__).with_name("judge_of.py")
_DECIDED = tuple(one.value for one in (Verdict.SAME, Verdict.SLOW, Verdict.FAST))


@dataclass(frozen=True, slots=True, kw_only=True)
class Referee:
    """Who times and judges. `worker`: the script that runs both sides.

    `is_witness_changed`: whether the candidate changes how code is compared, so that its word is not taken for it.
    `remarks`: a line for each part that the candidate changes, and that says whose part is taken.
    """

    worker: Path = WORKER
    is_witness_changed: bool = False
    remarks: list[str] = field(default_factory=list)


def referee(base_root: Path, root: Path, device: str) -> Referee:
    """The referee between the checkouts at `base_root` and `root`."""
    worker, remarks = _worker(base_root, root, device)
    has_witness = (base_root / "kinetics" / _WITNESS_FOLDER).is_dir()
    is_changed = has_witness and not _is_same(base_root, [*_WITNESS, *_files(base_root, _WITNESS_FOLDER)])
    if is_changed:
        remarks.append(
            "The candidate changes how code is compared: every case is timed; instructions are counted its way"
        )
    if has_witness and not _is_same(base_root, _DRIVER):
        remarks.append("The candidate changes how launches are taken: the numbers of a launch are its own")
    return Referee(worker=worker, is_witness_changed=is_changed, remarks=remarks)


def judge_by_base(document: Document, base_root: Path) -> None:
    """Judge a document by the base's rules; where the base cannot, by these here, and say so.

    Cases that these here judge otherwise are kept under `own_verdicts`. One that these call decided, where the base's
    rule would have launched on, is INVALID.
    """
    complete(document)
    own = {row["case"]: row["verdict"] for row in document["verdicts"]}
    found = document["referee"] = {**document["referee"], "own_verdicts": {}}
    found["remarks"] = [line for line in found["remarks"] if line != NOT_JUDGED]
    given = msgspec.json.encode(to_strict(document)).decode()
    told: list[CaseVerdict] | str
    try:
        told = ask_base(_SCRIPT, base_root, (), list[CaseVerdict], given=given)
    except KeyboardInterrupt:
        told = "interrupted"
    if not isinstance(told, str) and [one.case for one in told] != list(own):
        told = "it judges other cases"
    if isinstance(told, str):
        found["remarks"] = [*found["remarks"], f"Judged by the candidate's rules: the base does not judge ({told})"]
        return
    document["verdicts"] = to_strict([asdict(_heard(one, own[one.case])) for one in told])
    found["own_verdicts"] = {row["case"]: own[row["case"]] for row in document["verdicts"]
                             if row["verdict"] != own[row["case"]]}  # fmt: skip


def _heard(told: CaseVerdict, own: str) -> CaseVerdict:
    """The base's verdict, but for a case that it leaves open because the candidate's rule stopped too early."""
    if told.verdict is not Verdict.AMBIGUOUS or own not in _DECIDED:
        return told
    reason = f"the candidate's rule stopped after {told.num_launches} launches, by the base's it was open"
    return replace(told, verdict=Verdict.INVALID, reason=reason)


def referee_remarks(found: Mapping[str, Any]) -> list[str]:
    """What a document says of its referee, in lines."""
    return [
        *found.get("remarks", ()),
        *(
            f"{case}: judged by the base's rules; by the candidate's it would be {verdict}"
            for case, verdict in found.get("own_verdicts", {}).items()
        ),
    ]


def _worker(base_root: Path, root: Path, device: str) -> tuple[Path, list[str]]:
    if _is_same(base_root, _STOPWATCH):
        return WORKER, []
    script = base_root / "kinetics" / "gate" / "worker.py"
    if _protocol(script) != _protocol(WORKER):
        return WORKER, ["Timed by the candidate's stopwatch: the base has none that this gate can talk to"]
    try:
        with WorkerProcess(CANDIDATE, root, device, script=script) as worker:
            worker.facts()
    except (CaseRefused, WorkerLost) as error:
        return WORKER, [f"Timed by the candidate's stopwatch: the base's does not run it ({error})"]
    return script, ["Timed by the base's stopwatch on both sides: the candidate changes it"]


def _protocol(script: Path) -> str | None:
    """Which protocol a worker's source says that it speaks."""
    found = re.search(
        r"^PROTOCOL = (\d+)$", script.read_text(encoding="utf-8") if script.exists() else "", re.MULTILINE
    )
    return found.group(1) if found else None


def _files(base_root: Path, folder: str) -> list[str]:
    """The sources that a folder has on either side."""
    roots = (_PACKAGE, base_root / "kinetics")
    return sorted({str(path.relative_to(root)) for root in roots for path in (root / folder).rglob("*.py")})


def _is_same(base_root: Path, names: list[str] | tuple[str, ...]) -> bool:
    """Whether the base has these files of the package as they are here."""

    def content(root: Path, name: str) -> bytes | None:
        path = root / name
        return path.read_bytes() if path.exists() else None

    return all(content(_PACKAGE, name) == content(base_root / "kinetics", name) for name in names)
