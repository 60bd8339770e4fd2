"""A number of threads asked for one piece of work does not outlive it."""

from __future__ import annotations

import pytest
import torch

from kinetics.machine.threads import cpu_threads


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_within_it_there_are_as_many_as_asked_for_and_afterwards_as_many_as_before():
    with cpu_threads(1):
        assert torch.get_num_threads() == 1
        with cpu_threads(2):
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3


def test_an_error_within_it_restores_them_too():
    with pytest.raises(RuntimeError, match="no"), cpu_threads(1):
        raise RuntimeError("no")
    assert torch.get_num_threads() == 3


def test_no_thread_at_all_is_refused_and_changes_nothing():
    with pytest.raises(ValueError, match="must be at least 1, got 0"), cpu_threads(0):
        pass
    assert torch.get_num_threads() == 3
