"""Who answers a run's trials, and what its log must say of them: the built-in engine, workers, or a server.

Wires rooms together: `aime` knows no engine, the engine knows no text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kinetics.generate.request import (
    EngineName,
    GenerateRequest,
    PolicyChoice,
    max_new_tokens,
    model_name,
    prompt_style,
)
from kinetics.samples.evaluate import Answerer, EngineAnswers
from kinetics.samples.problems import Problem
from kinetics.samples.prompts import open_encoder
from kinetics.specs.generation import Completion, GenerationRequest
from kinetics.specs.models import ModelSpec, find_model
from kinetics.specs.policies import Dense

if TYPE_CHECKING:
    from kinetics.engine.recipe import EngineRecipe
    from kinetics.samples.openai_client import OpenAiAnswers

DEFAULT_BATCH: Final = {"cpu": 32, "cuda": 64}
SMALL_MODEL_PARAMETERS: Final = 10_000_000
"""Steps of smaller models are too short to share out: beside other work a run on two threads was seen to take longer
than the same run on one."""
_PROBE_S: Final = 0.15
_NUM_PIECES: Final = 256
_PIECE_BYTES: Final = 2**16


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
    request: GenerateRequest, problems: Sequence[Problem], *, on_tokens: Callable[[int], None]
) -> Iterator[Source]:
    """Whoever the request names, ready to answer; `on_tokens` is told what each step of an engine here draws.

    Raises: ValueError for what cannot work; LostWork for a server that does not answer.
    """
    if request.engine is EngineName.OPENAI:
        with closing(_server_answers(request)) as server:
            yield _server(request, server)
        return
    if request.base_url:
        raise ValueError(
            f"--base-url means nothing to the built-in engine, got {request.base_url}; add --engine openai"
        )
    recipe, answers = _builtin(request, problems)
    source = Source(
        answer=answers, facts=_builtin_facts(request, recipe), prompts_sha256=_prompts_sha256(answers, problems)
    )
    if not request.num_workers:
        with recipe.open(on_tokens) as generate:
            yield replace(source, answer=replace(answers, generate=generate))
        return
    from kinetics.samples.workers import RayWorkers

    with RayWorkers(
        recipe.open,
        num_workers=request.num_workers,
        min_piece=recipe.batch,
        num_gpus_each=int(recipe.device_kind == "cuda"),
        address=request.ray_address,
    ) as workers:
        yield replace(source, answer=replace(answers, generate=workers))


def _builtin(request: GenerateRequest, problems: Sequence[Problem]) -> tuple[EngineRecipe, EngineAnswers]:
    """The recipe of the engine, and answers that lack only the engine itself."""
    from kinetics.engine.recipe import read_model

    folder = _model_folder(request.model)
    spec = read_model(folder, name=model_name(request))
    answers = EngineAnswers(
        generate=_nobody,
        encoder=open_encoder(folder),
        style=prompt_style(request),
        max_new_tokens=max_new_tokens(request),
        sampling=request.sampling,
        repetition=request.repetition,
    )
    longest = _longest_request(answers, problems, max_position=spec.max_position)
    return _recipe(request, folder, longest=longest, num_parameters=spec.model.num_parameters), answers


def _builtin_facts(request: GenerateRequest, recipe: EngineRecipe) -> dict[str, Any]:
    from kinetics.engine.recipe import read_model

    return {
        "model_spec": asdict(read_model(recipe.folder, name=recipe.name).model),
        "weights_sample_sha256": _sample_sha256(recipe.folder),
        "attention": _attention_facts(request.choice),
        "sampling": asdict(request.sampling),
        "repetition": asdict(request.repetition) if request.repetition else None,
        "engine": recipe.facts(),
        "machine": _machine(request.device),
    }


def _server_answers(request: GenerateRequest) -> OpenAiAnswers:
    from kinetics.samples.openai_client import OpenAiAnswers, Server

    if not request.base_url:
        raise ValueError("--engine openai needs the server's address, got none; say --base-url http://host:8000/v1")
    if request.num_workers or not isinstance(request.choice.policy(), Dense):
        raise ValueError("--workers and --attention are the built-in engine's, got --engine openai; leave them out")
    server = Server(
        base_url=request.base_url,
        model=request.model,
        concurrency=_concurrency(request),
        timeout_s=request.timeout_s,
        api_key=request.api_key or "none",
    )
    return OpenAiAnswers(
        server, style=prompt_style(request), max_new_tokens=max_new_tokens(request), sampling=request.sampling
    )


def _server(request: GenerateRequest, answers: OpenAiAnswers) -> Source:
    remarks = [f"{request.base_url} rejects {name}: sampled without it" for name in answers.rejected]
    facts = {
        "model_spec": _known_spec(request),
        "attention": _attention_facts(request.choice),
        # `seed` is each sample's own; whether the server takes one is what the header can say.
        "sampling": {name: answers.accepted.get(name) for name in ("temperature", "top_p", "top_k")},
        "repetition": None,
        "engine": {
            "name": "openai",
            "served_model": request.model,
            "batch": _concurrency(request),
            "takes_seed": "seed" in answers.accepted,
        },
        "machine": {"base_url": request.base_url},
    }
    return Source(answer=answers, facts=facts, remarks=tuple(remarks))


def _concurrency(request: GenerateRequest) -> int:
    return request.batch or DEFAULT_BATCH["cpu"]


def _recipe(request: GenerateRequest, folder: Path, *, longest: int, num_parameters: int) -> EngineRecipe:
    from kinetics.engine.recipe import EngineRecipe
    from kinetics.machine.device import num_cpus, resolve_device

    device = resolve_device(request.device)
    is_small = num_parameters < SMALL_MODEL_PARAMETERS
    return EngineRecipe(
        folder=folder.resolve(),
        name=model_name(request),
        device=device.torch_name,
        policy=request.choice.policy(),
        num_dense_layers=request.choice.num_dense_layers,
        page_size=request.choice.page_size,
        batch=request.batch or DEFAULT_BATCH[device.kind],
        longest=longest,
        num_threads=request.num_threads or (1 if is_small else max(1, num_cpus() // max(1, request.num_workers))),
    )


def _model_folder(model: str) -> Path:
    from kinetics.engine.checkpoint import resolve_folder

    if not Path(model).is_dir():
        from kinetics.mini import family

        if model in family.MINI_MODELS:
            return family.model_folder(model)
    return resolve_folder(model)


def _longest_request(answers: EngineAnswers, problems: Sequence[Problem], *, max_position: int) -> int:
    """Tokens of the longest prompt and answer together.

    Raises: ValueError naming the problem whose prompt leaves too little of the model's context.
    """
    lengths = {problem.problem_id: len(answers.prompt(problem)) for problem in problems}
    name, prompt_tokens = max(lengths.items(), key=lambda item: item[1])
    if prompt_tokens + answers.max_new_tokens > max_position:
        raise ValueError(
            f"prompt and answer must fit the model's {max_position} tokens, got {prompt_tokens} of problem {name} "
            f"+ {answers.max_new_tokens}; lower --max-new-tokens"
        )
    return prompt_tokens + answers.max_new_tokens


def _attention_facts(choice: PolicyChoice) -> dict[str, Any]:
    return {
        "kind": choice.attention.value,
        **asdict(choice.policy()),
        "num_dense_layers": choice.num_dense_layers,
    }


def _known_spec(request: GenerateRequest) -> dict[str, Any] | None:
    """The architecture behind a served name, where folder or name tell; a law needs --architecture otherwise."""
    if Path(request.model).is_dir():
        from kinetics.engine.recipe import read_model

        return asdict(read_model(Path(request.model), name=model_name(request)).model)
    try:
        spec: ModelSpec = find_model(model_name(request))
    except ValueError:
        return None
    return asdict(spec)


def _sample_sha256(folder: Path) -> str:
    """A hash of the weights' file names, sizes and of pieces all over them; other weights must not be resumed.

    Pieces, because whole files of a large model take minutes. Training moves every tensor, so pieces tell.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for piece in range(_NUM_PIECES):
                file.seek(piece * size // _NUM_PIECES)
                digest.update(file.read(_PIECE_BYTES))
    return digest.hexdigest()


def _prompts_sha256(answers: EngineAnswers, problems: Sequence[Problem]) -> str:
    """A hash of what the model is asked, as tokens: tokenizer, chat template and style decide it."""
    digest = hashlib.sha256()
    for problem in problems:
        digest.update(json.dumps(answers.prompt(problem)).encode() + b"\n")
    return digest.hexdigest()


@cache
def _machine(requested: str) -> dict[str, Any]:
    """Device and ceilings, for predicted seconds later."""
    from kinetics.machine.device import resolve_device
    from kinetics.machine.probe import probe
    from kinetics.specs.dtypes import parse_dtype

    device = resolve_device(requested)
    found = probe(device, parse_dtype("", device.kind), seconds_each=_PROBE_S)
    return {"device": device.name, "device_slug": device.slug, "ceilings": asdict(found.ceilings)}


def _nobody(requests: Iterable[GenerationRequest]) -> Iterator[Completion]:  # noqa: ARG001 - the protocol asks
    raise AssertionError("the engine is put in place before anything is asked")
