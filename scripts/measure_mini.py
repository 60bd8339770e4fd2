"""Measure the miniature family on its test set: accuracy along the cap, gain of trials, sizes, sparse attention.

    python scripts/measure_mini.py --problems 256 --trials 8

Every model solves every problem with the built-in engine on the CPU, in float32. Intervals are at 95 %, over
problems. Prints a Markdown table, and with --json writes every number.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kinetics.engine.attention import AttentionSettings
from kinetics.law.accuracy_estimates import coverage
from kinetics.law.intervals import mean_interval
from kinetics.mini.exam import MAX_CONTEXT, PAGE_SIZE, QUARTERS, ExamResult, sit_exam
from kinetics.mini.family import MINI_MODELS, contest_problems, model_folder
from kinetics.specs.policies import AttentionPolicy, BlockSummary, BlockTopK, Dense, policy_label

COLUMNS = (
    "model", "attention", "most keys of context", *(f"at {budget} tokens" for budget in QUARTERS), "pass@8",
    "pass@8 - pass@1", "wrong look-ups", "wrong sums", "wrong verdicts",
)  # fmt: skip
SPARSE_POLICIES = (
    BlockTopK(block_size=PAGE_SIZE, top_blocks=3, num_local=PAGE_SIZE, keeps_partial_block=True),
    BlockTopK(
        block_size=PAGE_SIZE, top_blocks=3, num_local=PAGE_SIZE, num_sink_tokens=4 * PAGE_SIZE, keeps_partial_block=True
    ),
)
"""At most 79 and 143 keys of 2,612, the partial page included. The sinks of the second hold the whole problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A share with its 95 % interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def over_problems(cls, per_problem: list[float]) -> Measured:
        """The mean of one value per problem; problems, not samples, are drawn anew."""
        values = np.array(per_problem)
        interval = mean_interval(values)
        return cls(mean=float(values.mean()), low=float(interval.low), high=float(interval.high))

    def __str__(self) -> str:
        return f"{self.mean:.1%} [{self.low:.1%}, {self.high:.1%}]"


def main() -> None:
    """Read the options, measure dense attention on every model and sparse on those named, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=256)
    parser.add_argument("--trials", type=int, default=8, help="at least 8, for pass@8")
    parser.add_argument("--models", nargs="*", default=list(MINI_MODELS), help="names, or folders of models")
    parser.add_argument("--sparse", nargs="*", default=list(MINI_MODELS[-1:]), help="which of them also sparsely")
    parser.add_argument("--summary", choices=[kind.value for kind in BlockSummary], default="min_max")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| " + " | ".join(COLUMNS) + " |\n" + "| --- " * len(COLUMNS) + "|", flush=True)
    rows = []
    for model in options.models:
        policies: list[AttentionPolicy] = [Dense()]
        if model in options.sparse:
            policies += SPARSE_POLICIES
        rows += [_row(model, policy, options) for policy in policies]
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _row(model: str, policy: AttentionPolicy, options: argparse.Namespace) -> dict[str, Any]:
    folder = model_folder(model) if model in MINI_MODELS else Path(model)
    if isinstance(policy, BlockTopK):
        policy = replace(policy, summary=BlockSummary(options.summary))
    settings = AttentionSettings(policy=policy)
    start_s = time.monotonic()
    result = sit_exam(
        folder,
        contest_problems(options.problems),
        num_trials=options.trials,
        settings=settings,
        max_batch=options.batch,
    )
    wall_s = time.monotonic() - start_s
    shares = _shares(result)
    mistakes = {kind: count / max(1, result.num_attempts) for kind, count in result.step_mistakes.items()}
    kept = max(policy.num_keys(length) for length in range(1, MAX_CONTEXT + 1)) / MAX_CONTEXT
    name = policy_label(policy)
    cells = [folder.name, name, f"{kept:.0%}", *(str(share) for share in shares.values())]
    cells += [f"{share:.2%}" for share in mistakes.values()]
    print("| " + " | ".join(cells) + " |", flush=True)
    return {
        "model": folder.name,
        "policy": name,
        "num_problems": options.problems,
        "num_trials": options.trials,
        "most_keys_over_context": kept,
        "shares": {name: [share.mean, share.low, share.high] for name, share in shares.items()},
        "step_mistakes": mistakes,
        "wall_s": wall_s,
        "tokens_per_s": result.num_tokens / wall_s,
    }


def _shares(result: ExamResult) -> dict[str, Measured]:
    """Accuracy at each quarter of the cap, pass@8, and how much pass@8 gains over one trial."""
    at_quarters = {
        f"accuracy_{budget}_tokens": [float(np.mean(question.graded_cuts[budget])) for question in result.questions]
        for budget in QUARTERS
    }
    of_8 = [coverage(question.num_trials, question.num_correct, trials=8) for question in result.questions]
    gain = [many - one for many, one in zip(of_8, at_quarters[f"accuracy_{QUARTERS[-1]}_tokens"], strict=True)]
    per_problem = {**at_quarters, "pass_at_8": of_8, "pass_at_8_gain": gain}
    return {name: Measured.over_problems(values) for name, values in per_problem.items()}


if __name__ == "__main__":
    main()
