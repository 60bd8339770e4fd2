"""How often does the gate err, and what does it find? Planted slow-downs, stored launches, decisions by resampling.

    python scripts/gate_study.py collect --launches 40    interleaved launches; goes on where an earlier call stopped
    python scripts/gate_study.py analyse                  decisions drawn from the stored launches, as a table

Every launch runs four workers in lockstep on one checkout: base, an identical copy, and two that do 5 % and 10 % more
work in the timed call, context and KV budget being longer by that much. Both commands work in runs/gate-study/, or in
`--folder`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from kinetics.files.atomic import write_json
from kinetics.gate.cases import GateCase, GateGrid, gate_cases
from kinetics.gate.checkout import repository_root
from kinetics.gate.evidence import BASE, CaseRun
from kinetics.gate.launch import LaunchCase, LaunchSetup, run_launch
from kinetics.gate.lockstep import Sample, round_log_ratios
from kinetics.gate.process import WorkerProcess
from kinetics.gate.session import launch_setup, probe_machine
from kinetics.gate.stored import machine_difference
from kinetics.gate.study import report
from kinetics.gate.watch import MAX_OTHERS_CPU_SHARE
from kinetics.machine.facts import source_state

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "runs" / "gate-study"
"""Unless told otherwise; the published study lies in results/gate-study."""
DATA = "data"
"""Below the folder, so that `results/*/*.json` are result files."""
PLANTED = {BASE: 0.0, "copy": 0.0, "plus5": 0.05, "plus10": 0.10}
LEFT_OUT = ("append", "step")
"""Of the gate grid: append, whose work does not grow with the context, and the step, most of whose work does not."""


MAX_REFUSED = 5
"""Launches with a case that could not be run; after so many something is wrong."""


def study_cases() -> list[GateCase]:
    return [case for case in gate_cases(GateGrid.GATE, "cpu") if not case.name.startswith(LEFT_OUT)]


def planted_spec(spec: Mapping[str, Any], share: float) -> dict[str, Any]:
    """The spec with this much more context and KV budget, in whole pages."""
    page = spec["page_size"]

    def longer(tokens: int) -> int:
        return page * round(tokens * (1.0 + share) / page)

    budget = spec["kv_budget"]
    return {**spec, "context_len": longer(spec["context_len"]), "kv_budget": longer(budget) if budget else None}


class RecordedWorker(WorkerProcess):
    """A worker whose samples are kept until somebody takes them."""

    samples: list[Sample]

    def run_once(self) -> Sample:
        """As its parent, and remember the sample."""
        sample = super().run_once()
        self.samples.append(sample)
        return sample


class Recorder:
    """Launches as `run_launch` yields them, each beside the samples that its record was made from."""

    def __init__(self, place: LaunchSetup, device: str) -> None:
        self._place = replace(place, open_worker=self._opened)
        self._device = device
        self._workers: dict[str, RecordedWorker] = {}

    def _opened(self, side: str, root: Path) -> RecordedWorker:
        worker = self._workers[side] = RecordedWorker(side, root, self._device)
        worker.samples = []
        return worker

    def launch(self, cases: Sequence[LaunchCase], number: int) -> Iterator[tuple[CaseRun, dict[str, list[Sample]]]]:
        """Every case of one launch: its record, and each side's samples in the order in which they were taken."""
        for run in run_launch(self._place, cases, launch=number, look=1):
            taken = {side: worker.samples for side, worker in self._workers.items()}
            for worker in self._workers.values():
                worker.samples = []
            yield run, taken


def rounds_of(samples: Mapping[str, Sequence[Sample]], side: str) -> str:
    """The log-ratio of every round of a case, in a cell; samples of a side come in pairs, there and back."""
    base, own = (list(zip(samples[one][::2], samples[one][1::2], strict=True)) for one in (BASE, side))
    return " ".join(f"{value:.4f}" for value in round_log_ratios(base, own))


def rows_of(run: CaseRun, samples: Mapping[str, Sequence[Sample]], commit: str) -> list[dict[str, Any]]:
    """One row per side."""
    return [
        {
            "launch": run.launch,
            "case": run.case,
            "side": side,
            "first_side": run.first_side,
            "log_ratio": f"{run.log_ratios.get(side, 0.0):.6f}",
            "median_s": f"{seconds:.4e}",
            "canary_bytes_per_s": f"{run.canary_bytes_per_s[side]:.4e}",
            "others_cpu_share": f"{run.others_cpu_share:.3f}",
            "commit": commit[:7],
            "started_s": f"{time.time():.0f}",
            "round_log_ratios": rounds_of(samples, side) if side != BASE else "",
        }
        for side, seconds in run.median_s.items()
    ]


