"""No value of any option of any verb ends in a traceback, in silence, in more than a line, or never.

The whole sweep takes minutes: `python -m tests.support.hostile_options` prints each call that fails it.
"""

import pytest

from tests.support.hostile_options import a_slice, all_calls, make_files, replace_long_work, run_calls


@pytest.fixture
def folder(tmp_path, monkeypatch):
    make_files(tmp_path)
    replace_long_work(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_sweep_is_large_and_knows_every_verb():
    assert len(all_calls()) >= 2000


def test_each_option_of_each_verb_answers_a_hostile_value_in_one_line(folder):
    faults = [f"{one.call}: {one.fault}" for one in run_calls(a_slice(seed=1), folder) if one.fault]
    assert not faults, "\n".join(faults)


@pytest.mark.slow
def test_every_value_of_every_option_is_answered_in_one_line(folder):
    faults = [f"{one.call}: {one.fault}" for one in run_calls(all_calls(), folder) if one.fault]
    assert not faults, "\n".join(faults)
