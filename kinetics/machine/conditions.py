"""The conditions under which a case is measured: CPU threads, the CPUs it may run on, the governor of their clocks.

Threads and CPUs are set for every case and given back after it, so that nothing that ran before decides how fast it
is; the governor is read alone. What changes them while a case is measured makes that case invalid.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kinetics.machine.identity import allowed_cpus, cpu_identity

_CPUS = Path("/sys/devices/system/cpu")


class ConditionsChangedError(AssertionError):
    """A case was not measured under the conditions that its row would state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """`cpus`: those that this process may run on. `governor`: None where it cannot be read, "mixed" if they differ."""

    torch_threads: int
    cpus: tuple[int, ...]
    governor: str | None

    def row_fields(self) -> dict[str, Any]:
        """As a row states them."""
        return {"torch_threads": self.torch_threads, "num_cpus": len(self.cpus), "governor": self.governor}

    def machine_facts(self, device_kind: str) -> dict[str, Any]:
        """As a file states them of a CPU whose rows were all measured under them; nothing of a GPU."""
        return {"torch_threads": self.torch_threads} if device_kind == "cpu" else {}

    def enforce(self) -> None:
        """Set them again if they do not hold, so that whoever changed them harms no one else.

        Raises: ConditionsChangedError if they did not; the governor is not looked at.
        """
        import torch

        num_threads, cpus = torch.get_num_threads(), allowed_cpus()
        _set(self)
        self._compare(torch_threads=num_threads, cpus=cpus)

    def _compare(self, **now: Any) -> None:
        stated = asdict(self)
        changed = [f"{name} from {stated[name]} to {value}" for name, value in now.items() if value != stated[name]]
        if changed:
            raise ConditionsChangedError(
                f"conditions must stay as they are while a case is measured, changed {', '.join(changed)}"
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it they hold; afterwards threads and CPUs are what they were before.

        Raises: ConditionsChangedError if they cannot be set, or no longer hold in the end.
        """
        before = current_conditions()
        _set(self)
        self.enforce()
        try:
            yield
            self._compare(**asdict(current_conditions()))
        finally:
            _set(before)


def current_conditions() -> Conditions:
    """What holds now, whoever set it."""
    import torch

    cpus = allowed_cpus()
    return Conditions(torch_threads=torch.get_num_threads(), cpus=cpus, governor=governor_of(cpus, _CPUS))


def session_conditions(environment: Mapping[str, str] = os.environ) -> Conditions:
    """What every case of a run gets: all CPUs that this process may use, as many threads as they are worth.

    A quota of less than that many CPUs leaves as many threads as whole CPUs it pays for; OMP_NUM_THREADS, if it is
    set, is obeyed.
    """
    cpus = allowed_cpus()
    asked = environment.get("OMP_NUM_THREADS", "")
    threads = int(asked) if asked.isdigit() and int(asked) > 0 else _num_paid_cpus(len(cpus))
    return Conditions(torch_threads=threads, cpus=cpus, governor=governor_of(cpus, _CPUS))


def governor_of(cpus: Iterable[int], folder: Path) -> str | None:
    """The governor of these CPUs below a folder like /sys/devices/system/cpu."""
    found = {_read(folder / f"cpu{cpu}/cpufreq/scaling_governor") for cpu in cpus}
    return found.pop() if len(found) == 1 else "mixed"


def _num_paid_cpus(num_cpus: int) -> int:
    quota = float(cpu_identity().facts.get("cpu_quota", num_cpus))
    return max(1, min(num_cpus, int(quota)))


def _set(conditions: Conditions) -> None:
    import torch

    if torch.get_num_threads() != conditions.torch_threads:
        torch.set_num_threads(conditions.torch_threads)
    if allowed_cpus() != conditions.cpus:
        try:
            os.sched_setaffinity(0, conditions.cpus)
        except OSError as error:
            raise ConditionsChangedError(
                f"CPUs {conditions.cpus} must be allowed as at the start of the run, got {allowed_cpus()} ({error})"
            ) from None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
