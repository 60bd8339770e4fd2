"""Rows match by what was measured, and ratios behave like ratios."""

import itertools
import math
import statistics

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinetics.compare.comparison import FASTEST, compare_files
from kinetics.compare.median_ratio import _interval_rank, median_interval, median_ratio
from kinetics.compare.tables import comparison_tables, remarks, tables_for_people
from kinetics.files.lines import DataFileError
from kinetics.results import store
from kinetics.results.reader import UnusedKind, read_result_files

SAMPLES = st.lists(st.floats(min_value=1e-9, max_value=1e3), min_size=1, max_size=40)


@given(SAMPLES, SAMPLES)
def test_exchanging_the_sides_inverts_ratio_and_interval(base, candidate):
    forth, back = median_ratio(base, candidate), median_ratio(candidate, base)
    assert forth.ratio * back.ratio == pytest.approx(1.0, rel=1e-12)
    if min(len(base), len(candidate)) < 5:
        assert forth.low is forth.high is back.low is None
        return
    assert forth.low * back.high == pytest.approx(1.0, rel=1e-9)
    assert forth.high * back.low == pytest.approx(1.0, rel=1e-9)
    assert forth.low <= forth.ratio <= forth.high
    assert forth.excludes_one == back.excludes_one


@given(SAMPLES)
def test_samples_against_themselves_give_one_inside_the_interval(samples):
    found = median_ratio(samples, samples)
    assert found.ratio == 1.0
    assert not found.excludes_one


@given(SAMPLES, SAMPLES, st.floats(min_value=1e-3, max_value=1e3), st.randoms())
def test_unit_and_order_of_samples_do_not_matter(base, candidate, unit, random):
    shuffled = random.sample(candidate, len(candidate))
    plain, scaled = median_ratio(base, candidate), median_ratio([unit * s for s in base], [unit * s for s in shuffled])
    assert scaled.ratio == pytest.approx(plain.ratio, rel=1e-9)
    assert (scaled.low is None) == (plain.low is None)
    if plain.low is not None:
        assert scaled.low == pytest.approx(plain.low, rel=1e-6)


@pytest.mark.parametrize(("num_samples", "rank"), [(5, 1), (6, 1), (9, 2), (20, 6), (60, 22)])
def test_the_interval_of_a_median_lies_between_the_tabled_order_statistics(num_samples, rank):
    assert median_interval(range(1, num_samples + 1)) == (rank, num_samples + 1 - rank)
    covered = sum(math.comb(num_samples, k) for k in range(rank, num_samples + 1 - rank)) / 2**num_samples
    assert covered >= (0.95 if num_samples > 5 else 0.93)


def test_an_interval_covers_the_true_ratio_about_as_often_as_it_says():
    import random

    draw = random.Random(7)
    hits = 0
    for _ in range(400):
        base = [draw.lognormvariate(0.0, 0.2) for _ in range(15)]
        candidate = [draw.lognormvariate(math.log(1.1), 0.2) for _ in range(15)]
        found = median_ratio(base, candidate)
        hits += found.low <= 1.1 <= found.high
    assert 0.92 <= hits / 400 <= 1.0


