"""A worker that is asked what a case is, not how long it takes.

Runs as a script like `kinetics/gate/worker.py`, with the same arguments and the same protocol, and borrows its ways of
opening a checkout and of refusing. Nothing is read from numba's cache: numba shows no assembly of what lies there.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

Reply = dict[str, Any]
_FOLDER = Path(__file__).parent


class Witness:
    """One checkout, open for questions."""

    def __init__(self, door: ModuleType, root: Path, device_name: str) -> None:
        self._door, self._root = door, root
        self._torch_name: str = door.describe(device_name)["torch_name"]

    def answer(self, request: Reply) -> Reply:
        """The reply to one request."""
        match request["do"]:
            case "fingerprint":
                return {"fingerprint": self.fingerprint(request["spec"])}
            case "instructions":
                return {"instructions": self.instructions(request["spec"])}
            case unknown:
                raise ValueError(f"do must be fingerprint or instructions, got {unknown!r}")

    def fingerprint(self, spec: Reply) -> dict[str, str]:
        """Prove the case once, then look at it."""
        self._door.prepare(spec, self._torch_name, 1).prove()
        eye = importlib.import_module("gate_witness.fingerprint")
        found: dict[str, str] = eye.fingerprint(lambda: self._made(spec), self._root)
        return found

    def instructions(self, spec: Reply) -> dict[str, int]:
        """Prove the case once, then count what its kernels execute."""
        prepared = self._door.prepare(spec, self._torch_name, 1)
        prepared.prove()
        counter = importlib.import_module("gate_witness.instructions")
        found: dict[str, int] = counter.count_instructions(prepared.call)
        return found

    def _made(self, spec: Reply) -> Callable[[], object]:
        gc.collect()  # the buffers of the one before
        call: Callable[[], object] = self._door.prepare(spec, self._torch_name, 1).call
        return call


def _load(name: str, path: Path) -> ModuleType:
    """A module of this script's own checkout under a name of its own, whatever `kinetics` is here."""
    places = [str(path.parent)] if path.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=places)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _compiled_anew() -> AbstractContextManager[None]:
    """Leave numba's cache alone, however a checkout asks for it."""
    if importlib.util.find_spec("numba") is None:
        return nullcontext()
    assembly = importlib.import_module("gate_witness.assembly")
    anew: AbstractContextManager[None] = assembly.compiled_anew()
    return anew


def _opened(worker: ModuleType, root: Path, device_name: str) -> Witness | Reply:
    try:
        return Witness(worker._open_door(root), root, device_name)
    except Exception as error:  # a checkout of any age may raise anything
        return _refused(worker, error)


def _answered(worker: ModuleType, witness: Witness, request: Reply) -> Reply:
    import torch

    try:
        with torch.inference_mode():
            return witness.answer(request)
    except Exception as error:  # the parent decides what it means
        return _refused(worker, error)


def _refused(worker: ModuleType, error: BaseException) -> Reply:
    reply: Reply = worker._refusal(error)
    return reply


def main() -> None:
    """Answer requests until stdin closes."""
    worker = _load("gate_worker", _FOLDER.parent / "worker.py")
    worker._die_with_parent()
    _load("gate_witness", _FOLDER / "__init__.py")
    root, device_name = Path(sys.argv[1]), sys.argv[2]
    channel = worker._private_stdout()
    sys.path[:0] = [str(root), str(root / "kernels")]
    with _compiled_anew():
        opened = _opened(worker, root, device_name)
        for line in sys.stdin:
            reply = _answered(worker, opened, json.loads(line)) if isinstance(opened, Witness) else opened
            channel.write(json.dumps(reply) + "\n")


if __name__ == "__main__":
    main()
