"""The machine of a run: its facts, its ceilings, and the dtype of its steps, each found out when first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kinetics.machine.device import Device
from kinetics.machine.facts import machine_facts

if TYPE_CHECKING:
    from kinetics.machine.probe import ProbeResult
    from kinetics.specs.ceilings import Ceilings


class BenchMachine:
    """One device, as a result file describes it. torch is imported with the first measurement, not before."""

    def __init__(self, device: Device, *, dtype: str) -> None:
        self.device = device
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
            from kinetics.machine.probe import probe

            self._probed = probe(self.device, self._dtype)
        return self._probed.ceilings

    def facts(self, *, has_steps: bool) -> dict[str, Any]:
        """Device and versions, how the dtype of steps was chosen if there are any, and ceilings that were measured."""
        if self._facts is None:
            self._facts = machine_facts(self.device) | (self._step_facts() if has_steps else {})
        return self._facts | ({"ceilings": self._probed.as_dict()} if self._probed else {})

    def _step_facts(self) -> dict[str, Any]:
        from kinetics.engine.step_dtype import choose_dtype

        choice = choose_dtype(self.device.kind)
        return {"step_dtype": {"choice": choice.dtype, "product_s": dict(choice.product_s), "reason": str(choice)}}
