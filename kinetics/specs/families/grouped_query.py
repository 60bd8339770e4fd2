"""Families whose layers are grouped-query attention, full or windowed, with dense MLPs or experts."""

from __future__ import annotations

from collections.abc import Sequence

from kinetics.specs.architectures import Layer
from kinetics.specs.attention_layers import BlockSparseAttention, GroupedQueryAttention
from kinetics.specs.config_reader import ConfigReader
from kinetics.specs.mlps import DenseMlp, Experts, Mlp

FULL, SLIDING = "full_attention", "sliding_attention"


def read_attention(
    config: ConfigReader,
    *,
    qkv_bias: bool = False,
    output_bias: bool = False,
    qk_norm: str | None = None,
    window: int | None = None,
    has_sinks: bool = False,
) -> GroupedQueryAttention:
    """Attention of the usual fields. `qk_norm`: over each head (`per_head`), all of them (`per_layer`), or none."""
    num_q_heads = config.count("num_attention_heads")
    num_kv_heads = config.count("num_key_value_heads", default=num_q_heads)
    head_dim = read_head_dim(config)
    norms = {"per_head": 2 * head_dim, "per_layer": (num_q_heads + num_kv_heads) * head_dim}
    return GroupedQueryAttention(
        num_q_heads=num_q_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        value_dim=head_dim,
        window=window,
        has_qkv_bias=qkv_bias,
        has_output_bias=output_bias,
        has_sinks=has_sinks,
        norm_elements=norms[qk_norm] if qk_norm else 0,
    )


