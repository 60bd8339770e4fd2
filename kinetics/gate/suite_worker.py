"""One side of a comparison of two pytest-benchmark suites: pytest in one checkout, its tests run when asked for.

Runs as a script, `python -P suite_worker.py ROOT SETTING`, and speaks JSON lines on stdin and stdout. Knows nothing of
the suite, and imports nothing of kinetics: whatever is timed comes from the checkout at ROOT. A test runs under pytest
up to its call of `benchmark`, and waits there; the function that it hands over is then called once, or as often as one
round needs, whenever the parent says so. After the last round the test goes on to its own assertions.
"""

from __future__ import annotations

import ctypes
import hashlib
import inspect
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO, Any

import pytest

_MIN_ROUND_S = 1e-3
"""A round of a quick function is as many calls as take this long; a message between processes takes a tenth of it."""
_PR_SET_PDEATHSIG = 1
_FIXTURES = {"benchmark", "benchmark_weave"}
_RECORDING = {"record_case", "not_slower"}
"""Fixtures that time by a bench of their own, and give pytest-benchmark nothing to call."""
_WRITING = ("save", "autosave", "json", "compare", "compare_fail", "histogram")
"""What pytest-benchmark would write or judge at its end."""

Reply = dict[str, Any]
Report = Generator[None, pytest.TestReport, pytest.TestReport]


class Channel:
    """Requests of the parent, and replies to it. `pending`: the request that waits for its reply."""

    def __init__(self, requests: IO[str], replies: IO[str]) -> None:
        self._requests = requests
        self._replies = replies
        self.pending: Reply | None = None

    def next(self) -> Reply:
        """The next request; SystemExit if there will be none."""
        line = self._requests.readline()
        if not line:
            raise SystemExit(0)
        self.pending = json.loads(line)
        assert self.pending is not None
        return self.pending

    def reply(self, reply: Reply) -> None:
        """Answer the request that waits."""
        self.pending = None
        self._replies.write(json.dumps(reply) + "\n")
        self._replies.flush()


class Lockstep:
    """The plug-in of this pytest run: collects, then runs tests in the order of the parent's requests."""

    def __init__(self, channel: Channel, root: Path, setting: Reply) -> None:
        self._channel = channel
        self._root = root
        self._foreign_root = Path(setting["foreign_root"]) if setting["foreign_root"] else None
        self._items: dict[str, pytest.Item] = {}
        self._errors: list[str] = []
        self._num_recording = 0
        self._outcome: tuple[str, str] | None = None
        self.has_served = False

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Let pytest-benchmark write nothing, and take its calls over."""
        settings = getattr(session.config, "_benchmarksession", None)
        if settings is None:
            raise pytest.UsageError("pytest-benchmark must be active, got a run without it; install it, or let it load")
        for name in _WRITING:
            setattr(settings, name, None)
        self._take_calls_over()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Remember what could not be collected."""
        if report.failed:
            self._errors.append(f"{report.nodeid or 'the suite'}: {_last_line(report.longreprtext)}")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the tests that time something."""
        fixtures = {item: set(getattr(item, "fixturenames", ())) for item in items}
        self._num_recording = sum(bool(names & _RECORDING) for names in fixtures.values())
        items[:] = [item for item in items if fixtures[item] & _FIXTURES and not fixtures[item] & _RECORDING]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Answer requests until there are no more."""
        self._items = {item.nodeid: item for item in session.items}
        self.has_served = True
        while True:
            request = self._channel.next()
            if request["do"] == "facts":
                self._channel.reply(self._facts())
            elif request["do"] == "prepare":
                self._run_test(request["spec"])
            else:
                self._channel.reply({"refused": "unable", "reason": f"{request['do']} must follow a prepare"})

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Remember how the test ended."""
        report = yield
        if report.failed and (self._outcome is None or self._outcome[0] != "wrong"):
            self._outcome = "wrong", f"{report.when}: {_reason(call, report)}"
        elif report.skipped and self._outcome is None:
            self._outcome = "unable", f"skipped: {_skip_reason(report)}"
        return report

    def _facts(self) -> Reply:
        return {
            "tests": {name: _source_hash(item) for name, item in self._items.items()},
            "errors": self._errors,
            "num_recording": self._num_recording,
            "foreign": self._foreign_import(),
        }

    def _run_test(self, spec: Reply) -> None:
        """Run one test to its end; the reply that then still waits tells how it ended."""
        item, following = self._items.get(spec["test"]), self._items.get(spec["following"] or "")
        if item is None:
            self._channel.reply({"refused": "unable", "reason": "not collected this time"})
            return
        self._outcome = None
        item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
        waiting = self._channel.pending
        if waiting is None:
            return
        kind, reason = self._outcome or ("", "")
        if waiting["do"] == "release":
            self._channel.reply({"failed": reason if kind == "wrong" else None})
        else:
            self._channel.reply({"refused": kind or "unable", "reason": reason or "the test never called benchmark"})

    def _take_calls_over(self) -> None:
        from pytest_benchmark.fixture import BenchmarkFixture

        lockstep = self

        def raw(fixture: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
            return lockstep._measure(fixture, function, lambda: (args, kwargs), None, None)

        def raw_pedantic(fixture: Any, target: Any, args: Any = (), kwargs: Any = None, **how: Any) -> Any:
            setup, teardown = how.get("setup"), how.get("teardown")
            count = 1 if setup or teardown else how["iterations"]

            def arguments() -> Any:
                made = setup() if setup else None
                return made or (args, kwargs or {})

            return lockstep._measure(fixture, target, arguments, teardown, count)

        calls: Any = BenchmarkFixture
        calls._raw, calls._raw_pedantic = raw, raw_pedantic

    def _measure(self, fixture: Any, function: Any, arguments: Any, teardown: Any, iterations: int | None) -> Any:
        """Stand in for pytest-benchmark's rounds: the parent says when each takes place; the function's last result."""
        results: list[Any] = [None]
        timer = fixture._timer

        def once(count: int) -> float:
            args, kwargs = arguments()
            tracer = sys.gettrace()  # of coverage
            sys.settrace(None)
            try:
                start = timer()
                for _ in range(count):
                    result = function(*args, **kwargs)
                seconds = timer() - start
            finally:
                sys.settrace(tracer)
            if teardown is not None:
                teardown(*args, **kwargs)
            results[0] = result
            return float(seconds) / count

        count = iterations or _iterations(once)
        seconds = once(count)
        stats = fixture._make_stats(count)
        stats.update(seconds * count)
        if foreign := self._foreign_import():
            self._channel.reply({"refused": "unable", "reason": foreign})
            return results[0]
        self._channel.reply({"seconds": seconds, "iterations": count})
        while self._channel.next()["do"] == "run":
            seconds = once(count)
            stats.update(seconds * count)
            self._channel.reply({"seconds": seconds})
        return results[0]

    def _foreign_import(self) -> str | None:
        """A module that did not come from this checkout though it should have: both sides would time the same code."""
        for name, module in list(sys.modules.items()):
            path = Path(getattr(module, "__file__", None) or "/")
            if self._foreign_root and _is_below(path, self._foreign_root) and not _is_below(path, self._root):
                return f"{name} was imported from {path}, the other checkout, not from the base's"
            if "." not in name and not _is_below(path, self._root) and self._is_package_here(name):
                return f"{name} was imported from {path}, where it is installed, not from the checkout"
        return None

    def _is_package_here(self, name: str) -> bool:
        folders = (self._root, self._root / "src")
        return any((folder / name / "__init__.py").exists() for folder in folders)


def _is_below(path: Path, folder: Path) -> bool:
    """Whether a file belongs to a checkout; what is installed in a virtual environment within it does not."""
    return path.is_relative_to(folder) and not {"site-packages", "dist-packages"} & set(path.parts)


def _iterations(once: Callable[[int], float]) -> int:
    """Calls that take a millisecond together."""
    count = 1
    while (seconds := count * once(count)) < _MIN_ROUND_S:
        count = max(2 * count, min(10 * count, math.ceil(count * _MIN_ROUND_S / max(seconds, 1e-9))))
        if count >= 2**20:
            return count
    return count


def _source_hash(item: pytest.Item) -> str:
    """Of the test's own function, to tell tests apart that do different work under one name."""
    try:
        source = inspect.getsource(getattr(item, "function", type(item)))
    except (OSError, TypeError):
        return ""
    return hashlib.sha256(source.encode(errors="replace")).hexdigest()


