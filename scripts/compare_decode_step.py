"""Compare the engine's decode step with that of transformers on this CPU: same weights, same cache, same threads.

    python scripts/compare_decode_step.py --model qwen3_0.6b --batch 1 --context 2048

Both run in inference mode, transformers with sdpa and its dynamic and static caches, all interleaved. The logits are
compared before anything is timed. Needs transformers, and memory for the cache three times.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch

from kinetics.cases.steps import StepCase, StepCell
from kinetics.engine.weights import LayerWeights
from kinetics.machine.device import last_level_cache_bytes, resolve_device
from kinetics.measure.rounds import Candidate, RoundPlan, measure_cpu
from kinetics.measure.step_workload import StepWorkload, make_step_workload
from kinetics.measure.timing import CpuEvictor
from kinetics.specs.counts import parse_count, short
from kinetics.specs.models import ModelSpec, find_model
from kinetics.specs.policies import PolicyKind

Step = Callable[[], torch.Tensor]


def main() -> None:
    """Read the options, compare, print one line per candidate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen3_0.6b", help="a Qwen3 model with a dense MLP")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--context", type=parse_count, default=2048, help="e.g. 2048 or 8k")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    cell = StepCell(
        model=find_model(options.model),
        layer_counts=(find_model(options.model).num_layers,),
        batch=options.batch,
        context_len=options.context,
        page_size=16,
        device_kind="cpu",
        dtype="float32",
        uses_cuda_graph=False,
    )
    compare(cell, num_rounds=options.rounds)


def compare(cell: StepCell, *, num_rounds: int) -> None:
    """Check the logits of transformers against ours, time all, print medians and ratios."""
    workload = make_step_workload(cell, device="cpu", seed=0)
    dense = StepCase(cell=cell, policy=PolicyKind.DENSE, num_layers=cell.model.num_layers, kv_budget=None)
    sparse = StepCase(cell=cell, policy=PolicyKind.BLOCK_TOPK, num_layers=cell.model.num_layers, kv_budget=1024)
    attention = workload.attention_of(dense)
    ours = workload.decoder.decode(workload.token_ids, workload.batch, attention)
    candidates: dict[str, Step] = {
        "engine dense": workload.call(cell.model.num_layers, attention),
        "engine block_topk": workload.call(cell.model.num_layers, workload.attention_of(sparse)),
    }
    model = transformers_model(workload)
    for name, make in (("dynamic", dynamic_step), ("static", static_step)):
        step = make(model, workload)
        error = float((step() - ours).abs().max() / ours.abs().max())
        print(f"transformers {name}: logits differ by {error:.1e} of the largest")
        candidates[f"transformers {name}"] = step
    evict = CpuEvictor(last_level_cache_bytes(resolve_device("cpu")))
    plan = RoundPlan(budget_s=0.0, min_rounds=num_rounds, max_rounds=num_rounds)
    timed = {name: Candidate(calls=[step]) for name, step in candidates.items()}
    samples = measure_cpu(timed, evict=evict, plan=plan, seed=0).samples_s
    where = (
        f"{cell.model.name}, batch {cell.batch}, context {short(cell.context_len)}, {torch.get_num_threads()} threads"
    )
    print(f"{where}, {num_rounds} rounds")
    for name, seconds in samples.items():
        ratio = statistics.median(a / b for a, b in zip(seconds, samples["engine dense"], strict=True))
        quartiles = statistics.quantiles(seconds, n=4)
        print(
            f"{name:22} median {1e3 * statistics.median(seconds):8.1f} ms, quartiles {1e3 * quartiles[0]:.1f} to "
            f"{1e3 * quartiles[2]:.1f} ms, {ratio:.2f} times the engine's dense step (median over rounds)"
        )


