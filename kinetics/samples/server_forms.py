"""Answers as servers and their load generators log them: OpenAI's protocol, the benches of vLLM and SGLang, Vortex.

They hold answers and counts of tokens, and neither questions nor gold answers: those come with --problems. Requests are
matched to problems by id, or in the order of the file where there are no ids, and then only if the prompts' lengths
agree with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from kinetics.samples.foreign_forms import ForeignForm, Source, lists, sample

_OK: Final = 200
_GOLDS: Final = ("answer", "gold", "target", "choices")


def _batch_facts(record: Mapping[str, Any], source: Source) -> dict[str, Any]:
    source.check_problems()
    return _model(_body(record).get("model"))


def _batch_samples(record: Mapping[str, Any], source: Source) -> Iterator[dict[str, Any]]:
    problem = source.problem(record["custom_id"])
    yield from _choices(_body(record), problem.text, problem.gold)


def _body(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the server answered to one request of a batch.

    Raises: ValueError if it answered with an error.
    """
    response = record["response"]
    body = response.get("body") if isinstance(response, dict) else None
    if record.get("error") or not isinstance(body, dict) or response.get("status_code", _OK) != _OK:
        status = response.get("status_code") if isinstance(response, dict) else record.get("error")
        raise ValueError(f"a request must have been answered, got {str(status)[:40]}")
    return body


def _chat_facts(record: Mapping[str, Any], source: Source) -> dict[str, Any]:
    source.check_problems()
    return _model(record["model"])


def _chat_samples(record: Mapping[str, Any], source: Source) -> Iterator[dict[str, Any]]:
    problem = source.problem(record.get("custom_id", record.get("id")))
    yield from _choices(record, problem.text, problem.gold)


def _choices(body: Mapping[str, Any], query: str, gold: Any) -> Iterator[dict[str, Any]]:
    """The answers of one request; the count of tokens is of all of them together, so it is one's only if alone."""
    found, usage = body.get("choices"), body.get("usage")
    if not isinstance(found, list) or not found:
        raise ValueError("a response must have choices, got none")
    usage = usage if isinstance(usage, dict) else {}
    generated = usage.get("completion_tokens") if len(found) == 1 else None
    for choice in found:
        if not isinstance(choice, dict):
            raise ValueError(f"a choice must be an object, got {type(choice).__name__}")
        yield sample(
            query,
            gold,
            _text(choice),
            finish=choice.get("finish_reason"),
            generated_tokens=generated,
            prompt_tokens=usage.get("prompt_tokens"),
        )


def _text(choice: Mapping[str, Any]) -> str:
    """What was generated: the reasoning too, where the server tells it apart."""
    message = choice.get("message")
    if not isinstance(message, dict):
        return str(choice.get("text") or "")
    thought = message.get("reasoning_content") or message.get("reasoning")
    return "\n".join(str(part) for part in (thought, message.get("content")) if part)


def _conversation_facts(record: Mapping[str, Any], _source: Source) -> dict[str, Any]:
    return _model(record.get("model"))


def _conversation_samples(record: Mapping[str, Any], _source: Source) -> Iterator[dict[str, Any]]:
    """Messages of one question and its answer, with the gold answer beside them."""
    texts: dict[str, str] = {}
    for message in record["messages"] if isinstance(record["messages"], list) else []:
        if isinstance(message, dict):
            texts[str(message.get("role"))] = _text({"message": message})
    gold = next((record[name] for name in _GOLDS if record.get(name) is not None), None)
    if "user" not in texts or "assistant" not in texts or gold is None:
        raise ValueError(f"messages must be of a user and an assistant beside {' or '.join(_GOLDS)}, got others")
    usage = record.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    yield sample(
        texts["user"],
        gold,
        texts["assistant"],
        finish=record.get("finish_reason"),
        score=record.get("score"),
        generated_tokens=usage.get("completion_tokens"),
        prompt_tokens=usage.get("prompt_tokens"),
    )


def _bench_facts(record: Mapping[str, Any], source: Source) -> dict[str, Any]:
    source.check_problems()
    return _model(record.get("model_id") or record.get("model"))


def _bench_samples(record: Mapping[str, Any], source: Source) -> Iterator[dict[str, Any]]:
    """The answers of one run, its requests in the order of the problems, again and again.

    Raises: ValueError if the number of requests or the lengths of their prompts say that it was another order.
    """
    texts, lengths, prompts = lists(record, "generated_texts", "output_lens", "input_lens")
    errors = lists(record, "errors")[0] if record.get("errors") else []
    problems = list(source.problems.values())
    if len(texts) % len(problems):
        raise ValueError(
            f"requests must be the {len(problems)} problems a whole number of times, got {len(texts)} requests"
        )
    for index, (text, length, prompt) in enumerate(zip(texts, lengths, prompts, strict=True)):
        problem = problems[index % len(problems)]
        if source.seen.setdefault(problem.problem_id, prompt) != prompt:
            raise ValueError(
                f"requests must be in the order of the problems, got prompts of {source.seen[problem.problem_id]} and "
                f"{prompt} tokens for {problem.problem_id}; run the bench without shuffling"
            )
        if index < len(errors) and errors[index]:
            raise ValueError(f"request {index} must have been answered, got {str(errors[index])[:40]!r}")
        yield sample(problem.text, problem.gold, text, generated_tokens=length, prompt_tokens=prompt)


def _vortex_facts(_record: Mapping[str, Any], _source: Source) -> dict[str, Any]:
    raise ValueError(
        "a Vortex summary holds totals, and a law needs answers: it lacks query, choices, prediction and num_tokens "
        "of each; keep the results that it was made of, one a line"
    )


def _no_samples(_record: Mapping[str, Any], _source: Source) -> Iterator[dict[str, Any]]:
    yield from ()


def _model(name: Any) -> dict[str, Any]:
    return {"model": name} if isinstance(name, str) else {}


OPENAI_BATCH: Final = ForeignForm(
    name="OpenAI batch output", fields=("custom_id", "response"), facts=_batch_facts, samples=_batch_samples
)
CHAT: Final = ForeignForm(
    name="OpenAI completions", fields=("choices", "model", "usage"), facts=_chat_facts, samples=_chat_samples
)
CONVERSATION: Final = ForeignForm(
    name="OpenAI messages", fields=("messages",), facts=_conversation_facts, samples=_conversation_samples
)
BENCH: Final = ForeignForm(
    name="vLLM or SGLang bench output",
    fields=("generated_texts", "output_lens", "input_lens"),
    facts=_bench_facts,
    samples=_bench_samples,
)
VORTEX_SUMMARY: Final = ForeignForm(
    name="a Vortex summary",
    fields=("total_example", "total_tokens", "e2e_time", "args"),
    facts=_vortex_facts,
    samples=_no_samples,
)
