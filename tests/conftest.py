"""Settings of all tests: no deadlines, since a shared machine can stall any example; without hypothesis, a reason."""

import os
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

try:
    from hypothesis import settings
except ModuleNotFoundError:

    class SkipWhoeverImportsHypothesis:
        """Makes plain `pytest` run what it can in an environment that was made for measuring."""

        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
            if name == "hypothesis":
                pytest.skip("hypothesis is not installed; pip install -e '.[dev]'", allow_module_level=True)
            return None

    sys.meta_path.insert(0, SkipWhoeverImportsHypothesis)
else:
    settings.register_profile("shared_machine", deadline=None)
    settings.load_profile("shared_machine")

# pytest-benchmark refuses to measure in what looks like a worker of pytest-xdist: a run that a test starts is none.
for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
    del os.environ[name]

TESTS = Path(__file__).parent
SLOW = (
    "bench",
    "docs",
    "ci/test_first_environment.py",
    "ci/test_mutate.py",
    "kinetics/test_distribution.py",
    "kinetics/bench/test_aime.py",
    "kinetics/bench/test_plugin.py",
    "kinetics/cli/test_generate.py",
    "kinetics/gate/test_runs.py",
    "kinetics/gate/test_worker.py",
    "kinetics/law/test_allocation.py",
    "kinetics/measure/test_kernel_runner.py",
    "kinetics/measure/test_step_runner.py",
    "kinetics/mini",
    "kinetics/report/test_browser.py",
    "kinetics/report/test_layout.py",
    "kinetics/samples/test_transformers_serve.py",
    "kinetics/samples/test_workers.py",
    "kinetics_kernels/test_gpu_interpreter.py",
    "kinetics_kernels/test_gpu_machine_code.py",
    "kinetics_kernels/test_gpu_peers.py",
    "kinetics_kernels/test_outside.py",
)
"""Files and folders that start whole runs, compilers or browsers: the quick loop of CONTRIBUTING.md leaves them out."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them `slow`, beside the tests that say so themselves."""
    slow = [TESTS / name for name in SLOW]
    for item in items:
        if any(item.path.is_relative_to(one) for one in slow):
            item.add_marker(pytest.mark.slow)
