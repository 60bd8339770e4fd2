"""The built-in engine as the source of a run's answers: one here, or several as workers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from kinetics.engine.checkpoint import read_spec, resolve_folder, stores_bfloat16
from kinetics.engine.decoder_spec import DecoderSpec
from kinetics.engine.recipe import EngineRecipe
from kinetics.engine.step_dtype import DtypeChoice, choose_model_dtype
from kinetics.files.json_text import parse_json
from kinetics.files.lines import MAX_LINE_BYTES
from kinetics.generate.request import GenerateRequest, log_path, max_new_tokens, model_name, prompt_style
from kinetics.generate.source import Source, attention_facts
from kinetics.machine.device import num_cpus, resolve_device
from kinetics.machine.threads import cpu_threads
from kinetics.samples.answers import EngineAnswers, TrialEncoder
from kinetics.samples.problems import Problem
from kinetics.samples.prompts import PromptStyle, has_chat_template, open_encoder
from kinetics.specs.dtypes import ENGINE_DTYPES, default_dtype, parse_dtype
from kinetics.specs.generation import Generate

DEFAULT_BATCH: Final = {"cpu": 32, "cuda": 64}
SMALL_MODEL_PARAMETERS: Final = 10_000_000
"""Steps of smaller models are too short to share out: beside other work a run on two threads was seen to take longer
than the same run on one."""
_PROBE_S: Final = 0.15
_NUM_PIECES: Final = 256
_PIECE_BYTES: Final = 2**16


@contextmanager
def open_builtin(
    request: GenerateRequest, problems: Sequence[Problem], *, on_tokens: Callable[[int], None]
) -> Iterator[Source]:
    """The engine that the request describes, its model read and its memory taken.

    Raises: ValueError if the model cannot be used, or the longest problem does not fit it.
    """
    folder = _model_folder(request.model)
    spec = read_spec(folder, name=model_name(request))
    trial_encoder = TrialEncoder(
        encoder=open_encoder(folder),
        style=prompt_style(request),
        max_new_tokens=max_new_tokens(request),
        sampling=request.sampling,
        repetition=request.repetition,
    )
    prompts = {problem.problem_id: trial_encoder.prompt(problem) for problem in problems}
    longest = _longest_request(prompts, trial_encoder.max_new_tokens, max_position=spec.max_position)
    recipe = _recipe(request, folder, spec, longest=longest)
    choice = _choose_dtype(request, recipe)
    recipe = replace(recipe, weights_dtype=choice.dtype)
    facts = _facts(request, recipe, choice)  # probes the machine, before an engine takes threads and memory
    with _open_engine(request, recipe, on_tokens) as generate:
        yield Source(
            answer=EngineAnswers(generate=generate, trial_encoder=trial_encoder),
            facts=facts,
            prompts_sha256=_prompts_sha256(prompts.values()),
            remarks=(*_no_template(request, folder), *([str(choice)] if choice.product_s else [])),
        )


@contextmanager
def _open_engine(
    request: GenerateRequest, recipe: EngineRecipe, on_tokens: Callable[[int], None]
) -> Iterator[Generate]:
    if not request.num_workers:
        with recipe.open(on_tokens) as generate:
            yield generate
        return
    from kinetics.samples.workers import RayWorkers

    with RayWorkers(
        recipe.open,
        num_workers=request.num_workers,
        min_piece=recipe.batch,
        num_gpus_each=int(recipe.device_kind == "cuda"),
        address=request.ray_address,
    ) as workers:
        yield workers


def _recipe(request: GenerateRequest, folder: Path, spec: DecoderSpec, *, longest: int) -> EngineRecipe:
    device = resolve_device(request.device)
    is_small = spec.model.num_parameters < SMALL_MODEL_PARAMETERS
    return EngineRecipe(
        folder=folder.resolve(),
        spec=spec,
        device=device.torch_name,
        policy=request.choice.policy(),
        num_dense_layers=request.choice.num_dense_layers,
        page_size=request.choice.page_size,
        batch=request.batch or DEFAULT_BATCH[device.kind],
        longest=longest,
        num_threads=request.num_threads or (1 if is_small else max(1, num_cpus() // max(1, request.num_workers))),
    )


def _choose_dtype(request: GenerateRequest, recipe: EngineRecipe) -> DtypeChoice:
    """In which dtype the weights are multiplied: as said, as the log to be resumed says, else the fastest here.

    Only weights that are bfloat16 themselves are multiplied in it: others would be rounded. Small models are not timed,
    so that they give the same samples everywhere, nor are experts.
    """
    kind, model = recipe.device_kind, recipe.spec.model
    said = request.dtype or (_dtype_of_log(log_path(request)) if request.resumes else "")
    if said:
        return DtypeChoice(dtype=parse_dtype(said, kind, table=ENGINE_DTYPES), product_s={})
    is_small = model.num_parameters < SMALL_MODEL_PARAMETERS
    if kind != "cpu" or is_small or model.num_experts or not stores_bfloat16(recipe.folder):
        return DtypeChoice(dtype=default_dtype(kind), product_s={})
    with cpu_threads(recipe.num_threads):
        return choose_model_dtype(model, num_tokens=recipe.batch)


def _dtype_of_log(path: Path) -> str:
    """The dtype in a log's header; empty where there is none, of which whoever resumes it complains."""
    try:
        with path.open("rb") as file:
            header = parse_json(file.readline(MAX_LINE_BYTES))
    except (OSError, ValueError):
        return ""
    engine = header.get("engine") if isinstance(header, dict) else None
    return str(engine.get("dtype") or "") if isinstance(engine, dict) else ""


