"""Our predicted decode steps beside NVIDIA's estimator, part by part; both on rows neither has seen; and served runs.

    python -m venv peer && peer/bin/pip install aiconfigurator-core==0.12.0
    python scripts/compare_estimators.py --peer peer/bin/python --tables peer/lib/python3.11/site-packages > peer.md

The estimator runs in its own environment (`scripts/peer_estimates.py`). Operator rows are of another version's tables
than those that either predicts from. Prints Markdown; what could not be asked or was left out is said on stderr.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
from ask_peer import ask_peer

from kinetics.prediction.silicon import find_fit
from kinetics.prediction.silicon_fits import committed_fits, device_of
from kinetics.prediction.step_silicon import StepPart, StepQuery, StepTime, step_time
from kinetics.specs.known_models import find_architecture
from kinetics.tables.table import Table, Value

MODELS: Final = {
    "Qwen/Qwen3-8B": 1, "Qwen/Qwen3-32B": 2, "meta-llama/Meta-Llama-3.1-70B": 4, "openai/gpt-oss-120b": 2,
    "deepseek-ai/DeepSeek-V3.2": 8,
}  # fmt: skip
"""Devices that share each model."""
SYSTEMS: Final = ("h100_sxm", "h200_sxm", "b200_sxm")
FRAMEWORK, VERSION = "vllm", "0.24.0"
BATCHES, CONTEXT_LENS = (1, 16, 64), (4096, 32768)
PARTS: Final = ("attention", "projections", "MLP and experts", "head", "sums", "small kernels")
OF_MLP: Final = frozenset(("router", "up", "down", "experts", "shared_gate"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One step, predicted by both: milliseconds of each of PARTS."""

    case: dict[str, Any]
    ours: dict[str, float]
    theirs: dict[str, float]
    is_extrapolated: bool

    @property
    def ratio(self) -> float:
        """Our time over theirs."""
        return sum(self.ours.values()) / sum(self.theirs.values())


def step_cases() -> list[dict[str, Any]]:
    """Every model on every device, at every batch and context."""
    return [
        {
            "system": system, "framework": FRAMEWORK, "version": VERSION, "model": model, "batch": batch,
            "context_len": context_len + 1, "num_devices": devices,
        }
        for model, devices in MODELS.items() for system in SYSTEMS for batch in BATCHES for context_len in CONTEXT_LENS
    ]  # fmt: skip


def our_step(case: dict[str, Any]) -> StepTime:
    query = StepQuery(
        architecture=find_architecture(case["model"]), batch=case["batch"], context_len=case["context_len"],
        num_devices=case["num_devices"],
    )  # fmt: skip
    return step_time(query, device_of(case["system"]), case["framework"])


def our_parts(found: StepTime) -> dict[str, float]:
    """Milliseconds by PARTS."""
    parts = dict.fromkeys(PARTS, 0.0)
    for part in found.parts:
        parts[_our_kind(part)] += 1e3 * part.seconds
    return parts


def _our_kind(part: StepPart) -> str:
    if part.name.startswith("attention (") or part.name.endswith(" module"):
        return "attention"
    if part.name.startswith("mlp ") or part.name in OF_MLP or part.name.startswith("shared"):
        return "MLP and experts"
    return {"head": "head", "all-reduce": "sums", "small kernels": "small kernels"}.get(part.name, "projections")


def their_parts(parts: dict[str, float]) -> dict[str, float]:
    """Milliseconds by PARTS, of the estimator's names."""
    found = dict.fromkeys(PARTS, 0.0)
    for name, ms in parts.items():
        found[_their_kind(name.removeprefix("generation_"))] += ms
    return found


def _their_kind(name: str) -> str:
    if name == "attention":
        return "attention"
    if name == "logits_gemm":
        return "head"
    if name.endswith(("_ar", "ar_1", "ar_2", "_dispatch", "p2p")):
        return "sums"
    if "moe" in name or "ffn" in name or "router" in name or "shared" in name:
        return "MLP and experts"
    return "projections" if name.endswith("_gemm") else "small kernels"


def compare_steps(cases: Sequence[dict[str, Any]], answers: Sequence[dict[str, Any]]) -> Iterator[Compared]:
    """Every step that both could predict; what the other could not is said on stderr."""
    for case, answer in zip(cases, answers, strict=True):
        if "error" in answer:
            print(f"left out: {case['model']} on {case['system']}: {answer['error']}", file=sys.stderr)
            continue
        found = our_step(case)
        yield Compared(
            case=case, ours=our_parts(found), theirs=their_parts(answer["parts"]), is_extrapolated=found.is_extrapolated
        )


