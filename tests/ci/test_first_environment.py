"""Plain `pytest` in the environment that the README makes for measuring: it runs what it can, and says what lacks."""

import os
import subprocess
import sys

from tests.support.paths import ROOT

WITHOUT_HYPOTHESIS = """
import sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "hypothesis":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


def test_tests_that_need_hypothesis_are_skipped_with_a_remedy_and_the_others_run() -> None:
    files = ["tests/kinetics/specs/test_policies.py", "tests/kinetics/specs/test_hardware.py"]
    options = ["-q", "-rs", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_HYPOTHESIS, *options, *files],
        cwd=ROOT,
        env=os.environ | {"PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hypothesis is not installed; pip install -e '.[dev]'" in done.stdout
    assert " passed" in done.stdout
