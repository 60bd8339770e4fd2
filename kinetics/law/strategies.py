"""Ways to spend: model, policy, number of answers, length cap, and the rule that picks one of several answers.

Shorter caps and fewer answers follow exactly from the same samples; another KV budget is another sample set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Final

import numpy as np

from kinetics.cost.published import GENERATION_BUDGETS
from kinetics.law.accuracy_estimates import Outcomes, coverage, num_ended, outcomes, outcomes_within
from kinetics.law.cost_models import CostModel
from kinetics.law.intervals import FloatArray
from kinetics.law.votes import majorities, stop_early, weights_by_length
from kinetics.samples.sample_set import Question, SampleSet
from kinetics.specs.policies import AttentionPolicy, PolicyKind, policy_label

SHORT_ANSWERS: Final = 8192
"""Samples without longer answers get caps in equal steps: the published ones are 2,048 apart."""
LONG_CAP_STEP: Final = 8192
"""Steps of the caps beyond the published ones, up to the longest answer."""
AGREEMENTS: Final = (2, 3, 4, 6, 8)
"""How many answers must agree before an early stop."""


class Rule(Enum):
    """Which of several answers counts."""

    PASS = "pass"  # noqa: S105 - the field's name for it, no secret
    """The right one, if there is one: somebody who knows must pick it."""
    MAJORITY = "majority"
    """The most frequent one."""
    WEIGHTED = "weighted_majority"
    """The one with the largest sum of weights: those of the samples, else one over the answer's length."""
    EARLY_STOP = "early_stop"
    """The most frequent one, answers being drawn until enough agree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """So many answers of a model under a policy, each cut at `max_generated` tokens, if that is set.

    `agree`: answers that must agree for an early stop before `trials` are drawn; 0 under any other rule. `outcomes`:
    how its single answers end, where it was made from samples. `has_estimated_lengths`: its tokens and costs are
    estimates, and tables must say so.
    """

    model: str
    policy: AttentionPolicy
    trials: int
    max_generated: int | None
    rule: Rule = Rule.PASS
    agree: int = 0
    outcomes: Outcomes | None = field(default=None, compare=False)
    has_estimated_lengths: bool = False
    num_dense_layers: int = 0

    @property
    def kind(self) -> PolicyKind:
        """The kind of its policy."""
        return self.policy.kind

    @property
    def attention(self) -> str:
        """The whole policy, dense layers included, as tables spell it."""
        return policy_label(self.policy, num_dense_layers=self.num_dense_layers)

    @property
    def label(self) -> str:
        """Model and policy, as people would ask for them."""
        return f"{self.model} {self.attention}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StrategyTable:
    """What each strategy scores, generates and costs on each question. Arrays: [num_questions, num_strategies].

    `tokens`: generated ones of all answers together, on average. `cost`: by the name of the cost model, nan where a
    strategy has none of that name.
    """

    strategies: tuple[Strategy, ...]
    accuracy: FloatArray
    tokens: FloatArray
    cost: Mapping[str, FloatArray]

    def only(self, is_wanted: Callable[[Strategy], bool]) -> StrategyTable:
        """The table of some of its strategies."""
        return self._take([i for i, strategy in enumerate(self.strategies) if is_wanted(strategy)])

    def of_kind(self, kind: PolicyKind) -> StrategyTable:
        """The table of one kind of attention."""
        return self.only(lambda strategy: strategy.kind is kind)

    def of_rule(self, rule: Rule) -> StrategyTable:
        """The table of one rule that picks the answer."""
        return self.only(lambda strategy: strategy.rule is rule)

    def of_model(self, model: str, kind: PolicyKind) -> StrategyTable:
        """The table of one model under one kind of attention."""
        return self.only(lambda strategy: strategy.model == model and strategy.kind is kind)

    def priced(self, name: str) -> StrategyTable:
        """The table of the strategies that have a cost of this name."""
        if name not in self.cost:
            return self._take([])
        return self._take(np.flatnonzero(np.isfinite(self.cost[name]).all(axis=0)).tolist())

    def _take(self, index: Sequence[int]) -> StrategyTable:
        return StrategyTable(
            strategies=tuple(self.strategies[i] for i in index),
            accuracy=self.accuracy[:, index],
            tokens=self.tokens[:, index],
            cost={name: cost[:, index] for name, cost in self.cost.items()},
        )


def caps_to_longest(sets: Sequence[SampleSet]) -> list[int]:
    """Length caps that reach the longest answer: the published ones and on in longer steps, or short equal steps."""
    longest = max(length for samples in sets for question in samples.questions for length in question.lengths)
    if longest <= SHORT_ANSWERS:
        return equal_caps(longest)
    last = GENERATION_BUDGETS[-1]
    return [*GENERATION_BUDGETS, *range(last + LONG_CAP_STEP, longest + LONG_CAP_STEP, LONG_CAP_STEP)]


def equal_caps(longest: int) -> list[int]:
    """Length caps in equal steps: as many as the paper has."""
    num_caps = len(GENERATION_BUDGETS)
    return sorted({-(-longest * step // num_caps) or 1 for step in range(1, num_caps + 1)})


CostModelsOf = Callable[[SampleSet], Mapping[str, CostModel]]
CapsOf = Callable[[SampleSet], Sequence[int | None]]


def tabulate(
    sets: Sequence[SampleSet], *, trials: Sequence[int], caps_of: CapsOf, cost_models_of: CostModelsOf
) -> StrategyTable:
    """Every set with every length cap and every number of answers that each question has.

    Accuracy is pass@trials of the answers that ended within the cap; a cap of None cuts nothing.

    Raises: ValueError if sets do not belong together.
    """
    check_comparable(sets)
    return join(
        _at_caps(samples, caps_of(samples), [n for n in trials if n <= samples.min_trials], cost_models_of(samples))
        for samples in sets
    )


def tabulate_votes(
    sets: Sequence[SampleSet], *, trials: Sequence[int], cost_models_of: CostModelsOf, seed: int = 0
) -> StrategyTable:
    """Every set under every rule that needs no verifier: majority, weighted majority, early stop.

    Raises: ValueError if sets do not belong together, or one has no parsed answer to vote with.
    """
    check_comparable(sets)
    for samples in sets:
        if not has_votes(samples):
            raise ValueError(
                f"a majority of {samples.model} needs parsed answers, got none in any of its samples; "
                "grade the texts anew with --grader strict"
            )
    return join(_votes(samples, trials, cost_models_of(samples), seed=seed) for samples in sets)


def has_votes(samples: SampleSet) -> bool:
    """Whether any answer of a set was parsed, so that it can vote."""
    return any(answer for question in samples.questions for answer in question.answers)


def join(tables: Iterable[StrategyTable]) -> StrategyTable:
    """One table of several over the same questions."""
    parts = list(tables)
    names = dict.fromkeys(name for part in parts for name in part.cost)
    costs = {
        name: [part.cost[name] if name in part.cost else np.full_like(part.accuracy, np.nan) for part in parts]
        for name in names
    }
    return StrategyTable(
        strategies=tuple(strategy for part in parts for strategy in part.strategies),
        accuracy=np.concatenate([part.accuracy for part in parts], axis=1),
        tokens=np.concatenate([part.tokens for part in parts], axis=1),
        cost={name: np.concatenate(of_parts, axis=1) for name, of_parts in costs.items()},
    )


def check_comparable(sets: Sequence[SampleSet]) -> None:
    """Refuse sets that must not share a table.

    Raises: ValueError if data sets or question sets differ, or a model comes twice under one policy.
    """
    if not sets:
        raise ValueError("a law needs at least one sample set, got none")
    first = sets[0]
    for other in sets[1:]:
        if other.dataset != first.dataset:
            raise ValueError(
                f"sample sets of one law must share a data set, got {first.dataset} and {other.dataset}; "
                "make one law per data set"
            )
        if other.question_ids != first.question_ids:
            odd = sorted(other.question_ids ^ first.question_ids)
            raise ValueError(
                f"all sample sets must hold the same questions, got {len(odd)} that {first.label} and {other.label} "
                f"do not share, first {odd[0]}; leave one of them out"
            )
    labels = [samples.label for samples in sets]
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(f"sample sets must differ in model or policy, got {label} twice; merge the files")


def ordered_questions(samples: SampleSet) -> list[Question]:
    """The questions in the one order that all tables share."""
    return sorted(samples.questions, key=lambda question: question.question_id)


def _at_caps(
    samples: SampleSet, caps: Sequence[int | None], trials: Sequence[int], cost_models: Mapping[str, CostModel]
) -> StrategyTable:
    """The strategies of one set: every cap with every number of answers, cap by cap."""
    questions = ordered_questions(samples)
    lengths = [np.array(question.lengths) for question in questions]
    limits = np.array([np.iinfo(np.int64).max if cap is None else cap for cap in caps])
    cuts = [np.minimum(own, limits[:, None]) for own in lengths]
    counts = np.asarray(trials)
    of_set = _strategy_of(samples)
    ends = dict(zip(caps, outcomes_within(samples, caps), strict=True))
    return StrategyTable(
        strategies=tuple(of_set(trials=n, max_generated=cap, outcomes=ends[cap]) for cap in caps for n in trials),
        accuracy=np.array([_coverages(question, caps, trials) for question in questions]),
        tokens=np.array([(cut.mean(axis=1)[:, None] * counts).ravel() for cut in cuts]),
        cost={
            name: np.array(
                [
                    model.mean_costs(samples.policy, prompt_len=question.prompt_len, lengths=cut, trials=trials).ravel()
                    for question, cut in zip(questions, cuts, strict=True)
                ]
            )
            for name, model in cost_models.items()
        },
    )


def _strategy_of(samples: SampleSet) -> Callable[..., Strategy]:
    """A strategy of a set, given what it spends and how."""
    return partial(
        Strategy,
        model=samples.model,
        policy=samples.policy,
        has_estimated_lengths=samples.has_estimated_lengths,
        num_dense_layers=samples.num_dense_layers,
    )


def _coverages(question: Question, caps: Sequence[int | None], trials: Sequence[int]) -> list[float]:
    """pass@k of the answers that ended within each cap, cap by cap."""
    total, (right, _) = question.num_trials, num_ended(question, caps)
    return [coverage(total, num_correct, trials=n) for num_correct in right for n in trials]


def _votes(
    samples: SampleSet, trials: Sequence[int], cost_models: Mapping[str, CostModel], *, seed: int
) -> StrategyTable:
    counts = [n for n in trials if n <= samples.min_trials]
    agreements = [agree for agree in AGREEMENTS if agree < max(counts)]
    questions = ordered_questions(samples)
    rows = [_question_votes(question, counts, agreements, seed=seed) for question in questions]
    num_answers = np.array([answers for _, answers in rows])
    first_two = _at_caps(samples, (None,), (1, 2) if max(counts) > 1 else (1,), cost_models)
    costs = {name: (cost[:, :1], cost[:, -1:] - cost[:, :1]) for name, cost in first_two.cost.items()}
    of_set, ends = _strategy_of(samples), outcomes(samples)
    strategies = [(Rule.MAJORITY, n, 0) for n in counts] + [(Rule.WEIGHTED, n, 0) for n in counts]
    strategies += [(Rule.EARLY_STOP, max(counts), agree) for agree in agreements]
    return StrategyTable(
        strategies=tuple(
            of_set(trials=n, max_generated=None, rule=rule, agree=agree, outcomes=ends) for rule, n, agree in strategies
        ),
        accuracy=np.array([accuracy for accuracy, _ in rows]),
        tokens=first_two.tokens[:, :1] * num_answers,
        # Each answer adds as much as the second does: what n of them cost is linear in n.
        cost={name: first + (num_answers - 1) * more for name, (first, more) in costs.items()},
    )


def _question_votes(
    question: Question, counts: Sequence[int], agreements: Sequence[int], *, seed: int
) -> tuple[list[float], list[float]]:
    """(accuracy, answers drawn) under each strategy that votes, in the order of `_votes`."""
    weights = question.weights or weights_by_length(question)
    stops = stop_early(question, agree=agreements, most=max(counts), seed=seed)
    accuracy = majorities(question, trials=counts, seed=seed)
    accuracy += majorities(question, trials=counts, weights=weights, seed=seed)
    return accuracy + [stop.accuracy for stop in stops], [*counts, *counts, *(stop.num_answers for stop in stops)]
