"""The best use of a budget, question by question: trials or length, times KV budget.

Algorithms 1 and 2 of the paper choose for every question the option with the highest accuracy among those that cost
at most C, on the very samples that score it. That oracle is optimistic, the more so the more options there are;
`cross_validate` chooses on one half of the samples and scores on the other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kinetics.law.accuracy_estimates import correct_within, coverage
from kinetics.law.prices import Price
from kinetics.samples.sample_set import Question, SampleSet
from kinetics.specs.policies import AttentionPolicy, policy_label

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A way to spend: a policy with a number of trials, or with a generation budget."""

    policy: AttentionPolicy
    trials: int
    max_generated: int | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OptionTable:
    """What each option costs, scores and generates on each question. Arrays: [num_questions, num_options].

    `tokens` are the mean generated tokens of all trials together.
    """

    options: tuple[Option, ...]
    cost: FloatArray
    accuracy: FloatArray
    tokens: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Allocation:
    """Accuracy and chosen option per question and cost cap. All: [num_questions, num_costs].

    Where nothing `is_affordable`, accuracy is 0 and `option` says nothing.
    """

    accuracy: FloatArray
    option: NDArray[np.int64]
    is_affordable: NDArray[np.bool_]


BuildOptions = Callable[[Sequence[SampleSet]], OptionTable]


def best_of_n_options(sets: Sequence[SampleSet], *, trials: Sequence[int], price: Price) -> OptionTable:
    """Every policy with every number of trials that each question has answers for; accuracy is pass@trials."""
    check_comparable(sets)
    options: list[Option] = []
    rows: list[_QuestionRow] = [_QuestionRow() for _ in sets[0].questions]
    for samples in sets:
        counts = [n for n in trials if n <= samples.min_trials]
        options += [Option(policy=samples.policy, trials=n, max_generated=None) for n in counts]
        for row, q in zip(rows, _ordered(samples), strict=True):
            row.cost += price(samples.policy, prompt_len=q.prompt_len, lengths=q.lengths, trials=counts)
            row.accuracy += [coverage(q.num_trials, q.num_correct, trials=n) for n in counts]
            row.tokens += [n * sum(q.lengths) / q.num_trials for n in counts]
    return _table(options, rows)


def long_cot_options(sets: Sequence[SampleSet], *, budgets: Sequence[int], price: Price) -> OptionTable:
    """Every policy with every generation budget, one trial; accuracy is pass@1 of the truncated answers."""
    check_comparable(sets)
    options: list[Option] = []
    rows: list[_QuestionRow] = [_QuestionRow() for _ in sets[0].questions]
    for samples in sets:
        options += [Option(policy=samples.policy, trials=1, max_generated=budget) for budget in budgets]
        for row, q in zip(rows, _ordered(samples), strict=True):
            for budget in budgets:
                cut = [min(n, budget) for n in q.lengths]
                row.cost += price(samples.policy, prompt_len=q.prompt_len, lengths=cut, trials=[1])
                row.accuracy.append(sum(correct_within(q, budget)) / q.num_trials)
                row.tokens.append(sum(cut) / q.num_trials)
    return _table(options, rows)


def allocate(table: OptionTable, grid: FloatArray) -> Allocation:
    """Per question and cap: the most accurate option that costs at most the cap, the cheapest of equals.

    Accuracy is 0 where no option is affordable.
    """
    num_questions = table.cost.shape[0]
    accuracy = np.zeros((num_questions, grid.size))
    option = np.zeros((num_questions, grid.size), dtype=np.int64)
    is_affordable = grid >= table.cost.min(axis=1, keepdims=True)
    for i in range(num_questions):
        order = np.lexsort((-table.accuracy[i], table.cost[i]))
        sorted_accuracy = table.accuracy[i, order]
        best = np.maximum.accumulate(sorted_accuracy)
        # An option takes over only by strictly higher accuracy, so that ties stay with the cheaper one.
        leads = np.concatenate(([True], sorted_accuracy[1:] > best[:-1]))
        leader = order[np.maximum.accumulate(np.where(leads, np.arange(order.size), 0))]
        can_pay = is_affordable[i]
        dearest = np.searchsorted(table.cost[i, order], grid[can_pay], side="right") - 1
        accuracy[i, can_pay] = best[dearest]
        option[i, can_pay] = leader[dearest]
    return Allocation(accuracy=accuracy, option=option, is_affordable=is_affordable)


