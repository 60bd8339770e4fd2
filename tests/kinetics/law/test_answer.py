"""What to run: two lists, for those who check answers and for those who do not; how single answers end."""

from dataclasses import replace

import numpy as np
import pytest

from kinetics.law.accuracy_estimates import Outcomes, outcomes, outcomes_within
from kinetics.law.answer import CHECKED, UNCHECKED, find_answers
from kinetics.law.charging import charging_of
from kinetics.law.request import LawRequest
from kinetics.law.samples import sample_report
from kinetics.law.strategies import Rule
from kinetics.law.tables import law_tables
from kinetics.samples.sample_set import Question, SampleSet
from kinetics.specs.models import find_model
from kinetics.specs.policies import AttentionPolicy, Dense, TopK


def samples_of(model: str, policy: AttentionPolicy, *, right: float, seed: int) -> SampleSet:
    rng = np.random.default_rng(seed)
    questions = []
    for i in range(15):
        is_right = rng.random(8) < right * (0.5 + i / 15)
        answers = tuple("5" if one else str(rng.integers(6, 9)) for one in is_right)
        questions.append(
            Question(
                question_id=f"q{i:02}", prompt_len=100, lengths=tuple(rng.integers(500, 9000, size=8).tolist()),
                is_correct=tuple(map(bool, is_right)), answers=answers,
            )
        )  # fmt: skip
    return SampleSet(
        model=model, dataset="made", policy=policy, questions=tuple(questions), has_estimated_lengths=False
    )


SETS = [
    samples_of("Qwen3-0.6B", Dense(), right=0.3, seed=0), samples_of("Qwen3-8B", Dense(), right=0.7, seed=1),
    samples_of("Qwen3-8B", TopK(kv_budget=256), right=0.45, seed=2),
]  # fmt: skip


@pytest.fixture(scope="module")
def report():
    specs = {samples.model: find_model(samples.model) for samples in SETS}
    return sample_report(SETS, specs, charging_of(LawRequest(out=None)), source="t")  # type: ignore[arg-type]


def test_the_answer_comes_first_and_claims_do_not_come_at_all(report):
    names = [table.name for table in law_tables(report)]
    assert names[0] == "answer"
    assert "claims" not in names
    assert "mended_costs" not in names


def test_nobody_who_does_not_check_answers_picks_the_right_one_of_several(report):
    by_who = {answer.who: answer for answer in report.answers}
    for best in by_who[UNCHECKED].choices.best:
        assert best is None or best.trials == 1 or best.rule is not Rule.PASS
    assert {best.rule for best in by_who[CHECKED].choices.best if best} == {Rule.PASS}
    assert by_who[CHECKED].choices.chosen_accuracy.max() > by_who[UNCHECKED].choices.chosen_accuracy.max()


def test_rows_cost_more_and_solve_more_and_end_with_the_best(report):
    for answer in report.answers:
        places = list(answer.places())
        accuracy, cost = answer.choices.accuracy[places], answer.choices.cost[places]
        assert np.all(np.diff(cost) > 0)
        assert np.all(np.diff(np.floor(accuracy[:-1] * 10 + 1e-9)) > 0)
        assert accuracy[-1] == answer.choices.accuracy.max()
        assert accuracy[0] >= 0.1 or len(places) == 1


def test_all_kinds_of_attention_compete(report):
    kinds = {best.kind for answer in report.answers for best in answer.choices.best if best}
    assert len(kinds) == 2


def test_three_classes_of_an_answer_stand_in_every_table_of_strategies(report):
    for table in law_tables(report):
        if {"model", "trials"} <= set(table.columns):
            for row in (dict(zip(table.columns, row, strict=True)) for row in table.rows):
                shares = [row[f"answers_{name}"] for name in ("right", "cut_off", "wrong")]
                assert sum(shares) == pytest.approx(1.0)
                assert min(shares) >= 0


def test_a_shorter_cap_cuts_more_answers_off_and_none_of_them_is_wrong():
    question = Question(
        question_id="q", prompt_len=1, lengths=(100, 200, 300, 400), is_correct=(True, False, True, False),
        answers=("5", "6", "5", ""), is_cut_off=(False, False, False, True),
    )  # fmt: skip
    samples = SampleSet(model="m", dataset="d", policy=Dense(), questions=(question,), has_estimated_lengths=False)
    found = outcomes_within(samples, [None, 350, 250, 50])
    assert [(one.right, one.cut_off, one.wrong) for one in found] == [
        (0.5, 0.25, 0.25), (0.5, 0.25, 0.25), (0.25, 0.5, 0.25), (0.0, 1.0, 0.0),
    ]  # fmt: skip
    assert outcomes(samples) == found[0]
    assert Outcomes(right=2 / 3, cut_off=1 / 3).wrong == 0.0, "thirds add up to one"
    graded = replace(question, graded_cuts={250: (True, False, True, True)})
    (found_cut,) = outcomes_within(replace(samples, questions=(graded,)), [250])
    assert (found_cut.right, found_cut.cut_off, found_cut.wrong) == (0.75, 0.0, 0.25)


def test_an_answer_of_one_set_is_found_too():
    specs = {"Qwen3-8B": find_model("Qwen3-8B")}
    report = sample_report(SETS[1:2], specs, charging_of(LawRequest(out=None)), source="t")  # type: ignore[arg-type]
    assert report.strategies is not None
    assert {answer.who for answer in find_answers(report.strategies, "")} == {UNCHECKED, CHECKED}