def steps_table(compared: Sequence[Compared]) -> Table:
    """Times of both at every batch and context, a row a model and device."""
    groups: dict[tuple[str, str], list[Compared]] = defaultdict(list)
    for one in compared:
        groups[one.case["model"], one.case["system"]].append(one)
    rows: list[tuple[Value, ...]] = []
    for (model, system), group in groups.items():
        cells = [f"{sum(one.ours.values()):.2f} / {sum(one.theirs.values()):.2f}" for one in group]
        off = median(abs(one.ratio - 1) for one in group)
        rows.append((model.rpartition("/")[2], group[0].case["num_devices"], system, *cells, f"{off:.1%}"))
    shapes = [f"{one.case['batch']} x {one.case['context_len'] // 1024}k" for one in next(iter(groups.values()))]
    return Table(name="steps", columns=("model", "tp", "device", *shapes, "median"), rows=tuple(rows))


def parts_table(compared: Sequence[Compared]) -> Table:
    """How much of the difference of a step each part makes: (ours - theirs) / their whole step, medians."""
    rows = []
    for model in MODELS:
        group = [one for one in compared if one.case["model"] == model]
        if group:
            shares = [
                median((one.ours[part] - one.theirs[part]) / sum(one.theirs.values()) for one in group)
                for part in PARTS
            ]
            whole = median(one.ratio - 1 for one in group)
            rows.append((model.rpartition("/")[2], *(f"{share:+.1%}" for share in shares), f"{whole:+.1%}"))
    return Table(name="parts", columns=("model", *PARTS, "step"), rows=tuple(rows))


OPERATORS: Final = (
    ("attention", "b200_sxm", "vllm", "0.22.0", "0.24.0"), ("dsa", "h100_sxm", "trtllm", "1.3.0rc20", "1.3.0rc23"),
    ("dsa", "h200_sxm", "trtllm", "1.3.0rc20", "1.3.0rc23"), ("matmul", "h100_sxm", "sglang", "0.5.6.post2", "0.5.14"),
    ("all_reduce", "h100_sxm", "vllm", "0.19.0", "0.24.0"), ("all_reduce", "b200_sxm", "vllm", "0.19.0", "0.24.0"),
    ("experts", "h200_sxm", "vllm", "0.19.0", "0.24.0"), ("experts", "h100_sxm", "sglang", "0.5.10", "0.5.14"),
)  # fmt: skip
"""Operation, device, framework, the version that was measured, and the one that both predict from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRows:
    """Rows of one version's table that another version is to predict; `is_known`: whether that one has the shape."""

    operation: str
    system: str
    framework: str
    version: str
    by: str
    frame: Any
    is_known: Any

    def __str__(self) -> str:
        return f"{self.operation}, {self.framework} {self.version} by {self.by}"


