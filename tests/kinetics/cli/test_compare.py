"""The verbs `compare` and `import-latencies`: every format says the same, every bad input is one line."""

import csv
import io
import json

import pytest
from typer.testing import CliRunner

from kinetics.cli.main import app
from kinetics.results.reader import Origin, read_result_files
from kinetics.specs.hardware import find_accelerator

HEADER = "hw,kernel_source,src,batch_size,kv_len,num_heads,num_key_value_heads,head_dim,latency_ms"


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def pair(result, row):
    """A run and a faster one on the same device, one case of each without counterpart, one skip, one invalid row."""
    samples = [1e-3 * (1 + i / 50) for i in range(9)]
    old = [row(context_len=c, samples=samples) for c in (1024, 8192)]
    new = [row(context_len=c, samples=[s / 2 for s in samples]) for c in (1024, 4096)]
    new.append(row(context_len=2048, batch=-1))
    skipped = [{"name": "dense-fa3", "reason": "runs on cuda alone"}]
    return result("old.json", old), result("new.json", new, skipped=skipped)


def test_json_carries_the_ratio_with_its_interval_and_everything_left_out(pair):
    found = json.loads(run("compare", *pair, "--json").stdout)
    base, candidate = found["cases"]
    assert (base["ratio"], candidate["ratio"]) == (None, 0.5)
    assert candidate["ratio_low"] < 0.5 < candidate["ratio_high"] < 1
    assert candidate["context_len"] == 1024
    assert {(item["file"][0], item["kind"]) for item in found["left_out"]} == {
        ("A", "only here"),
        ("B", "only here"),
        ("B", "skipped"),
        ("B", "invalid"),
    }
    assert found["ratios"][0]["num_faster"] == 1
    assert "kinetics gate" in found["remarks"][0]


def test_csv_is_one_line_per_case_and_file(pair):
    lines = list(csv.DictReader(io.StringIO(run("compare", *pair, "--format", "csv").stdout)))
    assert [line["file"] for line in lines] == ["A Made CPU", "B Made CPU"]
    assert float(lines[1]["ratio"]) == 0.5


@pytest.mark.parametrize("wanted", ["table", "markdown"])
def test_tables_for_people_name_ratio_skip_and_reason(pair, wanted):
    text = run("compare", *pair, "--format", wanted, "--all").stdout
    for part in ("0.500", "faster", "runs on cuda alone", "batch must be a count above 0", "no counterpart"):
        assert part in text, part


def test_out_writes_what_stdout_would_say(pair, tmp_path):
    out = tmp_path / "folder" / "compared.md"
    done = run("compare", *pair, "--format", "markdown", "--out", out)
    assert done.stdout == ""
    assert out.read_text() == run("compare", *pair, "--format", "markdown").stdout


def test_markup_and_control_characters_in_names_stay_text(result, row):
    name = "[red]x[/red]|<b>\x1b[31m"
    path = result("a.json", [row(provider=name)])
    assert "\x1b[31m" not in run("compare", path, path).stdout
    markdown = run("compare", path, path, "--format", "markdown").stdout
    assert "<b>" not in markdown
    assert "\\|&lt;b&gt;" in markdown
    assert "\x1b" not in markdown


def test_a_backslash_before_a_pipe_frees_no_cell_of_a_markdown_table(result, row):
    path = result("a.json", [row(provider="a\\|b\nc")])
    markdown = run("compare", path, path, "--format", "markdown").stdout
    assert "a\\\\\\|b?c" in markdown


@pytest.mark.parametrize("wanted", ["table", "markdown", "json", "csv"])
def test_joules_stand_beside_times_where_rows_have_them(result, row, wanted):
    metered = result("a.json", [row(joules_per_token=0.25)])
    text = run("compare", metered, metered, "--format", wanted, "--all").stdout
    assert ("mJ/token" if wanted in ("table", "markdown") else "joules_per_token") in text
    assert ("250" if wanted in ("table", "markdown") else "0.25") in text
    plain = result("b.json", [row()])
    assert "mJ/token" not in run("compare", plain, plain, "--format", wanted, "--all").stdout


def test_joules_stand_beside_times_across_devices(result, row):
    gpu = result("b.json", [row(joules_per_token=0.25)], device="Made GPU", slug="made-gpu")
    text = run("compare", result("a.json", [row()]), gpu, "--all").stdout
    assert "mJ/token" in text
    assert "250" in text


