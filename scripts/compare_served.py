"""Served runs beside the data sheet's roof and our prediction: nothing measured may beat the roof, or it is named.

    pip install -e '.[silicon]' && python scripts/compare_served.py [--peer peer/bin/python] > served.md

Reads the end-to-end runs of aiconfigurator-core (silicon_sample.csv): time per output token of whole servers, prefill
interference and queueing included, so that they bound a prediction from above and calibrate nothing. With --peer,
NVIDIA's estimator answers the same steps. What is left out, and why, is said on stderr.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, Final

from ask_peer import ask_peer

from kinetics.prediction.silicon import time_cases
from kinetics.prediction.silicon_fits import device_of
from kinetics.prediction.silicon_package import package_version, systems_folder
from kinetics.prediction.step_silicon import StepQuery, step_operations, step_time
from kinetics.specs.cache_formats import find_cache_format
from kinetics.specs.known_models import find_architecture
from kinetics.specs.weight_formats import WeightFormats, find_weight_format
from kinetics.tables.table import Table

FORMATS: Final = {"fp8": "fp8", "fp8_block": "fp8_block", "nvfp4": "nvfp4", "int4_wo": "int4", "bfloat16": "bf16"}
_FEWEST: Final = 10
"""Fewer runs of a concurrency make no row."""
_QUANTISED: Final = re.compile(r"-(FP8|NVFP4)$")
_OWN_FORMATS: Final = frozenset({"openai/gpt-oss-120b"})
"""Runs that state a 4-bit format for a model whose config keeps experts alone in one."""
_NAMES: Final = {
    "meta-llama/Llama-3.1-70B": "meta-llama/Meta-Llama-3.1-70B",
    "meta-llama/Llama-3.1-8B-Instruct": "meta-llama/Meta-Llama-3.1-8B",
    "zhipuai/GLM-5": "zai-org/GLM-5",
    "nvidia/Llama-3.1-8B-Instruct-FP8": "meta-llama/Meta-Llama-3.1-8B",
}
"""Models under the names that the package has configs of: nothing is downloaded."""
_ALIKE: Final = {"nvidia/DeepSeek-V3.1": "deepseek-ai/DeepSeek-V3"}
"""Models that differ in their weights alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a run decoded, as a case that both predict from."""

    model: str
    gemm: str
    moe: str
    system: str
    framework: str
    num_devices: int
    batch: int
    context_len: int

    def as_case(self) -> dict[str, Any]:
        """As the estimator is asked; the newest tables it has."""
        return {
            "model": self.model, "gemm_mode": self.gemm, "moe_mode": self.moe, "cache_mode": "fp8", "version": "",
            "system": self.system, "framework": self.framework, "num_devices": self.num_devices, "batch": self.batch,
            "context_len": self.context_len,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One run: what it took, our prediction, and the roof. Seconds."""

    name: str
    step: Step
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
    is_own = row["model_path"] in _OWN_FORMATS
    step = Step(
        model=_NAMES.get(row["model_path"], row["model_path"]), gemm="" if is_own else row["gemm_quant_mode"],
        moe="" if is_own else row["moe_quant_mode"], system=row["system"],
        framework=row["backend"], num_devices=int(row["tp_size"]), batch=int(row["batch_size"]),
        context_len=int(row["isl"]) + int(row["osl"]) // 2,
    )  # fmt: skip
    roof_s, predicted_s = _times(step)
    measured_s = float(row["silicon_tpot_ms"]) / 1e3
    return Served(name=row["id"], step=step, measured_s=measured_s, roof_s=roof_s, predicted_s=predicted_s)


@cache
def _times(step: Step) -> tuple[float, float]:
    """Roof and prediction of a step, with an fp8 cache: the fewest bytes that such a run reads."""
    name = _QUANTISED.sub("", step.model)
    architecture = find_architecture(_ALIKE.get(name, name))
    weights = None
    if step.gemm in FORMATS:
        dense = find_weight_format(FORMATS[step.gemm])
        weights = WeightFormats(dense=dense, experts=find_weight_format(FORMATS.get(step.moe, dense.name)))
    query = StepQuery(
        architecture=architecture, batch=step.batch, context_len=step.context_len, num_devices=step.num_devices,
        weights=weights, cache=find_cache_format("fp8"),
    )  # fmt: skip
    device = device_of(step.system)
    roof_s = sum(
        count * time_cases(cases, device, step.framework, fits=()).seconds for _, count, cases in step_operations(query)
    )
    return roof_s, step_time(query, device, step.framework).seconds


def estimated(python: Path, runs: Sequence[Served]) -> dict[Step, float]:
    """Seconds by the estimator, of the steps that it can answer."""
    steps = sorted({run.step for run in runs}, key=lambda step: (step.system, step.framework, step.model))
    answers = ask_peer(python, steps=[step.as_case() for step in steps])["steps"]
    failed = Counter(answer["error"][:90] for answer in answers if "error" in answer)
    for reason, count in failed.most_common(5):
        print(f"not estimated: {count} steps: {reason}", file=sys.stderr)
    return {
        step: sum(answer["parts"].values()) / 1e3
        for step, answer in zip(steps, answers, strict=True)
        if "error" not in answer
    }


def band_table(runs: Sequence[Served], theirs: Mapping[Step, float]) -> Table:
    """Measured over roof, over our prediction and over theirs, medians by concurrency."""
    groups: dict[int, list[Served]] = defaultdict(list)
    for run in runs:
        groups[run.step.batch].append(run)
    rows = []
    for concurrency, group in sorted(groups.items()):
        if len(group) >= _FEWEST:
            over_roof = [run.measured_s / run.roof_s for run in group]
            both = [run for run in group if run.step in theirs] if theirs else group
            ours = [run.measured_s / run.predicted_s for run in both]
            cells = [f"{median(over_roof):.2f}", f"{min(over_roof):.2f}", f"{median(ours):.2f}" if ours else "-"]
            if theirs:
                ratios = [run.measured_s / theirs[run.step] for run in both]
                cells += [f"{median(ratios):.2f}" if ratios else "-", str(len(both))]
            rows.append((concurrency, len(group), *cells))
    columns = ("concurrency", "runs", "over the roof", "least", "over ours", "over theirs", "of runs")
    return Table(name="served", columns=columns if theirs else columns[:-2], rows=tuple(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="the Python of the estimator's environment")
    asked = parser.parse_args()
    folder = systems_folder()
    if folder is None:
        sys.exit("skipped: aiconfigurator-core is not installed, which holds the served runs")
    left_out: Counter[str] = Counter()
    runs = list(read_served(folder / "silicon_sample.csv", left_out))
    for reason, count in left_out.most_common():
        print(f"left out: {count} runs: {reason}", file=sys.stderr)
    theirs = estimated(asked.peer, runs) if asked.peer is not None else {}
    print(f"### Served runs of aiconfigurator-core {package_version()}\n")
    print(f"{len(runs)} of {len(runs) + left_out.total()} runs.\n\n{band_table(runs, theirs).as_markdown()}")
    beaten = sorted((run for run in runs if run.measured_s < run.roof_s), key=lambda run: run.measured_s / run.roof_s)
    print(f"{len(beaten)} beat the roof.\n" + "\n".join(_line(run) for run in beaten))


def _line(run: Served) -> str:
    return f"- {run.name}: {1e3 * run.measured_s:.2f} ms, roof {1e3 * run.roof_s:.2f} ms"


if __name__ == "__main__":
    main()
