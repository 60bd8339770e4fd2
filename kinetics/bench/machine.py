"""The machine of a run: its facts, its ceilings, and the dtype of its steps, each found out when first asked for.

Where ranks share a model they measure at the same time, and what the first of them finds holds for all.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kinetics.bench.fastest import FastestCeilings
from kinetics.machine.conditions import session_conditions
from kinetics.machine.device import Device
from kinetics.machine.facts import machine_facts
from kinetics.results.kernel_row import Recordable
from kinetics.results.physics import why_impossible

if TYPE_CHECKING:
    from kinetics.engine.step_dtype import DtypeChoice
    from kinetics.engine.tensor_parallel import RankGroup
    from kinetics.machine.probe import ProbeResult
    from kinetics.specs.ceilings import Ceilings, LinkCeilings

Found = TypeVar("Found")


class BenchMachine:
    """One device, as a result file describes it. torch is imported with the first measurement, not before."""

    def __init__(self, device: Device, *, dtype: str, folder: Path, ranks: RankGroup | None = None) -> None:
        self.device = device
        self._ranks = ranks
        self._links: LinkCeilings | None = None
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

    @property
    def links(self) -> LinkCeilings | None:
        """How fast the ranks add up; None where there is one."""
        if self._ranks is not None and self._links is None:
            from kinetics.measure.link_probe import probe_links

            with self.conditions.held():
                self._links = probe_links(self._ranks, self.device)
        return self._links

    @property
    def step_dtype(self) -> DtypeChoice:
        """In which dtype steps multiply fastest."""
        from kinetics.engine.step_dtype import choose_dtype

        return self._first(choose_dtype(self.device.kind))

    def why_impossible(self, measured: Recordable) -> str | None:
        """Why this machine cannot have been so fast; None if it can. Ceilings are measured again before a verdict."""
        median_s = statistics.median(measured.samples_s)
        facts = {"distinct_bytes": measured.distinct_bytes, "is_warm": measured.is_warm}
        if why_impossible(median_s, fastest=self._learn(self.ceilings), **facts) is None:  # type: ignore[arg-type]
            return None
        return why_impossible(median_s, fastest=self._learn(self._probe().ceilings), **facts)  # type: ignore[arg-type]

    def facts(self, *, has_steps: bool) -> dict[str, Any]:
        """Device and versions, how the dtype of steps was chosen if there are any, and ceilings that were measured."""
        if self._facts is None:
            self._facts = machine_facts(self.device) | (self._step_facts() if has_steps else {})
        found = self._facts | self.conditions.machine_facts(self.device.kind)
        found |= {"ceilings": self._probed.as_dict()} if self._probed else {}
        return found | ({"links": asdict(self._links)} if self._links else {})

    def _probe(self) -> ProbeResult:
        from kinetics.machine.probe import probe

        with self.conditions.held():
            return self._first(probe(self.device, self._dtype))

    def _learn(self, ceilings: Ceilings) -> Ceilings:
        """The fastest of all; the first rank keeps the file."""
        is_first = self._ranks is None or self._ranks.rank == 0
        return self._first(self._fastest.learn(ceilings) if is_first else ceilings)

    def _first(self, own: Found) -> Found:
        """What the first rank found."""
        return own if self._ranks is None else self._ranks.share(own)[0]

    def _step_facts(self) -> dict[str, Any]:
        choice = self.step_dtype
        return {"step_dtype": {"choice": choice.dtype, "product_s": dict(choice.product_s), "reason": str(choice)}}