@pytest.mark.parametrize("verb", ["compare", "report"])
def test_files_of_the_gate_are_left_aside_and_named(result, row, tmp_path, verb):
    gate_file = result("aa-gate.json", [], kind="gate", mode="aa")
    paths = [result("a.json", [row()]), gate_file, result("b.json", [row()])]
    done = run(verb, *paths, *(["--out", tmp_path / "page.html"] if verb == "report" else []))
    assert done.exit_code == 0, done.stderr
    assert done.stderr == (
        f"kinetics: {gate_file}: left aside, a file of kinetics gate or kinetics gate self-test holds no rows\n"
    )


def test_a_crossover_says_in_words_what_was_measured_and_what_predicted(result, row):
    rows = [row(context_len=c, samples=[c * 1e-6] * 9) for c in (1024, 4096)]
    rows += [row("block_topk", context_len=c, kv_budget=512, samples=[2e-3] * 9) for c in (1024, 4096)]
    path = result("a.json", rows)
    found = json.loads(run("compare", path, path, "--json").stdout)["crossovers"][0]
    assert found["note"] == "measured from 2000 tokens on, predicted from the shortest context on, 1k"


def test_crossovers_and_prediction_errors_stand_beside_the_times(result, row):
    rows = [row(context_len=c, samples=[c * 1e-6] * 9) for c in (1024, 2048, 4096)]
    rows += [
        row("block_topk", context_len=c, kv_budget=512, samples=[2e-3] * 9, predicted_s=1e-3)
        for c in (1024, 2048, 4096)
    ]
    found = json.loads(run("compare", result("a.json", rows), result("b.json", rows), "--json").stdout)
    assert [line["measured_context_len"] for line in found["crossovers"]] == [pytest.approx(2000, rel=1e-3)] * 2
    (sparse, _) = [line for line in found["predictions"] if line["operation"] == "block_topk"]
    assert sparse["median_measured_over_predicted"] == pytest.approx(2.0)


def bad_files(result, row, tmp_path):
    good = result("good.json", [row(case="dense")])
    half = tmp_path / "half.json"
    half.write_text(good.read_text()[:-30])
    other = tmp_path / "other.json"
    other.write_text('{"rows": []}')
    listed = tmp_path / "list.json"
    listed.write_text("[1]")
    twin = row(case="dense", dtype="bfloat16")
    return {
        "half": (good, half),
        "missing": (good, tmp_path / "none.json"),
        "other": (good, other),
        "list": (good, listed),
        "schema": (good, result("schema.json", [row()], schema=7)),
        "version": (good, result("text.json", [row()], schema="1")),
        "empty": (good, result("empty.json", [])),
        "disjoint": (good, result("disjoint.json", [row(context_len=4096)])),
        "dtype": (good, result("dtype.json", [twin])),
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("half", "half.json: is not JSON"),
        ("missing", "none.json: cannot be read"),
        ("other", "other.json: is not a result file (no list named benchmarks)"),
        ("list", "list.json: is not a result file"),
        ("schema", "schema.json: schema must be 1, got 7; measure again"),
        ("version", "text.json: schema must be 1, got '1'; measure again"),
        ("empty", "empty.json: a result file must hold a usable row, got 0 rows that are not"),
        ("disjoint", "files must share a case, got none; measure the same --model"),
        ("dtype", "another case under this name: dtype float32 here, bfloat16 there; measure both alike"),
    ],
)
def test_an_unusable_file_is_one_line_and_exit_code_three(result, row, tmp_path, name, message):
    done = run("compare", *bad_files(result, row, tmp_path)[name])
    assert done.exit_code == 3
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert done.stdout == ""


def test_one_file_is_a_usage_error(result, row):
    done = run("compare", result("a.json", [row()]))
    assert (done.exit_code, done.stderr) == (
        2,
        "kinetics: compare needs at least two result files, got 1; name a second one\n",
    )


def test_an_unwritable_output_is_one_line(pair, tmp_path):
    (tmp_path / "file").write_text("")
    done = run("compare", *pair, "--json", "--out", tmp_path / "file" / "x.json")
    assert done.exit_code == 3
    assert "cannot be written" in done.stderr


