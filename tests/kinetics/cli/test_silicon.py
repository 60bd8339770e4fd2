"""`kinetics silicon` as a newcomer types it, with the package of tables and without: what it prints, draws, refuses."""

import csv
import json
import sys

import pytest

from kinetics.cli.main import main
from kinetics.prediction import silicon_package
from kinetics.results import silicon_pairs
from tests.support.measured_tables import rewrite, write_pair_tables
from tests.support.paths import ROOT


@pytest.fixture
def run(monkeypatch, capsys):
    """(exit code, stdout, stderr) of `kinetics silicon`, in 80 columns, without the package."""
    monkeypatch.setattr(silicon_package, "systems_folder", lambda: None)
    monkeypatch.setenv("COLUMNS", "80")

    def answer(*arguments):
        monkeypatch.setattr(sys, "argv", ["kinetics", "silicon", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return answer


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """A folder of made tables, as if the package were installed."""
    folder = write_pair_tables(tmp_path / "systems", pays_from=lambda batch: 100_000 / batch)
    monkeypatch.setattr(silicon_pairs, "published_source", lambda: "made tables")
    return folder


def test_all_that_was_measured_fits_80_columns_and_names_its_source(run):
    code, out, _ = run()
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    for word in ("DSA over dense MLA", "MSA over dense GQA", "RTX PRO 6000", "GB300", "trtllm", ">128k/>128k"):
        assert word in out
    assert "aiconfigurator-core 0.12.0 (NVIDIA, Apache-2.0)" in " ".join(out.split())


def test_devices_are_named_as_the_world_writes_them(run):
    answers = {run("--on", name, "--json")[1] for name in ("h200_sxm", "H200", "NVIDIA H200", "h200,H200")}
    assert len(answers) == 1
    assert {pair["device"] for pair in json.loads(answers.pop())["pairs"]} == {"H200 SXM 141GB"}


def test_json_holds_cells_in_seconds_and_the_crossovers_of_the_csv(run, tmp_path):
    path = tmp_path / "new" / "crossovers.csv"
    code, out, _ = run("--on", "H200", "--framework", "vllm", "--pair", "dsa", "--json", "--csv", str(path))
    assert code == 0
    (pair,) = json.loads(out)["pairs"]
    cells = pair["cells"]
    at = [i for i in range(len(cells["batch"])) if (cells["batch"][i], cells["context_len"][i]) == (256, 131_072)]
    assert [cells["dense_s"][i] / cells["sparse_s"][i] for i in at] == [pytest.approx(6.85, rel=0.01)]
    assert 1e-5 < min(cells["sparse_s"]) < 1e-3
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    assert [int(row["batch"]) for row in rows] == [one["batch"] for one in pair["crossovers"]]
    for row, one in zip(rows, pair["crossovers"], strict=True):
        assert float(row["measured_context_len"] or 0) == pytest.approx(one["measured"] or 0, abs=1)


@pytest.mark.parametrize("arguments", [("--on", "H200"), ("--pair", "msa"), ("--framework", "vllm")])
def test_figures_are_drawn_small(run, tmp_path, arguments):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: report)")
    path = tmp_path / "sparse.png"
    assert run(*arguments, "--figure", str(path))[0] == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size <= 200_000


@pytest.mark.parametrize(("name", "pair"), [("silicon.png", "dsa"), ("silicon_msa.png", "msa")])
def test_the_documents_figures_are_what_the_command_draws(run, tmp_path, name, pair):
    compare = pytest.importorskip("matplotlib.testing.compare", reason="matplotlib is not installed (extra: report)")
    drawn, shown = tmp_path / "drawn.png", tmp_path / "shown.png"
    assert run("--pair", pair, "--figure", str(drawn))[0] == 0
    shown.write_bytes((ROOT / "docs" / name).read_bytes())
    assert (
        compare.compare_images(str(shown), str(drawn), tol=3) is None
    )  # another matplotlib may set letters a hair apart


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--on", "H201"), "accelerator must name one row of the table, got 'H201'; did you mean "),
        (("--on", "A100"), "got none; measured: dsa by trtllm on H100, H200, B200"),
        (("--framework", "tgi"), "--framework must be of vllm, sglang, trtllm, got 'tgi'"),
        (("--pair", "nsa"), "--pair must be of dsa, msa, got 'nsa'"),
        (("--longest-fitted", "8k"), "--longest-fitted must have tables to fit, got none; pip install"),
        (("--figure", "map.tiff3"), "--figure must name a .png, .svg or .pdf"),
        (("--longest-fitted", "soon"), "a count must be a positive integer such as 1024 or 32k, got 'soon'"),
    ],
)
def test_what_cannot_be_answered_is_one_line(run, arguments, said):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "name", "said"),
    [
        ("--figure", "file/below.png", "cannot be written"),
        ("--csv", "file/below.csv", "cannot be written"),
    ],
)
def test_a_file_that_cannot_be_written_is_one_line(run, tmp_path, option, name, said):
    (tmp_path / "file").write_text("")
    code, out, err = run("--on", "H200", option, str(tmp_path / name))
    assert (code, out) == (3, "")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("verb", ["silicon", "predict"])
def test_a_figure_without_matplotlib_names_what_to_install(run, monkeypatch, capsys, verb):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(sys, "argv", ["kinetics", verb, "--on", "H200", "--figure", "map.png"])
    with pytest.raises(SystemExit) as ended:
        main()
    err = capsys.readouterr().err
    assert ended.value.code == 2
    assert err.startswith("kinetics: --figure needs matplotlib, not installed; pip install ")
    assert err.count("\n") == 1


def test_installed_tables_are_read_and_fitted_as_far_as_asked(run, tables, monkeypatch):
    monkeypatch.setattr(silicon_package, "systems_folder", lambda: tables)
    code, out, _ = run("--json", "--longest-fitted", "8k")
    assert code == 0
    (pair,) = json.loads(out)["pairs"]
    assert (pair["source"], pair["longest_fitted"]) == ("made tables", 8192)
    assert pair["crossovers"][0]["measured"] == pytest.approx(100_000, rel=1e-3)
    assert run("--on", "H200", "--longest-fitted", "64")[::2] == (
        2,
        "kinetics: a fit must have rows, got none of made of vllm 0.24.0 on h200_sxm; fit more contexts\n",
    )


def test_tables_of_another_version_are_named_in_one_line(run, tables, monkeypatch):
    monkeypatch.setattr(silicon_package, "systems_folder", lambda: tables)
    path = next(tables.rglob("mla_*.parquet"))
    rewrite(path, lambda table: table.rename_columns([f"new_{name}" for name in table.column_names]))
    code, out, err = run("--pair", "dsa")
    assert (code, out) == (3, "")
    assert err.endswith("table must have a column kernel_source, got none; is it of another version?\n")
    path.write_bytes(b"PAR1 and no more")
    code, _, err = run("--pair", "dsa")
    assert code == 3
    assert "mla_generation_module_perf.parquet: table cannot be read" in err
    assert len(err.splitlines()) == 1
