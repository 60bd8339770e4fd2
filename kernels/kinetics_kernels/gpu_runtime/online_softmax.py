"""Jitted softmax arithmetic shared by the GPU attention kernels, in base 2.

A query tile is [BLOCK_Q, HEAD_DIM], a tile of tokens [BLOCK_TOKENS, HEAD_DIM]. Logits arrive scaled by
softmax_scale * log2(e), so that a weight is one exp2; the natural logarithm returns at the boundary alone.
"""

from __future__ import annotations

import triton
import triton.language as tl

LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit
def fold_tile(accumulator, weight_sums, running_max, logits, values):
    """Fold one tile of logits and values into the running softmax.

    `weight_sums` keeps one sum per column of the tile and is reduced once, after the loop: a reduction across
    warps less in every iteration.
    """
    new_max = tl.maximum(running_max, tl.max(logits, axis=1))
    rescale = tl.exp2(running_max - new_max)
    weights = tl.exp2(logits - new_max[:, None])
    weight_sums = weight_sums * rescale[:, None] + weights
    accumulator = tl.dot(weights.to(values.dtype), values, accumulator * rescale[:, None], input_precision="ieee")
    return accumulator, weight_sums, new_max


@triton.jit
def merge_weights(log2_sums):
    """Weights that merge parts of one softmax from their base-2 LSEs, and the base-2 LSE of the whole.

    A part of -inf saw no token and weighs nothing; when no part saw one, all weights are zero and the LSE is -inf.
    A NaN stays a NaN.
    """
    largest = tl.max(log2_sums, axis=0)
    shift = tl.where(largest == float("-inf"), 0.0, largest)
    weights = tl.exp2(log2_sums - shift)
    total = tl.sum(weights, axis=0)
    return weights / tl.where(total == 0.0, 1.0, total), shift + tl.log2(total)