def finished_launches(path: Path, num_rows: int) -> pd.DataFrame:
    """The launches that were stored whole; a launch that was cut short is forgotten."""
    if not path.exists():
        return pd.DataFrame({"launch": []})
    stored = pd.read_csv(path)
    return stored[stored.groupby("launch")["case"].transform("size") == num_rows]


def fewest_counting(stored: pd.DataFrame) -> int:
    """Launches of the case that others disturbed most, those apart that they disturbed too much to count."""
    if not len(stored):
        return 0
    bases = stored[stored["side"] == BASE]
    counts = (bases["others_cpu_share"].astype(float) <= MAX_OTHERS_CPU_SHARE).groupby(bases["case"]).sum()
    return int(counts.min())


def check_same(there: Mapping[str, Any], here: Mapping[str, Any], data: Path) -> None:
    """Launches of one study must be of one machine and one set of cases.

    Raises: ValueError if the stored ones are not.
    """
    difference = machine_difference(here["machine_info"], there["machine_info"])
    if here["specs"] != there["specs"]:
        difference = "its cases are others"
    if difference:
        raise ValueError(f"{data} must hold launches of this study, got others: {difference}; move it away")


def collect(data: Path, num_launches: int, *, max_s: float) -> None:
    path, cases = data / "launches.csv", study_cases()
    data.mkdir(parents=True, exist_ok=True)
    stored = finished_launches(path, len(cases) * len(PLANTED))
    started, root = time.monotonic(), repository_root(ROOT)
    machine = probe_machine(root, "cpu")
    commit, is_dirty = source_state(root)
    planted = {side: {case.name: planted_spec(case.spec, share) for case in cases} for side, share in PLANTED.items()}
    facts = {"commit": commit, "dirty": is_dirty, "machine_info": machine.facts, "specs": planted}
    if len(stored):
        check_same(json.loads((data / "machine.json").read_text()), facts, data)
    write_json(data / "machine.json", facts)
    recorder = Recorder(launch_setup(dict.fromkeys(PLANTED, root), "cpu", machine), "cpu")
    launch_cases = [
        LaunchCase(name=case.name, specs={side: planted[side][case.name] for side in PLANTED}) for case in cases
    ]
    launch = int(stored["launch"].max()) + 1 if len(stored) else 0
    num_refused = 0
    while fewest_counting(stored) < num_launches and time.monotonic() - started < max_s:
        seen = list(recorder.launch(launch_cases, launch))
        runs = [run for run, _ in seen]
        launch += 1
        if refused := [run for run in runs if run.refusals]:
            num_refused += 1
            print(f"launch {launch - 1} left out, {refused[0].case}: {refused[0].refusals}", file=sys.stderr)
            if num_refused == MAX_REFUSED:
                raise ValueError(f"{MAX_REFUSED} launches had a case that could not be run, the last is named above")
            continue
        new = pd.DataFrame([row for run, samples in seen for row in rows_of(run, samples, commit)])
        stored = pd.concat([stored, new]) if len(stored) else new
        stored.to_csv(path.with_suffix(".partial"), index=False)
        path.with_suffix(".partial").replace(path)
        busiest = max(run.others_cpu_share or 0.0 for run in runs)
        print(
            f"[{time.monotonic() - started:.0f} s] launch {launch - 1}, others took at most {100 * busiest:.0f} % of "
            f"the CPUs; {fewest_counting(stored)} of {num_launches} count in every case",
            file=sys.stderr,
        )


def analyse(folder: Path) -> None:
    data = folder / DATA
    facts = json.loads((data / "machine.json").read_text())
    text = report(pd.read_csv(data / "launches.csv"), facts)
    (folder / "README.md").write_text(text, encoding="utf-8")
    print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the study")
    verbs = parser.add_subparsers(required=True, dest="verb")
    collecting = verbs.add_parser("collect")
    collecting.add_argument(
        "--launches", type=int, default=40, help="undisturbed launches of every case to have in the end"
    )
    collecting.add_argument("--max-seconds", type=float, default=float("inf"), help="start no launch after this long")
    verbs.add_parser("analyse")
    arguments = parser.parse_args()
    if arguments.verb == "collect":
        collect(arguments.folder / DATA, arguments.launches, max_s=arguments.max_seconds)
    else:
        analyse(arguments.folder)


if __name__ == "__main__":
    main()
