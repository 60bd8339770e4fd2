"""A worker that is asked what a case is, not how long it takes: its fingerprint, compiled anew in this process.

Runs as a script like `worker.py`, with the same arguments and the same protocol, and borrows its ways of opening a
checkout and of refusing. Nothing is read from numba's cache, because numba shows no assembly of what comes from there.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

Reply = dict[str, Any]


def _load_beside(name: str) -> ModuleType:
    """A module of this script's own folder, whatever `kinetics` is here."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"gate_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Witness:
    """One checkout, open for questions."""

    def __init__(self, door: ModuleType, root: Path, device_name: str) -> None:
        self._door, self._root = door, root
        self._identity = _load_beside("identity")
        self._torch_name: str = door.describe(device_name)["torch_name"]

    def answer(self, request: Reply) -> Reply:
        """The reply to one request."""
        match request["do"]:
            case "fingerprint":
                return {"fingerprint": self.fingerprint(request["spec"])}
            case unknown:
                raise ValueError(f"do must be fingerprint, got {unknown!r}")

    def fingerprint(self, spec: Reply) -> dict[str, str]:
        """Prove the case once, then look at it."""
        self._door.prepare(spec, self._torch_name, 1).prove()
        gc.collect()
        found: dict[str, str] = self._identity.fingerprint(lambda: self._made(spec), self._root)
        return found

    def _made(self, spec: Reply) -> Callable[[], object]:
        gc.collect()  # the buffers of the one before
        call: Callable[[], object] = self._door.prepare(spec, self._torch_name, 1).call
        return call


def _compile_anew() -> None:
    """Leave numba's cache alone, however a checkout asks for it."""
    try:
        from numba.core.ccallback import CFunc
        from numba.core.dispatcher import Dispatcher
    except ImportError:
        return
    for kind in (CFunc, Dispatcher):
        kind.enable_caching = lambda _function: None  # type: ignore[method-assign]


def main() -> None:
    """Answer requests until stdin closes."""
    worker = _load_beside("worker")
    worker._die_with_parent()
    root, device_name = Path(sys.argv[1]), sys.argv[2]
    channel = worker._private_stdout()
    sys.path[:0] = [str(root), str(root / "kernels")]
    witness: Witness | None = None
    for line in sys.stdin:
        try:
            if witness is None:
                _compile_anew()
                witness = Witness(worker._open_door(root), root, device_name)
            reply = _in_inference_mode(witness, json.loads(line))
        except Exception as error:  # the parent decides what it means
            reply = worker._refusal(error)
        channel.write(json.dumps(reply) + "\n")


def _in_inference_mode(witness: Witness, request: Reply) -> Reply:
    import torch

    with torch.inference_mode():
        return witness.answer(request)


if __name__ == "__main__":
    main()
