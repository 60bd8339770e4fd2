"""What a question of a sample set must hold."""

import pytest

from kinetics.samples.sample_set import Question


def make_question(lengths, is_correct, answers):
    return Question(question_id="q", prompt_len=10, lengths=lengths, is_correct=is_correct, answers=answers)


def test_a_question_needs_matching_facts():
    with pytest.raises(ValueError, match="one length, grade and answer per trial"):
        make_question((1, 2), (True,), ("7",))
    with pytest.raises(ValueError, match="at least one trial, got 0, 0 and 0"):
        make_question((), (), ())


def test_trials_that_nobody_saw_cut_off_were_not():
    assert make_question((1, 2), (True, False), ("7", "8")).cut_off == (False, False)