@pytest.mark.parametrize("num_samples", [*range(5, 40), 499, 500, 501, 777, 1000])
def test_ranks_are_those_counted_in_whole_numbers(num_samples):
    probability = [math.comb(num_samples, k) / 2**num_samples for k in range(num_samples // 2 + 1)]
    tails = itertools.accumulate(probability[: num_samples // 2])
    assert _interval_rank(num_samples) == sum(tail <= 0.025 for tail in tails)


def test_an_interval_of_a_million_samples_is_the_normal_one():
    low, high = median_interval(range(1, 1_000_001))
    assert (low, high) == (pytest.approx(500_000 - 980, abs=2), pytest.approx(500_001 + 980, abs=2))


def test_what_samples_tell_is_theirs_whatever_the_file_says(result, row):
    lying = row(samples=[2e-3] * 4 + [4e-3] * 5)
    lying["extra_info"] |= {
        "median_s": 1e-9, "achieved_bytes_per_s": 1e30, "fraction_of_ceiling": 0.5, "measured_over_predicted": 0.01
    }  # fmt: skip
    lying["stats"] |= {"median": 1e-9, "iqr": 5.0}
    (file,) = read_result_files([result("a.json", [lying])])
    (read,) = file.rows
    num_bytes, predicted_s = read.fields["minimum_bytes"], read.fields["predicted_s"]
    assert read.median_s == read.fields["median_s"] == 4e-3
    assert read.fields["achieved_bytes_per_s"] == num_bytes / 4e-3
    assert read.fields["fraction_of_ceiling"] == num_bytes / 4e-3 / read.fields["ceiling_bytes_per_s"]
    assert read.fields["measured_over_predicted"] == 4e-3 / predicted_s
    assert read.fields["iqr_fraction"] == pytest.approx(2e-3 / 4e-3)


def test_the_fastest_of_a_device_is_so_by_its_samples(result, row):
    liar = row(provider="liar", samples=[5e-3] * 9)
    liar["extra_info"]["median_s"] = 1e-9
    files = [result("a.json", [row(samples=[1e-3] * 9), liar]), result("b.json", [row(samples=[2e-3] * 9)], device="B")]
    cases = compare_files(read_result_files(files)).cases
    assert {entry.row.fields["provider"] for case in cases for entry in case.entries} == {"ours"}


def test_a_file_of_millions_of_samples_is_refused(result, row, monkeypatch):
    monkeypatch.setattr(store, "MAX_VALUES", 1000)
    path = result("a.json", [row(samples=[1e-3] * 2000)])
    with pytest.raises(DataFileError, match=r"a\.json: must hold at most 1000 values, got about 20\d\d; keep fewer"):
        read_result_files([path])


def test_a_ratio_needs_samples_above_zero_on_both_sides():
    for base, candidate in (([], [1.0]), ([1.0], []), ([0.0], [1.0])):
        with pytest.raises(ValueError, match="a ratio needs samples above 0 on both sides"):
            median_ratio(base, candidate)


def ratios(comparison):
    return {case.label + case.pairing: case.entries[1].ratio.ratio for case in comparison.cases}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(4)), st.permutations(range(4)))
def test_the_order_of_rows_is_irrelevant(result, row, first, second):
    contexts = (1024, 2048, 4096, 8192)
    left = [row(context_len=c, samples=[1e-3 * (i + 1)] * 9) for i, c in enumerate(contexts)]
    right = [row(context_len=c, samples=[2e-3 * (i + 2)] * 9) for i, c in enumerate(contexts)]
    plain = compare_files(read_result_files([result("a.json", left), result("b.json", right)]))
    shuffled = [result("a.json", [left[i] for i in first]), result("b.json", [right[i] for i in second])]
    mixed = compare_files(read_result_files(shuffled))
    assert [case.label for case in mixed.cases] == [case.label for case in plain.cases]
    assert ratios(mixed) == ratios(plain)
    assert len(plain.cases) == 4


def test_a_file_against_itself_gives_one_everywhere(result, row):
    path = result("a.json", [row(context_len=c, samples=(1e-3, 2e-3, 3e-3, 4e-3, 9e-3)) for c in (1024, 2048)])
    found = compare_files(read_result_files([path, path]))
    assert list(ratios(found).values()) == [1.0, 1.0]
    assert not found.left_out


def test_exchanging_two_files_inverts_every_ratio(result, row):
    slow = result("a.json", [row(context_len=c, samples=[3e-3] * 9) for c in (1024, 2048)])
    fast = result("b.json", [row(context_len=c, samples=[2e-3] * 9) for c in (1024, 2048)])
    forth = ratios(compare_files(read_result_files([slow, fast])))
    back = ratios(compare_files(read_result_files([fast, slow])))
    assert forth == pytest.approx({name: 1 / ratio for name, ratio in back.items()})
    assert list(forth.values()) == pytest.approx([2 / 3] * 2)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("operation", "append"), ("provider", "other"), ("model", "Qwen3-4B"), ("batch", 2), ("context_len", 2048),
        ("kv_budget", 256), ("page_size", 32), ("kv_layout", "nhd"), ("dtype", "float16"), ("cache_state", "warm"),
        ("graph", True), ("num_kv_heads", 4), ("num_layers", 2),
    ],
)  # fmt: skip
def test_on_one_device_every_field_of_the_case_must_agree(result, row, field, value):
    name = "same name"
    other = row(case=name)
    other["extra_info"][field] = value
    both = row(context_len=4096)
    paths = [result("a.json", [row(case=name), both]), result("b.json", [other, both])]
    found = compare_files(read_result_files(paths))
    assert [case.entries[0].row.name for case in found.cases] == [both["extra_info"]["case"]]
    reasons = [item.reason for item in found.left_out if item.name == name]
    assert len(reasons) == 2
    assert all(f"another case under this name: {field}" in reason for reason in reasons)


