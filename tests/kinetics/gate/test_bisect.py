"""The search for the commit that made a case slower: git's answers by a fake runner, timing skipped by identity."""

import json
import random
import subprocess

import pytest
from typer.testing import CliRunner

from kinetics.cli.main import app
from kinetics.gate.bisect import Answer, CannotBisectError, bisect
from kinetics.gate.bisect_case import CaseJudge, Unjudgeable
from kinetics.gate.witness.fingerprint import LAUNCH, SOURCE, VERSION
from tests.support.fake_checkout import behave, git


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """A repository of 40 commits; `speed` tells how each does: good up to the 23rd, bad from the 24th on."""
    root = tmp_path_factory.mktemp("history")
    git(root, "init", "-q", "-b", "main")
    commits = []
    for number in range(40):
        (root / "speed").write_text("bad" if number >= 23 else "good")
        (root / "number").write_text(str(number))
        git(root, "add", "-A")
        git(root, "commit", "-q", "-m", f"commit {number}")
        commits.append(git(root, "rev-parse", "HEAD"))
    return root, commits


def by_file(tree, commit):
    answer = Answer.BAD if (tree / "speed").read_text() == "bad" else Answer.GOOD
    return answer, f"it is {answer.name}", True


def quiet(text):
    return None


def test_the_first_bad_commit_is_found_in_as_many_steps_as_halving_takes(history):
    root, commits = history
    before = git(root, "status", "--porcelain", "--ignored"), git(root, "rev-parse", "HEAD"), git(root, "branch")
    found = bisect(root, commits[0], commits[-1], by_file, quiet)
    assert found.first_bad == commits[23]
    assert found.suspects == (commits[23],)
    assert 4 <= len(found.judged) <= 6
    assert all(one.subject.startswith("commit ") for one in found.judged)
    assert (
        git(root, "status", "--porcelain", "--ignored"),
        git(root, "rev-parse", "HEAD"),
        git(root, "branch"),
    ) == before
    assert git(root, "worktree", "list").count("\n") == 0
    assert subprocess.run(["git", "bisect", "log"], cwd=root, capture_output=True, check=False).returncode != 0


def test_commits_that_cannot_be_judged_leave_suspects_oldest_first(history):
    root, commits = history

    def judge(tree, commit):
        return (Answer.SKIP, "no", True) if 21 <= commits.index(commit) <= 24 else by_file(tree, commit)

    found = bisect(root, commits[15], commits[30], judge, quiet)
    assert found.first_bad is None
    assert found.suspects == tuple(commits[21:26])


def test_neighbours_need_no_step_and_every_tree_is_clean(history):
    root, commits = history
    assert bisect(root, commits[22], commits[23], by_file, quiet).judged == ()
    left = []

    def judge(tree, commit):
        left.append((tree / "made.pyc").exists())
        (tree / "made.pyc").touch()
        return by_file(tree, commit)

    assert bisect(root, commits[20], commits[30], judge, quiet).first_bad == commits[23]
    assert not any(left)


def test_ends_in_the_wrong_order_are_refused_and_a_failing_runner_ends_the_search(history):
    root, commits = history
    for good, bad in ((commits[9], commits[3]), (commits[3], commits[3])):
        with pytest.raises(CannotBisectError, match="BAD must be a descendant of GOOD"):
            bisect(root, good, bad, by_file, quiet)

    def judge(tree, commit):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bisect(root, commits[0], commits[-1], judge, quiet)
    assert git(root, "worktree", "list").count("\n") == 0


class Code:
    """Checkouts by name: their code, and how much slower each is than the first; counts launches."""

    def __init__(self, *, sd=0.01, **trees):
        self.trees, self.sd, self.num_launches = trees, sd, 0

    def fingerprint(self, tree):
        parts = {f"{SOURCE}x": self.trees[tree][0], LAUNCH: "a", f"{VERSION}y": "1"}
        return parts if self.trees[tree][0] else "none"

    def launches(self, tree):
        rng = random.Random(tree)
        while True:
            if self.trees[tree][1] is None:
                raise Unjudgeable("no such kernel")
            self.num_launches += 1
            yield self.trees[tree][1] + rng.gauss(0.0, self.sd)

    def judge(self):
        judge = CaseJudge(self.fingerprint, self.launches)
        judge.know("good", "GOOD", Answer.GOOD)
        judge.know("bad", "BAD", Answer.BAD)
        return judge


