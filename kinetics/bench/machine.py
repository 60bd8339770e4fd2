"""The machine of a run: its facts, its ceilings, and the dtype of its steps, each found out when first asked for."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinetics.bench.fastest import FastestCeilings
from kinetics.machine.conditions import session_conditions
from kinetics.machine.device import Device
from kinetics.machine.facts import machine_facts
from kinetics.results.kernel_row import Recordable
from kinetics.results.physics import why_impossible

if TYPE_CHECKING:
    from kinetics.machine.probe import ProbeResult
    from kinetics.specs.ceilings import Ceilings


class BenchMachine:
    """One device, as a result file describes it. torch is imported with the first measurement, not before."""

    def __init__(self, device: Device, *, dtype: str, folder: Path) -> None:
        self.device = device
        self.conditions = session_conditions()
        self._fastest = FastestCeilings(folder)
        self._dtype = dtype
        self._probed: ProbeResult | None = None
        self._facts: dict[str, Any] | None = None

    @property
    def is_probed(self) -> bool:
        """Whether the ceilings have been measured."""
        return self._probed is not None

    @property
    def ceilings(self) -> Ceilings:
        """The measured ceilings, of this session."""
        if self._probed is None:
            self._probed = self._probe()
        return self._probed.ceilings

    def why_impossible(self, measured: Recordable) -> str | None:
        """Why this machine cannot have been so fast; None if it can. Ceilings are measured again before a verdict."""
        median_s = statistics.median(measured.samples_s)
        facts = {"distinct_bytes": measured.distinct_bytes, "is_warm": measured.is_warm}
        if why_impossible(median_s, fastest=self._fastest.learn(self.ceilings), **facts) is None:  # type: ignore[arg-type]
            return None
        return why_impossible(median_s, fastest=self._fastest.learn(self._probe().ceilings), **facts)  # type: ignore[arg-type]

    def facts(self, *, has_steps: bool) -> dict[str, Any]:
        """Device and versions, how the dtype of steps was chosen if there are any, and ceilings that were measured."""
        if self._facts is None:
            self._facts = machine_facts(self.device) | (self._step_facts() if has_steps else {})
        found = self._facts | self.conditions.machine_facts(self.device.kind)
        return found | ({"ceilings": self._probed.as_dict()} if self._probed else {})

    def _probe(self) -> ProbeResult:
        from kinetics.machine.probe import probe

        with self.conditions.held():
            return probe(self.device, self._dtype)

    def _step_facts(self) -> dict[str, Any]:
        from kinetics.engine.step_dtype import choose_dtype

        choice = choose_dtype(self.device.kind)
        return {"step_dtype": {"choice": choice.dtype, "product_s": dict(choice.product_s), "reason": str(choice)}}
