"""The sentences and small tables that documents quote of a run. Every number in them comes from the run's file."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from kinetics.bench.quoted_rows import QUOTED_CONTEXT, is_quoted
from kinetics.prediction.calibration import calibration_errors
from kinetics.results.store import Document
from kinetics.specs.counts import short
from kinetics.specs.identity import identity_of
from kinetics.specs.units import format_seconds

_WIDTH: Final = 120
Row = Mapping[str, Any]
Ratios = dict[tuple[int, int], float]
"""By (batch, context)."""


def ratios(rows: Sequence[Row]) -> str | None:
    """How dense decode compares with torch's attention, and the whole sparse path with dense."""
    over_torch, over_dense = _over_torch(rows), _over_dense(rows)
    if not over_torch or not over_dense:
        return None
    batch, context_len = _quoted(over_torch)
    longest = max(over_dense)
    return filled(
        f"Dense decode by our kernels is {over_torch[batch, context_len]:.2f} times as fast as torch's attention there "
        f"(batch {batch}, context {short(context_len)}, medians of one interleaved run), and the whole sparse path, "
        f"search included, {over_dense[longest]:.1f} times as fast as dense at {short(longest[1])}."
    )


def reached(document: Document, *, link: str) -> str | None:
    """What the kernels were to reach on a CPU, and what they reached in this run."""
    rows = [bench["extra_info"] for bench in document["benchmarks"]]
    over_torch, over_dense = _over_torch(rows), _over_dense(rows)
    if not over_torch or not over_dense:
        return None
    batch, context_len = _quoted(over_torch)
    longest = max(over_dense)
    spread = "; ".join(f"batch {one}: {_range(over_torch, one)}" for one in sorted({key[0] for key in over_torch}))
    attention = [row for row in rows if row.get("operation") in ("dense", "block_topk")]
    dtype = next(row["dtype"] for row in rows if is_quoted(row))
    title = identity_of(document["machine_info"]).title
    lines = [
        filled(f"{title}, {dtype}, [one run]({link}) of the {document['grid']} grid, medians, candidates interleaved:"),
        "",
        "| | aim | reached |",
        "| --- | --- | --- |",
        f"| dense decode over torch SDPA, batch {batch}, context {short(context_len)}, 32 query / 8 KV heads "
        f"| 1.25x, goal 2x | {over_torch[batch, context_len]:.2f}x ({spread}) |",
        f"| whole sparse path over our dense, batch {longest[0]}, context {short(longest[1])}, budget 1,024, page 16 "
        f"| 9.6x of 16x | {over_dense[longest]:.1f}x |",
        f"| calibrated prediction, held-out attention cases | median 15 %, p90 35 % | {_errors(attention)} |",
        f"| wall time | 360 s for the default grid, all files | {float(document['wall_s']):.0f} s, {len(rows)} rows |",
    ]
    return "\n".join(lines)


def steps(document: Document, *, link: str) -> str | None:
    """Whole decode steps of the models that were measured through all layers."""
    rows = [bench["extra_info"] for bench in document["benchmarks"]]
    measured = [row for row in rows if row.get("full_model_is_extrapolated") is False]
    pairs = [(row, _sparse_of(row, measured)) for row in measured if row["operation"] == "step_dense"]
    if not pairs:
        return None
    title = identity_of(document["machine_info"]).title
    head = f"{title}, weights in {pairs[0][0]['dtype']}, [one run]({link}); all layers measured:"
    lines = [
        filled(head),
        "",
        "| model | batch, context | dense | block top-k, budget 1,024 | attention's share of dense |",
        "| --- | --- | --- | --- | --- |",
    ]
    for dense, sparse in sorted(pairs, key=lambda pair: (pair[0]["batch"], pair[0]["context_len"])):
        lines.append(
            f"| {dense['model']} | {dense['batch']}, {short(dense['context_len'])} | "
            f"{format_seconds(dense['full_model_s'])} | {format_seconds(sparse['full_model_s']) if sparse else '-'} | "
            f"{100 * dense['attention_share']:.0f} % |"
        )
    all_steps = [row for row in rows if str(row.get("operation")).startswith("step_")]
    notes = f"Calibrated on every other step, the held-out rows were predicted with an error of {_errors(all_steps)}."
    if errors := [(row["operation"], row["extrapolation_error"]) for row in all_steps if _is_checked(row)]:
        said = ", ".join(
            f"{name.removeprefix('step_').replace('_', ' ')} {100 * error:+.0f} %" for name, error in errors
        )
        notes += f" Extrapolated from a few layers, the full step came out off by: {said}."
    return "\n".join([*lines, "", filled(notes)])