def read_head_dim(config: ConfigReader) -> int:
    """The stated head_dim, or the hidden size over the heads."""
    heads = config.count("num_attention_heads")
    return config.count("head_dim", "attention_head_dim", default=config.count("hidden_size") // max(1, heads))


def read_layers(
    config: ConfigReader, mixers: Sequence[GroupedQueryAttention | BlockSparseAttention], mlps: Sequence[Mlp]
) -> list[Layer]:
    """Layers with a norm before mixer and MLP."""
    norms = 2 * config.count("hidden_size")
    return [Layer(mixer=a, mlps=(b,), num_norm_parameters=norms) for a, b in zip(mixers, mlps, strict=True)]


def read_llama(config: ConfigReader) -> list[Layer]:
    """Llama, Mistral and MiMo: a bias on all projections or none; Mistral may slide a window over all layers."""
    has_bias, num_layers = config.flag("attention_bias"), config.count("num_hidden_layers")
    slides = config.flag("use_sliding_window", default=True)
    window = config.count("sliding_window", default=0) if slides else config.drop("sliding_window") and 0
    attention = read_attention(config, qkv_bias=has_bias, output_bias=has_bias, window=window or None)
    mlp = DenseMlp(width=config.count("intermediate_size"), has_bias=config.flag("mlp_bias"))
    return read_layers(config, [attention] * num_layers, [mlp] * num_layers)


def read_mimo(config: ConfigReader) -> list[Layer]:
    """MiMo 7B: Qwen2 with a head that predicts further tokens; its bias is on queries, keys and values alone."""
    num_layers = config.count("num_hidden_layers")
    config.must_be("use_sliding_window", False)
    config.drop("sliding_window")
    attention = read_attention(config, qkv_bias=config.flag("attention_bias"))
    mlp = DenseMlp(width=config.count("intermediate_size"))
    return read_layers(config, [attention] * num_layers, [mlp] * num_layers)


def read_qwen(config: ConfigReader) -> list[Layer]:
    """Qwen2, Qwen3, Qwen3-MoE and the text half of Qwen3-VL."""
    num_layers, is_qwen2 = config.count("num_hidden_layers"), config.value("model_type") == "qwen2"
    config.must_be("use_sliding_window", False)
    config.must_be("use_qk_norm", not is_qwen2)
    config.drop("sliding_window", "layer_types")
    has_bias = config.flag("attention_bias")
    attention = read_attention(
        config, qkv_bias=is_qwen2 or has_bias, output_bias=has_bias, qk_norm=None if is_qwen2 else "per_head"
    )
    return read_layers(config, [attention] * num_layers, _qwen_mlps(config, num_layers))


def _qwen_mlps(config: ConfigReader, num_layers: int) -> list[Mlp]:
    """Experts in every `decoder_sparse_step`-th layer that is not named dense."""
    num_experts = config.count("num_experts", "num_local_experts", default=0)
    dense = DenseMlp(width=config.count("intermediate_size")) if config.has("intermediate_size") else None
    if not num_experts:
        return [DenseMlp(width=config.count("intermediate_size"))] * num_layers
    step = config.count("decoder_sparse_step", default=1)
    named_dense = config.value("mlp_only_layers", default=[])
    experts = read_experts(config, num_experts=num_experts)
    is_sparse = [i not in named_dense and step > 0 and (i + 1) % step == 0 for i in range(num_layers)]
    return [experts if sparse else dense or experts for sparse in is_sparse]


def read_experts(config: ConfigReader, *, num_experts: int, num_router_vectors: int = 0) -> Experts:
    """Routed experts of the usual fields, and a shared one where its width is stated (Qwen's comes with a gate)."""
    shared = config.count("shared_expert_intermediate_size", default=0)
    return Experts(
        num_experts=num_experts,
        experts_per_token=config.count("num_experts_per_tok", "num_experts_per_token", "top_k_experts"),
        width=config.count("moe_intermediate_size", "intermediate_size"),
        shared_width=shared,
        has_shared_gate=shared > 0,
        num_router_vectors=num_router_vectors,
    )


def read_mixtral(config: ConfigReader) -> list[Layer]:
    """Mixtral and MiniMax M2: experts in every layer, of the width that others give their MLP."""
    num_layers = config.count("num_hidden_layers")
    window = config.count("sliding_window", default=0)
    attention = read_attention(config, window=window or None, qk_norm=_minimax_norm(config))
    config.must_be("shared_intermediate_size", 0)
    config.must_be("attn_type_list", [1] * num_layers)
    experts = read_experts(config, num_experts=config.count("num_local_experts", "num_experts"))
    return read_layers(config, [attention] * num_layers, [experts] * num_layers)


def _minimax_norm(config: ConfigReader) -> str | None:
    if not config.flag("use_qk_norm"):
        return None
    config.must_be("qk_norm_type", "per_head", "per_layer")
    return str(config.value("qk_norm_type", default="per_layer"))


def read_minimax_m3(config: ConfigReader) -> list[Layer]:
    """MiniMax M3: block-sparse attention behind an index (MSA) in most layers, experts with a shared one."""
    num_layers = config.count("num_hidden_layers")
    config.must_be("attention_output_gate", False)
    config.drop("first_k_dense_replace", "use_gemma_norm")
    dense = read_attention(config, qk_norm=_minimax_norm(config))
    sparse, is_sparse = _read_msa(config.section("sparse_attention_config"), dense, num_layers)
    width = config.count("moe_intermediate_size", "intermediate_size")
    shared_width = config.count("shared_intermediate_size", default=width)
    experts = Experts(
        num_experts=config.count("num_local_experts"),
        experts_per_token=config.count("num_experts_per_tok"),
        width=width,
        shared_width=config.count("n_shared_experts", default=0) * shared_width,
    )
    mlp = DenseMlp(width=config.count("dense_intermediate_size"))
    routed = config.per_layer("moe_layer_freq", num_layers=num_layers)
    return read_layers(
        config, [sparse if flag else dense for flag in is_sparse], [experts if flag else mlp for flag in routed]
    )


def _read_msa(
    section: ConfigReader, attention: GroupedQueryAttention, num_layers: int
) -> tuple[BlockSparseAttention, list[bool]]:
    """The sparse attention of M3's own section, and which layers have it."""
    is_sparse = [bool(flag) for flag in section.per_layer("sparse_attention_freq", num_layers=num_layers)]
    values_dropped = section.per_layer("sparse_disable_index_value", num_layers=num_layers, default=[1] * num_layers)
    if not all(dropped for dropped, sparse in zip(values_dropped, is_sparse, strict=True) if sparse):
        section.must_be("sparse_disable_index_value", "1 in every sparse layer")
    section.must_be("use_sparse_attention", True)
    section.must_be("sparse_score_type", "max")
    section.drop("sparse_init_block", "sparse_local_block", "sparse_layer_types")
    found = BlockSparseAttention(
        attention=attention,
        block_size=section.count("sparse_block_size"),
        top_blocks=section.count("sparse_topk_blocks", "sparse_topk"),
        num_index_heads=section.count("sparse_num_index_heads", "num_index_heads"),
        index_dim=section.count("sparse_index_dim"),
    )
    section.finish()
    return found, is_sparse


def read_gpt_oss(config: ConfigReader) -> list[Layer]:
    """gpt-oss: windows in every other layer, sinks and biases everywhere."""
    num_layers = config.count("num_hidden_layers")
    has_bias, window = config.flag("attention_bias", default=True), config.count("sliding_window")
    by_type = {
        kind: read_attention(config, qkv_bias=has_bias, output_bias=has_bias, window=size, has_sinks=True)
        for kind, size in ((FULL, None), (SLIDING, window))
    }
    config.drop("experts_per_token")
    experts = Experts(
        num_experts=config.count("num_local_experts"),
        experts_per_token=config.count("num_experts_per_tok"),
        width=config.count("intermediate_size"),
        has_bias=True,
    )
    mixers = [by_type[kind] for kind in read_layer_types(config, num_layers)]
    return read_layers(config, mixers, [experts] * num_layers)


def read_layer_types(config: ConfigReader, num_layers: int, *known: str) -> list[str]:
    """The kind of attention of each layer.

    Raises: ValueError naming one that is not known.
    """
    kinds = [str(kind) for kind in config.per_layer("layer_types", num_layers=num_layers)]
    unknown = sorted(set(kinds) - set(known or (FULL, SLIDING)))
    if unknown:
        raise ValueError(f"layer_types in the config of {config.name} must be known ones, got {unknown[0]!r}")
    return kinds


def read_glm4_moe(config: ConfigReader) -> list[Layer]:
    """GLM-4.5 to 4.7: dense first layers, then routed experts with shared ones."""
    num_layers = config.count("num_hidden_layers")
    has_bias = config.flag("attention_bias")
    attention = read_attention(config, qkv_bias=has_bias, qk_norm="per_head" if config.flag("use_qk_norm") else None)
    return read_layers(config, [attention] * num_layers, read_routed_mlps(config, num_layers))


def read_routed_mlps(config: ConfigReader, num_layers: int) -> list[Mlp]:
    """MLPs as DeepSeek names them: the first are dense, `moe_layer_freq` says which of the rest are routed."""
    width = config.count("moe_intermediate_size")
    experts = Experts(
        num_experts=config.count("n_routed_experts", "num_experts"),
        experts_per_token=config.count("num_experts_per_tok", "num_experts_per_token"),
        width=width,
        shared_width=width * config.count("n_shared_experts", "num_shared_experts", default=0),
    )
    dense = DenseMlp(width=config.count("intermediate_size"))
    return [experts if is_routed else dense for is_routed in _routed_layers(config, num_layers)]


def _routed_layers(config: ConfigReader, num_layers: int) -> list[bool]:
    """Which layers route: listed by name or by flag, or all after the first ones."""
    if config.has("mlp_layer_types"):
        config.drop("first_k_dense_replace", "moe_layer_freq")
        kinds = config.per_layer("mlp_layer_types", num_layers=num_layers)
        if unknown := set(kinds) - {"dense", "sparse"}:
            raise ValueError(
                f"mlp_layer_types in the config of {config.name} must be dense or sparse, got {unknown.pop()!r}"
            )
        return [kind == "sparse" for kind in kinds]
    if isinstance(config.value("moe_layer_freq", default=1), list):
        config.drop("first_k_dense_replace")
        return [bool(flag) for flag in config.per_layer("moe_layer_freq", num_layers=num_layers)]
    config.must_be("moe_layer_freq", 1)
    first = config.count("first_k_dense_replace", default=0)
    return [index >= first for index in range(num_layers)]
