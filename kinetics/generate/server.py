"""A server of the OpenAI protocol as the source of a run's answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from kinetics.generate.request import GenerateRequest, max_new_tokens, model_name, prompt_style
from kinetics.generate.source import Source, attention_facts
from kinetics.samples.openai_client import OpenAiAnswers, Server
from kinetics.specs.known_models import named_model
from kinetics.specs.models import ModelSpec
from kinetics.specs.policies import Dense

DEFAULT_CONCURRENCY: Final = 32
NO_ARCHITECTURE: Final = "none"
"""Said instead of one: answers are wanted, their cost is not."""


@contextmanager
def open_server(request: GenerateRequest, *, say: Callable[[str], None]) -> Iterator[Source]:
    """The server that the request names, asked what it accepts; `say` is told of pauses.

    Raises: ValueError without its address, for a model of which nobody says what it is, or for options of the built-in
    engine; LostWork if it does not answer.
    """
    if not request.base_url:
        raise ValueError("--engine openai needs the server's address, got none; say --base-url http://host:8000/v1")
    spec = _spec(request)
    if request.dtype:
        raise ValueError(f"--dtype is the built-in engine's, got {request.dtype} for a server's; leave it out")
    if request.num_workers or not isinstance(request.choice.policy(), Dense):
        raise ValueError("--workers and --attention are the built-in engine's, got --engine openai; leave them out")
    server = Server(
        base_url=request.base_url,
        model=request.model,
        concurrency=request.batch or DEFAULT_CONCURRENCY,
        timeout_s=request.timeout_s,
        api_key=request.api_key or "none",
    )
    answers = OpenAiAnswers(
        server,
        style=prompt_style(request),
        max_new_tokens=max_new_tokens(request),
        sampling=request.sampling,
        say=say,
    )
    with closing(answers):
        yield Source(
            answer=answers,
            facts=_facts(request, server, answers, spec),
            remarks=tuple(f"{request.base_url} rejects {name}: sampled without it" for name in answers.rejected),
        )


def _facts(request: GenerateRequest, server: Server, answers: OpenAiAnswers, spec: ModelSpec | None) -> dict[str, Any]:
    return {
        "model_spec": asdict(spec) if spec else None,
        "attention": attention_facts(request.choice),
        # `seed` is each sample's own; whether the server takes one is what the header can say.
        "sampling": {name: answers.accepted.get(name) for name in ("temperature", "top_p", "top_k")},
        "repetition": None,
        "engine": {
            "name": "openai",
            "served_model": request.model,
            "batch": server.concurrency,
            "takes_seed": "seed" in answers.accepted,
        },
        "machine": {"base_url": request.base_url},
    }


def _spec(request: GenerateRequest) -> ModelSpec | None:
    """The shape of the model behind a served name: as said, as its folder or name tell; None if it is said to be none.

    Raises: ValueError if nothing tells, now rather than when hours of answers are to be priced; or for a bad config.
    """
    if request.architecture == NO_ARCHITECTURE:
        return None
    name = model_name(request)
    if request.architecture:
        return replace(named_model(request.architecture), name=name)
    if Path(request.model).is_dir():
        from kinetics.engine.checkpoint import read_spec

        return read_spec(Path(request.model), name=name).model
    try:
        return replace(named_model(name), name=name)
    except ValueError:
        raise ValueError(
            f"the server's model must be a known one, so that its answers have a cost, got {name[:80]!r}; say "
            "--architecture SPEC (a config.json or a known model's name), or --architecture none for no costs"
        ) from None
