"""Do answers grow longer when attention is sparse, and does that eat up what a token costs less?

Dense and sparse samples of one model, paired by question. What a sparse answer costs against a dense one is the ratio
of their costs per token times the ratio of their tokens; accuracy stands beside it, and so do the tokens that it takes
to come to a first right answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kinetics.law.accuracy_estimates import Outcomes, outcomes
from kinetics.law.cost_models import CostModel
from kinetics.law.intervals import Estimate, FloatArray, difference_interval, ratio_interval
from kinetics.law.strategies import CostModelsOf, ordered_questions
from kinetics.samples.sample_set import Question, SampleSet
from kinetics.specs.policies import PolicyKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengthening:
    """One sparse policy against dense attention of the same model; ratios are sparse over dense.

    `cost` is `cost_per_token` times `tokens`. `tokens_to_right`: tokens generated until the first right answer, over
    the `num_solved` questions that both solve; None if there are fewer than three. `gain_points`: sparse pass@1 less
    dense.
    """

    model: str
    attention: str
    cost_name: str
    cost: Estimate
    cost_per_token: Estimate
    tokens: Estimate
    gain_points: Estimate
    tokens_to_right: Estimate | None
    num_solved: int
    dense: Outcomes
    sparse: Outcomes
    has_estimated_lengths: bool


def compare_lengths(
    sets: Sequence[SampleSet], cost_models_of: CostModelsOf, cost_name: str, *, seed: int = 0
) -> list[Lengthening]:
    """Every sparse set against the dense one of its model; empty where no model has both."""
    dense = {samples.model: samples for samples in sets if samples.policy.kind is PolicyKind.DENSE}
    pairs = [(dense[s.model], s) for s in sets if s.model in dense and s is not dense[s.model]]
    return [
        _compare(one, other, cost_models_of, cost_name, seed=seed)
        for one, other in pairs
        if all(cost_name in cost_models_of(samples) for samples in (one, other))
    ]


def _compare(
    dense: SampleSet, sparse: SampleSet, cost_models_of: CostModelsOf, cost_name: str, *, seed: int
) -> Lengthening:
    dense_cost, sparse_cost = (_costs(samples, cost_models_of(samples)[cost_name]) for samples in (dense, sparse))
    asked = list(zip(ordered_questions(dense), ordered_questions(sparse), strict=True))
    dense_tokens, sparse_tokens = (np.array([np.mean(pair[side].lengths) for pair in asked]) for side in (0, 1))
    right = np.array([[question.num_correct / question.num_trials for question in pair] for pair in asked])
    gain = right[:, 1] - right[:, 0]
    interval = difference_interval(gain, seed=seed)
    solved = np.array([[tokens_to_first_right(q) for q in pair] for pair in asked if all(q.num_correct for q in pair)])
    return Lengthening(
        model=sparse.model,
        attention=sparse.attention,
        cost_name=cost_name,
        cost=_ratio((sparse_cost,), (dense_cost,)),
        cost_per_token=_ratio((sparse_cost, dense_tokens), (sparse_tokens, dense_cost)),
        tokens=_ratio((sparse_tokens,), (dense_tokens,)),
        gain_points=Estimate(
            value=100 * float(gain.mean()), low=100 * float(interval.low), high=100 * float(interval.high)
        ),
        tokens_to_right=_ratio((solved[:, 1],), (solved[:, 0],)) if len(solved) > 2 else None,
        num_solved=len(solved),
        dense=outcomes(dense),
        sparse=outcomes(sparse),
        has_estimated_lengths=dense.has_estimated_lengths or sparse.has_estimated_lengths,
    )


def tokens_to_first_right(question: Question) -> float:
    """Tokens of answers drawn one after the other until the first right one, on average over all orders.

    Of n answers of which c are right, (n - c) / (c + 1) wrong ones come before it.

    Raises: ValueError if none is right.
    """
    if not question.num_correct:
        raise ValueError(f"question {question.question_id} must have a right answer, got none of {question.num_trials}")
    lengths, is_right = np.array(question.lengths), np.array(question.is_correct)
    num_wrong_before = (question.num_trials - question.num_correct) / (question.num_correct + 1)
    wrong_length = float(lengths[~is_right].mean()) if num_wrong_before else 0.0
    return num_wrong_before * wrong_length + float(lengths[is_right].mean())


def _costs(samples: SampleSet, model: CostModel) -> FloatArray:
    """Mean cost of one answer to each question."""
    return np.array(
        [
            float(model.mean_costs(samples.policy, prompt_len=q.prompt_len, lengths=q.lengths, trials=[1])[0])
            for q in ordered_questions(samples)
        ]
    )


def _ratio(numerators: Sequence[FloatArray], denominators: Sequence[FloatArray]) -> Estimate:
    """A product of means over a product of means."""
    interval = ratio_interval(np.stack(numerators, axis=1), np.stack(denominators, axis=1))
    value = np.prod([values.mean() for values in numerators]) / np.prod([values.mean() for values in denominators])
    return Estimate(value=float(value), low=float(interval.low), high=float(interval.high))
