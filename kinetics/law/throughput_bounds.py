"""How much block top-k can speed up decoding at most: a roofline bound per model, context and KV budget.

For checking published throughput: no measured speed-up can exceed these if the kernels reach equal shares of the
roofline. The largest batch that fits is stated beside each, since published batches did not always fit.
"""

from typing import Final

from kinetics.cost.answers import sum_steps
from kinetics.cost.kernels import attention_flop, kv_bytes, summary_bytes, summary_flop
from kinetics.cost.published import PUBLISHED_BILLION_PARAMETERS
from kinetics.specs.hardware import Accelerator, Precision, find_accelerator
from kinetics.specs.models import ModelSpec, find_model
from kinetics.specs.policies import AttentionPolicy, BlockTopK, Dense

NUM_DEVICES: Final = 8
ELEMENT_BYTES: Final = 2
BUDGETS: Final = (256, 512, 1024)
CONTEXTS: Final = (16384, 32768)
BALANCED_PRODUCT: Final = 16384
"""KV budget x block size in the published runs: scoring then reads half as much as attending at 16K."""


def max_batch(model: ModelSpec, *, context_len: int, device: Accelerator, num_devices: int = NUM_DEVICES) -> int:
    """Sequences whose caches fit beside one copy of the weights."""
    free_bytes = num_devices * device.memory_bytes - model.num_parameters * ELEMENT_BYTES
    return max(0, free_bytes) // (context_len * model.kv_bytes_per_token(ELEMENT_BYTES))


def step_s(model: ModelSpec, policy: AttentionPolicy, *, context_len: int, batch: int, device: Accelerator) -> float:
    """Seconds of one decode step of one sequence on one device's roofline, weights read once per batch."""
    sums = sum_steps(policy, prompt_len=context_len - 1, generated=1)
    kv_shape = {"num_kv_heads": model.num_kv_heads, "head_dim": model.head_dim, "element_bytes": ELEMENT_BYTES}
    q_shape = {"num_q_heads": model.num_q_heads, "head_dim": model.head_dim}
    num_bytes = kv_bytes(sums.attended_keys, **kv_shape) + summary_bytes(sums.scored_vectors, **kv_shape)
    flop = attention_flop(sums.attended_keys, **q_shape) + summary_flop(sums.scored_vectors, **q_shape)
    rate = device.flop_per_s(Precision.BF16)
    attention_s = model.num_layers * max(num_bytes / device.memory_bytes_per_s, flop / rate)
    weight_bytes = model.weights_read_per_step(batch) * ELEMENT_BYTES
    weights_s = max(weight_bytes / batch / device.memory_bytes_per_s, 2 * model.matmul_parameters_per_token / rate)
    return attention_s + weights_s


def speedup_bounds(device_name: str = "H200") -> list[tuple[str, int, int, int, int, float]]:
    """(model, context, KV budget, block size, largest batch, bound) for the published models on 8 devices."""
    device = find_accelerator(device_name)
    rows = []
    for name in PUBLISHED_BILLION_PARAMETERS:
        model = find_model(name)
        for context_len in CONTEXTS:
            batch = max_batch(model, context_len=context_len, device=device)
            dense_s = step_s(model, Dense(), context_len=context_len, batch=batch, device=device)
            for budget in BUDGETS:
                block_size = BALANCED_PRODUCT // budget
                policy = BlockTopK(block_size=block_size, top_blocks=budget // block_size)
                sparse_s = step_s(model, policy, context_len=context_len, batch=batch, device=device)
                rows.append((name, context_len, budget, block_size, batch, dense_s / sparse_s))
    return rows