def operator_rows(tables: Path, kind: tuple[str, str, str, str, str], most: int) -> OperatorRows:
    """At most so many rows, drawn by shape: one half of shapes that the other version has, one half of others."""
    from kinetics.prediction.silicon_tables import table_columns

    operation, system, framework, version, by = kind
    older, newer = (_decoding_rows(tables, operation, system, framework, one) for one in (version, by))
    columns = [name for name in table_columns(operation) if name != "kernel_source"]
    known = set(newer[columns].itertuples(index=False, name=None))
    is_known = np.array([row in known for row in older[columns].itertuples(index=False, name=None)])
    drawn = np.sort(np.concatenate([_spaced(np.flatnonzero(rows), most // 2) for rows in (is_known, ~is_known)]))
    return OperatorRows(
        operation=operation, system=system, framework=framework, version=version, by=by, frame=older.iloc[drawn],
        is_known=is_known[drawn],
    )  # fmt: skip


def _spaced(rows: Any, most: int) -> Any:
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))]


def _decoding_rows(tables: Path, operation: str, system: str, framework: str, version: str) -> Any:
    from kinetics.prediction.silicon_package import read_table
    from kinetics.prediction.silicon_tables import table_columns, table_paths

    (path,) = table_paths(tables, operation, system=system, framework=framework, version=version)
    frame = read_table(path, table_columns(operation), only={})
    return frame[_is_decoding(frame, operation)]


def _is_decoding(frame: Any, operation: str) -> Any:
    """Rows that the fits speak of and that the estimator has a query for."""
    match operation:
        case "attention":
            return (frame["isl"] + frame["step"] >= 512) & (frame["kv_cache_dtype"] == "bfloat16")
        case "dsa":
            plain = ~frame["kernel_source"].str.contains("skip_indexer")
            return plain & (frame["model"] == "deepseek-ai/DeepSeek-V3.2") & (frame["isl"] + frame["step"] >= 128)
        case "matmul":
            return (frame["m"] <= 1024) & (frame["n"] * frame["k"] >= 2**16)
        case "experts":
            return (frame["num_tokens"] <= 1024) & frame["distribution"].isin(["balanced", "power_law_1.2"])
        case _:
            return ~frame["kernel_source"].str.endswith("eager") & (frame["message_size"] <= 2**26)


def operator_cases(rows: OperatorRows) -> list[dict[str, Any]]:
    """What the estimator is asked, by the version it predicts from."""
    where = {
        "operation": rows.operation, "system": rows.system, "framework": rows.framework, "version": rows.by,
    }  # fmt: skip
    return [
        {**{key: (v.item() if hasattr(v, "item") else v) for key, v in row.items()}, **where}
        for row in rows.frame.to_dict("records")
    ]


def our_operator_ms(rows: OperatorRows) -> Any:
    """Milliseconds of every row by the fit of version `by` that a prediction would take; NaN where there is none."""
    from kinetics.prediction.silicon_tables import groups_of

    fits = [fit for fit in committed_fits() if (fit.kernel.framework, fit.kernel.version) == (rows.framework, rows.by)]
    found = np.full(len(rows.frame), np.nan)
    for i in range(len(rows.frame)):
        for _, cases, _ in groups_of(rows.operation, rows.frame.iloc[[i]]):
            fit = find_fit(cases, device_of(rows.system), rows.framework, fits=fits)
            if fit is not None:
                found[i] = 1e3 * float(fit.seconds(cases)[0])
    return found


def operators_table(asked: Sequence[OperatorRows], answers: Iterator[dict[str, Any]]) -> Table:
    """Errors of both over rows that both answered."""
    shown: list[tuple[Value, ...]] = []
    for rows in asked:
        ours, theirs = our_operator_ms(rows), np.array([next(answers).get("ms", np.nan) for _ in rows.is_known])
        answered = np.isfinite(theirs) & np.isfinite(ours)
        print(f"{rows} on {rows.system}: {(~answered).sum()} of {len(answered)} rows left out", file=sys.stderr)
        for holds in (True, False):
            both = answered & (rows.is_known == holds)
            if both.any():
                measured_ms = rows.frame["latency"].to_numpy(float)[both]
                errors = [np.abs(one[both] / measured_ms - 1) for one in (ours, theirs)]
                cells = [f"{np.median(e):.1%} / {np.quantile(e, 0.9):.1%}" for e in errors]
                shown.append((str(rows), rows.system, "yes" if holds else "no", int(both.sum()), *cells))
    columns = ("operation", "device", "shape known", "rows", "ours: median / p90", "theirs: median / p90")
    return Table(name="operators", columns=columns, rows=tuple(shown))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="the Python of the estimator's environment")
    parser.add_argument("--tables", type=Path, required=True, help="its site-packages, where the tables are")
    parser.add_argument("--rows", type=int, default=600, help="operator rows of each table")
    asked = parser.parse_args()
    tables = asked.tables / "aiconfigurator_core" / "systems"
    cases = step_cases()
    rows = [operator_rows(tables, kind, asked.rows) for kind in OPERATORS]
    answers = ask_peer(asked.peer, steps=cases, operators=[case for one in rows for case in operator_cases(one)])
    print_steps(list(compare_steps(cases, answers["steps"])), answers["version"])
    print(f"\n### Rows of another version\n\n{operators_table(rows, iter(answers['operators'])).as_markdown()}")


def print_steps(compared: Sequence[Compared], version: str) -> None:
    """Both tables of steps, and the median over all."""
    off = [abs(one.ratio - 1) for one in compared]
    print(f"### Steps beside aiconfigurator-core {version}\n")
    print(f"{FRAMEWORK} {VERSION}, bf16 cache, milliseconds, ours / theirs, batch x context.\n")
    print(steps_table(compared).as_markdown())
    print(f"Median difference of {len(off)} steps: {median(off):.1%}; 90th percentile {np.quantile(off, 0.9):.1%}.\n")
    print(f"Of their whole step, part by part (median of ours - theirs):\n\n{parts_table(compared).as_markdown()}")


if __name__ == "__main__":
    main()
