"""A pytest plugin that breaks the sparse kernel on purpose, in the way that PLANTED_BUG names."""

import os
from typing import Any

from kinetics_kernels.block_topk import cpu

_correct = cpu.sparse_paged_decode


def _drop_page(q: Any, cache: Any, page_indices: Any, **options: Any) -> None:
    broken = page_indices.clone()
    broken[..., 1] = broken[..., 0]
    _correct(q, cache, broken, **options)


def _swap_heads(*tensors: Any, **options: Any) -> None:
    _correct(*tensors, **options)
    out = options["out"]
    out[:, [0, 1]] = out[:, [1, 0]]


def _write_nothing(*tensors: Any, **options: Any) -> None:
    """Its output is whatever the memory held."""


cpu.sparse_paged_decode = {"drop_page": _drop_page, "swap_heads": _swap_heads, "write_nothing": _write_nothing}[
    os.environ["PLANTED_BUG"]
]