def figure(rows: Sequence[Row], *, picture: str, page: str) -> str | None:
    """The picture of accuracy per cost, with what it shows in words."""
    generated = [row for row in rows if row.get("operation") == "aime_generate"]
    found = [row for row in rows if row.get("operation") == "aime_sparse_against_dense"]
    if not generated or not found:
        return None
    num_models = len({row["model"] for row in generated})
    seconds = sum(row["generation_s"] for row in generated)
    title = "Accuracy per cost of the miniature family, dense and block top-k: by B200 eFLOPs and by measured seconds"
    gains = "; ".join(map(_gain, found))
    caption = (
        f"*Made by the first command below, in {seconds:.0f} s of it: {num_models} miniature models, which ship with "
        "the package, sit a synthetic contest. Every point is a way to spend: a model, a policy, a length cap, a "
        f"number of trials. Block top-k beside dense: {gains}. The family checks the pipeline and shows the law's "
        f"shape; it is no claim about language models ([docs/mini.md]({page})).*"
    )
    return "\n".join([f"![{title}]({picture})", "", filled(caption)])


def _gain(row: Row) -> str:
    """One comparison in words: `long_cot by exact_tera_eflop, below dense at 2 of 73 costs, by 0.6 points at most`."""
    task = {"long_cot": "one longer answer", "best_of_n": "Best-of-N"}.get(row["task"], row["task"])
    axis = "measured seconds" if "measured" in row["axis"] else "eFLOPs"
    below = f"less accurate at {row['costs_below']} of {row['costs_compared']} costs"
    depth = f" (by at most {-row['smallest_gain_points']:.1f} points)" if row["costs_below"] else ""
    return f"{task}, by {axis}, {below}{depth}"


def _over_torch(rows: Iterable[Row]) -> Ratios:
    """torch's dense attention over ours, by cell."""
    dense = [row for row in rows if is_quoted(row) and row["operation"] == "dense"]
    ours = {_cell(row): row["median_s"] for row in dense if row["provider"] == "ours"}
    theirs = {_cell(row): row["median_s"] for row in dense if row["provider"] == "torch_sdpa"}
    return {cell: theirs[cell] / ours[cell] for cell in ours.keys() & theirs.keys()}


def _over_dense(rows: Iterable[Row]) -> Ratios:
    """Our dense attention over our whole sparse path, by cell."""
    ours = [row for row in rows if is_quoted(row) and row["provider"] == "ours"]
    dense = {_cell(row): row["median_s"] for row in ours if row["operation"] == "dense"}
    sparse = {_cell(row): row["median_s"] for row in ours if row["operation"] == "block_topk"}
    return {cell: dense[cell] / sparse[cell] for cell in dense.keys() & sparse.keys()}


def _cell(row: Row) -> tuple[int, int]:
    return row["batch"], row["context_len"]


def _quoted(found: Ratios) -> tuple[int, int]:
    """The largest batch, at 8k or as near to it as was measured."""
    batch = max(key[0] for key in found)
    return batch, min((key[1] for key in found if key[0] == batch), key=lambda length: abs(length - QUOTED_CONTEXT))


def _range(found: Ratios, batch: int) -> str:
    values = [ratio for key, ratio in found.items() if key[0] == batch]
    return f"{min(values):.2f}x to {max(values):.2f}x, median {statistics.median(values):.2f}x"


def _sparse_of(dense: Row, rows: Iterable[Row]) -> Row | None:
    return next(
        (
            row
            for row in rows
            if row["operation"] == "step_block_topk"
            and all(row[name] == dense[name] for name in ("model", "batch", "context_len", "num_layers", "provider"))
        ),
        None,
    )


def _is_checked(row: Row) -> bool:
    return row.get("extrapolation_error") is not None


def _errors(rows: Sequence[Row]) -> str:
    errors = calibration_errors(rows, "held_out")
    if not errors:
        return "unknown (too few cases)"
    median, p90 = np.percentile(errors, [50, 90])
    return f"median {100 * median:.0f} %, p90 {100 * p90:.0f} % over {len(errors)}"


def filled(text: str) -> str:
    """The text in lines of the documents' width."""
    return textwrap.fill(text, width=_WIDTH, break_long_words=False, break_on_hyphens=False)