def test_a_renamed_row_still_matches(result, row):
    paths = [result("a.json", [row(case="old name")]), result("b.json", [row(case="new name")])]
    (case,) = compare_files(read_result_files(paths)).cases
    assert case.entries[1].row.name == "new name"


def gpu_row(row, **fields):
    return row(**({"dtype": "bfloat16", "kv_layout": "nhd", "graph": True} | fields))


def test_across_devices_shapes_match_and_the_rest_is_named(result, row):
    cpu = result("a.json", [row(samples=[1e-3] * 9)])
    gpu = result("b.json", [gpu_row(row, samples=[1e-5] * 9)], device="Made GPU", slug="made-gpu")
    (case,) = compare_files(read_result_files([cpu, gpu])).cases
    assert case.pairing == "ours"
    assert case.entries[1].ratio.ratio == pytest.approx(0.01)
    differences = {"dtype float32 / bfloat16", "kv_layout hnd / nhd", "graph False / True"}
    assert set(case.entries[1].differs_in) == differences


def test_across_devices_the_fastest_of_each_stand_for_their_devices(result, row):
    cpu = result("a.json", [row(samples=[1e-3] * 9), row(provider="sdpa", samples=[2e-3] * 9)])
    gpu = result(
        "b.json",
        [gpu_row(row, provider="fa3", samples=[1e-5] * 9), gpu_row(row, provider="fa2", samples=[2e-5] * 9)],
        device="Made GPU",
        slug="made-gpu",
    )
    found = compare_files(read_result_files([cpu, gpu]))
    (case,) = found.cases
    assert case.pairing == FASTEST
    assert [entry.row.fields["provider"] for entry in case.entries] == ["ours", "fa3"]
    left = {item.name.split("-")[1]: item.reason for item in found.left_out}
    assert left.keys() == {"sdpa", "fa2"}
    assert all("another one of this file was faster" in reason for reason in left.values())


def test_a_shared_provider_is_compared_beside_the_fastest(result, row):
    cpu = result("a.json", [row(samples=[2e-3] * 9), row(provider="sdpa", samples=[1e-3] * 9)])
    gpu = result("b.json", [gpu_row(row, samples=[1e-5] * 9)], device="Made GPU", slug="made-gpu")
    found = {case.pairing: case for case in compare_files(read_result_files([cpu, gpu])).cases}
    assert found.keys() == {"ours", FASTEST}
    assert found["ours"].entries[1].ratio.ratio == pytest.approx(1 / 200)
    assert found[FASTEST].entries[1].ratio.ratio == pytest.approx(1 / 100)


