"""A gate for somebody's own suite: verdicts on planted changes, and a line on all that cannot be judged."""

import json

import pytest

from kinetics.gate.suite import CannotJudgeError, gate_suite
from kinetics.gate.suite_tables import suite_markdown, suite_remarks
from kinetics.gate.suite_verdicts import complete_suite, suite_verdicts
from kinetics.gate.verdicts import exit_code
from tests.support.tiny_bench_suite import COST, HEAD, commit, dedent, make_suite, request, write

TESTS = """
    CALLS = [0]

    def breaking(name):
        CALLS[0] += 1
        if CALLS[0] > 10:
            raise OSError("out of luck")
        return package.work(name)

    @pytest.mark.parametrize("name", ["slow", "fast", "same", "wrong", "mended"])
    def test_it(benchmark, name):
        assert benchmark(package.work, name) != package.COST["fails"]

    def test_pedantic(benchmark):
        made = []
        def setup():
            package.now[0] += 100.0  # not timed
            made.append(1)
            return ("same",), {}
        def teardown(name):
            made.pop()
        benchmark.pedantic(package.work, setup=setup, teardown=teardown, rounds=3)
        assert not made
        assert benchmark.stats["median"] < 1.0

    def test_breaking(benchmark):
        benchmark(breaking if package.COST["breaks"] else package.work, "same")

    @pytest.mark.skipif(package.COST["breaks"], reason="not today")
    def test_lost(benchmark):
        benchmark(package.work, "same")

    def test_skipped(benchmark):
        pytest.skip("never")

    def test_silent(benchmark):
        pass

    def test_of_nothing():
        raise AssertionError("this one times nothing, and is not run")

    @pytest.mark.parametrize("value", [1], ids=[uuid.uuid4().hex])
    def test_unstable(benchmark, value):
        benchmark(package.work, "same")
    """
GONE, ADDED = (f"\ndef test_{name}(benchmark):\n    benchmark(package.work, 'same')\n" for name in ("gone", "added"))
BASE_COST = {"slow": 1e-3, "fast": 1e-3, "same": 1e-4, "wrong": 1e-3, "mended": 1e-3, "breaks": 0, "fails": "mended"}
NEW_COST = BASE_COST | {"slow": 1.2e-3, "fast": 0.5e-3, "breaks": 1, "fails": "wrong"}


