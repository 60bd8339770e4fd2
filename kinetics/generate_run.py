"""From a request to a log of samples: problems, prompts, the engine or server, the log, and what came of it.

Wires rooms together: `aime` knows no engine, the engine knows no text. What is asked comes from the command line.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol

from kinetics.aime.evaluate import Answer, Answerer, EngineAnswers, Refused, evaluate, plan_trials
from kinetics.aime.problems import HUB_DATASETS, Problem, check_unique, load_problems, read_problems
from kinetics.aime.prompts import PromptStyle, open_encoder
from kinetics.aime.sample_log import LOG_SCHEMA, SampleLog
from kinetics.attention_policy import AttentionPolicy, BlockTopK, Dense, policy_label
from kinetics.cost_report import Attention, PolicyOptions, build_policy
from kinetics.generation import Completion, GenerationRequest, RepetitionRule, SamplingSettings
from kinetics.model_specs import ModelSpec, find_model
from kinetics.paper import MAX_GENERATED

MINI: Final = "mini"
DATASETS: Final = (*HUB_DATASETS, MINI)
DEFAULT_BATCH: Final = {"cpu": 32, "cuda": 64}
_MINI_QUESTIONS: Final = 32
_PROBE_S: Final = 0.15


class EngineName(Enum):
    """Who generates."""

    BUILTIN = "builtin"
    OPENAI = "openai"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChoice:
    """Attention as asked for; 0 means not given. `kv_budget` includes the local keys of block top-k, and of local
    attention is nothing else."""

    attention: Attention = Attention.DENSE
    kv_budget: int = 0
    num_local: int = 0
    num_sink_tokens: int = 0
    num_dense_layers: int = 0
    page_size: int = 16

    def policy(self) -> AttentionPolicy:
        """The policy, its blocks being the engine's pages.

        Raises: ValueError naming the option that does not fit.
        """
        is_block, is_local = self.attention is Attention.BLOCK_TOPK, self.attention is Attention.LOCAL
        if is_block and (self.kv_budget % self.page_size or self.kv_budget <= self.num_local):
            raise ValueError(
                f"--kv-budget must be a multiple of --page-size and more than --local, got {self.kv_budget}, "
                f"{self.page_size} and {self.num_local}"
            )
        given = PolicyOptions(
            kv_budget=0 if is_local else self.kv_budget,
            num_local=self.kv_budget or self.num_local if is_local else self.num_local,
            block_size=self.page_size if is_block else 0,
            num_sink_tokens=self.num_sink_tokens,
            keeps_partial_block=is_block,
        )
        return build_policy(self.attention, given)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """Options of `kinetics generate`. None, 0 and empty texts mean not given."""

    model: str
    out: Path
    dataset: str = ""
    problems: Path | None = None
    num_questions: int = 0
    choice: PolicyChoice = field(default_factory=PolicyChoice)
    num_trials: int = 1
    max_new_tokens: int | None = None
    sampling: SamplingSettings = field(default_factory=lambda: SamplingSettings(temperature=0.6, top_p=0.95, top_k=20))
    repetition: RepetitionRule | None = field(default_factory=RepetitionRule)
    style: PromptStyle | None = None
    seed: int = 0
    batch: int = 0
    num_threads: int = 0
    device: str = "auto"
    resumes: bool = False
    num_workers: int = 0
    ray_address: str = ""
    engine: EngineName = EngineName.BUILTIN
    base_url: str = ""
    api_key: str = ""
    timeout_s: float = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateOutcome:
    """What to print: a document, remarks, and the trials that nobody answered."""

    document: dict[str, Any]
    remarks: tuple[str, ...]
    refused: tuple[Refused, ...]


class Progress(Protocol):
    """What is told how a run goes on."""

    def start(self, *, num_samples: int, num_done: int, max_new_tokens: int) -> None:
        """Generation begins."""

    def on_tokens(self, num_tokens: int) -> None:
        """A step drew so many tokens."""

    def on_sample(self, answer: Answer) -> None:
        """A sample is finished and in the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Who answers, what the header says of it, and what people should know."""

    answer: Answerer
    facts: dict[str, Any]
    remarks: tuple[str, ...] = ()


def run_generate(request: GenerateRequest, progress: Progress) -> GenerateOutcome:
    """Generate every sample that the log lacks.

    Raises: ValueError for what cannot work, before anything is generated; LostWork for what stops the run later.
    """
    problems = choose_problems(request)
    with _open_source(request, problems, progress) as source:
        header = _header(request, problems, source.facts)
        path = log_path(request)
        with SampleLog.resume(path, header) if request.resumes else SampleLog.create(path, header) as log:
            trials = plan_trials(problems, num_trials=request.num_trials, seed=request.seed, done=log.done)
            num_samples = len(problems) * request.num_trials
            progress.start(num_samples=num_samples, num_done=len(log.done), max_new_tokens=max_new_tokens(request))
            made: list[Answer] = []

            def on_sample(answer: Answer) -> None:
                made.append(answer)
                progress.on_sample(answer)

            started_s = time.perf_counter()
            refused = evaluate(trials, source.answer, log, on_sample=on_sample) if trials else []
            wall_s = time.perf_counter() - started_s
            remarks = (*log.remarks, *source.remarks)
    document = _document(path, made, num_samples=num_samples, num_done=len(log.done), wall_s=wall_s)
    return GenerateOutcome(document=document, remarks=remarks, refused=tuple(refused))


def choose_problems(request: GenerateRequest) -> tuple[Problem, ...]:
    """The problems a request names, the first `num_questions` of them.

    Raises: ValueError if it names none or two sources, or they cannot be used.
    """
    if bool(request.dataset) == (request.problems is not None):
        raise ValueError("one of --dataset and --problems must be given, got both or none")
    if request.dataset == MINI:
        return _mini_problems(request.num_questions or _MINI_QUESTIONS)
    if request.problems is not None:
        problems = read_problems(request.problems)
    elif request.dataset in HUB_DATASETS:
        problems = load_problems(request.dataset)
    else:
        raise ValueError(f"--dataset must be one of {', '.join(DATASETS)}, got {request.dataset!r}")
    if request.num_questions > len(problems):
        raise ValueError(f"--questions must be at most the {len(problems)} there are, got {request.num_questions}")
    return problems[: request.num_questions or None]


def log_path(request: GenerateRequest) -> Path:
    """`<out>/<data set>_<model>_<policy>.jsonl`, named as published trace files are."""
    choice = request.choice
    label = policy_label(choice.policy())
    label += f"_sink{choice.num_sink_tokens}" if choice.num_sink_tokens else ""
    label += f"_dense{choice.num_dense_layers}" if choice.num_dense_layers else ""
    return request.out / f"{task_name(request)}_{model_name(request).replace('_', '-')}_{label}.jsonl"


def task_name(request: GenerateRequest) -> str:
    """What a log calls the problems."""
    return request.problems.stem.replace("_", "-") if request.problems else request.dataset


def model_name(request: GenerateRequest) -> str:
    """What tables call the model: the name the suite knows it by, else the last part of what was typed."""
    name = Path(request.model).resolve().name if Path(request.model).is_dir() else request.model.rsplit("/")[-1]
    try:
        return find_model(name).name
    except ValueError:
        return name


def max_new_tokens(request: GenerateRequest) -> int:
    """The cap of an answer: as given, else the paper's, or the miniature's own."""
    if request.max_new_tokens is not None:
        return request.max_new_tokens
    if request.dataset != MINI:
        return MAX_GENERATED
    from kinetics.mini.family import MAX_NEW_TOKENS

    return MAX_NEW_TOKENS


def _style(request: GenerateRequest) -> PromptStyle:
    return request.style or (PromptStyle.PLAIN if request.dataset == MINI else PromptStyle.PAPER)


def _mini_problems(count: int) -> tuple[Problem, ...]:
    from kinetics.mini.family import contest_problems

    problems = [Problem(problem_id=p.problem_id, text=p.text, gold=p.gold) for p in contest_problems(count)]
    check_unique(problems, source=MINI)
    return tuple(problems)


@contextmanager
def _open_source(request: GenerateRequest, problems: Sequence[Problem], progress: Progress) -> Iterator[_Source]:
    if request.engine is EngineName.OPENAI:
        yield _server(request)
        return
    if request.base_url:
        raise ValueError(
            f"--base-url means nothing to the built-in engine, got {request.base_url}; add --engine openai"
        )
    from kinetics.engine.builtin import read_model

    folder = _model_folder(request.model)
    spec = read_model(folder, name=model_name(request))
    answers = EngineAnswers(
        generate=_nobody,
        encoder=open_encoder(folder),
        style=_style(request),
        max_new_tokens=max_new_tokens(request),
        sampling=request.sampling,
        repetition=request.repetition,
    )
    longest = _longest_request(answers, problems, max_position=spec.max_position)
    recipe = _recipe(request, folder, longest=longest)
    facts = {
        "model_spec": asdict(spec.model),
        "weights_sha256": _fingerprint(folder),
        "attention": _attention_facts(request.choice),
        "sampling": asdict(request.sampling),
        "repetition": asdict(request.repetition) if request.repetition else None,
        "engine": recipe.facts(),
        "machine": _machine(request.device),
    }
    from dataclasses import replace

    if not request.num_workers:
        yield _Source(answer=replace(answers, generate=recipe.make(progress.on_tokens)), facts=facts)
        return
    from kinetics.aime.workers import RayWorkers

    num_gpus_each = int(recipe.device_kind == "cuda")
    with RayWorkers(
        recipe.make,
        num_workers=request.num_workers,
        min_piece=recipe.batch,
        num_gpus_each=num_gpus_each,
        address=request.ray_address,
    ) as workers:
        yield _Source(answer=replace(answers, generate=workers), facts=facts)


def _server(request: GenerateRequest) -> _Source:
    from kinetics.aime.openai_client import OpenAiAnswers, Server

    if not request.base_url:
        raise ValueError("--engine openai needs the server's address, got none; say --base-url http://host:8000/v1")
    if request.num_workers or not isinstance(request.choice.policy(), Dense):
        raise ValueError("--workers and --attention are the built-in engine's, got --engine openai; leave them out")
    server = Server(
        base_url=request.base_url,
        model=request.model,
        concurrency=request.batch or DEFAULT_BATCH["cpu"],
        timeout_s=request.timeout_s,
        api_key=request.api_key or "none",
    )
    answers = OpenAiAnswers(
        server, style=_style(request), max_new_tokens=max_new_tokens(request), sampling=request.sampling
    )
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
            "batch": server.concurrency,
            "takes_seed": "seed" in answers.accepted,
        },
        "machine": {"base_url": request.base_url},
    }
    return _Source(answer=answers, facts=facts, remarks=tuple(remarks))


def _recipe(request: GenerateRequest, folder: Path, *, longest: int) -> Any:
    from kinetics.engine.builtin import EngineRecipe
    from kinetics.environment import num_cpus, resolve_device

    device = resolve_device(request.device)
    return EngineRecipe(
        folder=folder.resolve(),
        name=model_name(request),
        device=device.torch_name,
        policy=request.choice.policy(),
        num_dense_layers=request.choice.num_dense_layers,
        page_size=request.choice.page_size,
        batch=request.batch or DEFAULT_BATCH[device.kind],
        longest=longest,
        num_threads=request.num_threads or max(1, num_cpus() // max(1, request.num_workers)),
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


def _header(request: GenerateRequest, problems: Sequence[Problem], facts: dict[str, Any]) -> dict[str, Any]:
    from kinetics.environment import installed_versions

    listed = "\n".join(f"{p.problem_id}\t{p.gold}\t{p.text}" for p in problems)
    return {
        "kinetics_log": LOG_SCHEMA,
        "task": task_name(request),
        "model": model_name(request),
        **facts,
        "prompt": _style(request).value,
        "problems": {"count": len(problems), "sha256": hashlib.sha256(listed.encode()).hexdigest()},
        "trials": request.num_trials,
        "max_new_tokens": max_new_tokens(request),
        "seed": request.seed,
        "grader": "strict",
        "versions": installed_versions(),
        "started_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _attention_facts(choice: PolicyChoice) -> dict[str, Any]:
    return {
        "kind": choice.attention.value,
        **asdict(choice.policy()),
        "num_dense_layers": choice.num_dense_layers,
        **({"summary": "mean"} if isinstance(choice.policy(), BlockTopK) else {}),
    }


def _known_spec(request: GenerateRequest) -> dict[str, Any] | None:
    """The architecture behind a served name, where folder or name tell; a law needs --architecture otherwise."""
    if Path(request.model).is_dir():
        from kinetics.engine.builtin import read_model

        return asdict(read_model(Path(request.model), name=model_name(request)).model)
    try:
        spec: ModelSpec = find_model(model_name(request))
    except ValueError:
        return None
    return asdict(spec)


def _fingerprint(folder: Path) -> str:
    """A hash of the weights' file names, sizes and headers: other weights under the same name must not be resumed."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(f"{path.name} {path.stat().st_size}\n".encode() + file.read(2**20))
    return digest.hexdigest()


@cache
def _machine(requested: str) -> dict[str, Any]:
    """Device and ceilings, for predicted seconds later."""
    from kinetics.bench_options import parse_dtype
    from kinetics.environment import resolve_device
    from kinetics.probe import probe

    device = resolve_device(requested)
    found = probe(device, parse_dtype("", device.kind), seconds_each=_PROBE_S)
    return {"device": device.name, "device_slug": device.slug, "ceilings": asdict(found.ceilings)}


def _nobody(requests: Iterable[GenerationRequest]) -> Iterator[Completion]:  # noqa: ARG001 - the protocol asks
    raise AssertionError("the engine is put in place before anything is asked")


def _document(path: Path, made: Sequence[Answer], *, num_samples: int, num_done: int, wall_s: float) -> dict[str, Any]:
    num_tokens = sum(answer.generated_tokens for answer in made)
    return {
        "log": str(path),
        "samples": num_samples,
        "found": num_done,
        "generated": len(made),
        "generated_tokens": num_tokens,
        "wall_s": wall_s,
        "tokens_per_s": num_tokens / wall_s if wall_s else 0.0,
        "finishes": dict(Counter(answer.finish.value for answer in made)),
    }
