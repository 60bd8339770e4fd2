"""Reports from samples: which law is charged, what claims they may judge, and honest accuracy beside the oracle's."""

import os
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kinetics.cost.answers import Combine, answer_work, tera_eflop
from kinetics.cost.published import PUBLISHED_BILLION_PARAMETERS
from kinetics.law.accuracy_estimates import mean_coverage
from kinetics.law.charging import Charging
from kinetics.law.claims import BEST_OF_N, LONG_COT
from kinetics.law.cost_models import EFlopCost
from kinetics.law.frontier import smooth_as_published
from kinetics.law.published import ClaimData, ClaimStatus
from kinetics.law.samples import flops_law_penalty, sample_report
from kinetics.law.strategies import caps_to_longest, tabulate
from kinetics.law.tables import law_tables
from kinetics.samples.sample_set import Question, SampleSet
from kinetics.samples.sample_tables import read_sample_table
from kinetics.specs.models import find_model
from kinetics.specs.policies import Dense, PolicyKind, TopK

REFERENCE = os.environ.get("KINETICS_REFERENCE_DATA")

CHARGING = Charging(
    law=lambda model: EFlopCost(model=model),
    flops=lambda model: EFlopCost(model=model, intensity=0.0),
    hidden=lambda model: EFlopCost(model=model, combine=Combine.MAX),
    description="exact",
    device="test",
    tera_eflop_per_s=4500.0,
)


def make_set(model, policy, *, p=0.5, length=4000, num_questions=4, num_trials=4, dataset="aime24"):
    rng = random.Random(f"{model}{policy}")
    questions = tuple(
        Question(
            question_id=f"q{i}",
            prompt_len=200,
            lengths=tuple(length + rng.randint(0, 9) for _ in range(num_trials)),
            is_correct=tuple(rng.random() < p for _ in range(num_trials)),
            answers=("",) * num_trials,
        )
        for i in range(num_questions)
    )
    return SampleSet(model=model, dataset=dataset, policy=policy, questions=questions, has_estimated_lengths=False)


def report_of(sets):
    return sample_report(sets, {s.model: find_model(s.model) for s in sets}, CHARGING, source="test")


@pytest.fixture(scope="module")
def small_report():
    return report_of([make_set("Qwen3-8B", policy) for policy in (Dense(), TopK(kv_budget=64), TopK(kv_budget=512))])


def test_both_tasks_are_charged_by_three_laws(small_report):
    names = [task.task for task in small_report.tasks]
    assert names == [
        LONG_COT,
        "long_cot_flops",
        "long_cot_max",
        BEST_OF_N,
        "best_of_n_flops",
        "best_of_n_max",
    ]


def test_flops_alone_are_cheapest_and_hiding_costs_less_than_adding(small_report):
    costs = np.array([20.0, 60.0, 200.0, 600.0, 2000.0])
    flops, hidden, law = (
        np.interp(costs, found.cost, found.accuracy, left=0.0)
        for name in ("long_cot_flops", "long_cot_max", LONG_COT)
        for found in [next(task for task in small_report.tasks if task.task == name).oracle[0]]
    )
    assert (flops >= hidden).all()
    assert (hidden >= law).all()
    assert (flops > law).any()


def test_the_two_budgets_of_a_kind_share_a_curve(small_report):
    assert [model.kind for model in small_report.tasks[0].models] == [PolicyKind.DENSE, PolicyKind.TOPK]


def test_intervals_hold_the_chosen_and_the_oracle_is_no_worse(small_report):
    for model in small_report.tasks[0].models:
        choices = model.choices
        assert (choices.interval.low <= choices.chosen_accuracy + 1e-9).all()
        assert (choices.interval.high >= choices.chosen_accuracy - 1e-9).all()
        assert model.oracle.accuracy[-1] >= choices.chosen_accuracy[-1]
        assert model.held_out.shape == model.half_oracle.shape == model.oracle.accuracy.shape


@pytest.mark.parametrize("longest", [900, 30000, 100_000])
def test_no_curve_is_cut_off_before_its_samples_are(longest):
    samples = make_set("Qwen3-8B", Dense(), length=longest, num_trials=8)
    long_cot, best_of_n = (
        next(task for task in report_of([samples]).tasks if task.task == name) for name in (LONG_COT, BEST_OF_N)
    )
    assert long_cot.models[0].choices.chosen_accuracy[-1] == pytest.approx(mean_coverage(samples, trials=1))
    assert long_cot.models[0].oracle.accuracy[-1] == pytest.approx(mean_coverage(samples, trials=1))
    assert best_of_n.models[0].oracle.accuracy[-1] == pytest.approx(mean_coverage(samples, trials=8))


