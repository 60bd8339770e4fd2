"""Answers as evaluation harnesses log them: samples of lm-eval-harness, details of lighteval.

Neither says what attention ran, and lm-eval-harness not how many tokens were generated. A recorded score is taken
where it is of one answer; of several it says something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kinetics.samples.foreign_forms import ForeignForm, Source, sample

_QUESTIONS: Final = ("problem", "Problem", "question", "Question")
_LM_EVAL_FILE: Final = re.compile(r"samples_(?P<task>.+?)(?:_\d{4}-.*)?")
_DETAILS_FILE: Final = re.compile(r"details_(?P<task>.+?)(?:_\d{4}-.*)?")
_SCORES: Final = (0, 1)


def _lm_eval_facts(_record: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """The folder is named after the model, its slashes doubled underscores."""
    folder = source.path.absolute().parent.name
    return _named(folder.split("__")[-1], _LM_EVAL_FILE.fullmatch(source.path.stem))


def _lm_eval_samples(record: Mapping[str, Any], source: Source) -> Iterator[dict[str, Any]]:
    """One line is a question under one filter; the others repeat its answers."""
    used = source.seen.setdefault(str(record["doc_id"]), record.get("filter"))
    if record.get("filter") != used:
        return
    texts = _flat(record["resps"])
    score = _lm_eval_score(record) if len(texts) == 1 else None
    for text in texts:
        yield sample(_lm_eval_question(record), record["target"], text, score=score)


def _lm_eval_question(record: Mapping[str, Any]) -> str:
    doc, arguments = record.get("doc"), record.get("arguments")
    if isinstance(doc, dict):
        for name in _QUESTIONS:
            if isinstance(doc.get(name), str):
                return str(doc[name])
    found = next(iter(arguments.values()), None) if isinstance(arguments, dict) else arguments
    while isinstance(found, list | dict) and found:
        found = next(iter(found.values())) if isinstance(found, dict) else found[0]
    if not isinstance(found, str):
        raise ValueError(f"doc must hold the question as {' or '.join(_QUESTIONS)}, got none, and no arguments")
    return found


def _lm_eval_score(record: Mapping[str, Any]) -> float | None:
    named = record.get("metrics")
    names = named if isinstance(named, list) and named else ["exact_match"]
    return _zero_or_one(record.get(str(names[0])))


def _lighteval_facts(_record: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """details/ORGANISATION/MODEL/TIME/details_SUITE|TASK|SHOTS_TIME.parquet"""
    return _named(source.path.absolute().parent.parent.name, _DETAILS_FILE.fullmatch(source.path.stem))


def _lighteval_samples(record: Mapping[str, Any], _source: Source) -> Iterator[dict[str, Any]]:
    doc, response = record["doc"], record["model_response"]
    if not isinstance(doc, dict) or not isinstance(response, dict):
        raise ValueError("doc and model_response must be objects, got others")
    golds, index = doc.get("choices"), doc.get("gold_index")
    index = index[0] if isinstance(index, list) and index else index
    if not isinstance(golds, list) or not isinstance(index, int) or not 0 <= index < len(golds):
        raise ValueError("doc must hold choices and the index of the gold one, got none")
    yield from _answers(
        query=doc.get("query"),
        gold=golds[index],
        texts=response.get("text"),
        token_ids=response.get("output_tokens"),
        metrics=record["metric"],
    )


def _flat_lighteval_samples(record: Mapping[str, Any], _source: Source) -> Iterator[dict[str, Any]]:
    """As versions up to 0.10 wrote them."""
    yield from _answers(
        query=record["example"],
        gold=record["gold"],
        texts=record["predictions"],
        token_ids=record["cont_tokens"],
        metrics=record["metrics"],
    )


def _answers(*, query: Any, gold: Any, texts: Any, token_ids: Any, metrics: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(query, str) or not isinstance(texts, list):
        raise ValueError("a record must hold its query as text and its answers as a list, got others")
    texts, ids = _flat(texts), _id_lists(token_ids)
    scores = [_zero_or_one(value) for value in metrics.values()] if isinstance(metrics, dict) else []
    score = scores[0] if len(texts) == len(scores) == 1 else None
    for index, text in enumerate(texts):
        yield sample(query, gold, text, score=score, token_ids=ids[index] if len(ids) == len(texts) else None)


def _id_lists(value: Any) -> list[list[int]]:
    """The innermost lists: one answer's tokens each."""
    if not isinstance(value, list) or not value:
        return []
    if not isinstance(value[0], list):
        return [value]
    return [ids for inner in value for ids in _id_lists(inner)]


def _flat(value: Any) -> list[Any]:
    """What stands in lists within lists."""
    return [item for inner in value for item in _flat(inner)] if isinstance(value, list) else [value]


def _zero_or_one(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and value in _SCORES else None


def _named(model: str, match: re.Match[str] | None) -> dict[str, Any]:
    task = match.group("task") if match else ""
    parts = task.split("|")
    return {"model": model, "task": parts[1] if len(parts) > 1 else task}


LM_EVAL: Final = ForeignForm(
    name="lm-eval-harness samples",
    fields=("doc_id", "target", "resps", "filtered_resps"),
    facts=_lm_eval_facts,
    samples=_lm_eval_samples,
)
LIGHTEVAL: Final = ForeignForm(
    name="lighteval details",
    fields=("doc", "model_response", "metric"),
    facts=_lighteval_facts,
    samples=_lighteval_samples,
)
LIGHTEVAL_FLAT: Final = ForeignForm(
    name="lighteval details",
    fields=("example", "gold", "predictions", "cont_tokens", "metrics"),
    facts=_lighteval_facts,
    samples=_flat_lighteval_samples,
)
