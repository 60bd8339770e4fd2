"""Whatever is started twice and killed, no row is lost, doubled or changed, and the study of it can tell."""

from __future__ import annotations

import os

import pytest

from kinetics.results import journal, recovery
from kinetics.results.journal import Closing
from tests.support import kill_study


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    """The study names a commit in the environment."""
    monkeypatch.setenv(kill_study.COMMIT_VARIABLE, "0123456")


@pytest.mark.slow
def test_runs_that_are_killed_two_and_three_at_once_lose_double_and_change_no_row(tmp_path):
    count = kill_study.study(tmp_path, num_kills=60, seed=int(os.environ.get("KILL_STUDY_SEED", "11")))
    assert count.kills.total() >= 60
    assert set(count.kills) == set(kill_study.ROLES)
    assert count.num_ended > 20
    assert count.num_rows > 200


def no_lock(descriptor, *, waits):
    return True


BUGS = {
    "nobody holds a lock": lambda patch: [patch.setattr(one, "lock", no_lock) for one in (journal, recovery)],
    "files count as unwritten": lambda patch: patch.setattr(Closing, "is_written", lambda _: False),
    "files count as written": lambda patch: patch.setattr(Closing, "is_written", lambda _: True),
    "names are shared": lambda patch: patch.setattr(journal, "_is_free", lambda _: True),
    "a row is not yet on disk": lambda patch: patch.setattr(journal.RowJournal, "append", lambda *_: None),
}


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS)
def test_the_study_notices_a_run_that_loses_or_doubles_rows(tmp_path, monkeypatch, bug):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=r"were lost|are there twice|was changed|were left|ended with"):
        kill_study.study(tmp_path, num_kills=200, seed=11)
