"""Where sparse pays on real GPUs: as their tables say, and as fits of short contexts foresaw."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics.files.lines import DataFileError
from kinetics.prediction.silicon_package import systems_folder
from kinetics.results import silicon_pairs
from kinetics.results.silicon_document import committed_pairs, pairs_text, parse_pairs
from kinetics.results.silicon_pairs import LONGEST_FITTED, measured_pairs
from kinetics.results.silicon_tables import agreement, reading_table
from kinetics.results.sparse_silicon import Cell, PairKind, SparsePair, crossovers_of
from tests.support.measured_tables import BATCHES, msa_dense_ms, rewrite, write_msa_tables, write_pair_tables
from tests.support.paths import ROOT

FOUND_BEFORE = [
    ("H200", "vllm", 16, 24_900), ("H200", "vllm", 64, 6_000), ("H200", "vllm", 256, 3_400),
    ("H100", "vllm", 16, 24_500), ("H100", "vllm", 64, 6_200), ("H100", "vllm", 256, 3_600),
    ("B200", "vllm", 16, 53_000), ("B200", "vllm", 64, 13_500), ("B200", "vllm", 256, 5_100),
    ("GB300", "vllm", 16, 30_600), ("GB300", "vllm", 64, 7_300), ("GB300", "vllm", 256, 3_000),
]  # fmt: skip
"""Crossovers of DSA over dense latents, by hand from the tables, to two or three digits."""


def pair_of(device: str, framework: str, kind: PairKind = PairKind.DSA) -> SparsePair:
    (found,) = [
        pair
        for pair in committed_pairs()
        if (pair.kind, pair.framework, pair.device.split()[0]) == (kind, framework, device)
    ]
    return found


def of_kind(kind: PairKind) -> list[SparsePair]:
    return [pair for pair in committed_pairs() if pair.kind is kind]


@pytest.mark.parametrize(("device", "framework", "batch", "context"), FOUND_BEFORE)
def test_crossovers_found_by_hand_are_reproduced_and_were_foreseen(device, framework, batch, context):
    (one,) = [one for one in crossovers_of(pair_of(device, framework)) if one.batch == batch]
    assert one.measured == pytest.approx(context, rel=0.01)
    assert 1 / 1.25 <= one.predicted / one.measured <= 1.25


def test_other_kernels_cross_later():
    for device in ("H200", "B200"):
        (one,) = [one for one in crossovers_of(pair_of(device, "trtllm")) if one.batch == 64]
        assert 9_400 <= one.measured <= 10_900


def test_sparse_latents_never_paid_for_one_request():
    for pair in of_kind(PairKind.DSA):
        assert all(cell.measured < 1 for cell in pair.line(1)), pair.device


def test_the_greatest_speedup_of_an_h200_is_at_the_longest_context():
    fastest = max(pair_of("H200", "vllm").cells, key=lambda cell: cell.measured)
    assert (fastest.batch, fastest.context_len) == (256, 131_072)
    assert fastest.measured == pytest.approx(6.8, rel=0.01)


def test_nine_in_ten_crossovers_of_indexed_latents_are_foreseen_the_far_ones_too():
    near, far = agreement(of_kind(PairKind.DSA)), agreement(of_kind(PairKind.DSA), longer_than=LONGEST_FITTED)
    assert near.num_close >= 0.95 * near.num_crossovers
    assert near.median_factor < 1.05
    assert far.num_crossovers >= 20
    assert far.num_close >= 0.8 * far.num_crossovers


def test_documents_quote_what_is_found_here():
    dsa, msa = agreement(of_kind(PairKind.DSA)), agreement(of_kind(PairKind.MSA))
    (one,) = [one for one in crossovers_of(pair_of("H200", "vllm")) if one.batch == 16]
    readme, explained = (" ".join((ROOT / name).read_text().split()) for name in ("README.md", "docs/silicon.md"))
    far = agreement(of_kind(PairKind.DSA), longer_than=LONGEST_FITTED)
    beyond = f"{far.num_close} of {far.num_crossovers} beyond 16k"
    assert f"{dsa.num_close} of {dsa.num_crossovers} crossovers within 1.25x, {beyond}" in readme
    assert f"from {one.measured:,.0f} on for 16" in readme
    for found in (dsa, msa):
        assert f"{found.num_close} of {found.num_crossovers}" in explained
        assert f"{found.median_factor:.2f}x" in explained
        assert f"{found.worst_factor:.2f}x" in explained


def test_four_in_five_crossovers_of_block_sparse_attention_are_foreseen():
    found = agreement(of_kind(PairKind.MSA))
    assert found.num_close >= 0.8 * found.num_crossovers
    assert found.median_factor < 1.1


def test_every_pair_says_whose_it_is_and_what_the_predictions_saw():
    for pair in committed_pairs():
        assert pair.source == "aiconfigurator-core 0.12.0 (NVIDIA, Apache-2.0)"
        assert pair.longest_fitted == LONGEST_FITTED
        assert pair.kind is PairKind.MSA or pair.version == pair.dense_version
        assert (pair.kind is PairKind.MSA) == all(cell.projections_s > 0 for cell in pair.cells)


def test_the_document_reads_back_as_it_was_written():
    text = pairs_text(committed_pairs())
    assert parse_pairs(text) == list(committed_pairs())
    assert pairs_text(parse_pairs(text)) == text


seconds = st.floats(1e-6, 1.0)


@given(st.lists(st.tuples(seconds, seconds), min_size=2, max_size=8), st.floats(0.1, 10.0))
def test_a_clock_that_runs_faster_moves_no_crossover(times, factor):
    def pair_at(scale: float) -> SparsePair:
        cells = tuple(
            Cell(
                batch=1, context_len=512 << index, projections_s=0.0, dense_s=dense * scale, sparse_s=sparse * scale,
                predicted_dense_s=sparse * scale, predicted_sparse_s=dense * scale,
            )
            for index, (dense, sparse) in enumerate(times)
        )  # fmt: skip
        return replace(committed_pairs()[0], cells=cells)

    one, other = crossovers_of(pair_at(1.0))[0], crossovers_of(pair_at(factor))[0]
    for side in ("measured", "predicted"):
        here, there = getattr(one, side), getattr(other, side)
        assert (here is None) == (there is None) or any(d / s == pytest.approx(1.0) for d, s in times)
        if here is not None and there is not None:
            assert there == pytest.approx(here, rel=1e-6)


def test_tables_give_back_the_crossovers_that_they_were_made_with(tmp_path, monkeypatch):
    monkeypatch.setattr(silicon_pairs, "published_source", lambda: "made")
    folder = write_pair_tables(tmp_path, pays_from=lambda batch: 100_000 / batch)
    (pair,) = measured_pairs(folder, PairKind.DSA, systems=[], frameworks=[], longest_fitted=LONGEST_FITTED)
    assert (pair.device, pair.framework, pair.dense_kernel) == ("H200 SXM 141GB", "vllm", "made")
    crossings = {one.batch: one.measured for one in crossovers_of(pair)}
    assert crossings == {batch: pytest.approx(100_000 / batch, rel=1e-4) for batch in BATCHES}
    assert {cell.context_len for cell in pair.cells} == {2**power for power in range(9, 18)}
    assert (pair.weights, {cell.projections_s for cell in pair.cells}) == ("fp8_block", {0.0})


def test_dense_attention_without_projections_gets_them_from_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(silicon_pairs, "published_source", lambda: "made")
    folder = write_msa_tables(tmp_path)
    (pair,) = measured_pairs(folder, PairKind.MSA, systems=[], frameworks=[], longest_fitted=LONGEST_FITTED)
    assert (pair.version, pair.dense_version, pair.weights) == ("0.5.16", "0.5.14", "bf16")
    added = {cell.batch: cell.projections_s for cell in pair.cells}
    assert all(0 < added[batch] < 1e-3 for batch in BATCHES)
    for cell in pair.cells:
        attention_s = 1e-3 * msa_dense_ms(cell.batch, cell.context_len)
        assert cell.dense_s == pytest.approx(attention_s + added[cell.batch])
        assert cell.predicted_dense_s == pytest.approx(attention_s + added[cell.batch], rel=0.15)
        assert cell.sparse_s == pytest.approx(1e-3)


def test_predictions_see_no_context_beyond_what_they_say(tmp_path, monkeypatch):
    monkeypatch.setattr(silicon_pairs, "published_source", lambda: "made")
    predicted = []
    for far in (1.0, 7.0):
        folder = write_pair_tables(tmp_path / str(far), pays_from=lambda batch: 100_000 / batch)
        for path in folder.rglob("*.parquet"):
            rewrite(path, lambda table, far=far: slower_beyond(table, LONGEST_FITTED, far))
        (pair,) = measured_pairs(folder, PairKind.DSA, systems=[], frameworks=[], longest_fitted=LONGEST_FITTED)
        predicted.append([(cell.predicted_dense_s, cell.predicted_sparse_s) for cell in pair.cells])
    assert predicted[0] == predicted[1]


def slower_beyond(table, context_len, factor):
    import pyarrow

    latencies = [
        latency * (factor if step > context_len else 1.0)  # the step that counts the new token is one longer
        for latency, step in zip(table["latency"].to_pylist(), table["step"].to_pylist(), strict=True)
    ]
    index = table.column_names.index("latency")
    return table.set_column(index, "latency", pyarrow.array(latencies))


def test_a_table_without_a_column_is_named(tmp_path):
    folder = write_pair_tables(tmp_path, pays_from=lambda batch: 100_000 / batch)
    path = next(folder.rglob("dsa_*.parquet"))
    rewrite(path, lambda table: table.drop_columns(["step"]))
    with pytest.raises(DataFileError, match=r"dsa_generation.*must have a column step, got none; .*another version"):
        list(measured_pairs(folder, PairKind.DSA, systems=[], frameworks=[], longest_fitted=LONGEST_FITTED))


def test_people_read_contexts_in_two_digits_and_what_lies_beyond():
    table = reading_table([pair_of("H200", "vllm")], "h200")
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert (row["device"], row["by"]) == ("H200", "vllm")
    assert row["batch 1"] == ">128k/>128k"
    assert row["batch 16"].startswith("24k/")
    assert row["batch 256"].startswith("3.3k/")
    everywhere = reading_table([pair_of("GB300", "vllm", PairKind.MSA)], "gb300")
    assert everywhere.rows[0][2] == "<512/<512"


@pytest.mark.skipif(systems_folder() is None, reason="aiconfigurator-core is not installed (extra: silicon)")
def test_what_is_committed_is_what_the_tables_say():
    folder = systems_folder()
    assert isinstance(folder, Path)
    for kind in PairKind:
        where = {"systems": ["h200_sxm"], "frameworks": ["vllm"]}
        found = measured_pairs(folder, kind, **where, longest_fitted=LONGEST_FITTED)
        assert parse_pairs(pairs_text(found)) == [pair_of("H200", "vllm", kind)]
