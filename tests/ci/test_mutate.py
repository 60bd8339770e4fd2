"""The planted bugs of scripts/mutate.py: a noticed one, a survivor and a stale one are told apart, in copies alone."""

from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.scripts import script

mutate = script("mutate")

GREEN = "tests/kinetics/specs/test_hardware.py"
"""Quick tests, which know nothing of counts."""

PLANTED = """
[[mutant]]
name = "noticed"
file = "kinetics/specs/hardware.py"
old = "def find_accelerator("
new = "def find_nothing("
tests = ["{green}"]

[[mutant]]
name = "survivor"
file = "kinetics/specs/counts.py"
old = "def parse_count("
new = "def  parse_count("
tests = ["{green}"]

[[mutant]]
name = "stale"
file = "kinetics/specs/counts.py"
old = "no such text"
new = "nor this"
tests = ["{green}"]
"""


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    path = tmp_path / "mutants.toml"
    path.write_text(PLANTED.format(green=GREEN))
    return path


def test_each_outcome_is_told_by_room_and_the_tree_stays_as_it_was(
    planted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (ROOT / "kinetics/specs/hardware.py").read_bytes()
    assert mutate.main(["--list", str(planted), "--jobs", "1"]) == 3
    text = capsys.readouterr().out
    assert "specs              2       1   50 %" in text
    assert "SURVIVED: specs: survivor" in text
    assert "STALE: specs: stale" in text
    assert (ROOT / "kinetics/specs/hardware.py").read_bytes() == before


@pytest.mark.parametrize(("share", "code"), [("0.5", 0), ("0.6", 1)])
def test_a_rate_below_the_asked_one_is_an_exit_code(
    planted: Path, monkeypatch: pytest.MonkeyPatch, share: str, code: int
) -> None:
    outcomes = {"noticed": mutate.Outcome.NOTICED, "survivor": mutate.Outcome.SURVIVED}
    monkeypatch.setattr(mutate, "run_tests", lambda tests, tree: 0)
    monkeypatch.setattr(mutate, "judge", lambda mutant, tree: (outcomes[mutant.name], ""))
    text = planted.read_text()
    planted.write_text(text[: text.rindex("[[mutant]]")])
    assert mutate.main(["--list", str(planted), "--at-least", share]) == code


def test_tests_that_are_red_without_a_bug_judge_nothing(
    planted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mutate, "run_tests", lambda tests, tree: 1)
    assert mutate.main(["--list", str(planted)]) == 3
    assert capsys.readouterr().err == f"red without a bug: {GREEN}\n"


def test_a_test_path_that_is_gone_is_no_notice(tmp_path: Path) -> None:
    lost = mutate.Mutant(name="x", file="kinetics/specs/counts.py", old="a", new="b", tests=("tests/no_such.py",))
    assert mutate.run_tests(lost.tests, ROOT) not in (0, 1, 2)


def test_one_name_for_two_bugs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mutants.toml"
    path.write_text(PLANTED.format(green=GREEN).replace('"survivor"', '"noticed"'))
    with pytest.raises(ValueError, match="names must differ and bugs change something, got noticed"):
        mutate.read_mutants(path)


def test_the_list_can_be_planted() -> None:
    """Code moves on, and the list must follow it: more than a few stale bugs make its rate meaningless."""
    mutants = mutate.read_mutants()
    stale = mutate.stale(mutants)
    assert len(stale) <= len(mutants) // 20, stale


def test_the_tests_that_the_list_names_are_there() -> None:
    named = {test.split("::")[0] for mutant in mutate.read_mutants() for test in mutant.tests}
    assert [test for test in named if not (ROOT / test).exists()] == []
