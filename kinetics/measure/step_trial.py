"""The decode steps of one cell on one cache: proved, timed, and proved again on a cache and tokens that came later.

Beside every number of layers the same step runs without attention. Tokens are new in every timed step; the tokens that
a step returns are spoilt before it runs again, and must be written when it returns. Ranks that share a model make the
same calls in one order: where one of them fails alone, all end.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import torch

from kinetics.cases.steps import StepCase, StepCell
from kinetics.engine.tensor_parallel import ALONE, RankGroup
from kinetics.machine.conditions import Conditions
from kinetics.measure.kernel_proof import check_written, spoil
from kinetics.measure.memory import is_out_of_memory
from kinetics.measure.rounds import Candidate, Measurement
from kinetics.measure.step_proof import prove_step
from kinetics.measure.step_workload import make_step_workload, without_attention

_SECOND_SEED = 1_000_000


class StepTrials:
    """The cases of one cell. `sound`: those that have not failed, with the largest error of their proofs.

    `failures`: the others, and why.
    """

    def __init__(
        self,
        cell: StepCell,
        cases: Sequence[StepCase],
        *,
        device: str,
        conditions: Conditions,
        ranks: RankGroup = ALONE,
    ) -> None:
        seed = zlib.crc32(str(cell).encode())
        self.sound = dict.fromkeys(cases, 0.0)
        self.failures: dict[StepCase, Exception] = {}
        self._conditions = conditions
        self._ranks = ranks
        self._workload = make_step_workload(cell, device=device, seed=seed, ranks=ranks)
        self._questions = torch.Generator(device=device).manual_seed(seed)
        self._prove()

    def candidates(self) -> dict[str, Candidate]:
        """The steps as they are timed, by their cases' ids, and those without attention, by `bare_name`."""
        found: dict[str, Candidate] = {}
        for case in self.sound:
            attention = self._workload.attention_of(case)
            layers, provider = case.num_layers, case.provider
            found[str(case)] = self._candidate(self._workload.call(layers, attention, provider=provider))
            bare = self._workload.call(layers, without_attention, provider=provider)
            found[bare_name(case)] = self._candidate(bare)
        return found

    def conclude(self, measured: Measurement) -> None:
        """Take note of what was seen while the steps were timed, and prove them with another cache and other tokens."""
        for case in list(self.sound):
            faults = [measured.faults.get(name) for name in (str(case), bare_name(case))]
            if fault := next(filter(None, faults), None):
                self._fail(case, fault)
        self._workload.draw(seed=_SECOND_SEED)
        self._prove()

    def _candidate(self, call: Callable[[], torch.Tensor]) -> Candidate:
        last: list[Any] = []

        def before(is_audit: bool) -> None:  # noqa: ARG001 - tokens are proved with their caches alone
            for tokens in last:
                spoil(tokens)
            last.clear()
            self._workload.ask_anew(self._questions)

        def after(results: Sequence[Any], is_audit: bool) -> None:  # noqa: ARG001 - idem
            self._conditions.enforce()
            for tokens in results:
                check_written(tokens)
            last.extend(results)

        return Candidate(calls=[call], before=before, after=after)

    def _prove(self) -> None:
        """Each policy once: its cases differ in their number of layers alone, and one layer is proved."""
        found: dict[tuple[Any, ...], float | Exception] = {}
        for case in list(self.sound):
            policy = case.policy, case.kv_budget, case.provider
            if policy not in found:
                found[policy] = self._proved(case)
            proof = found[policy]
            if isinstance(proof, Exception):
                self._fail(case, proof)
            else:
                self.sound[case] = max(self.sound[case], proof)

    def _proved(self, case: StepCase) -> float | Exception:
        """The largest error of any rank; what is wrong on one is wrong."""
        own = self._proved_here(case)
        if self._ranks.num_ranks == 1:
            return own
        if isinstance(own, Exception) and not isinstance(own, AssertionError):
            raise own  # somewhere amid the calls that all ranks make
        said = self._ranks.share(str(own) if isinstance(own, AssertionError) else own)
        wrong = [one for one in said if isinstance(one, str)]
        return AssertionError(wrong[0]) if wrong else max(one for one in said if not isinstance(one, str))

    def _proved_here(self, case: StepCase) -> float | Exception:
        try:
            return prove_step(self._workload, case)
        except Exception as failure:
            if is_out_of_memory(failure):
                raise
            return failure

    def _fail(self, case: StepCase, failure: Exception) -> None:
        del self.sound[case]
        self.failures[case] = failure


def bare_name(case: StepCase) -> str:
    """The candidate that runs the layers of a case without attention."""
    return f"{case.provider} without attention, {case.num_layers} layers"
