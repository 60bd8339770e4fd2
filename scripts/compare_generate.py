"""Tokens per second of the built-in engine beside a plain `transformers.generate` loop: same model, prompts and batch.

    python scripts/compare_generate.py --model mini-800k --questions 12 --trials 8 --batch 32 --rounds 5

Both answer the same questions x trials with the same sampling and cap, dense attention, on the CPU. The loop takes
`batch` trials at a time, prompts padded on the left, and waits for the longest of them; the engine refills its rows.
Rounds alternate; the ratio is taken within each. Prints one JSON document. Needs transformers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kinetics.engine.checkpoint import read_spec, resolve_folder
from kinetics.engine.recipe import EngineRecipe
from kinetics.generate.request import GenerateRequest, choose_problems, max_new_tokens
from kinetics.mini import family
from kinetics.samples.answers import EngineAnswers, TrialEncoder
from kinetics.samples.prompts import PromptStyle, open_encoder
from kinetics.samples.trials import Trial, plan_trials
from kinetics.specs.generation import SamplingSettings
from kinetics.specs.policies import Dense

SAMPLING = SamplingSettings(temperature=0.6, top_p=0.95, top_k=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What both sides do: the trials with their prompt tokens, and how."""

    folder: Path
    trials: Sequence[Trial]
    prompts: Sequence[tuple[int, ...]]
    cap: int
    batch: int


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    folder = family.model_folder(arguments.model) if arguments.model in family.MINI_MODELS else None
    folder = folder or resolve_folder(arguments.model)
    request = GenerateRequest(model=arguments.model, dataset="mini", num_questions=arguments.questions, out=Path())
    trials = plan_trials(choose_problems(request), num_trials=arguments.trials, seed=0, done=frozenset())
    encoder = open_encoder(folder)
    prompts = [encoder.encode(trial.problem.text) for trial in trials]
    work = Work(folder=folder, trials=trials, prompts=prompts, cap=max_new_tokens(request), batch=arguments.batch)
    theirs = transformers_side(work)
    with engine_side(work, threads=arguments.threads) as ours:
        for side in (ours, theirs):
            side(work.trials[:2])  # compiles, and fills what is filled on first use
        rounds = [{"engine": rate(ours, work), "transformers": rate(theirs, work)} for _ in range(arguments.rounds)]
    ratios = [one["engine"] / one["transformers"] for one in rounds]
    document = {
        "model": arguments.model, "questions": arguments.questions, "trials": arguments.trials, "batch": work.batch,
        "max_new_tokens": work.cap, "threads": arguments.threads, "rounds": rounds,
        "ratio_median": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios),
    }  # fmt: skip
    print(json.dumps(document, indent=1))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini-800k")
    for name, default in (("questions", 12), ("trials", 8), ("batch", 32), ("rounds", 5), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def rate(side: Any, work: Work) -> float:
    """Generated tokens per second over all trials."""
    started_s = time.perf_counter()
    num_tokens = side(work.trials)
    return float(num_tokens / (time.perf_counter() - started_s))


@contextmanager
def engine_side(work: Work, *, threads: int) -> Iterator[Any]:
    """A function that answers trials with the built-in engine and returns how many tokens it generated."""
    recipe = EngineRecipe(
        folder=work.folder,
        spec=read_spec(work.folder),
        device="cpu",
        policy=Dense(),
        num_dense_layers=0,
        page_size=16,
        batch=work.batch,
        longest=max(map(len, work.prompts)) + work.cap,
        num_threads=threads,
    )
    with recipe.open() as generate:
        trial_encoder = TrialEncoder(
            encoder=open_encoder(work.folder),
            style=PromptStyle.PLAIN,
            max_new_tokens=work.cap,
            sampling=SAMPLING,
            repetition=None,
        )
        answers = EngineAnswers(generate=generate, trial_encoder=trial_encoder)
        yield lambda trials: sum(answer.completion.usage.num_tokens for answer in answers(trials))


def transformers_side(work: Work) -> Any:
    """The same with `generate`, batch by batch."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(work.folder, dtype=torch.float32).eval()
    prompt_of = {trial.key: prompt for trial, prompt in zip(work.trials, work.prompts, strict=True)}
    eos_id = int(model.config.eos_token_id)

    def run(trials: Sequence[Trial]) -> int:
        num_tokens = 0
        for start in range(0, len(trials), work.batch):
            prompts = [prompt_of[trial.key] for trial in trials[start : start + work.batch]]
            width = max(map(len, prompts))
            token_ids = torch.tensor([[eos_id] * (width - len(prompt)) + list(prompt) for prompt in prompts])
            mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
            made = model.generate(
                token_ids,
                attention_mask=mask,
                max_new_tokens=work.cap,
                do_sample=True,
                pad_token_id=eos_id,
                temperature=SAMPLING.temperature,
                top_p=SAMPLING.top_p,
                top_k=SAMPLING.top_k,
            )[:, width:]
            # An answer's tokens up to its stop token, that one included; what follows is padding.
            is_after_stop = (made == eos_id).cumsum(dim=1) - (made == eos_id).long() > 0
            num_tokens += int((~is_after_stop).sum())
        return num_tokens

    return run


if __name__ == "__main__":
    main()
