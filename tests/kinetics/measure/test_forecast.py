"""What a run on a GPU will hold and take: all that fits is measured, and the strongest peers stay beside ours."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kinetics.cases.grids import attention_cases, by_cell, selection_cases
from kinetics.cases.kernels import GridOptions, GridSize
from kinetics.cases.steps import step_cases
from kinetics.measure.forecast import HostCosts, forecast_kernels, forecast_steps
from kinetics.specs.hardware import find_accelerator
from kinetics_kernels.providers import providers_of

H100 = find_accelerator("H100 SXM5 80GB")
OPTIONS = GridOptions(size=GridSize.QUICK, device_kind="cuda", dtype="bfloat16")
ABLE = {operation: [one.name for one in providers_of(operation)] for operation in ("dense", "block_topk")}


@pytest.fixture(scope="module")
def found():
    """The cells of attention in the default grid on 80 GB."""
    return {
        (one.cell.model.name, one.cell.batch, one.cell.context_len, one.cell.kv_layout): one
        for cell, cases in by_cell(attention_cases(OPTIONS, ABLE))
        for one in [forecast_kernels(cell, cases, H100, HostCosts())]
    }


def test_no_cell_of_the_default_grid_is_refused_that_fits_with_ours_alone(found):
    refused = {key for key, one in found.items() if one.refused}
    assert refused == {("Qwen3-8B", 256, 131072, "nhd")}
    assert not any(one.is_needless for one in found.values())


def test_a_peer_that_reads_pages_stays_where_those_that_read_a_copy_have_no_room(found):
    dropped = found["Qwen3-8B", 64, 131072, "nhd"].dropped
    copying = {"flash_attn_2", "flash_attn_3", "varlen_attn", "flashinfer_sparse"}  # at pages of 16
    assert set(dropped) == {name for name in ABLE["dense"] if _reads_copy(name)} | copying
    assert "flashinfer" not in dropped
    roomy = found["Qwen3-8B", 8, 32768, "nhd"]
    assert roomy.dropped == ()
    assert roomy.num_buffers > 1


def _reads_copy(name):
    (provider,) = [one for one in providers_of("dense") if one.name == name]
    return getattr(provider, "reads_contiguous_copy", False)


def test_the_estimate_of_the_default_grid_is_below_its_time_budget(found):
    host = HostCosts()
    selection = [forecast_kernels(cell, cases, H100, host) for cell, cases in by_cell(selection_cases(OPTIONS))]
    steps = [forecast_steps(cell, cases, H100, host) for cell, cases in by_cell(step_cases(OPTIONS))]
    fixed_s = host.start_s + host.compile_s + 7 * host.child_s
    assert fixed_s + sum(one.total_s for one in [*found.values(), *selection, *steps]) <= 540
    assert all(one.refused is None for one in steps)


def test_what_takes_longer_is_forecast_to_take_longer():
    (cell, cases), *_ = by_cell(attention_cases(replace(OPTIONS, batches=(8,), context_lens=(8192,)), ABLE))
    usual = forecast_kernels(cell, cases, H100, HostCosts())
    slow_host = forecast_kernels(cell, cases, H100, HostCosts(operation_s=80e-6, launch_s=400e-6))
    slow_memory = forecast_kernels(
        cell, cases, replace(H100, memory_bytes_per_s=H100.memory_bytes_per_s / 30), HostCosts()
    )
    assert slow_host.seconds["prove"] > 5 * usual.seconds["prove"]
    assert slow_host.seconds["time"] == usual.seconds["time"]
    assert slow_memory.seconds["time"] > usual.seconds["time"]
    assert slow_memory.seconds["draw"] > usual.seconds["draw"]


def test_a_small_card_refuses_by_the_same_arithmetic_as_a_run():
    small = replace(H100, memory_bytes=2**30)
    (cell, cases), *_ = by_cell(attention_cases(replace(OPTIONS, batches=(8,), context_lens=(32768,)), ABLE))
    one = forecast_kernels(cell, cases, small, HostCosts())
    assert one.refused.startswith("needs ")
    assert not one.is_needless
    assert one.total_s == 0.0
