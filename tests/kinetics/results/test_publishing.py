"""A run is published whole or not at all, never twice under one name, and every doubt has its reason."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics.files.lines import DataFileError
from kinetics.results.publishing import Doubt, copy_run, objections, read_publishable
from kinetics.results.store import tables_folder
from tests.support.made_runs import make_run
from tests.support.paths import ROOT


def doubts(document):
    return [found.doubt for found in objections(document)]


def changed_rows(**fields):
    document = make_run()
    for bench in document["benchmarks"]:
        bench["extra_info"] = bench["extra_info"] | fields
    return document


def with_machine(**facts):
    document = make_run()
    document["machine_info"] |= facts
    return document


def without(document, part, name):
    document[part] = {key: value for key, value in document[part].items() if key != name}
    return document


def test_a_whole_run_of_a_clean_commit_on_all_cpus_of_a_quiet_machine_meets_no_doubt():
    assert objections(make_run()) == []


@pytest.mark.parametrize(
    ("document", "doubt", "reason"),
    [
        (make_run(commit_info={"id": "0" * 40, "dirty": True}), Doubt.DIRTY, "uncommitted"),
        (make_run(commit_info={"id": "unknown", "dirty": False}), Doubt.DIRTY, "no commit is known, got 'unknown'"),
        (make_run(commit_info={"id": "0" * 40}), Doubt.DIRTY, "does not say"),
        (make_run(commit_info=None), Doubt.DIRTY, "does not say"),
        (make_run(is_partial=True), Doubt.PARTIAL, "did not come to its end"),
        (
            make_run(skipped=[{"name": "a", "reason": "time budget: this file's share of 90 s was spent"}]),
            Doubt.PARTIAL,
            "left out 1 cases",
        ),
        (make_run(skipped=[{"name": "t", "reason": "failed in call; see"}]), Doubt.FAILED, "1 tests failed, such as t"),
        (with_machine(torch_threads=1), Doubt.ONE_THREADED, "on 1 of 2 CPUs"),
        (without(with_machine(), "machine_info", "torch_threads"), Doubt.ONE_THREADED, "does not tell"),
        (changed_rows(torch_threads=1), Doubt.ONE_THREADED, "on 1 of 2 CPUs"),
        (changed_rows(canary_bytes_per_s=0.5 * 2e10), Doubt.BUSY, "50 % of its own ceiling"),
        (changed_rows(disturbed="steal 20 %"), Doubt.DISTURBED, "steal 20 %"),
        (make_run(disturbed="load 9 at the end"), Doubt.DISTURBED, "load 9"),
        (changed_rows(fraction_of_ceiling=1.2), Doubt.IMPOSSIBLE, "rows beat the measured ceiling"),
    ],
)
def test_each_doubt_is_raised_by_itself_and_says_why(document, doubt, reason):
    (found,) = objections(document)
    assert found.doubt is doubt
    assert reason in found.reason
    assert str(found).startswith(doubt.value)


def test_skips_for_want_of_a_library_are_no_doubt():
    assert doubts(make_run(skipped=[{"name": "dense-fa3", "reason": "fa3: not installed"}])) == []


def test_the_published_runs_were_measured_on_all_their_cpus():
    paths = sorted((ROOT / "results").glob("cpu-*/*.json"))
    assert paths
    for path in paths:
        assert Doubt.ONE_THREADED not in doubts(json.loads(path.read_text())), path.name


def written(folder, document, name="20261128T000000Z_0123456_quick_1.json"):
    path = folder / "runs" / "cpu-made" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (make_run(kind="gate"), "got a file of kinetics gate"),
        (make_run(origin="published"), "times that others published"),
        (make_run(is_pretend=True), "pretend device"),
        (with_machine(is_pretend=True), "pretend device"),
        (make_run(benchmarks=[]), "must hold a row, got none"),
        (make_run(benchmarks=[{"name": "x"}]), "rows must be those of a run"),
        (make_run(benchmarks=[7]), "rows must be those of a run"),
        (with_machine(device_slug="../../etc"), "device_slug must be words"),
        (with_machine(device_slug=None), "device_slug must be words"),
        (make_run(machine_info=[]), "device_slug must be words"),
        (changed_rows(batch="many"), "batch must be"),
        (make_run(schema=99), "schema must be"),
    ],
)
def test_what_is_no_run_cannot_be_published_whatever_is_allowed(tmp_path, document, message):
    path = written(tmp_path, document)
    with pytest.raises(DataFileError, match=message) as error:
        read_publishable(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_the_run_and_its_tables_go_to_the_folder_of_its_device(tmp_path):
    document = make_run()
    run = written(tmp_path, document)
    tables = tables_folder(run) / "aime"
    tables.mkdir(parents=True)
    for name in ("accuracy.csv", "accuracy.md", "figure.png", "figure.svg"):
        (tables / name).write_text(name)
    (tables / ".hidden.csv").write_text("no")
    (tables / "log.jsonl").write_text("no")
    (tables / "link.csv").symlink_to(tmp_path / "runs")
    target = copy_run(run, document, tmp_path / "results")
    assert target == tmp_path / "results" / "cpu-made-zen5-2c" / run.name
    assert target.read_bytes() == run.read_bytes()
    copied = sorted(path.name for path in tables_folder(target).rglob("*") if path.is_file())
    assert copied == ["accuracy.csv", "accuracy.md", "figure.png", "figure.svg"]
    assert copy_run(target, document, tmp_path / "results") == target
    assert copy_run(run, document, tmp_path / "results") == target
    assert not [path for path in (tmp_path / "results").rglob("*") if path.name.endswith(".partial")]


def test_a_published_file_is_never_edited(tmp_path):
    document = make_run()
    target = copy_run(written(tmp_path, document), document, tmp_path / "results")
    before = target.read_bytes()
    with pytest.raises(ValueError, match="never edited"):
        copy_run(written(tmp_path, make_run(wall_s=1.0)), document, tmp_path / "results")
    assert target.read_bytes() == before


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(ValueError, match=r"results cannot be written .*--to"):
        copy_run(written(tmp_path, make_run()), make_run(), Path(tmp_path / "results"))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
PARTS = st.sampled_from(["machine_info", "commit_info", "skipped", "disturbed", "is_partial", "kind", "origin"])


@given(st.dictionaries(PARTS, ANYTHING, max_size=3))
def test_a_document_of_any_content_meets_doubts_or_one_line(tmp_path_factory, changes):
    path = tmp_path_factory.mktemp("any") / "run.json"
    path.write_text(json.dumps(make_run(**changes)))
    try:
        document = read_publishable(path)
    except DataFileError:
        return
    assert all(isinstance(found.reason, str) for found in objections(document))
