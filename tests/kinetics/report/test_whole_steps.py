"""Whole steps: tokens per second, what a token costs, the largest batch that fits; all layers rather than a few."""

import pytest

from kinetics.cost.memory import MemoryNeed
from kinetics.prediction.step_sweep import USABLE_FRACTION, step_memory_of
from kinetics.report.sources import read_sources
from kinetics.report.whole_steps import _step_query, largest_batch, parse_prices, step_table
from kinetics.specs.models import find_model

MEMORY = 24 * 2**30
CPU = {"kind": "cpu", "name": "Made CPU", "total_memory_bytes": MEMORY}


def step(row, operation="step_dense", *, model="Qwen3-0.6B", layers=28, seconds=0.5, **fields):
    batch = fields.get("batch", 1)
    return row(
        operation, provider="engine", model=model, num_layers=layers, full_model_s=seconds, kv_dtype="float32",
        full_model_is_extrapolated=layers < 28, tokens_per_s=batch / seconds, samples=[seconds] * 9, **fields,
    )  # fmt: skip


@pytest.fixture
def files(result):
    return lambda rows, **fields: (
        read_sources([result("a.json", rows, **{"identity": CPU} | fields)], baseline=None).files
    )


def lines(table):
    return [dict(zip(table.columns, line, strict=True)) for line in table.rows]


def test_the_step_of_all_layers_stands_for_those_of_a_few(files, row):
    found = lines(step_table(files([step(row, layers=2, seconds=0.9), step(row, layers=28)]), {}))
    assert [(line["how"], line["tokens/s"], line["step, all layers"]) for line in found] == [
        ("measured", "2", "500 ms")
    ]


def test_sparse_steps_are_held_against_the_dense_one_of_their_cell(files, row):
    rows = [step(row), step(row, "step_block_topk", kv_budget=512, seconds=0.2), step(row, batch=8, seconds=5.0)]
    found = {(line["attention"], line["batch"]): line["over dense"] for line in lines(step_table(files(rows), {}))}
    assert found == {("dense", "1"): "-", ("block_topk", "1"): "2.50x", ("dense", "8"): "-"}


def test_a_price_an_hour_prices_a_million_tokens(files, row):
    (found,) = lines(step_table(files([step(row)]), {"A": 3.6}))
    assert found["$ / million tokens"] == "500"  # 2 tokens/s: 7,200 an hour, 3.6 dollars


def test_the_largest_batch_fits_and_one_more_does_not(files, row):
    (file,) = files([step(row)])
    batch = largest_batch(file, file.rows[0])
    weights = 4 * find_model("Qwen3-0.6B").num_parameters
    keys_and_values = find_model("Qwen3-0.6B").kv_bytes_per_token(4) * 1024
    assert batch == pytest.approx((USABLE_FRACTION * MEMORY - weights) / keys_and_values, rel=0.05)

    def needed(count) -> MemoryNeed:
        from dataclasses import replace

        return step_memory_of(replace(_step_query(file.rows[0]), batch=count))

    assert needed(batch).num_bytes <= USABLE_FRACTION * MEMORY < needed(batch + 1).num_bytes


def test_weights_that_do_not_fit_leave_no_batch(files, row):
    (line,) = lines(step_table(files([step(row, model="Qwen3-32B", layers=2)]), {}))
    assert line["largest batch"] == "none"


@pytest.mark.parametrize("fields", [{"model": "nobody's"}, {"model": "../../etc/passwd.json"}, {"dtype": "int3"}])
def test_what_no_table_knows_has_no_largest_batch_and_is_looked_for_nowhere(files, row, fields):
    (file,) = files([step(row) if "model" not in fields else step(row, **fields)])
    made = file.rows[0] if "model" in fields else files([step(row, **fields)])[0].rows[0]
    if "dtype" in fields:
        made.fields["kv_dtype"] = None  # type: ignore[index]
    assert largest_batch(file, made) is None


@pytest.mark.parametrize(
    ("text", "prices"), [("", {}), ("3.5", {"A": 3.5}), ("A=2", {"A": 2.0}), (" A = 2 ,", {"A": 2.0})]
)
def test_prices_are_read(files, row, text, prices):
    assert parse_prices(text, files([row()])) == prices


@pytest.mark.parametrize("text", ["B=2", "A=", "A=-1", "nan", "0", "inf", "x", "1e9", "A=1=2"])
def test_prices_that_cannot_be_are_one_line(files, row, text):
    with pytest.raises(ValueError, match="--dollars-per-hour must") as raised:
        parse_prices(text, files([row()]))
    assert "\n" not in str(raised.value)
