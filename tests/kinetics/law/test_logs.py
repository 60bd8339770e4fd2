"""Logs become options with four prices, frontiers with paired intervals, and the table of choices here and there."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from kinetics.cost.answers import sum_steps
from kinetics.cost.published import mean_paper_cost
from kinetics.law.claims import BEST_OF_N, LONG_COT
from kinetics.law.cost_models import EFlopCost, StepCost
from kinetics.law.logs import (
    Log,
    caps_of,
    change_table,
    choices_on,
    compare_with_dense,
    comparison_table,
    cost_models_of_logs,
    hardware_table,
    of_task,
    tabulate_logs,
)
from kinetics.law.measured_costs import EFLOP, MEASURED, PUBLISHED, fit_step, log_cost_models
from kinetics.law.request import LawRequest
from kinetics.law.run import run_law
from kinetics.law.strategies import Rule, Strategy, StrategyTable
from kinetics.samples.log_reader import read_trace_file
from kinetics.samples.trace_answers import TraceRules
from kinetics.specs.generation import DecodeUsage
from kinetics.specs.models import find_model
from kinetics.specs.policies import BlockSummary, BlockTopK, Dense, PolicyKind

CEILINGS = {
    "read_bytes_per_s": 1e10,
    "cached_read_bytes_per_s": 2e10,
    "copy_bytes_per_s": 8e9,
    "matmul_flop_per_s": 1e11,
    "launch_s": 1e-6,
    "cache_bytes": 2**20,
}
STEP_S, KEY_S, BATCH = 2e-3, 3e-7, 16


def header(model, attention, *, max_new_tokens=640, **changes):
    from dataclasses import asdict

    return {
        "kinetics_log": 1, "task": "made", "model": model,
        "model_spec": asdict(find_model("Qwen3-0.6B")) | {"name": model},
        "attention": {"num_dense_layers": 0, **attention}, "max_new_tokens": max_new_tokens,
        "engine": {"batch": BATCH, "page_size": 16, "dtype": "bfloat16"}, "machine": {"ceilings": CEILINGS},
    } | changes  # fmt: skip


def write_log(path, head, *, lengths, correct):
    """Trials of each question; seconds follow an exact rule. Who shares the batch varies from answer to answer."""
    rows = []
    for question, (own_lengths, own_correct) in enumerate(zip(lengths, correct, strict=True)):
        for trial, (length, is_correct) in enumerate(zip(own_lengths, own_correct, strict=True)):
            row_keys = 40.0 + 7 * question + 11 * trial
            rows.append({
                "problem_id": str(question), "trial": trial, "query": f"q{question}", "choices": ["7"],
                "prediction": [""], "score": 100.0 * is_correct, "prompt_tokens": 100, "generated_tokens": length,
                "decode_s": (length - 1) * (STEP_S + row_keys * KEY_S), "row_keys": row_keys,
                "device_j": 50.0 * (length - 1) * (STEP_S + row_keys * KEY_S),
            })  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in [head, *rows]))
    return read_trace_file(path, TraceRules(tokenizer=None, grader=None))


DENSE = {"kind": "dense"}
BLOCK = {"kind": "block_topk", "block_size": 16, "top_blocks": 2, "num_sink_tokens": 16, "keeps_partial_block": True}
LENGTHS = [[100, 200, 300, 400], [640, 50, 640, 90], [320, 330, 340, 350]]
CORRECT = [[1, 1, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]]


@pytest.fixture
def logs(tmp_path):
    spec = find_model("Qwen3-0.6B")
    made = []
    for name, attention in (("dense", DENSE), ("block", BLOCK)):
        file = write_log(tmp_path / f"{name}.jsonl", header("m", attention), lengths=LENGTHS, correct=CORRECT)
        made.append(Log(file=file, spec=spec))
    return made


def test_a_header_of_our_own_tells_model_policy_and_cap_of_any_shape(logs):
    dense, block = (log.file for log in logs)
    assert dense.header.spec.name == "m"
    assert dense.header.spec.hidden_size == find_model("Qwen3-0.6B").hidden_size
    assert block.samples.policy == BlockTopK(block_size=16, top_blocks=2, num_sink_tokens=16, keeps_partial_block=True)
    assert caps_of(block) == [40 * i for i in range(1, 17)]
    assert [q.prompt_len for q in dense.samples.questions] == [100, 100, 100]


UNLIKE = (
    BLOCK,
    BLOCK | {"num_sink_tokens": 0},
    BLOCK | {"num_dense_layers": 1},
    BLOCK | {"summary": "min_max"},
    BLOCK | {"keeps_partial_block": False},
)


def test_logs_that_differ_in_any_part_of_their_policy_are_told_apart_in_every_table(tmp_path):
    (tmp_path / "logs").mkdir()
    for number, attention in enumerate([DENSE, *UNLIKE]):
        write_log(tmp_path / "logs" / f"{number}.jsonl", header("m", attention), lengths=LENGTHS, correct=CORRECT)
    run_law(LawRequest(out=tmp_path / "law", traces=tmp_path / "logs", draws_figures=False))
    for name, count in (("accuracy", 6), ("accuracy_per_cost", 6), ("lengthening", 5)):
        rows = list(csv.DictReader((tmp_path / "law" / f"{name}.csv").open()))
        assert len({row["attention"] for row in rows}) == count, name


def by_cap_and_trials(table):
    """Accuracy per question, tokens and costs by (cap, trials); one policy in the table."""
    return {
        (strategy.max_generated, strategy.trials): (
            table.accuracy[:, i],
            table.tokens[:, i].mean(),
            {name: cost[:, i].mean() for name, cost in table.cost.items()},
        )
        for i, strategy in enumerate(table.strategies)
    }


def passing(logs):
    return tabulate_logs(logs, cost_models_of_logs(logs)).of_rule(Rule.PASS)


def costs_of(log, *, cap=640, trials=1):
    return by_cap_and_trials(passing([log]))[cap, trials][2]


def test_shorter_caps_and_fewer_trials_are_exact(logs):
    found = by_cap_and_trials(passing(logs[:1]))
    assert found.keys() == {(40 * i, n) for i in range(1, 17) for n in (1, 2, 4)}
    by_text = sorted(range(3), key=lambda i: logs[0].file.samples.questions[i].question_id)
    accuracy, tokens, _ = found[200, 1]
    assert dict(zip(by_text, accuracy, strict=True)) == {0: 2 / 4, 1: 1 / 4, 2: 0}
    assert tokens == pytest.approx(np.mean([175, 135, 200]))
    assert found[640, 4][0].sum() == 2
    assert found[640, 2][1] == 2 * found[640, 1][1]


def test_costs_are_those_of_the_law_and_of_the_published_formulas(logs):
    spec = find_model("Qwen3-0.6B")
    for log in logs:
        costs, policy = costs_of(log, trials=2), log.file.samples.policy
        asked = {"prompt_len": 100, "trials": [2]}
        expected = [EFlopCost(model=spec).mean_costs(policy, lengths=lengths, **asked) for lengths in LENGTHS]
        assert costs[EFLOP] == pytest.approx(np.mean(expected), rel=1e-12)
        published = policy if isinstance(policy, Dense) else BlockTopK(block_size=16, top_blocks=2)
        paper = [mean_paper_cost(spec, published, prompt_len=100, lengths=own, trials=2).total for own in LENGTHS]
        assert costs[PUBLISHED] == pytest.approx(np.mean(paper), rel=1e-12)


def test_layers_that_ran_dense_are_charged_dense(tmp_path):
    costs = []
    for num_dense in (0, 28):
        head = header("m", BLOCK | {"num_dense_layers": num_dense})
        file = write_log(tmp_path / f"{num_dense}.jsonl", head, lengths=LENGTHS, correct=CORRECT)
        costs.append(costs_of(Log(file=file, spec=file.header.spec))[EFLOP])
    dense = EFlopCost(model=find_model("Qwen3-0.6B"))
    expected = [dense.mean_costs(Dense(), prompt_len=100, lengths=lengths, trials=[1]) for lengths in LENGTHS]
    assert costs[0] < 0.8 * costs[1]
    assert costs[1] == pytest.approx(np.mean(expected), rel=1e-12)


def test_minima_and_maxima_are_told_by_the_header_and_cost_twice_the_search(tmp_path):
    policies, costs = {}, {}
    for kind in ("mean", "min_max"):
        head = header("m", BLOCK | {"summary": kind})
        file = write_log(tmp_path / f"{kind}.jsonl", head, lengths=LENGTHS, correct=CORRECT)
        policies[kind] = file.samples.policy
        costs[kind] = costs_of(Log(file=file, spec=file.header.spec), trials=4)
    assert policies["min_max"] == replace(policies["mean"], summary=BlockSummary.MIN_MAX)
    for cost in (EFLOP, "predicted_s"):
        assert costs["mean"][cost] < costs["min_max"][cost] < 1.5 * costs["mean"][cost]
    assert costs["mean"][PUBLISHED] == costs["min_max"][PUBLISHED]


def test_measured_seconds_are_refound_from_the_samples_and_shared_by_the_batch(logs):
    for log in logs:
        times = fit_step(log.file.usages)
        assert times.token == pytest.approx(STEP_S, rel=1e-6)
        assert times.key == pytest.approx(KEY_S, rel=1e-6)
        policy, costs = log.file.samples.policy, costs_of(log)
        sums = [sum_steps(policy, prompt_len=100, generated=n) for own in LENGTHS for n in own]
        seconds = [
            n * STEP_S + (s.attended_keys + s.scored_vectors) * KEY_S
            for n, s in zip([n for own in LENGTHS for n in own], sums, strict=True)
        ]
        assert costs["measured_s"] == pytest.approx(np.mean(seconds) / BATCH, rel=1e-6)
        assert costs["measured_j"] == pytest.approx(50 * np.mean(seconds) / BATCH, rel=1e-6)


@pytest.mark.parametrize("row_keys", [None, 50.0], ids=["not told", "all alike"])
def test_steps_that_cannot_tell_keys_from_fixed_time_give_a_time_per_token(row_keys):
    usages = [DecodeUsage(num_tokens=1 + n, decode_s=0.1 * n, keys_read=row_keys) for n in range(1, 21)]
    times = fit_step(usages)
    assert times.key == 0.0
    assert times.token == pytest.approx(0.1)


def test_few_timings_give_a_time_per_token_and_none_give_none(logs):
    assert fit_step([DecodeUsage(num_tokens=11, decode_s=1.0, keys_read=9.0)]) == StepCost(token=0.1, key=0.0)
    assert fit_step([DecodeUsage(num_tokens=1, decode_s=0.0, keys_read=0.0)]) is None
    models = log_cost_models(logs[0].file.header, logs[0].spec, [])
    assert "predicted_s" in models
    assert not {"measured_s", "measured_j"} & models.keys()


def test_a_cache_is_charged_in_its_own_dtype(logs):
    def seconds(**engine):
        header = replace(logs[0].file.header, engine={**logs[0].file.header.engine, **engine})
        cost = log_cost_models(header, logs[0].spec, [])["predicted_s"]
        return [float(cost.mean_costs(Dense(), prompt_len=9, lengths=[n], trials=[1])[0]) for n in (100, 8000)]

    (short, long), (short_wide, long_wide) = seconds(), seconds(kv_dtype="float32")
    assert short < short_wide
    assert long < long_wide < 2 * long
    assert long_wide - long > 10 * (short_wide - short)


def test_predicted_seconds_grow_with_length_and_are_less_for_fewer_keys(logs):
    dense, block = (log_cost_models(log.file.header, log.spec, [])["predicted_s"].mean_costs for log in logs)
    ask = {"prompt_len": 4000, "trials": [1, 2]}
    short, long = (dense(Dense(), lengths=[n], **ask) for n in (100, 1000))
    assert short[1] == 2 * short[0]
    assert 10 * short[0] < long[0]
    assert block(logs[1].file.samples.policy, lengths=[1000], **ask)[0] < long[0]


def option(model, policy, accuracy, **cost):
    return Strategy(model=model, policy=policy, trials=1, max_generated=64), np.array(accuracy, dtype=float), cost


def table_of(options):
    """A table of made strategies: each with its accuracy per question and, the same for all, its costs."""
    strategies, accuracies, costs = zip(*options, strict=True)
    accuracy = np.stack(accuracies, axis=1)
    names = {name for cost in costs for name in cost}
    return StrategyTable(
        strategies=strategies,
        accuracy=accuracy,
        tokens=np.full_like(accuracy, 50.0),
        cost={name: np.tile([cost.get(name, np.nan) for cost in costs], (len(accuracy), 1)) for name in names},
    )


def frontiers_of(options, axis):
    return choices_on(table_of(options), axis)


BLOCK_POLICY = BlockTopK(block_size=16, top_blocks=2)


def test_a_frontier_takes_the_best_that_can_be_paid_and_of_equals_the_cheapest():
    options = [
        option("small", Dense(), [0, 1, 0, 0], exact_tera_eflop=1.0),
        option("worse", Dense(), [0, 0, 0, 0], exact_tera_eflop=2.0),
        option("equal", Dense(), [1, 0, 0, 0], exact_tera_eflop=3.0),
        option("large", Dense(), [1, 1, 1, 0], exact_tera_eflop=10.0),
    ]
    (frontier,) = frontiers_of(options, EFLOP)
    at = {cost: i for cost in (1.0, 2.5, 5.0) for i in [int(np.searchsorted(frontier.cost, cost))]}
    assert [frontier.best[i].model for i in at.values()] == ["small", "small", "small"]
    assert frontier.best[-1].model == "large"
    assert frontier.accuracy[-1] == 0.75
    assert np.all(np.diff(frontier.accuracy) >= 0)
    assert np.all(frontier.interval.low <= frontier.chosen_accuracy + 1e-12)
    assert np.all(frontier.interval.high >= frontier.chosen_accuracy - 1e-12)


def test_families_are_compared_where_dense_is_neither_hopeless_nor_done():
    rng = np.random.default_rng(0)
    solved = rng.random(400)
    options = []
    for i, share in enumerate(np.linspace(0.05, 1.0, 12)):
        options.append(option("d", Dense(), solved < 0.8 * share, exact_tera_eflop=2.0**i, measured_s=2.0**i))
        options.append(option("b", BLOCK_POLICY, solved < 0.7 * share, exact_tera_eflop=2.0**i / 4, measured_s=2.0**i))
    (by_eflop,) = compare_with_dense(frontiers_of(options, EFLOP))
    assert by_eflop.kind is PolicyKind.BLOCK_TOPK
    assert by_eflop.num_costs > 10
    assert by_eflop.num_below == by_eflop.num_clearly_below == 0
    (by_seconds,) = compare_with_dense(frontiers_of(options, MEASURED))
    assert by_seconds.num_below == by_seconds.num_clearly_below == by_seconds.num_costs


def test_a_difference_that_chance_explains_is_below_but_not_clearly():
    options = [
        option("d", Dense(), [1, 0, 0, 0, 0, 0, 0, 0], exact_tera_eflop=1.0),
        option("d", Dense(), [1] * 8, exact_tera_eflop=100.0),
        option("b", BLOCK_POLICY, [0, 0, 0, 0, 0, 0, 0, 0], exact_tera_eflop=1.0),
        option("b", BLOCK_POLICY, [0, 1, 0, 0, 0, 0, 0, 0], exact_tera_eflop=90.0),
    ]
    options[0] = option("d", Dense(), [1, 1, 0, 0, 0, 0, 0, 0], exact_tera_eflop=1.0)
    options[2] = option("b", BLOCK_POLICY, [0, 1, 0, 0, 0, 0, 0, 0], exact_tera_eflop=1.0)
    (found,) = compare_with_dense(frontiers_of(options, EFLOP))
    assert found.num_below == found.num_costs > 0
    assert found.num_clearly_below == 0


def test_the_paper_s_two_tasks_are_compared_apart(logs):
    table = passing(logs)
    long_cot, best_of_n = (of_task(task, table).strategies for task in (LONG_COT, BEST_OF_N))
    assert {(o.label, o.trials) for o in long_cot} == {("m dense", 1), ("m block16_blocktopk2_partial_sink16", 1)}
    assert len(long_cot) == 2 * 16
    assert {(o.max_generated, o.trials) for o in best_of_n} == {(640, 1), (640, 2), (640, 4)}
    with pytest.raises(ValueError, match="task must be long_cot or best_of_n, got 'both'"):
        of_task("both", table)
    table = comparison_table(table)
    assert {row[0] for row in table.rows} == {LONG_COT, BEST_OF_N}


def test_the_hardware_table_sets_the_cheapest_choice_there_beside_the_cheapest_here():
    options = [
        option("a", Dense(), [1, 1, 1, 1], exact_tera_eflop=9.0, measured_s=4.0),
        option("b", BLOCK_POLICY, [1, 1, 1, 1], exact_tera_eflop=3.0, measured_s=6.0),
    ]
    table = hardware_table(table_of(options).priced(MEASURED))
    row = dict(zip(table.columns, table.rows[-1], strict=True))
    assert row["accuracy"] == 1.0
    assert row["b200_choice"] == "b block16_blocktopk2"
    assert row["here_choice"] == "a dense"
    assert (row["here_measured_s"], row["b200_choice_here_s"], row["penalty"]) == (4.0, 6.0, 1.5)
    assert row["same_choice"] is False


def test_where_the_choice_changes_is_listed_once_per_change():
    options = [
        option("small", Dense(), [1, 0, 0, 0], exact_tera_eflop=1.0, measured_s=1.0),
        option("small", Dense(), [1, 1, 0, 0], exact_tera_eflop=4.0, measured_s=4.0),
        option("large", Dense(), [1, 1, 1, 0], exact_tera_eflop=100.0, measured_s=2.0),
    ]
    made = table_of(options)
    table = change_table({axis: choices_on(made, axis) for axis in (EFLOP, MEASURED)})
    models = {axis: [row[4] for row in table.rows if row[0] == axis] for axis in (EFLOP, MEASURED)}
    assert models == {EFLOP: ["small", "large"], MEASURED: ["small", "large"]}


def test_nothing_solved_gives_no_comparison_and_no_hardware_rows():
    options = [
        option("d", Dense(), [0, 0], exact_tera_eflop=1.0, measured_s=1.0),
        option("b", BLOCK_POLICY, [0, 0], exact_tera_eflop=2.0, measured_s=1.5),
    ]
    (found,) = compare_with_dense(frontiers_of(options, EFLOP))
    assert found.num_costs == 0
    assert found.smallest_gain is found.largest_gain is None
    assert hardware_table(table_of(options).priced(MEASURED)).rows == ()