def test_majorities_are_priced_beside_pass_at_k_where_answers_were_parsed():
    silent = make_set("Qwen3-8B", Dense())
    voting = replace(
        silent,
        questions=tuple(
            replace(q, answers=tuple("7" if right else "3" for right in q.is_correct)) for q in silent.questions
        ),
    )
    names = [task.task for task in report_of([voting]).tasks]
    assert names[-3:] == ["majority", "weighted_majority", "early_stop"]
    by_name = {task.task: task for task in report_of([voting]).tasks}
    assert by_name["majority"].oracle == ()
    assert (by_name["majority"].choices[0].chosen_accuracy <= by_name[BEST_OF_N].oracle[0].accuracy.max()).all()
    assert not {"majority", "early_stop"} & {task.task for task in report_of([silent]).tasks}


def test_dollars_follow_from_seconds_and_right_answers():
    samples = [make_set("Qwen3-8B", Dense())]
    report = sample_report(
        samples, {"Qwen3-8B": find_model("Qwen3-8B")}, CHARGING, source="t", dollars_per_hour=36.0
    )  # fmt: skip
    table = next(table for table in law_tables(report) if table.name == "strategies")
    for row in (dict(zip(table.columns, row, strict=True)) for row in table.rows):
        assert row["dollars"] == pytest.approx(row["seconds"] / 100)
        assert row["accuracy"] == 0 or row["dollars_per_right_answer"] == pytest.approx(
            row["dollars"] / row["accuracy"]
        )


def claims_of(sets):
    specs = {samples.model: find_model(samples.model) for samples in sets}
    report = sample_report(sets, specs, CHARGING, source="t", asks_claims=True)
    return {checked.claim.key: checked for checked in report.claims}


def test_claims_are_judged_if_asked_for_and_frontiers_over_other_models_judge_none_about_frontiers(small_report):
    assert small_report.claims == ()
    verdicts = claims_of([make_set("Qwen3-8B", Dense())])
    assert verdicts["longcot_gain_at_80ms"].status is ClaimStatus.NEEDS_DATA
    assert verdicts["sampled_pass1:Qwen3-8B"].data is ClaimData.SAMPLES


def test_all_six_models_judge_the_claims_about_frontiers():
    sets = [
        make_set(name, policy) for name in PUBLISHED_BILLION_PARAMETERS for policy in (Dense(), TopK(kv_budget=128))
    ]
    verdicts = {checked.claim.key: checked for checked in report_of(sets).claims}
    for key in ("bon_gain:topk", "max_bon_speedup", "mean_bon_length", "fitted_token_exponent"):
        assert verdicts[key].found is not None, key


def test_other_questions_judge_no_claim_that_needs_samples():
    verdicts = claims_of([make_set("Qwen3-8B", Dense(), dataset="aime25")])
    assert verdicts["sampled_pass1:Qwen3-8B"].data is ClaimData.OTHERS
    assert verdicts["bon_gain:topk"].status is ClaimStatus.NEEDS_DATA


def test_the_flops_law_pays_for_choosing_a_small_model_that_thinks_long():
    # Same accuracy: 1.7B with twice the tokens has fewer FLOP, but reads more keys and values.
    sets = [make_set("Qwen3-1.7B", Dense(), p=1.0, length=9000), make_set("Qwen3-8B", Dense(), p=1.0, length=4000)]
    specs = {s.model: find_model(s.model) for s in sets}
    small, large = (
        tera_eflop(answer_work(specs[name], Dense(), prompt_len=200, generated=n), intensity=562.5)
        for name, n in (("Qwen3-1.7B", 9000), ("Qwen3-8B", 4000))
    )
    assert small > 2 * large

    def table_of(sets):
        models = {
            name: {"": EFlopCost(model=spec), "_flops": EFlopCost(model=spec, intensity=0.0)}
            for name, spec in specs.items()
        }
        return tabulate(
            sets, trials=(1,), caps_of=lambda _: (20000,), cost_models_of=lambda samples: models[samples.model]
        )

    assert flops_law_penalty(table_of(sets), accuracy=0.9) == pytest.approx(small / large, rel=0.01)
    assert flops_law_penalty(table_of([make_set("Qwen3-8B", Dense(), p=0.0)]), accuracy=0.9) is None


