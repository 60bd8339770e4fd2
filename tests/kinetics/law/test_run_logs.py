"""Logs become options with four prices, frontiers with paired intervals, and the table of choices here and there."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from kinetics.cost.answers import CostOptions, sum_steps
from kinetics.cost.published import INTENSITY, mean_paper_cost
from kinetics.law.claims import BEST_OF_N, LONG_COT
from kinetics.law.log_frontiers import EFLOP, MEASURED, compare_with_dense, family_frontiers, options_of, trace_tables
from kinetics.law.log_options import COSTS, Log, Spending, caps_of, spendings
from kinetics.law.measured_prices import StepPrice, fit_step_price, prices_of
from kinetics.law.prices import exact_price
from kinetics.samples.log_reader import SampleTiming, TraceRules, read_trace_file
from kinetics.specs.models import find_model
from kinetics.specs.policies import BlockSummary, BlockTopK, Dense, PolicyKind

CEILINGS = {
    "read_bytes_per_s": 1e10, "cached_read_bytes_per_s": 2e10, "copy_bytes_per_s": 8e9, "matmul_flop_per_s": 1e11,
    "launch_s": 1e-6, "cache_bytes": 2**20,
}  # fmt: skip
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


def test_shorter_caps_and_fewer_trials_are_exact(logs):
    options = {(o.max_generated, o.trials): o for o in spendings(logs[:1], batch=0, device=None)}
    assert options.keys() == {(40 * i, n) for i in range(1, 17) for n in (1, 2, 4)}
    by_text = sorted(range(3), key=lambda i: logs[0].file.samples.questions[i].question_id)
    at_200 = dict(zip(by_text, options[200, 1].accuracy, strict=True))
    assert at_200 == {0: 2 / 4, 1: 1 / 4, 2: 0}
    assert options[200, 1].mean_tokens == pytest.approx(np.mean([175, 135, 200]))
    assert options[640, 4].accuracy.sum() == 2
    assert options[640, 2].mean_tokens == 2 * options[640, 1].mean_tokens


def test_costs_are_those_of_the_law_and_of_the_published_formulas(logs):
    spec = find_model("Qwen3-0.6B")
    for log in logs:
        (whole,) = (o for o in spendings([log], batch=0, device=None) if (o.max_generated, o.trials) == (640, 2))
        policy = log.file.samples.policy
        price = exact_price(spec, intensity=INTENSITY, options=CostOptions())
        expected = np.mean([price(policy, prompt_len=100, lengths=lengths, trials=[2]) for lengths in LENGTHS])
        assert whole.cost["exact_tera_eflop"] == pytest.approx(expected, rel=1e-12)
        published = policy if isinstance(policy, Dense) else BlockTopK(block_size=16, top_blocks=2)
        paper = [mean_paper_cost(spec, published, prompt_len=100, lengths=own, trials=2).total for own in LENGTHS]
        assert whole.cost["paper_tera_eflop"] == pytest.approx(np.mean(paper), rel=1e-12)


def test_layers_that_ran_dense_are_charged_dense(tmp_path):
    costs = []
    for num_dense in (0, 28):
        head = header("m", BLOCK | {"num_dense_layers": num_dense})
        file = write_log(tmp_path / f"{num_dense}.jsonl", head, lengths=LENGTHS, correct=CORRECT)
        (whole,) = (
            option
            for option in spendings([Log(file=file, spec=file.header.spec)], batch=0, device=None)
            if (option.max_generated, option.trials) == (640, 1)
        )
        costs.append(whole.cost["exact_tera_eflop"])
    dense = exact_price(find_model("Qwen3-0.6B"), intensity=INTENSITY)
    expected = np.mean([dense(Dense(), prompt_len=100, lengths=lengths, trials=[1]) for lengths in LENGTHS])
    assert costs[0] < 0.8 * costs[1]
    assert costs[1] == pytest.approx(expected, rel=1e-12)


def test_minima_and_maxima_are_told_by_the_header_and_cost_twice_the_search(tmp_path):
    policies, costs = {}, {}
    for kind in ("mean", "min_max"):
        head = header("m", BLOCK | {"summary": kind})
        file = write_log(tmp_path / f"{kind}.jsonl", head, lengths=LENGTHS, correct=CORRECT)
        policies[kind] = file.samples.policy
        whole = spendings([Log(file=file, spec=file.header.spec)], batch=0, device=None)[-1]
        costs[kind] = whole.cost
    assert policies["min_max"] == replace(policies["mean"], summary=BlockSummary.MIN_MAX)
    for cost in ("exact_tera_eflop", "predicted_s"):
        assert costs["mean"][cost] < costs["min_max"][cost] < 1.5 * costs["mean"][cost]
    assert costs["mean"]["paper_tera_eflop"] == costs["min_max"]["paper_tera_eflop"]


def test_measured_seconds_are_refound_from_the_samples_and_shared_by_the_batch(logs):
    for log in logs:
        times = fit_step_price(log.file.timings)
        assert times.step == pytest.approx(STEP_S, rel=1e-6)
        assert times.key == pytest.approx(KEY_S, rel=1e-6)
        (one,) = (o for o in spendings([log], batch=0, device=None) if (o.max_generated, o.trials) == (640, 1))
        policy = log.file.samples.policy
        sums = [sum_steps(policy, prompt_len=100, generated=n) for own in LENGTHS for n in own]
        seconds = [
            n * STEP_S + (s.attended_keys + s.scored_vectors) * KEY_S
            for n, s in zip([n for own in LENGTHS for n in own], sums, strict=True)
        ]
        assert one.cost["measured_s"] == pytest.approx(np.mean(seconds) / BATCH, rel=1e-6)
        assert one.cost["measured_j"] == pytest.approx(50 * np.mean(seconds) / BATCH, rel=1e-6)


@pytest.mark.parametrize("row_keys", [None, 50.0], ids=["not told", "all alike"])
def test_steps_that_cannot_tell_keys_from_fixed_time_give_a_time_per_token(row_keys):
    timings = [SampleTiming(generated_tokens=1 + n, decode_s=0.1 * n, row_keys=row_keys) for n in range(1, 21)]
    times = fit_step_price(timings)
    assert times.key == 0.0
    assert times.step == pytest.approx(0.1)


def test_few_timings_give_a_time_per_token_and_none_give_none(logs):
    head = logs[0].file.header
    assert fit_step_price([SampleTiming(generated_tokens=11, decode_s=1.0, row_keys=9.0)]) == StepPrice(
        step=0.1, key=0.0
    )
    assert fit_step_price([SampleTiming(generated_tokens=1, decode_s=0.0, row_keys=0.0)]) is None
    priced = prices_of(head, logs[0].spec, [], batch=0, device=None)
    assert priced["measured_s"] is None
    assert priced["predicted_s"] is not None


def test_predicted_seconds_grow_with_length_and_are_less_for_fewer_keys(logs):
    dense, block = (prices_of(log.file.header, log.spec, [], batch=0, device=None)["predicted_s"] for log in logs)
    ask = {"prompt_len": 4000, "trials": [1, 2]}
    short, long = (dense(Dense(), lengths=[n], **ask) for n in (100, 1000))
    assert short[1] == 2 * short[0]
    assert 10 * short[0] < long[0]
    assert block(logs[1].file.samples.policy, lengths=[1000], **ask)[0] < long[0]


def option(model, policy, accuracy, **cost):
    costs = dict.fromkeys(COSTS) | cost
    return Spending(
        model=model, policy=policy, max_generated=64, trials=1, accuracy=np.array(accuracy, dtype=float),
        mean_tokens=50.0, cost=costs,
    )  # fmt: skip


BLOCK_POLICY = BlockTopK(block_size=16, top_blocks=2)


def test_a_frontier_takes_the_best_that_can_be_paid_and_of_equals_the_cheapest():
    options = [
        option("small", Dense(), [0, 1, 0, 0], exact_tera_eflop=1.0),
        option("worse", Dense(), [0, 0, 0, 0], exact_tera_eflop=2.0),
        option("equal", Dense(), [1, 0, 0, 0], exact_tera_eflop=3.0),
        option("large", Dense(), [1, 1, 1, 0], exact_tera_eflop=10.0),
    ]
    (frontier,) = family_frontiers(options, EFLOP)
    at = {cost: i for cost in (1.0, 2.5, 5.0) for i in [int(np.searchsorted(frontier.cost, cost, side="right")) - 1]}
    assert [frontier.best[i].model for i in at.values()] == ["small", "small", "small"]
    assert frontier.best[-1].model == "large"
    assert frontier.accuracy[-1] == 0.75
    assert np.all(np.diff(frontier.accuracy) >= 0)
    assert np.all(frontier.low <= frontier.accuracy + 1e-12)
    assert np.all(frontier.high >= frontier.accuracy - 1e-12)


def test_families_are_compared_where_dense_is_neither_hopeless_nor_done():
    rng = np.random.default_rng(0)
    solved = rng.random(400)
    options = []
    for i, share in enumerate(np.linspace(0.05, 1.0, 12)):
        options.append(option("d", Dense(), solved < 0.8 * share, exact_tera_eflop=2.0**i, measured_s=2.0**i))
        options.append(option("b", BLOCK_POLICY, solved < 0.7 * share, exact_tera_eflop=2.0**i / 4, measured_s=2.0**i))
    (by_eflop,) = compare_with_dense(family_frontiers(options, EFLOP))
    assert by_eflop.family is PolicyKind.BLOCK_TOPK
    assert by_eflop.num_costs > 10
    assert by_eflop.num_below == by_eflop.num_clearly_below == 0
    (by_seconds,) = compare_with_dense(family_frontiers(options, MEASURED))
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
    (found,) = compare_with_dense(family_frontiers(options, EFLOP))
    assert found.num_below == found.num_costs > 0
    assert found.num_clearly_below == 0


def test_the_paper_s_two_tasks_are_compared_apart(logs):
    options = spendings(logs, batch=0, device=None)
    long_cot, best_of_n = options_of(LONG_COT, options), options_of(BEST_OF_N, options)
    assert {(o.label, o.trials) for o in long_cot} == {("m dense", 1), ("m block16_blocktopk2", 1)}
    assert len(long_cot) == 2 * 16
    assert {(o.max_generated, o.trials) for o in best_of_n} == {(640, 1), (640, 2), (640, 4)}
    with pytest.raises(ValueError, match="task must be long_cot or best_of_n, got 'both'"):
        options_of("both", options)
    table = next(table for table in trace_tables(options) if table.name == "sparse_against_dense")
    assert {row[0] for row in table.rows} == {LONG_COT, BEST_OF_N}


def test_the_hardware_table_sets_the_cheapest_choice_there_beside_the_cheapest_here():
    options = [
        option("a", Dense(), [1, 1, 1, 1], exact_tera_eflop=9.0, measured_s=4.0),
        option("b", BLOCK_POLICY, [1, 1, 1, 1], exact_tera_eflop=3.0, measured_s=6.0),
    ]
    table = next(table for table in trace_tables(options) if table.name == "your_hardware")
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
    table = next(table for table in trace_tables(options) if table.name == "choice_changes")
    models = {axis: [row[4] for row in table.rows if row[0] == axis] for axis in (EFLOP, MEASURED)}
    assert models == {EFLOP: ["small", "large"], MEASURED: ["small", "large"]}


def test_nothing_solved_gives_no_comparison_and_no_hardware_rows():
    options = [
        option("d", Dense(), [0, 0], exact_tera_eflop=1.0, measured_s=1.0),
        option("b", BLOCK_POLICY, [0, 0], exact_tera_eflop=2.0, measured_s=1.5),
    ]
    (found,) = compare_with_dense(family_frontiers(options, EFLOP))
    assert found.num_costs == 0
    assert next(table for table in trace_tables(options) if table.name == "your_hardware").rows == ()
