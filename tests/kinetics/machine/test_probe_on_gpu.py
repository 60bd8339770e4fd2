"""Ceilings of a GPU, on a pretend one: no launch in what is timed, and a read that attention cannot beat."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from kinetics.machine import probe
from tests.support.pretend_device import PretendDevice


@pytest.mark.parametrize("kernel_s", [1.5e-6, 30e-6, 3e-3])
def test_a_rate_holds_the_kernels_and_not_the_launch_of_their_graph(monkeypatch, kernel_s):
    device = PretendDevice().install(monkeypatch)
    seconds = probe._graph_seconds(lambda: device.launch(kernel_s), 10)
    assert seconds() == pytest.approx(kernel_s, rel=1e-9)
    assert seconds() == pytest.approx(kernel_s, rel=1e-9)


def test_memory_is_read_by_a_kernel_that_does_nothing_else_besides_torchs_reductions():
    pytest.importorskip("triton")
    from kinetics_kernels.gpu_runtime.stream_read import BLOCK
    from kinetics_kernels.machine_code.compile import record_launches

    with record_launches("sm_90") as launches:
        calls = probe._cuda_reads(torch.empty(5 * BLOCK + 7, device="meta"))
        assert len(calls) == 4
        calls[-1]()
    (launch,) = launches
    assert launch.args[2] == 5 * BLOCK
    assert launch.kernel.fn.__name__ == "stream_read_kernel"


def test_without_triton_torchs_reductions_are_left(monkeypatch):
    monkeypatch.setattr(probe, "importlib", SimpleNamespace(util=SimpleNamespace(find_spec=lambda name: None)))
    assert len(probe._cuda_reads(torch.empty(4096, device="meta"))) == 3