def _reason(call: pytest.CallInfo[None], report: pytest.TestReport) -> str:
    error = call.excinfo.value if call.excinfo else None
    text = f"{type(error).__name__}: {error}" if error is not None else report.longreprtext
    return (text.strip().splitlines() or ["no message"])[0][:300]


def _skip_reason(report: pytest.TestReport) -> str:
    told = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(getattr(report, "wasxfail", ""))
    return told.removeprefix("Skipped: ")[:300] or "no reason"


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1].removeprefix("E").strip()[:300]


def _die_with_parent() -> None:
    """A parent that was killed cannot end a call that hangs; the kernel of Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _private_channel() -> Channel:
    """Pipes to the parent that no capturing of pytest touches; whatever tests print goes to stderr."""
    channel = Channel(os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w"))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return channel


def main() -> None:
    """Collect, then answer until stdin closes, which it does when the parent is gone."""
    _die_with_parent()
    root, setting = Path(sys.argv[1]).resolve(), json.loads(sys.argv[2])
    channel = _private_channel()
    os.environ["KINETICS_GATE_SIDE"] = setting["side"]  # no gate within a gate
    os.chdir(root / setting["folder"])
    sys.path[:0] = [str(root / path) for path in setting["paths"]]  # a path that is absolute stays what it is
    lockstep = Lockstep(channel, root, setting)
    present = [word for word in setting["files"] if Path(word.split("::")[0]).exists()]
    missing = [word for word in setting["files"] if word not in present]
    code: int | str = "none of the named files is there"
    if present or not setting["files"]:
        words = [word for word in setting["arguments"] if word not in missing]
        code = int(pytest.main([*words, "-o", f"cache_dir={setting['cache_dir']}"], plugins=[lockstep]))
        code = f"pytest ended with exit code {code}"
    while not lockstep.has_served:
        request = channel.next()
        reason = {"refused": "unable", "reason": str(code)}
        channel.reply({"tests": {}, "errors": [str(code)], "num_recording": 0, "foreign": None, "has_words": True}
                      if request["do"] == "facts" else reason)  # fmt: skip


if __name__ == "__main__":
    main()