def _facts(request: GenerateRequest, recipe: EngineRecipe, choice: DtypeChoice) -> dict[str, Any]:
    timed = {"step_dtype": {"choice": choice.dtype, "product_s": dict(choice.product_s), "reason": str(choice)}}
    return {
        "model_spec": asdict(recipe.spec.model),
        "weights_sample_sha256": _sample_sha256(recipe.folder),
        "attention": attention_facts(request.choice),
        "sampling": asdict(request.sampling),
        "repetition": asdict(request.repetition) if request.repetition else None,
        "engine": recipe.facts(),
        "machine": _machine(request.device, recipe.dtype) | (timed if choice.product_s else {}),
    }


def _model_folder(model: str) -> Path:
    if not Path(model).is_dir():
        from kinetics.mini import family

        if model in family.MINI_MODELS:
            return family.model_folder(model)
    return resolve_folder(model)


def _longest_request(prompts: Mapping[str, Sequence[int]], max_new: int, *, max_position: int) -> int:
    """Tokens of the longest prompt and answer together.

    Raises: ValueError naming the problem whose prompt leaves too little of the model's context.
    """
    name, prompt = max(prompts.items(), key=lambda item: len(item[1]))
    if len(prompt) + max_new > max_position:
        raise ValueError(
            f"prompt and answer must fit the model's {max_position} tokens, got {len(prompt)} of problem {name} "
            f"+ {max_new}; lower --max-new-tokens"
        )
    return len(prompt) + max_new


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


def _no_template(request: GenerateRequest, folder: Path) -> tuple[str, ...]:
    """That a model asked in the paper's words has no chat template for them, as base models have none."""
    if prompt_style(request) is PromptStyle.PLAIN or has_chat_template(folder):
        return ()
    return (f"{folder.name} has no chat template: it was given the instruction and the problem as plain text",)


def _prompts_sha256(prompts: Iterable[Sequence[int]]) -> str:
    """A hash of what the model is asked, as tokens: tokenizer, chat template and style decide it."""
    digest = hashlib.sha256()
    for prompt in prompts:
        digest.update(json.dumps(prompt).encode() + b"\n")
    return digest.hexdigest()


@cache
def _machine(requested: str, dtype: str) -> dict[str, Any]:
    """Device and ceilings, for predicted seconds later."""
    from kinetics.machine.probe import probe

    device = resolve_device(requested)
    found = probe(device, dtype, seconds_each=_PROBE_S)
    identity = {"device_kind": device.kind, "device_slug": device.slug, "identity": device.identity.as_dict()}
    return {"device": device.name, **identity, "ceilings": asdict(found.ceilings)}
