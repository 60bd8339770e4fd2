"""Families of multi-head latent attention: DeepSeek V3, R1, V3.2, Kimi K2 and GLM-5, the later ones with an indexer."""

from __future__ import annotations

from dataclasses import replace

from kinetics.specs.architectures import Layer
from kinetics.specs.config_reader import ConfigReader
from kinetics.specs.families.grouped_query import read_routed_mlps
from kinetics.specs.latent_layers import Indexer, LatentAttention


def read_deepseek(config: ConfigReader) -> list[Layer]:
    """Latent attention in every layer, dense first layers, then routed experts with shared ones."""
    num_layers = config.count("num_hidden_layers")
    config.must_be("attention_bias", False)
    config.must_be("layer_types", ["deepseek_sparse_attention"] * num_layers)
    config.drop("num_key_value_heads", "head_dim")  # one latent serves all heads
    attention = read_latent_attention(config)
    mixers = [replace(attention, indexer=index) for index in _read_indexers(config, num_layers)]
    norms = 2 * config.count("hidden_size")
    return [
        Layer(mixer=mixer, mlps=(mlp,), num_norm_parameters=norms)
        for mixer, mlp in zip(mixers, read_routed_mlps(config, num_layers), strict=True)
    ]


def read_latent_attention(config: ConfigReader) -> LatentAttention:
    """Latent attention without an indexer."""
    return LatentAttention(
        num_heads=config.count("num_attention_heads"),
        latent_rank=config.count("kv_lora_rank"),
        rotary_dim=config.count("qk_rope_head_dim"),
        nope_dim=config.count("qk_nope_head_dim"),
        value_dim=config.count("v_head_dim"),
        query_rank=config.count("q_lora_rank", default=0) or None,
        has_output_gate=config.flag("mla_use_output_gate"),
    )


def _read_indexers(config: ConfigReader, num_layers: int) -> list[Indexer | None]:
    """The indexer of each layer: none, one of its own, or an earlier layer's."""
    if not config.has("index_topk"):
        return [None] * num_layers
    full = Indexer(
        num_heads=config.count("index_n_heads"),
        head_dim=config.count("index_head_dim"),
        top_tokens=config.count("index_topk"),
    )
    shared = replace(full, is_shared=True)
    config.must_be("index_topk_pattern")
    config.drop("index_topk_freq", "index_skip_topk_offset")
    kinds = config.per_layer("indexer_types", num_layers=num_layers, default=["full"] * num_layers)
    if unknown := set(kinds) - {"full", "shared"}:
        raise ValueError(f"indexer_types in the config of {config.name} must be full or shared, got {unknown.pop()!r}")
    return [shared if kind == "shared" else full for kind in kinds]
