"""Proof, before timing, that the decode step computes what it claims, in the shapes it is timed in.

One layer and the first rows of the head are computed again in float64 and, as the yardstick, in plain torch of the
step's dtype: formulas written out here, none of the engine's code, attention by the kernels' references. What all
layers together compute is checked against another library in the tests.

Which pages block top-k keeps jumps with the last bit of a query, so all three attend to the pages that the step's own
query chooses by the reference's scores. That kernels choose rightly is proved where kernels are measured.

Of several ranks each writes out its own part; the parts are gathered and added up here, not by the sums that are timed.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn.functional import silu

from kinetics.cases.steps import StepCase
from kinetics.engine.attention import Attention, DecodeBatch, page_selection
from kinetics.engine.tensor_parallel import RankGroup
from kinetics.measure.loud_keys import write_loud_keys
from kinetics.measure.step_workload import StepWorkload, first_layers, settings_of
from kinetics_kernels.block_topk import reference as block_topk_reference
from kinetics_kernels.dense import reference as dense_reference
from kinetics_kernels.kv_cache import reference as kv_cache_reference
from kinetics_kernels.testing import assert_within_error_budget

HEAD_ROWS = 4096
"""Rows of the head that a proof computes again."""


def prove_step(workload: StepWorkload, case: StepCase) -> float:
    """The logits of a step through one layer against float64.

    Returns the largest absolute error. Raises: AssertionError.
    """
    one_layer = first_layers(workload.decoder, 1, provider=case.provider)
    head = replace(one_layer.weights, head=one_layer.weights.head[:HEAD_ROWS])
    timed = type(one_layer)(one_layer.spec, head, ranks=one_layer.ranks, vocab_size=one_layer.vocab_size)
    attention = _RecordingAttention(workload.attention_of(case))
    timed.decode(workload.token_ids, workload.batch, attention)
    _write_loud_keys(workload, attention.q)
    logits = timed.decode(workload.token_ids, workload.batch, attention)
    with torch.inference_mode():
        pages = _chosen_pages(workload, case, attention.q)
        oracle, plain = (_plain_logits(workload, pages, dtype) for dtype in (torch.float64, logits.dtype))
    return assert_within_error_budget(logits, oracle=oracle, low_precision=plain, subject="logits after one layer")


def _write_loud_keys(workload: StepWorkload, q: torch.Tensor) -> None:
    """Keys of the first layer that these queries hear; the newest one is the step's own."""
    batch = workload.batch
    cache = workload.cache.layers[0].paged_cache(batch.block_table, batch.seq_lens)
    write_loud_keys(cache, q, context_len=int(batch.seq_lens[0]))
    workload.summarize()


class _RecordingAttention:
    """An attention that keeps the last query it was asked."""

    def __init__(self, attention: Attention) -> None:
        self._attention = attention
        self.q = torch.empty(0)

    def __call__(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, batch: DecodeBatch
    ) -> torch.Tensor:
        self.q = q
        return self._attention(layer, q, k, v, batch)


def _chosen_pages(workload: StepWorkload, case: StepCase, q: torch.Tensor) -> torch.Tensor | None:
    """The pages that the references choose for these queries after the step; None where all are attended."""
    layer, batch = workload.cache.layers[0], workload.batch
    cache = layer.paged_cache(batch.block_table, batch.seq_lens)
    selection = page_selection(settings_of(case).policy, page_size=cache.page_size)
    if selection is None:
        return None
    assert layer.summary is not None
    scores = torch.empty((len(q), cache.num_kv_heads, cache.max_pages), dtype=torch.float32, device=q.device)
    block_topk_reference.score_pages(q.to(layer.keys.dtype), cache, layer.summary, scores=scores)
    pages = torch.empty((*scores.shape[:2], selection.num_pages), dtype=torch.int32, device=q.device)
    block_topk_reference.select_pages(scores, cache, selection=selection, page_indices=pages)
    return pages


