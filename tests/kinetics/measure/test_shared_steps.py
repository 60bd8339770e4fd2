"""Ranks that share a model prove what they add up, take the same rounds, and end together."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kinetics.cases.steps import StepCase, StepCell
from kinetics.cost.steps import step_parts
from kinetics.engine.decoder import Decoder
from kinetics.engine.tensor_parallel import RankFailedError, check_sums
from kinetics.machine.conditions import session_conditions
from kinetics.machine.device import resolve_device
from kinetics.measure import link_probe, step_runner
from kinetics.measure.link_probe import probe_links
from kinetics.measure.rounds import RoundPlan
from kinetics.measure.step_runner import StepRunner
from kinetics.measure.step_workload import make_step_workload
from kinetics.results.step_row import StepMeasured
from kinetics.specs.ceilings import Ceilings, LinkCeilings
from kinetics.specs.models import ModelSpec
from kinetics.specs.policies import PolicyKind
from tests.support.thread_ranks import ThreadRanks, on_ranks

DENSE_MODEL = ModelSpec(
    name="Small", num_layers=2, hidden_size=128, num_q_heads=4, num_kv_heads=2, head_dim=64, intermediate_size=192,
    vocab_size=501, ties_embeddings=True, has_qkv_bias=False, has_qk_norm=True,
)  # fmt: skip
EXPERTS = replace(DENSE_MODEL, num_experts=8, num_experts_per_token=2, intermediate_size=64)
CEILINGS = Ceilings(
    read_bytes_per_s=1e10, cached_read_bytes_per_s=9e10, copy_bytes_per_s=9e9, matmul_flop_per_s=1e11, launch_s=1e-6,
    cache_bytes=2**20,
)  # fmt: skip
LINKS = LinkCeilings(bytes_per_s=1e9, collective_s=1e-5)


def cases_of(model, *, num_devices=2):
    cell = StepCell(
        model=model, layer_counts=(2,), batch=3, context_len=200, page_size=16, device_kind="cpu", dtype="float32",
        uses_cuda_graph=False, num_devices=num_devices,
    )  # fmt: skip
    return [
        StepCase(cell=cell, policy=policy, num_layers=2, kv_budget=budget)
        for policy, budget in ((PolicyKind.DENSE, None), (PolicyKind.BLOCK_TOPK, 128))
    ]


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch):
    monkeypatch.setitem(step_runner._PLAN, "cpu", RoundPlan(budget_s=0.01, min_rounds=3, max_rounds=3))
    monkeypatch.setattr(step_runner, "last_level_cache_bytes", lambda device: 2**20)


def run_on(ranks, cases):
    runner = StepRunner(resolve_device("cpu"), session_conditions(), ranks=ranks, links=LINKS)
    return runner.run(cases[0].cell, cases)


@pytest.mark.parametrize("model", [DENSE_MODEL, EXPERTS], ids=["dense", "experts"])
def test_two_ranks_prove_and_time_the_steps_they_share(model):
    cases = cases_of(model)
    found, calls = on_ranks(2, lambda ranks: run_on(ranks, cases))
    assert calls.count("all_reduce") > 0
    for case in cases:
        first, second = (outcomes[case] for outcomes in found)
        assert isinstance(first, StepMeasured), first
        assert first.samples_s == second.samples_s
        assert len(first.samples_s) == 3
        row = first.row(CEILINGS)
        assert row["tp"] == 2
        assert row["case"].endswith("-tp2")
        work = step_parts(case.shape)["all_reduce"]
        assert row["predicted_part_s"]["all_reduce"] == pytest.approx(work.num_bytes / 1e9 + 6 * 1e-5)


class _Forgets(ThreadRanks):
    """Adds nothing up, though it meets the others."""

    def all_reduce(self, partial):
        super().all_reduce(partial)
        return partial


class _Swaps(ThreadRanks):
    """Gathers in the wrong order."""

    def gather(self, own):
        return torch.cat(self.meeting.exchange(self.rank, own, "gather")[::-1], dim=-1)


class _Doubles(ThreadRanks):
    """Takes its own part for everybody's: right if all ranks had the same weights."""

    def all_reduce(self, partial):
        super().all_reduce(partial)
        return 2 * partial


@pytest.mark.parametrize("wrong", [_Forgets, _Doubles])
def test_sums_that_are_none_have_no_row(wrong):
    cases = cases_of(DENSE_MODEL)
    found, _ = on_ranks(2, lambda ranks: run_on(wrong(ranks.rank, ranks.meeting), cases))
    for outcomes in found:
        assert all(isinstance(outcome, AssertionError) for outcome in outcomes.values())


@pytest.mark.parametrize("wrong", [_Forgets, _Swaps, _Doubles])
def test_ranks_that_add_up_wrongly_are_refused_when_they_meet(wrong):
    def refused(ranks):
        with pytest.raises(ValueError, match="ranks must add up to 3 and come in order"):
            check_sums(wrong(ranks.rank, ranks.meeting), "cpu")

    on_ranks(2, refused)
    on_ranks(2, lambda ranks: check_sums(ranks, "cpu"))


def test_what_fails_on_one_rank_ends_all(monkeypatch):
    decode, cases = Decoder.decode, cases_of(DENSE_MODEL)
    counts = {0: 0, 1: 0}

    def fail_later(self, *arguments):
        counts[self.ranks.rank] += 1
        if self.ranks.rank == 1 and counts[1] == 9:
            raise RuntimeError("no more memory on this one")
        return decode(self, *arguments)

    monkeypatch.setattr(Decoder, "decode", fail_later)

    def end_of(ranks):
        try:
            run_on(ranks, cases)
        except RankFailedError as failure:
            ranks.meeting.barrier.abort()
            return str(failure)
        return "went on"

    (first, second), _ = on_ranks(2, end_of)
    assert second == "rank 1 of 2 failed: RuntimeError: no more memory on this one"
    assert first.startswith("rank 0 of 2 failed: ")


def test_ranks_have_weights_of_their_own_but_one_router_and_the_same_tokens():
    cell = cases_of(EXPERTS)[0].cell
    (first, second), _ = on_ranks(2, lambda ranks: make_step_workload(cell, device="cpu", seed=7, ranks=ranks))
    ours, theirs = first.decoder.weights, second.decoder.weights
    assert torch.equal(ours.layers[1].router, theirs.layers[1].router)
    assert not torch.equal(ours.layers[0].router, ours.layers[1].router)
    assert not torch.equal(ours.layers[0].qkv, theirs.layers[0].qkv)
    assert torch.equal(first.token_ids, second.token_ids)


def test_links_are_probed_by_all_and_the_slowest_counts(monkeypatch):
    monkeypatch.setattr(link_probe, "_LARGE_BYTES", 2**16)
    found, _ = on_ranks(2, lambda ranks: probe_links(ranks, resolve_device("cpu")))
    assert found[0] == found[1]
    assert found[0].bytes_per_s > 0
    assert found[0].collective_s > 0
