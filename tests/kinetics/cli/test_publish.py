"""`kinetics publish`: refuses in one line with exit code 3, publishes whole, and says what it quoted where."""

import json

import pytest
from typer.testing import CliRunner

from kinetics.cli.main import app
from tests.support.made_runs import make_run


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text("<!-- published: run -->\n<!-- /published -->\n")
    (tmp_path / "results").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_file(checkout, **changes):
    path = checkout / "runs" / "cpu-made-zen5-2c" / "r.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(make_run(**changes)))
    return str(path)


def publish(*arguments):
    return CliRunner().invoke(app, ["publish", *arguments])


def test_a_fit_run_is_copied_and_quoted(checkout):
    done = publish(run_file(checkout))
    assert done.exit_code == 0, done.stderr
    assert (checkout / "results" / "cpu-made-zen5-2c" / "r.json").exists()
    assert "README.md: run" in done.stdout
    assert "[a run](results/cpu-made-zen5-2c/r.json)" in (checkout / "README.md").read_text()


def test_every_doubt_is_named_with_its_reason_and_nothing_is_written(checkout):
    before = (checkout / "README.md").read_text()
    done = publish(run_file(checkout, is_partial=True, commit_info={"id": "0" * 40, "dirty": True}))
    assert done.exit_code == 3
    assert done.stderr.count("\n") == 1
    for words in ("dirty: the source tree", "partial: the run did not", "--allow dirty,partial"):
        assert words in done.stderr
    assert list((checkout / "results").iterdir()) == []
    assert (checkout / "README.md").read_text() == before


def test_only_the_doubts_that_are_named_are_overruled(checkout):
    path = run_file(checkout, is_partial=True, disturbed="load 9")
    assert publish(path, "--allow", "partial").exit_code == 3
    assert publish(path, "--allow", "partial,disturbed").exit_code == 0


def test_without_quotes_documents_stay_as_they_are(checkout):
    before = (checkout / "README.md").read_text()
    done = publish(run_file(checkout), "--no-quote", "--json")
    assert json.loads(done.stdout)["quotes"] == {}
    assert (checkout / "README.md").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("none.json",), 3, "cannot be read"),
        (("README.md",), 3, "is not JSON"),
        (("runs/cpu-made-zen5-2c/r.json", "--allow", "busy,all"), 2, "--allow must be among dirty, busy"),
    ],
)
def test_what_cannot_work_is_one_line(checkout, arguments, code, message):
    run_file(checkout)
    done = publish(*arguments)
    assert done.exit_code == code
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
