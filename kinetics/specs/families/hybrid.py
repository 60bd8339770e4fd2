"""Families that mix kinds of layers: windows beside full attention, recurrent layers beside attention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from kinetics.specs.architectures import Layer
from kinetics.specs.attention_layers import GroupedQueryAttention
from kinetics.specs.config_reader import ConfigReader
from kinetics.specs.families.grouped_query import (
    FULL,
    SLIDING,
    read_attention,
    read_experts,
    read_layer_types,
    read_layers,
    read_routed_mlps,
)
from kinetics.specs.families.latent import read_latent_attention
from kinetics.specs.layers import Mixer
from kinetics.specs.mlps import DenseMlp, Experts, Mlp
from kinetics.specs.recurrent_layers import GatedDeltaNet, KimiDeltaAttention, Mamba2

LINEAR = "linear_attention"


def read_gemma3(config: ConfigReader) -> list[Layer]:
    """Gemma 3: five windows to one full layer, four norms a layer."""
    num_layers, window = config.count("num_hidden_layers"), config.count("sliding_window")
    pattern = config.count("sliding_window_pattern", "_sliding_window_pattern", default=6)
    usual = [FULL if pattern and (index + 1) % pattern == 0 else SLIDING for index in range(num_layers)]
    if config.has("layer_types"):
        usual = read_layer_types(config, num_layers)
    full = read_attention(config, qk_norm="per_head")
    by_type = {FULL: full, SLIDING: replace(full, window=window)}
    config.must_be("attention_bias", False)
    mlp = DenseMlp(width=config.count("intermediate_size"))
    norms = 4 * config.count("hidden_size")
    return [Layer(mixer=by_type[kind], mlps=(mlp,), num_norm_parameters=norms) for kind in usual]


def read_gemma4(config: ConfigReader) -> list[Layer]:
    """Gemma 4: windows beside full layers of larger heads whose values are their keys; experts beside the dense MLP."""
    num_layers, hidden = config.count("num_hidden_layers"), config.count("hidden_size")
    for field in ("attention_bias", "use_double_wide_mlp"):
        config.must_be(field, False)
    config.must_be("num_kv_shared_layers", 0)
    config.must_be("hidden_size_per_layer_input", 0)
    by_type = _gemma4_attention(config)
    mlps: tuple[Mlp, ...] = (DenseMlp(width=config.count("intermediate_size")),)
    norms = 4 * hidden
    if config.flag("enable_moe_block"):
        num_experts = config.count("num_experts")
        mlps += (read_experts(config, num_experts=num_experts, num_router_vectors=hidden + num_experts),)
        norms += 3 * hidden
    config.drop("expert_intermediate_size", "num_experts", "top_k_experts")
    kinds = read_layer_types(config, num_layers)
    return [Layer(mixer=by_type[kind], mlps=mlps, num_norm_parameters=norms) for kind in kinds]


def _gemma4_attention(config: ConfigReader) -> dict[str, GroupedQueryAttention]:
    sliding = read_attention(config, qk_norm="per_head", window=config.count("sliding_window"))
    head_dim = config.count("global_head_dim", default=sliding.head_dim)
    full = replace(
        sliding,
        window=None,
        head_dim=head_dim,
        value_dim=head_dim,
        norm_elements=2 * head_dim,
        num_kv_heads=config.count("num_global_key_value_heads", default=sliding.num_kv_heads),
        has_value_projection=not config.flag("attention_k_eq_v"),
    )
    return {FULL: full, SLIDING: sliding}


def read_mimo_v2(config: ConfigReader) -> list[Layer]:
    """MiMo V2 Flash: windows with sinks and more KV heads beside full layers; values narrower than keys."""
    num_layers = config.count("num_hidden_layers")
    config.drop("sliding_window_size", "attention_chunk_size")
    config.must_be("attention_bias", False)
    full = GroupedQueryAttention(
        num_q_heads=config.count("num_attention_heads"),
        num_kv_heads=config.count("num_key_value_heads"),
        head_dim=config.count("head_dim"),
        value_dim=config.count("v_head_dim"),
        has_sinks=config.flag("add_full_attention_sink_bias"),
    )
    sliding = GroupedQueryAttention(
        num_q_heads=config.count("swa_num_attention_heads"),
        num_kv_heads=config.count("swa_num_key_value_heads"),
        head_dim=config.count("swa_head_dim"),
        value_dim=config.count("swa_v_head_dim"),
        window=config.count("sliding_window"),
        has_sinks=config.flag("add_swa_attention_sink_bias"),
    )
    slides = config.per_layer("hybrid_layer_pattern", num_layers=num_layers)
    mixers = [sliding if flag else full for flag in slides]
    return read_layers(config, mixers, read_routed_mlps(config, num_layers))


def read_qwen_hybrid(config: ConfigReader) -> list[Layer]:
    """Qwen3-Next and Qwen3.5: three gated delta nets to one gated full attention; dense MLP or experts."""
    num_layers = config.count("num_hidden_layers")
    delta = GatedDeltaNet(
        num_key_heads=config.count("linear_num_key_heads"),
        num_value_heads=config.count("linear_num_value_heads"),
        key_dim=config.count("linear_key_head_dim"),
        value_dim=config.count("linear_value_head_dim"),
        convolution_width=config.count("linear_conv_kernel_dim"),
    )
    config.must_be("attn_output_gate", True)
    config.must_be("attention_bias", False)
    full = replace(read_attention(config, qk_norm="per_head"), has_output_gate=True)
    interval = config.count("full_attention_interval", default=4)
    kinds = [FULL if interval and (i + 1) % interval == 0 else LINEAR for i in range(num_layers)]
    if config.has("layer_types"):
        kinds = read_layer_types(config, num_layers, FULL, LINEAR)
    mixers: list[Mixer] = [full if kind == FULL else delta for kind in kinds]
    mlp = _qwen_hybrid_mlp(config)
    norms = 2 * config.count("hidden_size")
    return [Layer(mixer=mixer, mlps=(mlp,), num_norm_parameters=norms) for mixer in mixers]


def _qwen_hybrid_mlp(config: ConfigReader) -> Mlp:
    config.must_be("mlp_only_layers", [])
    config.must_be("decoder_sparse_step", 1)
    num_experts = config.count("num_experts", default=0)
    if num_experts:
        config.drop("intermediate_size")
        return read_experts(config, num_experts=num_experts)
    return DenseMlp(width=config.count("intermediate_size"))


_NEMOTRON_LETTERS = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}


def read_nemotron_h(config: ConfigReader) -> list[Layer]:
    """Nemotron-H and Nemotron 3: each layer is a Mamba-2, an attention, an MLP or experts, behind one norm."""
    pattern = config.value("hybrid_override_pattern", "layers_block_type")
    kinds = [_NEMOTRON_LETTERS.get(kind, kind) for kind in pattern]
    config.drop("num_hidden_layers", "expand")
    config.must_be("mamba_proj_bias", False)
    config.must_be("use_bias", False)
    config.must_be("attention_bias", False)
    config.must_be("sliding_window")
    makers: dict[str, Callable[[ConfigReader], Mixer | Mlp]] = {
        "mamba": _read_mamba,
        "attention": read_attention,
        "mlp": _nemotron_mlp,
        "moe": _nemotron_experts,
    }
    if unknown := set(kinds) - set(makers):
        raise ValueError(f"layers of {config.name} must be {', '.join(makers)}, got {unknown.pop()!r}")
    made = {kind: makers[kind](config) for kind in dict.fromkeys(kinds)}
    config.drop("intermediate_size", "moe_latent_size", "n_shared_experts", "moe_intermediate_size")
    norms = config.count("hidden_size")
    return [
        Layer(
            mixer=None if isinstance(part, DenseMlp | Experts) else part,
            mlps=(part,) if isinstance(part, DenseMlp | Experts) else (),
            num_norm_parameters=norms,
        )
        for part in (made[kind] for kind in kinds)
    ]


def _read_mamba(config: ConfigReader) -> Mamba2:
    return Mamba2(
        num_heads=config.count("mamba_num_heads"),
        head_dim=config.count("mamba_head_dim"),
        state_size=config.count("ssm_state_size"),
        num_groups=config.count("n_groups"),
        convolution_width=config.count("conv_kernel"),
        has_convolution_bias=config.flag("use_conv_bias", default=True),
    )


def _nemotron_mlp(config: ConfigReader) -> DenseMlp:
    """Squared ReLU, hence no gate."""
    width = config.count("intermediate_size")
    return DenseMlp(width=width, is_gated=False, has_bias=config.flag("mlp_bias"))


def _nemotron_experts(config: ConfigReader) -> Experts:
    shared = config.count("n_shared_experts", default=0)
    config.flag("mlp_bias")
    return Experts(
        num_experts=config.count("n_routed_experts"),
        experts_per_token=config.count("num_experts_per_tok"),
        width=config.count("moe_intermediate_size"),
        is_gated=False,
        shared_width=shared * config.count("moe_shared_expert_intermediate_size", default=0),
        latent_size=config.count("moe_latent_size", default=0) or None,
    )


def read_kimi_linear(config: ConfigReader) -> list[Layer]:
    """Kimi Linear and Kimi K3: three KDA layers to one latent attention; routed experts behind dense first layers."""
    num_layers = config.count("num_hidden_layers")
    config.drop("num_key_value_heads", "head_dim", "mla_use_nope")
    delta, is_linear = _read_kda(config, num_layers)
    latent = read_latent_attention(config)
    mlps = read_routed_mlps(config, num_layers)
    if latent_size := config.count("routed_expert_hidden_size", default=0):
        config.drop("latent_moe_use_norm")
        mlps = [replace(mlp, latent_size=latent_size) if isinstance(mlp, Experts) else mlp for mlp in mlps]
    norms = 2 * config.count("hidden_size")
    mixers: list[Mixer] = [delta if flag else latent for flag in is_linear]
    return [Layer(mixer=a, mlps=(b,), num_norm_parameters=norms) for a, b in zip(mixers, mlps, strict=True)]


def _read_kda(config: ConfigReader, num_layers: int) -> tuple[KimiDeltaAttention, list[bool]]:
    """KDA, and which layers have it: as the models state it (counted from 1), or as transformers writes it."""
    if not config.has("linear_attn_config"):
        kinds = read_layer_types(config, num_layers, FULL, LINEAR)
        delta = KimiDeltaAttention(
            num_heads=config.count("linear_num_heads"),
            head_dim=config.count("linear_head_dim"),
            convolution_width=config.count("linear_conv_kernel_dim"),
        )
        return delta, [kind == LINEAR for kind in kinds]
    section = config.section("linear_attn_config")
    delta = KimiDeltaAttention(
        num_heads=section.count("num_heads"),
        head_dim=section.count("head_dim"),
        convolution_width=section.count("short_conv_kernel_size"),
        has_full_rank_gate=section.flag("use_full_rank_gate"),
    )
    section.drop("full_attn_layers", "gate_lower_bound")
    linear_layers = set(section.value("kda_layers"))
    section.finish()
    return delta, [index + 1 in linear_layers for index in range(num_layers)]