def node(name):
    return f"tests/test_bench.py::test_{name}"


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # a side starts in a third of a second


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """The document of a gate over every kind of change."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        root = make_suite(tmp_path_factory.mktemp("suite") / "repo", TESTS, GONE, cost=json.dumps(BASE_COST))
        write(root, "tests/test_broken.py", "import nothing_of_this_name\n")
        commit(root, "broken")
        write(root, "src/package/cost.json", json.dumps(NEW_COST))
        write(root, "tests/test_bench.py", dedent(HEAD) + dedent(TESTS) + ADDED)
        document, path = gate_suite(request(root), lambda text: None)
        assert json.loads(path.read_text()) == document
        return document


@pytest.mark.parametrize(
    ("name", "verdict", "reason"),
    [
        ("it[slow]", "SLOW", ""),
        ("it[fast]", "FAST", ""),
        ("it[same]", "SAME", ""),
        ("pedantic", "SAME", ""),
        ("it[wrong]", "INVALID", "candidate: call: AssertionError"),
        ("it[mended]", "NEW", "base: call: AssertionError"),
        ("breaking", "INVALID", "candidate: call: OSError: out of luck"),
        ("lost", "MISSING", "candidate: skipped: not today"),
        ("gone", "MISSING", "only in the base"),
        ("added", "NEW", "only here"),
    ],
)
def test_every_kind_of_change_has_its_verdict(judged, name, verdict, reason):
    (row,) = [row for row in judged["verdicts"] if row["case"] == node(name)]
    assert row["verdict"] == verdict
    assert reason in row["reason"]


def test_sizes_are_those_that_were_planted_and_calls_per_second_do_not_matter(judged):
    ratios = {row["case"]: row["ratio"] for row in judged["verdicts"]}
    assert ratios[node("it[slow]")] == pytest.approx(1.2)
    assert ratios[node("it[fast]")] == pytest.approx(0.5)
    assert ratios[node("it[same]")] == pytest.approx(1.0)
    (row,) = [row for row in judged["verdicts"] if row["case"] == node("it[same]")]
    assert row["median_s"]["base"] == pytest.approx(1e-4)


def test_slow_is_said_twice_and_decided_tests_are_launched_no_more(judged):
    launches = {row["case"]: row["num_launches"] for row in judged["verdicts"]}
    assert launches[node("it[slow]")] == 8
    assert launches[node("it[same]")] == 4
    assert {run["first_side"] for run in judged["runs"]} == {"base", "candidate"}
    assert sum(run["case"] == node("it[wrong]") for run in judged["runs"]) == 1


def test_what_is_not_judged_is_said_a_line_each(judged):
    remarks = suite_remarks(judged)
    assert sum("2 tests are skipped on both sides, or never call benchmark" in line for line in remarks) == 1
    assert sum("ids change from one collection to the next" in line for line in remarks) == 1
    assert sum("candidate: not collected: tests/test_broken.py" in line for line in remarks) == 1
    assert "ModuleNotFoundError" in next(line for line in remarks if "candidate: not collected" in line)
    assert not any("\n" in line for line in remarks)
    assert not any("unstable" in row["case"] or "of_nothing" in row["case"] for row in judged["verdicts"])
    assert exit_code(suite_verdicts(judged), is_strict=False) == 1
    assert f"| {node('it[slow]')} | SLOW |" in suite_markdown(judged)


def test_a_document_is_judged_again_from_its_evidence(judged):
    again = json.loads(json.dumps(judged))
    again["benchmarks"], again["runs"] = again["runs"], []  # as a journal leaves it
    complete_suite(again)
    assert again == judged


def test_minutes_that_run_out_leave_open_tests_ambiguous(tmp_path):
    root = make_suite(tmp_path / "repo")
    document, _ = gate_suite(request(root, minutes=1e-9), lambda text: None)
    (row,) = document["verdicts"]
    assert (row["verdict"], row["reason"]) == ("AMBIGUOUS", "the time ran out after 0 launches")
    assert "the base is the candidate" in suite_remarks(document)[1]


def test_a_side_that_dies_ends_the_run_and_keeps_what_was_measured(tmp_path):
    one = "def test_one(benchmark):\n    benchmark(package.work, 'one')\n"
    two = "def test_two(benchmark):\n    benchmark(os._exit if package.COST['one'] == 2 else abs, 7)\n"
    root = make_suite(tmp_path / "repo", one, two)
    write(root, "src/package/cost.json", COST % 2)
    document, _ = gate_suite(request(root), lambda text: None)
    assert document["lost"].startswith("the candidate worker died at 'prepare' (exit code 7")
    assert document["is_partial"]
    assert [run["case"] for run in document["runs"]] == [node("one")]


def test_a_base_that_takes_the_candidates_package_is_refused(tmp_path):
    root = make_suite(tmp_path / "repo")
    with pytest.raises(CannotJudgeError, match=r"base revision \w{7}: package was imported from .*the other checkout"):
        gate_suite(request(root, paths=(str(root / "src"),)), lambda text: None)


def test_a_package_that_is_installed_elsewhere_is_refused(tmp_path):
    root = make_suite(tmp_path / "repo")
    elsewhere = make_suite(tmp_path / "elsewhere")
    with pytest.raises(CannotJudgeError, match="where it is installed, not from the checkout; let pytest find"):
        gate_suite(request(root, paths=(str(elsewhere / "src"),)), lambda text: None)


def test_a_base_that_needs_a_build_gets_one_or_a_line(tmp_path):
    root = make_suite(tmp_path / "repo")
    write(root, ".gitignore", "__pycache__/\ncost.json\n")
    (root / "src/package/cost.json").unlink()
    commit(root, "made by the build")
    write(root, "src/package/cost.json", COST % 1e-3)
    with pytest.raises(CannotJudgeError, match=r"base revision \w{7} cannot be collected: .*does it need a build"):
        gate_suite(request(root), lambda text: None)
    with pytest.raises(CannotJudgeError, match="'echo no compiler; exit 3' ended with exit code 3: no compiler"):
        gate_suite(request(root, build="echo no compiler; exit 3"), lambda text: None)
    build = """echo '{"one": 0.00101}' > src/package/cost.json"""
    document, _ = gate_suite(request(root, build=build), lambda text: None)
    (row,) = document["verdicts"]
    assert (row["verdict"], row["ratio"]) == ("SAME", pytest.approx(1 / 1.01))
    assert (root / "src/package/cost.json").read_text() == COST % 1e-3


def test_a_suite_without_a_benchmark_is_one_line(tmp_path):
    root = make_suite(tmp_path / "repo", "def test_nothing():\n    pass\n")
    with pytest.raises(CannotJudgeError, match="must have a test that uses the fixture benchmark, got none"):
        gate_suite(request(root), lambda text: None)
