"""One captured CUDA graph stays right while the lengths change under it. Needs a device."""

from __future__ import annotations

import pytest
import torch

if not torch.cuda.is_available():
    pytest.skip("no CUDA device here to capture a graph on", allow_module_level=True)

from kinetics_kernels import api
from kinetics_kernels.shapes import DecodeShape, PageSelection, PageSummaryKind
from kinetics_kernels.testing import make_inputs

pytestmark = [pytest.mark.gpu, pytest.mark.kernel]

SHAPE = DecodeShape(batch=4, context_len=4096, num_q_heads=32, num_kv_heads=8, head_dim=128, page_size=16)
SELECTION = PageSelection(num_pages=32, num_sink_pages=1, num_local_pages=1)


@pytest.mark.parametrize("operation", ["dense", "sparse"])
def test_a_thousand_replays_with_changing_lengths_equal_eager_calls(operation: str) -> None:
    inputs = make_inputs(SHAPE, dtype=torch.bfloat16, device="cuda", seed=9)
    summary = api.summarize_pages(inputs.cache, kind=PageSummaryKind.MEAN)
    out = torch.empty_like(inputs.q)

    def step() -> None:
        if operation == "dense":
            api.paged_decode(inputs.q, inputs.cache, out=out)
        else:
            api.block_topk_decode(inputs.q, inputs.cache, summary, selection=SELECTION, out=out)

    step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    generator = torch.Generator().manual_seed(10)
    for _ in range(1000):
        lengths = torch.randint(1, SHAPE.context_len + 1, (SHAPE.batch,), generator=generator, dtype=torch.int32)
        inputs.seq_lens.copy_(lengths)
        out.fill_(float("nan"))
        graph.replay()
        replayed = out.clone()
        step()
        assert torch.equal(replayed, out), lengths.tolist()