def _plain_logits(workload: StepWorkload, pages: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor:
    decoder = workload.decoder
    weights, epsilon, ranks = decoder.weights, decoder.spec.norm_epsilon, decoder.ranks
    layer = weights.layers[0]
    hidden = _joined(_plain_embedding(workload).to(dtype), ranks)
    hidden = hidden + _joined(_plain_attention(workload, pages, _norm(hidden, layer.input_norm, epsilon)), ranks)
    hidden = hidden + _joined(_plain_mlp(workload, _norm(hidden, layer.mlp_norm, epsilon)), ranks)
    logits = _norm(hidden, weights.final_norm, epsilon) @ weights.head[:HEAD_ROWS].to(dtype).T
    return ranks.gather(logits)[:, : decoder.vocab_size]


def _joined(part: torch.Tensor, ranks: RankGroup) -> torch.Tensor:
    """The sum of all ranks' parts."""
    return ranks.gather(part[..., None]).sum(-1) if ranks.num_ranks > 1 else part


def _plain_embedding(workload: StepWorkload) -> torch.Tensor:
    """The rows that this rank has of the tokens; zeros for those of others."""
    table = workload.decoder.weights.embedding
    first = workload.decoder.ranks.rank * len(table)
    rows = [
        table[token - first] if 0 <= token - first < len(table) else torch.zeros_like(table[0])
        for token in workload.token_ids.tolist()
    ]
    return torch.stack(rows)


def _norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    return x / (x.square().mean(dim=-1, keepdim=True) + epsilon).sqrt() * weight.to(x.dtype)


def _plain_attention(workload: StepWorkload, pages: torch.Tensor | None, normed: torch.Tensor) -> torch.Tensor:
    spec, layer, dtype = workload.decoder.spec, workload.decoder.weights.layers[0], normed.dtype
    model = spec.model
    stacked = normed @ layer.qkv.to(dtype).T
    if layer.qkv_bias is not None:
        stacked = stacked + layer.qkv_bias.to(dtype)
    heads = stacked.view(len(normed), -1, model.head_dim)
    num_q, num_kv = model.num_q_heads, model.num_kv_heads
    q, k, v = heads[:, :num_q], heads[:, num_q : num_q + num_kv], heads[:, num_q + num_kv :]
    if layer.q_norm is not None and layer.k_norm is not None:
        q, k = _norm(q, layer.q_norm, spec.norm_epsilon), _norm(k, layer.k_norm, spec.norm_epsilon)
    positions = workload.batch.seq_lens - 1
    q, k = _rotate(q, positions, spec.rope_theta), _rotate(k, positions, spec.rope_theta)
    return _plain_attend(workload, pages, q, k, v).flatten(1) @ layer.output.to(dtype).T


def _rotate(heads: torch.Tensor, positions: torch.Tensor, theta: float) -> torch.Tensor:
    """Each pair (d, d + head_dim / 2) as a complex number, turned by position / theta ** (2 d / head_dim).

    The angles are float32 by definition, for the models were trained with them.
    """
    half = heads.shape[-1] // 2
    wavelengths = theta ** (torch.arange(half, dtype=torch.float32, device=heads.device) / half)
    angles = (positions.float()[:, None, None] * (1.0 / wavelengths)).double()
    x, y = heads[..., :half], heads[..., half:]
    cos, sin = angles.cos().to(heads.dtype), angles.sin().to(heads.dtype)
    return torch.cat([x * cos - y * sin, x * sin + y * cos], dim=-1)


def _plain_attend(
    workload: StepWorkload, pages: torch.Tensor | None, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
) -> torch.Tensor:
    """Append and attend by the references, which widen the cache's own dtype to that of q."""
    layer, batch = workload.cache.layers[0], workload.batch
    cache = layer.paged_cache(batch.block_table, batch.seq_lens)
    kv_cache_reference.append_kv(k, v, cache, page_summary=layer.summary)
    out, scale = torch.empty_like(q), q.shape[-1] ** -0.5
    if pages is None:
        dense_reference.paged_decode(q, cache, softmax_scale=scale, num_splits=0, out=out, lse=None)
    else:
        block_topk_reference.sparse_paged_decode(q, cache, pages, softmax_scale=scale, num_splits=0, out=out, lse=None)
    return out


def _plain_mlp(workload: StepWorkload, normed: torch.Tensor) -> torch.Tensor:
    layer, spec = workload.decoder.weights.layers[0], workload.decoder.spec
    if layer.router is None:
        return _gated(normed, layer.gate_up, layer.down)
    out = torch.zeros_like(normed)
    shares = torch.softmax(normed @ layer.router.to(normed.dtype).T, dim=-1)
    weights, experts = shares.topk(spec.model.num_experts_per_token, dim=-1)
    if spec.normalizes_expert_weights:
        weights = weights / weights.sum(dim=-1, keepdim=True)
    for token in range(len(normed)):
        for weight, expert in zip(weights[token], experts[token].tolist(), strict=True):
            out[token] += weight * _gated(normed[token], layer.gate_up[expert], layer.down[expert])
    return out


def _gated(x: torch.Tensor, gate_up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    gate, up = (x @ gate_up.to(x.dtype).T).chunk(2, dim=-1)
    return (silu(gate) * up) @ down.to(x.dtype).T
