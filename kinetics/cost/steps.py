"""What one whole decode step must compute, fetch and hold: weights, attention, activations, launches, memory.

Pure arithmetic on shapes; `kinetics.prediction.roofline` turns it into seconds. A step is: embedding, every layer,
final norm, logits, choice of a token. Left out: the block table, tokenising, and whatever a server does between steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kinetics.cost import kernels as cost
from kinetics.cost.kernels import Work
from kinetics.cost.memory import MemoryNeed
from kinetics.specs.models import ModelSpec
from kinetics.specs.pages import num_kept_keys, num_pages_for, tokens_in_last_page

_LAUNCHES_PER_LAYER = 8
"""Norm, QKV, q/k norm with rotary, output, residual with norm, gate and up, activation, down."""
_LAUNCHES_PER_STEP = 4
"""Embedding, final norm, logits, choice of a token."""
_LAUNCHES_OF_EXPERTS = 3
"""Router, choice of experts, sum of their answers."""
_ATTENTION_LAUNCHES = 3
"""Append, split decode, merge."""
_SEARCH_LAUNCHES = 2
"""Score and select."""
_LOGIT_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class StepShape:
    """One decode step. `num_kept_pages` per KV head, the current one included; None is dense attention.

    `element_bytes` of weights and activations; `kv_element_bytes` of keys, values and summaries, if they differ.
    `num_summary_vectors` of a page, by which kept pages are searched: 1 for the mean, 2 for minimum and maximum; 0 for
    local attention, which knows its pages.
    `num_devices`: tensor parallelism, weights and heads split evenly, activations summed twice a layer.

    Raises: ValueError if a size is not positive, or the devices do not divide the query heads.
    """

    model: ModelSpec
    batch: int
    context_len: int
    page_size: int
    element_bytes: int
    num_kept_pages: int | None
    num_summary_vectors: int = 1
    kv_element_bytes: int | None = None
    num_devices: int = 1

    def __post_init__(self) -> None:
        for name in ("batch", "context_len", "page_size", "element_bytes", "num_devices"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.model.num_q_heads % self.num_devices:
            raise ValueError(
                f"num_devices must divide the {self.model.num_q_heads} query heads of {self.model.name}, "
                f"got {self.num_devices}"
            )

    @property
    def cached_element_bytes(self) -> int:
        """Bytes of one element of the cache."""
        return self.kv_element_bytes or self.element_bytes

    @property
    def num_pages(self) -> int:
        """Pages of one request, the last one possibly partial."""
        return num_pages_for(self.context_len, self.page_size)

    @property
    def kv_heads_per_device(self) -> int:
        """KV heads one device keeps; more devices than KV heads keep copies."""
        return max(1, self.model.num_kv_heads // self.num_devices)

    @property
    def summary_vectors(self) -> int:
        """Per page, of what is kept to search pages by; 0 under dense attention too."""
        return 0 if self.num_kept_pages is None else self.num_summary_vectors

    @property
    def num_collectives(self) -> int:
        """How often several devices wait for each other: two sums a layer, that of the embedding, the logits."""
        return 2 * self.model.num_layers + 2 if self.num_devices > 1 else 0

    @property
    def num_launches(self) -> int:
        """Dependent launches of the plain algorithm."""
        per_layer = _LAUNCHES_PER_LAYER + _ATTENTION_LAUNCHES + (_SEARCH_LAUNCHES if self.summary_vectors else 0)
        if self.model.num_experts:
            per_layer += _LAUNCHES_OF_EXPERTS
        return self.model.num_layers * per_layer + _LAUNCHES_PER_STEP


def step_parts(shape: StepShape) -> Mapping[str, Work]:
    """Work of one device by part; parts follow each other, so each meets its own roof.

    `all_reduce` moves over the links between devices, the others over a device's own memory.
    """
    parts = {"weights": _weights_work(shape), "attention": shape.model.num_layers * _attention_work(shape)}
    parts["activations"] = _activations_work(shape)
    if shape.num_devices > 1:
        parts["all_reduce"] = _all_reduce_work(shape)
    return parts


def step_memory(shape: StepShape) -> MemoryNeed:
    """What one device holds during a step."""
    model, size = shape.model, shape.element_bytes
    heads = model.num_layers * shape.kv_heads_per_device * model.head_dim * shape.cached_element_bytes
    cached_tokens = shape.batch * shape.num_pages * shape.page_size
    widest = max(2 * model.intermediate_size, (model.num_q_heads + 2 * model.num_kv_heads) * model.head_dim)
    activations = 4 * shape.batch * widest * size
    return MemoryNeed(
        parts={
            "weights": model.num_parameters * size // shape.num_devices,
            "kv": 2 * cached_tokens * heads,
            "summaries": shape.summary_vectors * shape.batch * shape.num_pages * heads,
            "workspace": 2 * shape.batch * model.vocab_size * _LOGIT_BYTES + activations,
        }
    )


def _weights_work(shape: StepShape) -> Work:
    """Every matrix product: weights once, of the experts those expected to be hit; 2 FLOP a weight and token."""
    model = shape.model
    flop = 2 * shape.batch * model.matmul_parameters_per_token
    num_bytes = model.weights_read_per_step(shape.batch) * shape.element_bytes
    return Work(flop=flop // shape.num_devices, num_bytes=num_bytes // shape.num_devices)


def _attention_work(shape: StepShape) -> Work:
    """Append, and dense attention or the whole sparse path, in one layer on one device."""
    model = shape.model
    sizes = {
        "batch": shape.batch,
        "num_kv_heads": shape.kv_heads_per_device,
        "head_dim": model.head_dim,
        "element_bytes": shape.cached_element_bytes,
    }
    num_q_heads = model.num_q_heads // shape.num_devices
    appended = cost.append_work(
        **sizes,
        tokens_in_page=tokens_in_last_page(shape.context_len, shape.page_size),
        page_size=shape.page_size,
        num_summary_vectors=shape.summary_vectors,
    )
    if shape.num_kept_pages is None:
        return appended + cost.dense_attention_work(**sizes, num_q_heads=num_q_heads, context_len=shape.context_len)
    num_kept = min(shape.num_kept_pages, shape.num_pages)
    num_keys = num_kept_keys(shape.context_len, shape.page_size, num_kept_pages=num_kept)
    if not shape.summary_vectors:
        return appended + cost.dense_attention_work(**sizes, num_q_heads=num_q_heads, context_len=num_keys)
    return appended + cost.block_topk_work(
        **sizes,
        num_q_heads=num_q_heads,
        num_pages=shape.num_pages,
        num_kept_pages=num_kept,
        num_keys=num_keys,
        num_summary_vectors=shape.summary_vectors,
    )


def _activations_work(shape: StepShape) -> Work:
    """What moves between the products: inputs and outputs of norms, residuals, rotary and activation, and logits.

    Elementwise arithmetic is not counted: it is a thousandth of the products'.
    """
    model = shape.model
    num_experts = max(1, model.num_experts_per_token)
    qkv = (model.num_q_heads + 2 * model.num_kv_heads) * model.head_dim // shape.num_devices
    mlp = 3 * num_experts * model.intermediate_size // shape.num_devices
    per_layer = 10 * model.hidden_size + 2 * qkv + mlp
    elements = model.num_layers * per_layer + 4 * model.hidden_size
    logits = 2 * model.vocab_size * _LOGIT_BYTES // shape.num_devices
    return Work(flop=0, num_bytes=shape.batch * (elements * shape.element_bytes + logits))


def _all_reduce_work(shape: StepShape) -> Work:
    """Two sums a layer and that of the embedding, each a reduce-scatter and an all-gather in a ring, and the logits.

    A sum moves 2 (n - 1) / n of the activations, and logits are gathered: (n - 1) / n of them.
    """
    others, size = shape.num_devices - 1, shape.batch * shape.element_bytes
    moved = 2 * size * shape.model.hidden_size * others // shape.num_devices
    logits = size * shape.model.vocab_size * others // shape.num_devices
    return Work(flop=0, num_bytes=(2 * shape.model.num_layers + 1) * moved + logits)