def test_code_that_is_known_is_not_timed_and_new_code_is_timed_once():
    code = Code(good=("a", 0.0), bad=("z", 0.2), docs=("a", 9.0), same=("z", 9.0), new=("b", 0.02), again=("b", 9.0))
    judge = code.judge()
    assert judge.measure_bad("bad") == pytest.approx(1.22, abs=0.03)
    spent = code.num_launches
    assert judge("docs", "1" * 40) == (Answer.GOOD, "the same code as GOOD", False)
    assert judge("same", "2" * 40) == (Answer.BAD, "the same code as BAD", False)
    assert code.num_launches == spent
    answer, reason, is_timed = judge("new", "3" * 40)
    assert (answer, is_timed) == (Answer.GOOD, True)
    assert "4 launches" in reason
    assert judge("again", "4" * 40) == (Answer.GOOD, "the same code as 3333333", False)


def test_changes_on_the_way_are_told_from_the_one_that_is_searched():
    code = Code(good=("a", 0.0), bad=("z", 0.3), small=("b", 0.1), most=("c", 0.25), open=("d", 0.15), lost=("e", None))
    judge = code.judge()
    judge.measure_bad("bad")
    assert judge("small", "1" * 40)[0] is Answer.GOOD
    assert judge("most", "2" * 40)[0] is Answer.BAD
    judge.limit = 0.15 + 1e-4
    code.sd = 0.2
    assert judge("open", "3" * 40)[0] is Answer.SKIP
    assert judge("lost", "4" * 40) == (Answer.SKIP, "no such kernel", True)


def test_code_without_a_fingerprint_is_timed_every_time():
    code = Code(good=("", 0.0), bad=("", 0.2), one=("", 0.2))
    judge = code.judge()
    judge.measure_bad("bad")
    assert judge("one", "1" * 40)[2]
    assert judge("one", "1" * 40)[2]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (("z", 0.0), "BAD must be slower than GOOD, got SAME after"),
        (("z", -0.3), "got FAST"),
        (("a", 0.3), "the same code in both; nothing to search"),
        (("z", None), "BAD cannot be judged against GOOD: no such kernel"),
    ],
)
def test_a_bad_end_that_is_not_slower_is_not_searched(bad, why):
    with pytest.raises(CannotBisectError, match=why):
        Code(good=("a", 0.0), bad=bad).judge().measure_bad("bad")


@pytest.mark.usefixtures("calm")
def test_the_verb_finds_a_planted_commit_in_a_suite(repository, monkeypatch):
    commits = [git(repository, "rev-parse", "HEAD")]
    for number, seconds in enumerate((1e-3, 3e-3, 3e-3), start=1):
        behave(repository, seconds=seconds, num_bytes=number + 1)
        git(repository, "commit", "-q", "-am", f"commit {number}")
        commits.append(git(repository, "rev-parse", "HEAD"))
    monkeypatch.chdir(repository)
    case = "dense-ours-qwen3_8b-b1-c512-p16"
    options = ["--device", "cpu", "--grid", "smoke"]
    done = CliRunner().invoke(app, ["gate", "--bisect", commits[0], "main", case, *options, "--json"])
    found = json.loads(done.stdout)
    assert (done.exit_code, found["first_bad"]) == (0, commits[2])
    assert found["ratio"] > 2
    assert git(repository, "worktree", "list").count("\n") == 0
    done = CliRunner().invoke(app, ["gate", "bisect", "main", "main", "dense", *options])
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 2)
    assert "CASE must be one of the gate's, got 'dense'; did you mean" in done.stderr
    done = CliRunner().invoke(app, ["gate", "--base", "main", "--bisect", "main", "main", case])
    assert (done.exit_code, "--bisect must be given alone" in done.stderr) == (2, True)
