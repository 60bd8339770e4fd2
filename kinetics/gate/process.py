"""The parent's end of a worker: starts it, asks it, gives up on it, and never leaves it behind."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from kinetics.gate.lockstep import Sample

START_TIMEOUT_S = 120.0
PREPARE_TIMEOUT_S = 300.0
"""Includes compiling every kernel of a fresh checkout."""
RUN_TIMEOUT_S = 60.0
_DEATH_TIMEOUT_S = 5.0
_BRIEF_SPINNING = {"GOMP_SPINCOUNT": "10000"}
"""OpenMP threads wait for more work by spinning, by default for milliseconds and so into the twin's turn: that was seen
to spread the log-ratios of single rounds from 7 % to 50 % on two cores. This keeps them awake for about 0.1 ms."""
WORKER = Path(__file__).with_name("worker.py")
"""This checkout's worker."""

Reply = dict[str, Any]


_FAULTS = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
"""What a process brings upon itself; SIGKILL comes from outside, as where memory ran out."""
_OUT_OF_MEMORY = ("OutOfMemoryError", "MemoryError")


class WorkerLost(RuntimeError):  # noqa: N818 - says what happened
    """A worker died, hung, or answered something that is no answer: no evidence can come from it any more.

    `faulty_side`: the side whose own code may have done it; None where the machine may have.
    """

    exit_code = 3

    def __init__(self, reason: str, *, faulty_side: str | None = None) -> None:
        super().__init__(reason)
        self.faulty_side = faulty_side


class CaseRefused(Exception):  # noqa: N818 - an answer, not a fault
    """A worker cannot make a case, or computes it wrongly (`is_wrong`)."""

    def __init__(self, reason: str, *, is_wrong: bool) -> None:
        super().__init__(reason)
        self.is_wrong = is_wrong


class WorkerProcess:
    """One worker process of one checkout; a context manager that ends it.

    Raises: WorkerLost from every request, if the process is gone or silent for too long.
    """

    def __init__(self, name: str, root: Path, device: str, *, script: Path = WORKER) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | _BRIEF_SPINNING
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our own script
            [sys.executable, "-P", str(script), str(root), device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=root,
            env=environment,
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )
        assert self._process.stdout is not None
        self._replies = self._process.stdout
        self._received = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._replies, selectors.EVENT_READ)

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its session: whatever it started goes, too
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:
                continue  # what a dead worker did not read is lost with it
        self._selector.close()

    def facts(self) -> Reply:
        """What the machine is, as this checkout sees it.

        Raises: CaseRefused if the checkout has no such functions or no such device.
        """
        return self.ask({"do": "facts"}, timeout_s=START_TIMEOUT_S)

    def probe(self, dtype: str) -> Reply:
        """The measured ceilings of the device."""
        return self.ask({"do": "probe", "dtype": dtype}, timeout_s=START_TIMEOUT_S)

    def begin_prepare(self, spec: Mapping[str, Any], *, seed: int) -> None:
        """Start to allocate, prove and warm up a case."""
        self._send({"do": "prepare", "spec": dict(spec), "seed": seed})

    def end_prepare(self) -> Reply:
        """Wait until the case is prepared.

        Raises: CaseRefused, saying why.
        """
        return self._receive("prepare", PREPARE_TIMEOUT_S)

    def run_once(self) -> Sample:
        """Run the prepared case once.

        Raises: WorkerLost for an exception too: what worked a moment ago fails when the device does.
        """
        reply = self._ask_of_prepared("run")
        try:
            sample = Sample(seconds=float(reply["seconds"]), canary_bytes_per_s=float(reply["canary_bytes_per_s"]))
        except (KeyError, TypeError, ValueError):
            raise WorkerLost(
                f"the {self.name} worker answered 'run' with {str(reply)[:80]}, which is no sample"
            ) from None
        if not sample.seconds > 0.0:
            raise WorkerLost(f"the {self.name} worker reported a time of {sample.seconds} s, which is none")
        return sample

    def release(self) -> None:
        """Give the memory of the prepared case back."""
        self._ask_of_prepared("release")

    def _ask_of_prepared(self, do: str) -> Reply:
        try:
            return self.ask({"do": do}, timeout_s=RUN_TIMEOUT_S)
        except CaseRefused as failure:
            raise WorkerLost(f"the {self.name} worker failed at {do!r}: {failure}", faulty_side=self.name) from None

    @property
    def pid(self) -> int:
        """The process id of the worker."""
        return self._process.pid

    def cpu_s(self) -> float:
        """CPU time that the process has used, all threads."""
        try:
            times = psutil.Process(self._process.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)

    def ask(self, request: Mapping[str, Any], *, timeout_s: float) -> Reply:
        """The reply to one request.

        Raises: WorkerLost, CaseRefused.
        """
        self._send(request)
        return self._receive(request["do"], timeout_s)

    def _send(self, request: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._lost(request["do"]) from None

    def _receive(self, do: str, timeout_s: float) -> Reply:
        reply = self._parsed(self._read_line(do, timeout_s), do)
        if reply.get("refused") == "lost":
            is_own = not str(reply["reason"]).startswith(_OUT_OF_MEMORY)
            raise WorkerLost(
                f"the {self.name} worker lost its device at {do!r}: {reply['reason']}",
                faulty_side=self.name if is_own else None,
            )
        if "refused" in reply:
            raise CaseRefused(reply["reason"], is_wrong=reply["refused"] == "wrong")
        return reply

    def _read_line(self, do: str, timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._received:
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                raise WorkerLost(
                    f"the {self.name} worker did not answer {do!r} within {timeout_s:.0f} s", faulty_side=self.name
                )
            chunk = os.read(self._replies.fileno(), 65536)
            if not chunk:
                raise self._lost(do)
            self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _parsed(self, line: bytes, do: str) -> Reply:
        try:
            reply = json.loads(line)
        except ValueError:
            reply = None
        if not isinstance(reply, dict):
            raise WorkerLost(f"the {self.name} worker answered {do!r} with {line[:80]!r}, which is no JSON")
        return reply

    def _lost(self, do: str) -> WorkerLost:
        try:
            code = self._process.wait(timeout=_DEATH_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return WorkerLost(f"the {self.name} worker stopped talking at {do!r}")
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._log.seek(0)
        words = self._log.read().decode(errors="replace").strip().splitlines()
        return WorkerLost(
            f"the {self.name} worker died at {do!r} ({how}{'; last words: ' + words[-1] if words else ''})",
            faulty_side=self.name if code >= 0 or -code in _FAULTS else None,
        )
