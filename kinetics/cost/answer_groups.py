"""What groups of answers cost: the counts of `kinetics.cost.answers`, for many groups at once, in floats.

A law asks for the mean cost of a question's answers at every length cap; one after the other that takes minutes. Tests
hold both to the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kinetics.cost.answers import DEFAULT_OPTIONS, INFINITE_BATCH, CostOptions, answer_work
from kinetics.cost.kernels import attention_flop, kv_bytes, summary_bytes, summary_flop
from kinetics.specs.models import ModelSpec
from kinetics.specs.policies import AttentionPolicy, BlockTopK, Dense

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupSums:
    """Means over the answers of each group, [...]: tokens, and per layer what `StepSums` counts."""

    tokens: FloatArray
    attended_keys: FloatArray
    shared_keys: FloatArray
    scored_vectors: FloatArray
    shared_vectors: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupWork:
    """Mean FLOP and bytes of each group, [...]: those that every trial adds, and those done once for all trials."""

    flop: FloatArray
    num_bytes: FloatArray
    shared_flop: FloatArray
    shared_bytes: FloatArray


def sum_groups(policy: AttentionPolicy, *, prompt_len: int, lengths: ArrayLike) -> GroupSums:
    """Keys and vectors of one layer over all decode steps; `lengths`: [..., num_answers] generated tokens."""
    generated = np.asarray(lengths, dtype=np.int64)
    tokens, nothing = generated.mean(axis=-1), np.zeros(generated.shape[:-1])
    attended = policy.sum_keys(prompt_len + generated).mean(axis=-1) - policy.sum_keys(prompt_len)
    shared_keys = prompt_len * tokens if isinstance(policy, Dense) else nothing
    scored = shared_vectors = nothing
    if isinstance(policy, BlockTopK):
        blocks = policy.sum_blocks(prompt_len + generated).mean(axis=-1) - policy.sum_blocks(prompt_len)
        scored = policy.summary.num_vectors * blocks
        shared_vectors = policy.summary.num_vectors * policy.num_blocks(prompt_len) * tokens
    return GroupSums(
        tokens=tokens,
        attended_keys=attended,
        shared_keys=shared_keys,
        scored_vectors=scored,
        shared_vectors=shared_vectors,
    )


def group_work(
    model: ModelSpec,
    policy: AttentionPolicy,
    *,
    prompt_len: int,
    lengths: ArrayLike,
    num_parameters: int | None = None,
    options: CostOptions = DEFAULT_OPTIONS,
) -> GroupWork:
    """`question_work` of every group of answers to one prompt, divided by the answers of the group.

    Raises: ValueError if a length is negative or more layers are dense than there are.
    """
    generated = np.asarray(lengths, dtype=np.int64)
    # What an answer of no tokens costs is the prefill; asking for it checks the options, too.
    prefill = answer_work(
        model,
        policy,
        prompt_len=prompt_len,
        generated=min(0, int(generated.min())),
        num_parameters=num_parameters,
        options=options,
    )
    tokens = generated.mean(axis=-1)
    flop, num_bytes = _weights(model, tokens, num_parameters, options)
    shared_bytes = np.full(tokens.shape, float(prefill.num_bytes))
    num_dense = options.num_dense_layers
    for layers, layer_policy in ((model.num_layers - num_dense, policy), (num_dense, Dense())):
        if layers:
            sums = sum_groups(layer_policy, prompt_len=prompt_len, lengths=generated)
            layer_bytes, layer_shared = _layer_bytes(model, sums, options.element_bytes)
            flop = flop + layers * _layer_flop(model, sums)
            num_bytes = num_bytes + layers * (layer_bytes - layer_shared)
            shared_bytes = shared_bytes + layers * layer_shared
    return GroupWork(
        flop=flop,
        num_bytes=num_bytes,
        shared_flop=np.full(tokens.shape, float(prefill.flop)),
        shared_bytes=shared_bytes,
    )


def expected_longest(lengths: ArrayLike, *, trials: int) -> float:
    """Mean of the longest of `trials` answers drawn without replacement from the observed ones.

    Raises: ValueError if more trials are drawn than there are lengths.
    """
    ordered = np.sort(np.asarray(lengths, dtype=np.float64))
    num = ordered.size
    if not 1 <= trials <= num:
        raise ValueError(f"trials must lie in 1..{num} (the number of lengths), got {trials}")
    # P(longest <= ordered[i]) = C(i + 1, trials) / C(num, trials)
    index = np.arange(1, num + 1, dtype=np.float64)
    below = np.prod([np.maximum(index - j, 0) / (num - j) for j in range(trials)], axis=0)
    return float((np.diff(below, prepend=0.0) * ordered).sum())


def _weights(
    model: ModelSpec, tokens: FloatArray, num_parameters: int | None, options: CostOptions
) -> tuple[FloatArray, FloatArray]:
    """(FLOP, bytes) of the weights."""
    num_weights = model.matmul_parameters_per_token if num_parameters is None else num_parameters
    if options.batch == INFINITE_BATCH:
        return 2.0 * num_weights * tokens, np.zeros(tokens.shape)
    read = model.weights_read_per_step(options.batch) if num_parameters is None else num_parameters
    return 2.0 * num_weights * tokens, tokens * (read * options.element_bytes / options.batch)


def _layer_flop(model: ModelSpec, sums: GroupSums) -> FloatArray:
    heads, dim = model.num_q_heads, model.head_dim
    key, vector = (count(1, num_q_heads=heads, head_dim=dim) for count in (attention_flop, summary_flop))
    return sums.attended_keys * key + sums.scored_vectors * vector


def _layer_bytes(model: ModelSpec, sums: GroupSums, element_bytes: int) -> tuple[FloatArray, FloatArray]:
    """(all, of them shared by all trials)."""
    heads, dim = model.num_kv_heads, model.head_dim
    key, vector = (
        count(1, num_kv_heads=heads, head_dim=dim, element_bytes=element_bytes) for count in (kv_bytes, summary_bytes)
    )
    read = sums.attended_keys * key + sums.scored_vectors * vector
    return read, sums.shared_keys * key + sums.shared_vectors * vector