def test_paper_curves_are_smoothed_and_others_are_not():
    sets = [make_set("Qwen3-8B", Dense())]
    specs = {"Qwen3-8B": find_model("Qwen3-8B")}
    plain = sample_report(sets, specs, CHARGING, source="t").tasks[0].models[0].oracle.accuracy
    smooth = sample_report(sets, specs, replace(CHARGING, smooths=True), source="t").tasks[0].models[0].oracle.accuracy
    assert np.array_equal(smooth, smooth_as_published(plain))
    assert not np.array_equal(smooth, plain)


def test_sets_with_other_questions_are_refused():
    odd = make_set("Qwen3-4B", Dense(), num_questions=3)
    with pytest.raises(ValueError, match="must hold the same questions, got 1 that Qwen3-8B dense and Qwen3-4B dense"):
        report_of([make_set("Qwen3-8B", Dense()), odd])


def test_estimated_lengths_are_noted_and_labelled():
    estimated = replace(make_set("Qwen3-8B", Dense()), has_estimated_lengths=True)
    report = report_of([estimated])
    assert report.notes == ("token counts are estimated from text for Qwen3-8B",)
    curves = next(table for table in law_tables(report) if table.name == "curves_long_cot")
    assert {line[2] for line in curves.rows} == {"estimated"}


@pytest.fixture(scope="module")
def published_sets():
    table = read_sample_table(Path(REFERENCE or ".") / "aime24_samples.csv", prompt_len=200)
    architectures = {
        "Qwen3-30B-A3B-Thinking-2507": find_model("Qwen3-30B-A3B"),
        "AM-Thinking-v1": find_model("DeepSeek-R1-Distill-Qwen-32B"),
        "Qwen3-4B": find_model("Qwen3-4B"),
    }
    chosen = [samples for samples in table.sets if samples.model in architectures]
    few = [replace(s, questions=tuple(q.subset(range(12)) for q in s.questions)) for s in chosen]
    return few, architectures


def best_length(model, question, *, cap, caps):
    """Algorithm 2 for one question, one policy and one cap."""
    best = 0.0
    for budget in caps:
        cut = [min(n, budget) for n in question.lengths]
        works = [answer_work(model, Dense(), prompt_len=question.prompt_len, generated=n) for n in cut]
        if sum(tera_eflop(work, intensity=562.5) for work in works) / len(works) <= cap:
            pairs = zip(question.is_correct, question.lengths, strict=True)
            best = max(best, sum(ok and n <= budget for ok, n in pairs) / len(cut))
    return best


@pytest.mark.skipif(REFERENCE is None, reason="KINETICS_REFERENCE_DATA is not set: it holds aime24_samples.csv")
def test_published_samples_give_both_tables(published_sets):
    sets, specs = published_sets
    report = sample_report(sets, specs, CHARGING, source="published samples")
    for task in report.tasks:
        assert {model.model for model in task.models} == set(specs)
    long_cot, best_of_n = report.tasks[0], report.tasks[3]
    for samples in sets:
        (alone,) = [model for model in long_cot.models if model.model == samples.model]
        best = [
            best_length(specs[samples.model], q, cap=alone.oracle.cost[-1], caps=caps_to_longest(sets))
            for q in samples.questions
        ]
        assert alone.oracle.accuracy[-1] == pytest.approx(np.mean(best), abs=1e-12)
        assert alone.facts.has_estimated_lengths == (samples.model == "Qwen3-4B")
        (many,) = [model for model in best_of_n.models if model.model == samples.model]
        assert many.facts.max_trials == 8
        assert many.oracle.accuracy.max() <= mean_coverage(samples, trials=8) + 1e-12
    assert report.notes == ("token counts are estimated from text for Qwen3-4B",)


def test_reports_are_the_same_every_time():
    sets = [make_set("Qwen3-8B", policy) for policy in (Dense(), TopK(kv_budget=64))]
    first, second = report_of(sets), report_of(sets)
    for one, two in zip(first.tasks[0].models, second.tasks[0].models, strict=True):
        assert np.array_equal(one.held_out, two.held_out)
        assert np.array_equal(one.choices.interval.low, two.choices.interval.low)