@pytest.fixture
def table(tmp_path):
    """A latency table of two devices that reach exactly half of their data sheet's bandwidth."""
    lines = [HEADER]
    for hw, name in (("h200_sxm", "H200"), ("a100_sxm", "A100-80GB SXM")):
        for heads in (32, 64):
            for batch, context in ((1, 1024), (4, 1024), (4, 8192), (64, 8192)):
                num_bytes = batch * 2 * 2 * (context * 8 * 128 + heads * 128)
                ms = 1e3 * num_bytes / find_accelerator(name).memory_bytes_per_s / 0.5
                lines.append(f"{hw},fa3,made/1,{batch},{context},{heads},8,128,{ms!r}")
    path = tmp_path / "latencies.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_imported_latencies_say_that_they_were_published_and_reach_what_was_planted(table, tmp_path):
    done = run("import-latencies", table, "--out", tmp_path / "published", "--json")
    paths = json.loads(done.stdout)["files"]
    assert [path.rsplit("/", 1)[1] for path in paths] == ["h200-sxm-141gb.json", "a100-80gb-sxm.json"]
    for file in read_result_files([tmp_path / "published" / path.rsplit("/", 1)[1] for path in paths]):
        assert file.origin is Origin.PUBLISHED
        assert file.label.endswith("(published)")
        assert (file.source, file.ceiling_kind, file.started_utc) == ("made/1", "data sheet", "")
        assert len(file.rows) == 8
        for row in file.rows:
            assert row.fields["fraction_of_ceiling"] == pytest.approx(0.5, rel=1e-6)
            assert row.fields["achieved_bytes_per_s"] == pytest.approx(0.5 * file.data_sheet_bytes_per_s, rel=1e-6)
            assert row.fields["max_abs_error"] is None
            assert row.fields["iqr_fraction"] is None


def test_a_selection_takes_the_head_shapes_of_a_model(table, tmp_path):
    run("import-latencies", table, "--out", tmp_path, "--model", "qwen3_8b", "--batch", "4", "--context", "1k,8k")
    (file,) = read_result_files([tmp_path / "h200-sxm-141gb.json"])
    assert {(row.fields["num_q_heads"], row.fields["batch"]) for row in file.rows} == {(32, 4)}
    assert {row.fields["context_len"] for row in file.rows} == {1024, 8192}


def test_a_measured_cpu_and_two_published_accelerators_stand_side_by_side(table, tmp_path, result, row):
    run("import-latencies", table, "--out", tmp_path)
    cpu = result("cpu.json", [row(batch=4, context_len=8192, samples=[0.02] * 9)])
    files = [cpu, tmp_path / "h200-sxm-141gb.json", tmp_path / "a100-80gb-sxm.json"]
    cases = json.loads(run("compare", *files, "--json").stdout)["cases"]
    shared = [line for line in cases if line["context_len"] == 8192 and line["batch"] == 4 and "8B" in line["case"]]
    assert [line["ceiling_kind"] for line in shared] == ["measured", "data sheet", "data sheet"]
    assert "dtype float32 / bfloat16" in shared[1]["differs_in"]
    num_bytes = 4 * 2 * 2 * (8192 * 8 * 128 + 32 * 128)
    assert shared[1]["ratio"] == pytest.approx(num_bytes / 2.4e12 / 0.02, rel=1e-6)
    text = run("compare", *files, "--all").stdout
    assert "not measured or proved here" in text
    assert "dtype float32 / bfloat16" in " ".join(text.split())


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--batch", "0"), 2, "a count must be a positive integer"),
        (("--model", "guess"), 2, "guess"),
        (("--context", "3k"), 3, "table must hold a wanted row, got none"),
    ],
)
def test_a_wrong_selection_is_one_line(table, tmp_path, options, code, message):
    done = run("import-latencies", table, "--out", tmp_path, *options)
    assert done.exit_code == code
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_shape_that_stands_twice_in_a_table_is_refused(table, tmp_path):
    table.write_text(table.read_text() + table.read_text().splitlines()[1] + "\n")
    done = run("import-latencies", table, "--out", tmp_path)
    assert done.exit_code == 3
    assert "a shape must stand once per kernel" in done.stderr


def test_a_missing_table_is_one_line(tmp_path):
    done = run("import-latencies", tmp_path / "none.csv")
    assert (done.exit_code, done.stderr.count("\n")) == (3, 1)
