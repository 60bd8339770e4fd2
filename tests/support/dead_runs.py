"""Runs that were killed while they wrote a journal, and journals as earlier versions wrote them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from kinetics.results.journal import JOURNAL_SUFFIX, RowJournal, lock

Row = Mapping[str, Any]


def in_child(work: Callable[[], None], *, ending: int | None = signal.SIGKILL) -> int:
    """The id of a forked child that has done the work and ended, by a signal unless there is none; nobody reaped it."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            if ending is not None:
                os.kill(os.getpid(), ending)
        finally:
            os._exit(1)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def killed_run(result: Path, rows: Sequence[Row], *, header: Row | None = None) -> int:
    """A run that journalled these rows for this result file and was killed; its process waits to be reaped."""

    def work() -> None:
        journal = RowJournal(result)
        journal.start({"schema": 1} if header is None else header)
        for row in rows:
            journal.append(row)

    return in_child(work)


def reap(pid: int) -> None:
    """Let the process be gone."""
    os.waitpid(pid, 0)


def kill_with_children(process: subprocess.Popen[Any]) -> None:
    """Kill a process and whatever it started, in whichever session; stopped first, it starts nothing meanwhile."""
    process.send_signal(signal.SIGSTOP)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()


def wait_until_unlocked(folder: Path, *, limit_s: float = 120.0) -> None:
    """Until no run holds a journal below the folder: a signal is sent at once, and a busy machine kills later."""
    deadline = time.monotonic() + limit_s
    while any(_is_locked(path) for path in folder.rglob(f"*{JOURNAL_SUFFIX}")):
        assert time.monotonic() < deadline, "a run still holds its journal"
        time.sleep(0.02)


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        lock(descriptor, waits=False)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def old_journal(folder: Path, rows: Sequence[Row], *, name: str = "run", **changes: Any) -> Path:
    """A journal as versions without locks wrote it, of a process that is gone unless `changes` say another."""
    header = {"pid": 2**30, "process_started": 1.0, "result": f"{name}.json", "document": {"schema": 1}} | changes
    path = folder / f"{name}{JOURNAL_SUFFIX}"
    path.write_text("".join(json.dumps(line) + "\n" for line in (header, *rows)))
    return path
