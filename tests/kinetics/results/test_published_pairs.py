"""Published pairs of modules as result files: labelled, complete, below no roof, and paired like rows of ours."""

import json

import pytest
from typer.testing import CliRunner

from kinetics.cli.main import app
from kinetics.compare.tables import paired_fields
from kinetics.report.heatmaps import draw_map, speedup_maps
from kinetics.results.published import LatencySelection
from kinetics.results.published_pairs import import_pairs, pairs_document
from kinetics.results.reader import Origin, read_result_files
from kinetics.results.silicon_document import committed_pairs
from kinetics.results.silicon_pairs import LONGEST_FITTED
from kinetics.results.sparse_silicon import PairKind, crossovers_of
from kinetics.results.speedup import crossovers, speedups

ALL = LatencySelection()
H200_VLLM = [pair for pair in committed_pairs() if (pair.device, pair.framework) == ("H200 SXM 141GB", "vllm")]


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def h200(tmp_path_factory):
    (path,) = import_pairs(H200_VLLM, tmp_path_factory.mktemp("published"), selection=ALL)
    (file,) = read_result_files([path])
    return file


def test_every_cell_becomes_two_rows_of_a_file_that_says_who_measured(h200):
    assert h200.origin is Origin.PUBLISHED
    assert h200.label == "A H200 SXM 141GB (published)"
    assert h200.source.startswith("aiconfigurator-core 0.12.0 (NVIDIA, Apache-2.0)")
    assert (len(h200.rows), h200.left_out) == (2 * sum(len(pair.cells) for pair in H200_VLLM), ())
    for row in h200.rows:
        is_far = row.fields["context_len"] > LONGEST_FITTED
        assert row.fields["calibration_role"] == ("held_out" if is_far else "fit")
        assert (row.fields["max_abs_error"], row.fields["page_size"], row.fields["cache_state"]) == (None, None, None)


def test_no_published_module_is_faster_than_its_data_sheet_allows():
    for device in dict.fromkeys(pair.device for pair in committed_pairs()):
        document = pairs_document([pair for pair in committed_pairs() if pair.device == device], ALL)
        for bench in document["benchmarks"]:
            fields = bench["extra_info"]
            assert 1.0 <= fields["measured_over_predicted"] < 25.0, (device, fields["case"])
            assert fields["fraction_of_ceiling"] <= 1.0


def test_bytes_of_a_module_are_its_weights_keys_and_index(h200):
    rows = {row.fields["case"]: row.fields for row in h200.rows}
    sparse, dense = (rows[f"{side}-vllm-dsa-b64-c32768"] for side in ("block_topk", "dense"))
    keys, index = 64 * 2048 * 576 * 2, 64 * 32_768 * 132
    all_keys = 64 * 32_768 * 576 * 2
    indexer = 1536 * 64 * 128 + 7168 * 128 + 7168 * 64  # queries, key and head weights, a byte each in fp8
    assert sparse["minimum_bytes"] - keys - index == pytest.approx(
        dense["minimum_bytes"] - all_keys + indexer, rel=1e-3
    )
    assert sparse["flop"] == 64 * 2048 * 128 * 2 * (576 + 512)
    assert dense["flop"] == 16 * sparse["flop"]


def test_crossovers_of_the_rows_are_those_of_the_pairs(h200):
    found = {
        (one.model, one.batch): (one.measured, one.calibrated) for one in crossovers(speedups(paired_fields(h200.rows)))
    }
    for pair in H200_VLLM:
        for one in crossovers_of(pair):
            assert found[pair.kind.model, one.batch] == (one.measured, one.predicted)


def test_the_report_draws_what_was_measured_beside_what_fits_foresaw(h200):
    maps = speedup_maps([h200])
    assert {(one.foreseen, len(draw_map(one))) for one in maps} == {("calibrated", 2)}
    assert [one.title for one in maps] == [
        "A H200 SXM 141GB (published): vllm dsa module, DeepSeek-V3.2, 2k tokens kept",
        "A H200 SXM 141GB (published): vllm msa module, MiniMax-M3, 2k tokens kept",
    ]


def test_the_verb_imports_a_selection_that_compare_and_report_read(tmp_path):
    options = ("--model", "deepseek v3.2", "--batch", "16,64", "--context", "8k,32k,128k")
    done = run("import-latencies", "silicon", "--out", tmp_path, *options, "--json")
    paths = json.loads(done.stdout)["files"]
    assert len(paths) == len({pair.device for pair in committed_pairs() if pair.kind is PairKind.DSA})
    first, second = tmp_path / "silicon-h200-sxm-141gb.json", tmp_path / "silicon-b200-sxm-hgx.json"
    compared = json.loads(run("compare", first, second, "--json").stdout)
    assert {case["model"] for case in compared["cases"]} == {"DeepSeek-V3.2"}
    assert {(one["batch"], one["provider"]) for one in compared["crossovers"]} >= {(16, "vllm dsa module")}
    done = run("report", first, "--out", tmp_path / "page.html")
    assert (done.exit_code, "24 rows of 1 result files" in done.stdout) == (0, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "MiniMax-M2"), "--model must be a known one, got 'MiniMax-M2'; did you mean MiniMax-M3?"),
        (("--context", "3k"), "pairs must hold a wanted cell, got none; widen --model, --batch or --context"),
    ],
)
def test_a_wrong_selection_of_pairs_is_one_line(tmp_path, options, message):
    done = run("import-latencies", "silicon", "--out", tmp_path, *options)
    assert (done.exit_code, done.stderr) == (2, f"kinetics: {message}\n")
    assert list(tmp_path.iterdir()) == []