def test_ratios_of_one_provider_and_of_the_fastest_are_not_averaged_together(result, row):
    cpu = result("a.json", [row(samples=[2e-3] * 9), row(provider="sdpa", samples=[1e-3] * 9)])
    gpu = result("b.json", [gpu_row(row, samples=[1e-5] * 9)], device="Made GPU", slug="made-gpu")
    (table,) = (t for t in comparison_tables(compare_files(read_result_files([cpu, gpu]))) if t.name == "ratios")
    at = {name: table.columns.index(name) for name in ("pairing", "num_cases", "geometric_mean_ratio")}
    found = {row[at["pairing"]]: (row[at["num_cases"]], row[at["geometric_mean_ratio"]]) for row in table.rows}
    assert found == {"one provider": (1, pytest.approx(1 / 200)), FASTEST: (1, pytest.approx(1 / 100))}


def test_what_differs_stands_beside_each_ratio_for_people_too(result, row):
    cpu = result("a.json", [row()])
    gpu = result("b.json", [gpu_row(row)], device="Made GPU", slug="made-gpu")
    (cases,) = (t for t in tables_for_people(compare_files(read_result_files([cpu, gpu]))) if t.name == "cases")
    assert any("dtype float32 / bfloat16" in str(cell) for line in cases.rows for cell in line)
    assert "ceiling" in cases.columns


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"skipped": 5}, "skipped must be a list, got 5"),
        ({"machine_info": {"device": 3}}, "machine_info.device must be text or null, got 3"),
        ({"machine_info": []}, r"machine_info must be an object, got \[\]"),
        ({"commit_info": {"dirty": "no"}}, "commit_info.dirty must be true or false or null, got 'no'"),
        ({"is_partial": None}, "is_partial must be true or false, got None"),
    ],
)
def test_a_file_whose_facts_are_of_another_kind_is_refused_in_one_line(result, row, fields, complaint):
    with pytest.raises(DataFileError, match=f"a.json: {complaint}; measure again"):
        read_result_files([result("a.json", [row()], **fields)])


def test_warm_rows_never_stand_beside_cold_ones_across_devices(result, row):
    cpu = result("a.json", [row(cache_state="warm")])
    gpu = result("b.json", [gpu_row(row)], device="Made GPU", slug="made-gpu")
    with pytest.raises(DataFileError, match="files must share a case, got none"):
        compare_files(read_result_files([cpu, gpu]))


def test_steps_match_by_model_and_layers(result, row):
    def step(model, layers):
        return row("step_dense", provider="engine", model=model, num_layers=layers)

    cpu = result("a.json", [step("Qwen3-4B", 1), step("Qwen3-8B", 1)])
    gpu = result("b.json", [step("Qwen3-8B", 1), step("Qwen3-8B", 2)], device="Made GPU", slug="made-gpu")
    (case,) = compare_files(read_result_files([cpu, gpu])).cases
    assert case.entries[0].row.fields["model"] == "Qwen3-8B"


def test_three_files_have_the_first_that_holds_a_case_as_its_base(result, row):
    paths = [
        result("a.json", [row(context_len=1024, samples=[4e-3] * 9)]),
        result("b.json", [row(context_len=c, samples=[2e-3] * 9) for c in (1024, 2048)]),
        result("c.json", [row(context_len=c, samples=[1e-3] * 9) for c in (1024, 2048)]),
    ]
    found = compare_files(read_result_files(paths))
    letters = [[entry.file.letter for entry in case.entries] for case in found.cases]
    assert letters == [["A", "B", "C"], ["B", "C"]]
    assert [entry.ratio.ratio for entry in found.cases[0].entries[1:]] == [0.5, 0.25]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("batch", "4", "batch must be a count above 0, got '4'"),
        ("batch", -1, "batch must be a count above 0, got -1"),
        ("batch", True, "batch must be a count above 0, got True"),
        ("median_s", 0.0, "median_s must be above 0, got 0.0"),
        ("median_s", float("nan"), "median_s must be a finite number of at least 0, got nan"),
        ("predicted_s", float("inf"), "predicted_s must be a finite number of at least 0, got inf"),
        ("provider", ["ours"], "provider must be text, got ['ours']"),
        ("operation", None, "operation must be text, got None"),
        ("graph", [], "graph must be true or false, got []"),
        ("flop", 10**400, f"flop must be a finite number of at least 0, got 1{'0' * 39}"),
    ],
)
def test_an_unusable_row_is_listed_and_the_others_are_read(result, row, field, value, reason):
    bad = row(context_len=2048)
    bad["extra_info"][field] = value
    (file,) = read_result_files([result("a.json", [row(), bad])])
    assert len(file.rows) == 1
    assert [(item.kind, item.reason) for item in file.left_out] == [(UnusedKind.INVALID, reason)]


