"""One launch computes what several calls of plain torch compute: within the error budget, for any rows and strides."""

from __future__ import annotations

import pytest
import torch

from kinetics_kernels.elementwise import api
from kinetics_kernels.testing import assert_within_error_budget
from tests.support.kernel_setting import DEVICE, DTYPES, skip_module_unless_kernels_run

skip_module_unless_kernels_run()

from kinetics_kernels.gpu_runtime.configs import VARIANTS, use_variant  # noqa: E402 - triton may be missing

pytestmark = [pytest.mark.gpu, pytest.mark.kernel]
DTYPE_CASES = pytest.mark.parametrize("dtype", DTYPES, ids=str)
EPSILON = 1e-5


def drawn(*shape: int, dtype: torch.dtype, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(len(shape) + shape[-1])
    return (scale * torch.randn(*shape, generator=generator)).to(device=DEVICE, dtype=dtype)


def check(found: torch.Tensor, oracle: torch.Tensor, plain: torch.Tensor, subject: str) -> None:
    assert found.dtype is plain.dtype
    assert_within_error_budget(found, oracle=oracle, low_precision=plain, subject=subject)


@DTYPE_CASES
@pytest.mark.parametrize(("num_tokens", "width"), [(1, 16), (3, 127), (5, 128), (2, 1025), (1, 2560)])
@pytest.mark.parametrize("has_update", [True, False])
def test_residual_and_norm(num_tokens: int, width: int, has_update: bool, dtype: torch.dtype) -> None:
    hidden = drawn(num_tokens, 2 * width, dtype=dtype, scale=3.0)[:, :width]
    update = drawn(num_tokens, width + 1, dtype=dtype)[:, 1:] if has_update else None
    weight = drawn(width, dtype=dtype)
    total, normed = api.add_norm(hidden, update, weight, epsilon=EPSILON, backend="gpu")
    plain_total, plain = api.add_norm(hidden, update, weight, epsilon=EPSILON, backend="reference")
    assert torch.equal(total, plain_total)
    exact = api.add_norm(total.double(), None, weight.double(), epsilon=EPSILON, backend="reference")[1]
    check(normed, exact, plain, "norm")


@DTYPE_CASES
@pytest.mark.parametrize(("num_tokens", "num_heads", "head_dim"), [(1, 1, 64), (3, 5, 64), (2, 40, 128)])
@pytest.mark.parametrize("has_norm", [True, False])
def test_norm_and_rotation(num_tokens: int, num_heads: int, head_dim: int, has_norm: bool, dtype: torch.dtype) -> None:
    stacked = drawn(num_tokens, num_heads + 2, head_dim, dtype=dtype, scale=2.0)
    heads = stacked[:, 1:-1]
    weight = drawn(num_heads, head_dim, dtype=dtype) if has_norm else None
    angles = drawn(num_tokens, 1, head_dim // 2, dtype=torch.float32, scale=9.0).repeat(1, 1, 2)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    found = api.norm_and_rotate(heads, weight, cos, sin, epsilon=EPSILON, backend="gpu")
    plain = api.norm_and_rotate(heads, weight, cos, sin, epsilon=EPSILON, backend="reference")
    wide = [None if one is None else one.double() for one in (heads, weight, cos, sin)]
    exact = api.norm_and_rotate(*wide, epsilon=EPSILON, backend="reference")  # type: ignore[arg-type]
    assert found.is_contiguous()
    check(found, exact, plain, "rotated heads")


@DTYPE_CASES
@pytest.mark.parametrize(("num_tokens", "width"), [(1, 1), (3, 127), (2, 1025), (1, 3072)])
def test_gate(num_tokens: int, width: int, dtype: torch.dtype) -> None:
    gate_up = drawn(num_tokens, 2 * width + 3, dtype=dtype, scale=4.0)[:, 1 : 2 * width + 1]
    found = api.gated(gate_up, backend="gpu")
    exact = api.gated(gate_up.double(), backend="reference")
    check(found, exact, api.gated(gate_up, backend="reference"), "gated product")


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_way_to_launch_gives_the_same_bits(variant: str) -> None:
    hidden, update, weight = (drawn(*shape, dtype=torch.float16) for shape in ((2, 96), (2, 96), (96,)))
    expected = api.add_norm(hidden, update, weight, epsilon=EPSILON, backend="gpu")
    with use_variant(variant):
        found = api.add_norm(hidden, update, weight, epsilon=EPSILON, backend="gpu")
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_rows_of_no_more_than_their_width_are_written() -> None:
    """What lies behind the rows is another tensor's."""
    memory = torch.full((4, 48), 7.0, device=DEVICE)
    hidden = memory[:3, :47]
    before = memory.clone()
    api.add_norm(hidden, hidden, torch.ones(47, device=DEVICE), epsilon=EPSILON, backend="gpu")
    api.gated(memory[:3], backend="gpu")
    assert torch.equal(memory, before)