def transformers_model(workload: StepWorkload) -> Any:
    """A Qwen3 of transformers whose parameters are views of the engine's weights."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    spec, weights = workload.decoder.spec, workload.decoder.weights
    model = spec.model
    config = Qwen3Config(
        hidden_size=model.hidden_size,
        num_hidden_layers=model.num_layers,
        num_attention_heads=model.num_q_heads,
        num_key_value_heads=model.num_kv_heads,
        head_dim=model.head_dim,
        intermediate_size=model.intermediate_size,
        vocab_size=model.vocab_size,
        rms_norm_eps=spec.norm_epsilon,
        rope_theta=spec.rope_theta,
        max_position_embeddings=spec.max_position,
        tie_word_embeddings=model.ties_embeddings,
        attn_implementation="sdpa",
    )
    with torch.device("meta"):
        theirs = Qwen3ForCausalLM(config)
    state = {"model.embed_tokens.weight": weights.embedding, "model.norm.weight": weights.final_norm}
    state["lm_head.weight"] = weights.head
    for index, layer in enumerate(weights.layers):
        state |= {f"model.layers.{index}.{name}": tensor for name, tensor in _layer_state(layer, model).items()}
    theirs.load_state_dict(state, assign=True)
    # Buffers were made on the meta device too; the rotary module is cheap to make again.
    theirs.model.rotary_emb = type(theirs.model.rotary_emb)(config)
    return theirs.eval()


def _layer_state(layer: LayerWeights, model: ModelSpec) -> dict[str, torch.Tensor]:
    q, k, v = torch.split(layer.qkv, [n * model.head_dim for n in (model.num_q_heads, *[model.num_kv_heads] * 2)])
    gate, up = layer.gate_up.chunk(2)
    assert layer.q_norm is not None
    assert layer.k_norm is not None
    return {
        "input_layernorm.weight": layer.input_norm,
        "post_attention_layernorm.weight": layer.mlp_norm,
        "self_attn.q_proj.weight": q,
        "self_attn.k_proj.weight": k,
        "self_attn.v_proj.weight": v,
        "self_attn.o_proj.weight": layer.output,
        "self_attn.q_norm.weight": layer.q_norm,
        "self_attn.k_norm.weight": layer.k_norm,
        "mlp.gate_proj.weight": gate,
        "mlp.up_proj.weight": up,
        "mlp.down_proj.weight": layer.down,
    }


def dynamic_step(model: Any, workload: StepWorkload) -> Step:
    """A step on a dynamic cache that holds everything but the new token; it is put back before each call."""
    from transformers import DynamicCache

    past = [tuple(tensor[:, :, :-1].contiguous() for tensor in pair) for pair in _contiguous(workload)]
    context_len = int(workload.batch.seq_lens[0])
    cache = DynamicCache(config=model.config)
    for index, (keys, values) in enumerate(past):
        cache.update(keys, values, index)

    def reset() -> None:
        for layer, (keys, values) in zip(cache.layers, past, strict=True):
            layer.keys, layer.values = keys, values

    return _step(model, cache, reset, workload, context_len)


def static_step(model: Any, workload: StepWorkload) -> Step:
    """A step on a static cache exactly as long as the context: the least it can attend to."""
    from transformers import StaticCache

    context_len = int(workload.batch.seq_lens[0])
    cache = StaticCache(config=model.config, max_cache_len=context_len)
    for layer, (keys, values) in zip(cache.layers, _contiguous(workload), strict=True):
        layer.lazy_initialization(keys[:, :, :1], values[:, :, :1])
        layer.keys.copy_(keys)
        layer.values.copy_(values)

    def reset() -> None:
        for layer in cache.layers:
            layer.cumulative_length.fill_(context_len - 1)

    return _step(model, cache, reset, workload, context_len)


def _step(model: Any, cache: Any, reset: Callable[[], None], workload: StepWorkload, context_len: int) -> Step:
    positions = torch.full((len(workload.token_ids), 1), context_len - 1)

    @torch.inference_mode()
    def step() -> torch.Tensor:
        reset()
        out = model(workload.token_ids[:, None], cache=cache, position_ids=positions, use_cache=True, logits_to_keep=1)
        logits: torch.Tensor = out.logits[:, -1]
        logits.argmax(dim=-1)
        return logits

    return step


def _contiguous(workload: StepWorkload) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Keys and values of each layer as [batch, kv_heads, context, head_dim], in logical order."""
    table = workload.batch.block_table.long()
    pairs = []
    for layer in workload.cache.layers:
        keys, values = (tensor[table].flatten(1, 2).transpose(1, 2) for tensor in (layer.keys, layer.values))
        pairs.append((keys, values))
    return pairs


if __name__ == "__main__":
    main()
