"""The gpu path can be captured in a CUDA graph: it never asks a tensor for a value.

Every launcher runs on `meta` tensors, which have a shape and no values, with its kernel launches caught.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

pytest.importorskip("triton")

from kinetics_kernels.dense import gpu as dense
from kinetics_kernels.machine_code import cases
from kinetics_kernels.machine_code.compile import record_launches
from kinetics_kernels.shapes import PageSummaryKind

CALLS: dict[str, Callable[[], None]] = {
    "append": lambda: cases.append(None),
    "append_mean": lambda: cases.append(PageSummaryKind.MEAN),
    "summarize": lambda: cases.summarize(PageSummaryKind.MIN_MAX),
    "score": lambda: cases.score(PageSummaryKind.MIN_MAX),
    "select": lambda: cases.select(2048),
    "select_in_two_levels": lambda: cases.select(16384),
    "dense": cases.decode_dense,
    "dense_direct": lambda: cases.decode_dense(num_splits=1),
    "sparse": lambda: cases.decode_sparse(page_size=16),
}


@pytest.mark.kernel
@pytest.mark.parametrize("name", CALLS)
def test_no_launcher_reads_a_value_from_a_tensor(name: str) -> None:
    with record_launches("sm_90") as launches:
        CALLS[name]()
    assert launches


@pytest.mark.kernel
@pytest.mark.parametrize(
    "read",
    [
        lambda lens: lens.max().item(),
        lambda lens: lens.cpu(),
        lambda lens: lens.tolist(),
        lambda lens: bool(lens.any()),
        lambda lens: lens.nonzero(),
        lambda lens: lens[lens > 0],
    ],
    ids=["item", "cpu", "tolist", "bool", "nonzero", "boolean_mask"],
)
def test_a_launcher_that_reads_lengths_is_caught(
    read: Callable[[torch.Tensor], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = dense.attend

    def reading(attention: dense.PagedAttention, **options: object) -> None:
        read(attention.cache.seq_lens)
        original(attention, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(dense, "attend", reading)
    with record_launches("sm_90"), pytest.raises((RuntimeError, NotImplementedError)):
        cases.decode_dense()


@pytest.mark.kernel
def test_the_sparse_path_is_five_launches_and_each_can_be_called_alone() -> None:
    names = []
    for call in ("append_mean", "score", "select", "sparse"):
        with record_launches("sm_90") as launches:
            CALLS[call]()
        names += [launch.kernel.__name__ for launch in launches]
    assert names == ["append_kernel", "score_kernel", "select_kernel", "split_decode_kernel", "merge_splits_kernel"]
