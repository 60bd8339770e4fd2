"""What the gate's tests share: a fake suite under git, and launches that count however busy the machine is."""

import pytest

from kinetics.gate import watch
from tests.support.fake_checkout import make_repository


@pytest.fixture
def repository(tmp_path):
    return make_repository(tmp_path / "suite")


@pytest.fixture
def calm(monkeypatch):
    monkeypatch.setattr(watch, "MAX_OTHERS_CPU_SHARE", 2.0)
