"""Who answers a run's trials: the built-in engine, workers, or a server; and what the log must say of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from kinetics.generate.request import EngineName, GenerateRequest, PolicyChoice
from kinetics.samples.answers import Answerer
from kinetics.samples.problems import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Who answers, what the header says of it, and what people should know.

    `prompts_sha256`: of the prompts as tokens; None where a server makes them.
    """

    answer: Answerer
    facts: dict[str, Any]
    prompts_sha256: str | None = None
    remarks: tuple[str, ...] = ()


@contextmanager
def open_source(
    request: GenerateRequest,
    problems: Sequence[Problem],
    *,
    on_tokens: Callable[[int], None],
    say: Callable[[str], None],
) -> Iterator[Source]:
    """Whoever the request names, ready to answer.

    `on_tokens` is told how many tokens each step of an engine here draws, `say` what people should know at once.

    Raises: ValueError for what cannot work; LostWork for a server that does not answer.
    """
    if request.engine is EngineName.OPENAI:
        from kinetics.generate.server import open_server

        with open_server(request, say=say) as source:
            yield source
        return
    if request.base_url:
        raise ValueError(
            f"--base-url means nothing to the built-in engine, got {request.base_url}; add --engine openai"
        )
    from kinetics.generate.builtin import open_builtin

    with open_builtin(request, problems, on_tokens=on_tokens) as source:
        yield source


def attention_facts(choice: PolicyChoice) -> dict[str, Any]:
    """What a header says of the attention."""
    return {
        "kind": choice.attention.value,
        **asdict(choice.policy()),
        "num_dense_layers": choice.num_dense_layers,
    }
