"""Settings of all tests: no deadlines, since a shared machine can stall any example; without hypothesis, a reason."""

import sys
from importlib.machinery import ModuleSpec

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
