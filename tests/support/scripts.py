"""Scripts as modules, for tests: scripts/ is no package."""

import importlib.util
import sys
from types import ModuleType

from tests.support.paths import ROOT


def script(name: str) -> ModuleType:
    """scripts/NAME.py, loaded once."""
    title = f"scripts_{name}"
    if title not in sys.modules:
        spec = importlib.util.spec_from_file_location(title, ROOT / "scripts" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[title] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[title])
    return sys.modules[title]