def chosen_spending(table: OptionTable, allocation: Allocation) -> tuple[FloatArray, FloatArray]:
    """(tokens, KV budget) that the allocation spends at each cap; nan where some question affords nothing.

    Tokens are those of the question that takes most, as in the paper; KV budgets are averaged over questions and are
    nan with a dense policy among the chosen.
    """
    budgets = np.array([getattr(option.policy, "kv_budget", np.nan) for option in table.options])
    is_affordable = allocation.is_affordable.all(axis=0)
    tokens = np.take_along_axis(table.tokens, allocation.option, axis=1).max(axis=0)
    mean_budget = budgets[allocation.option].mean(axis=0)
    return np.where(is_affordable, tokens, np.nan), np.where(is_affordable, mean_budget, np.nan)


def uniform_accuracy(table: OptionTable, grid: FloatArray) -> FloatArray:
    """Accuracy of the best single option for all questions whose mean cost is at most each cap: no oracle."""
    mean = OptionTable(
        options=table.options,
        cost=table.cost.mean(axis=0, keepdims=True),
        accuracy=table.accuracy.mean(axis=0, keepdims=True),
        tokens=table.tokens.mean(axis=0, keepdims=True),
    )
    accuracy: FloatArray = allocate(mean, grid).accuracy[0]
    return accuracy


def cross_validate(
    sets: Sequence[SampleSet], build: BuildOptions, grid: FloatArray, *, num_splits: int = 5, seed: int = 0
) -> tuple[FloatArray, FloatArray]:
    """(oracle, held out): accuracy per question and cap when options are chosen on a random half of the samples.

    `oracle` scores the choice on the half that made it, `held_out` on the other half; their difference is the
    winner's curse. Both are means over `num_splits` splits, each used in both directions.
    """
    rng = np.random.default_rng(seed)
    oracle = np.zeros((len(sets[0].questions), grid.size))
    held_out = np.zeros_like(oracle)
    for _ in range(num_splits):
        halves = [_split(samples, rng) for samples in sets]
        tables = [build([half[side] for half in halves]) for side in (0, 1)]
        for chooser, judge in ((tables[0], tables[1]), (tables[1], tables[0])):
            chosen = allocate(chooser, grid)
            oracle += chosen.accuracy
            judged = np.take_along_axis(judge.accuracy, chosen.option, axis=1)
            held_out += np.where(chosen.is_affordable, judged, 0.0)
    return oracle / (2 * num_splits), held_out / (2 * num_splits)


def check_comparable(sets: Sequence[SampleSet]) -> None:
    """Refuse sets that must not share a table.

    Raises: ValueError if models, data sets or question sets differ, or a policy occurs twice.
    """
    if not sets:
        raise ValueError("an allocation needs at least one sample set, got none")
    first = sets[0]
    for other in sets[1:]:
        if other.model != first.model or other.dataset != first.dataset:
            raise ValueError(
                f"sample sets of one table must share model and data set, got {first.model} on {first.dataset} "
                f"and {other.model} on {other.dataset}; make one table per model"
            )
        if other.question_ids != first.question_ids:
            odd = sorted(other.question_ids ^ first.question_ids)
            raise ValueError(
                f"sample sets of {first.model} must hold the same questions, got {len(odd)} that are not in both of "
                f"{policy_label(first.policy)} and {policy_label(other.policy)}, first {odd[0]}"
            )
    policies = [samples.policy for samples in sets]
    if len(set(policies)) != len(policies):
        raise ValueError(f"sample sets of {first.model} must differ in policy, got one policy twice; merge the files")


def _ordered(samples: SampleSet) -> list[Question]:
    return sorted(samples.questions, key=lambda question: question.question_id)


@dataclass(slots=True)
class _QuestionRow:
    """One question's entries of an option table while it grows, policy by policy."""

    cost: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)


def _table(options: Sequence[Option], rows: Sequence[_QuestionRow]) -> OptionTable:
    return OptionTable(
        options=tuple(options),
        cost=np.array([row.cost for row in rows]),
        accuracy=np.array([row.accuracy for row in rows]),
        tokens=np.array([row.tokens for row in rows]),
    )


def _split(samples: SampleSet, rng: np.random.Generator) -> tuple[SampleSet, SampleSet]:
    """Two random halves of every question's answers."""
    sides: tuple[list[Question], list[Question]] = ([], [])
    for question in samples.questions:
        if question.num_trials < 2:
            raise ValueError(f"cross-validation needs two answers a question, got 1 for {question.question_id}")
        order = rng.permutation(question.num_trials).tolist()
        middle = question.num_trials // 2
        sides[0].append(question.subset(order[:middle]))
        sides[1].append(question.subset(order[middle : 2 * middle]))
    first, second = (
        SampleSet(
            model=samples.model,
            dataset=samples.dataset,
            policy=samples.policy,
            questions=tuple(side),
            has_estimated_lengths=samples.has_estimated_lengths,
        )
        for side in sides
    )
    return first, second