def test_a_case_that_stands_twice_is_invalid_the_second_time(result, row):
    (file,) = read_result_files([result("a.json", [row(case="one"), row(case="two")])])
    assert [item.reason for item in file.left_out] == ["a case must stand once in a file, got it as one too"]


def test_skips_keep_their_reason(result, row):
    skipped = [{"name": "bench/x.py::dense-fa3", "reason": "runs on cuda alone"}]
    (file,) = read_result_files([result("a.json", [row()], skipped=skipped)])
    assert [(i.file, i.kind, i.name, i.reason) for i in file.left_out] == [
        ("A Made CPU", UnusedKind.SKIPPED, "dense-fa3", "runs on cuda alone")
    ]


def test_labels_tell_files_apart_however_many_there_are(result, row):
    files = read_result_files([result("a.json", [row()])] * 28)
    assert len({file.label for file in files}) == 28
    assert [file.letter for file in itertools.islice(files, 25, 28)] == ["Z", "AA", "AB"]


def test_a_row_without_samples_compares_by_its_median(result, row):
    bare = row(samples=[4e-3] * 9)
    bare["stats"] = {"median": 4e-3}
    found = compare_files(read_result_files([result("a.json", [row(samples=[2e-3] * 9)]), result("b.json", [bare])]))
    ratio = found.cases[0].entries[1].ratio
    assert (ratio.ratio, ratio.low) == (2.0, None)
    assert statistics.median([4e-3]) == found.cases[0].entries[1].row.median_s


def made_identity(**facts):
    return {"kind": "cpu", "name": "Made CPU", "num_cpus": 2, "microarchitecture": "zen3", **facts}


@pytest.mark.parametrize(
    ("there", "difference"),
    [
        (made_identity(microarchitecture="zen5"), "microarchitecture: zen3, zen5"),
        (made_identity(num_threads=1), "threads: 2, 1"),
        (made_identity(num_cpus=4), "CPUs allowed: 2, 4"),
    ],
)
def test_devices_that_one_name_hides_are_different_ones_and_it_is_said_in_what(result, row, there, difference):
    paths = [
        result("a.json", [row()], identity=made_identity(num_threads=2)),
        result("b.json", [row()], identity=there),
    ]
    comparison = compare_files(read_result_files(paths))
    assert not comparison.is_of_one_device
    assert any(line.endswith(f"are different devices: {difference}") for line in remarks(comparison))


def test_a_file_that_tells_less_is_of_the_device_until_it_says_otherwise_and_is_marked(result, row):
    whole = made_identity(l3_bytes=2**25)
    paths = [result("a.json", [row()], identity=whole), result("b.json", [row()], identity=made_identity())]
    comparison = compare_files(read_result_files(paths))
    assert comparison.is_of_one_device
    assert "B Made CPU (zen3, 2 CPUs): identity incomplete: the file does not tell vendor" in "\n".join(
        remarks(comparison)
    )
    paths.append(result("c.json", [row()], identity=made_identity(l3_bytes=2**26)))
    assert not compare_files(read_result_files(paths)).is_of_one_device
