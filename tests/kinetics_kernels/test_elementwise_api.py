"""Elementwise calls refuse what does not fit, in one line, whatever the backend."""

from __future__ import annotations

import pytest
import torch

from kinetics_kernels.elementwise import api

ROW, HEADS, ANGLES = torch.zeros(2, 32), torch.zeros(2, 3, 16), torch.zeros(2, 1, 16)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: api.add_norm(ROW, ROW[:1], ROW[0], epsilon=1.0), r"update must be torch.float32 of shape \(2, 32\)"),
        (
            lambda: api.add_norm(ROW, None, ROW[0].half(), epsilon=1.0),
            "weight must be torch.float32 .* got torch.float16",
        ),
        (lambda: api.norm_and_rotate(HEADS, HEADS[0, :2], ANGLES, ANGLES, epsilon=1.0), r"weight must be .*\(3, 16\)"),
        (lambda: api.norm_and_rotate(HEADS, None, ANGLES, ANGLES[:1], epsilon=1.0), r"sin must be .*\(2, 1, 16\)"),
        (lambda: api.norm_and_rotate(HEADS[..., :12], None, ANGLES, ANGLES, epsilon=1.0), "head_dim must be a power"),
        (lambda: api.gated(ROW[:, :31]), "gate_up must hold as much gate as up, got a row of 31"),
        (lambda: api.gated(ROW, backend="tpu"), "backend must be one of auto, reference, gpu, got 'tpu'"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(call, line):
    with pytest.raises(ValueError, match=line) as refused:
        call()
    assert "\n" not in str(refused.value)
