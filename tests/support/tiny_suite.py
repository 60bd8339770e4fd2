"""A suite of six small modules with one compiled kernel, fingerprinted in this process, whatever was planted in it."""

import importlib
import sys
from pathlib import Path

from kinetics.gate.witness.assembly import compiled_anew
from kinetics.gate.witness.fingerprint import Fingerprint, fingerprint
from tests.support.fake_checkout import dedent

PACKAGE = "tiny_suite"
FILES = {
    "__init__": "",
    "kernel": '''
        """A kernel."""
        from numba import cfunc, types
        @cfunc(types.void(types.CPointer(types.int64)))
        def body(address):
            """Add up."""
            total = 0
            for i in range(address[1]):
                total += i * 3
            address[0] = total
        ''',
    "table": "import numpy as np\nSPLITS = {8: 2, 64: 4}\nSCALE = np.float32(2)\nMASK = b'ab'\nUNUSED = 1\n",
    "split_rule": '''
        from tiny_suite.table import MASK, SCALE, SPLITS
        def num_splits(length):
            """How many splits."""
            return max(splits for longest, splits in SPLITS.items() if longest <= length)
        ''',
    "launcher": """
        import ctypes
        from tiny_suite.kernel import body
        from tiny_suite.split_rule import num_splits
        class Arguments(ctypes.Structure):
            _fields_ = [("total", ctypes.c_int64), ("size", ctypes.c_int64), ("out", ctypes.c_int64)]
        def launch(length):
            # Of one split.
            arguments = Arguments(0, length // num_splits(length), 0)
            arguments.out = ctypes.addressof(arguments)
            run(body, arguments)
            return arguments.total
        def run(function, arguments):
            function.ctypes(ctypes.cast(ctypes.pointer(arguments), ctypes.POINTER(ctypes.c_int64)))
        """,
    "provider": '''
        from functools import partial
        from tiny_suite.launcher import launch
        def prepare(length):
            """Bind."""
            return partial(launch, length)
        ''',
    "unrelated": "def other():\n    return 1\n",
}


def fingerprint_of(folder: Path, *, length: int = 64, plant: tuple[str, str, str] | None = None) -> Fingerprint:
    """The fingerprint of one call of the suite written to `folder`, with `plant` (module, old, new) done to it."""
    texts = {name: dedent(text) if text else "" for name, text in FILES.items()}
    if plant:
        module, old, new = plant
        assert old in texts[module], f"{old!r} is not in {module}"
        texts[module] = texts[module].replace(old, new)
    (folder / PACKAGE).mkdir(parents=True)
    for name, text in texts.items():
        (folder / PACKAGE / f"{name}.py").write_text(text)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        with compiled_anew():
            provider = importlib.import_module(f"{PACKAGE}.provider")
        importlib.import_module(f"{PACKAGE}.unrelated")
        return fingerprint(lambda: provider.prepare(length), folder)
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
            del sys.modules[name]
