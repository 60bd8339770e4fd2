"""Which rows of a run its quotes show: those a reader can learn from, chosen by rule and not by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kinetics.results.store import Document

QUOTED_CONTEXT: Final = 8192
_PEERS: Final = ("torch_sdpa", "naive_sparse")

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """The rows of an excerpt: the cases of one cell, and those of a few contexts that speed-ups are made of."""

    batch: int
    context_len: int
    cases: Sequence[dict[str, Any]]
    speedups: Sequence[dict[str, Any]]


def excerpt_rows(document: Document) -> Excerpt | None:
    """Ours beside plain torch at the largest batch measured at 8k, and the shortest, a middle and the longest context.

    None where ours did not measure dense and block top-k there.
    """
    rows = [_with_spread(bench) for bench in document["benchmarks"]]
    wanted = [row for row in rows if is_quoted(row)]
    batch = max((row["batch"] for row in wanted if row["context_len"] == QUOTED_CONTEXT), default=None)
    line = [row for row in wanted if row["batch"] == batch]
    cases = [row for row in line if row["context_len"] == QUOTED_CONTEXT]
    ours = [row for row in line if row["provider"] == "ours"]
    if batch is None or {row["operation"] for row in cases if row["provider"] == "ours"} != {"dense", "block_topk"}:
        return None
    contexts = sorted({row["context_len"] for row in ours})
    shown = {contexts[0], contexts[len(contexts) // 2 - (len(contexts) > 3)], contexts[-1]}
    return Excerpt(
        batch=batch,
        context_len=QUOTED_CONTEXT,
        cases=cases,
        speedups=[row for row in ours if row["context_len"] in shown],
    )


def is_quoted(row: Row) -> bool:
    """Cold attention of ours or of a plain torch peer, with the head shapes of Qwen3-8B, pages of 16, 1k kept."""
    return (
        row.get("operation") in ("dense", "block_topk")
        and row.get("provider") in ("ours", *_PEERS)
        and row.get("model") == "Qwen3-8B"
        and row.get("page_size") == 16
        and row.get("cache_state") == "cold"
        and row.get("kv_budget") in (None, 1024)
    )


def _with_spread(bench: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = bench["extra_info"]
    median_s = row.get("median_s")
    return row | {"iqr_fraction": bench["stats"]["iqr"] / median_s if median_s else None}
