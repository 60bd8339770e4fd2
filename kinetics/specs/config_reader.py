"""A config.json read field by field, so that none goes unread: what is neither understood nor harmless is refused.

Knows which fields cannot change a byte or a FLOP (token ids, rotary angles, dropout, generation defaults). Which fields
mean what is the families' knowledge.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from kinetics.files.printable import one_line

_HARMLESS: Final = frozenset({
    "_attn_implementation", "_name_or_path", "activation_situ_beta", "activation_situ_linear_beta",
    "add_cross_attention", "architectures", "attention_dropout", "attention_value_scale", "attn_logit_softcapping",
    "audio_config", "audio_token_id", "auto_map", "aux_loss_alpha", "bad_words_ids", "begin_suppress_tokens",
    "boa_token_id", "boi_token_id", "bos_token_id", "chunk_size", "chunk_size_feed_forward",
    "cross_attention_hidden_size", "decoder_start_token_id", "diversity_penalty", "do_sample", "dtype",
    "early_stopping", "embd_pdrop", "encoder_no_repeat_ngram_size", "eoa_token_id", "eoa_token_index",
    "eoi_token_id", "eos_token_id", "ep_size", "exponential_decay_length_penalty", "final_logit_softcapping",
    "finetuning_task", "forced_bos_token_id", "forced_eos_token_id", "gate_lower_bound", "hidden_act",
    "hidden_activation", "hidden_dropout", "hidden_dropout_prob", "id2label", "ignore_index", "image_placeholder",
    "image_token_id", "image_token_index", "index_share_for_mtp_iteration", "indexer_rope_interleave",
    "initial_context_length", "initializer_range", "is_decoder", "is_encoder_decoder", "label2id",
    "layer_norm_epsilon", "layernorm_epsilon", "length_penalty", "mamba_dt_rank", "mamba_hidden_act",
    "mamba_ssm_cache_dtype", "mamba_ssm_dtype", "max_length", "max_position_embeddings", "max_window_layers",
    "media_placeholder_token_id", "min_length", "mlp_hidden_act", "mm_tokens_per_image", "model_max_length",
    "moe_renormalize", "moe_router_activation_func", "moe_router_dtype", "moe_router_scaling_factor",
    "moe_shared_expert_overlap", "n_group", "no_repeat_ngram_size", "norm_eps", "norm_topk_prob", "num_beam_groups",
    "num_beams", "num_expert_group", "num_logits_to_keep", "num_return_sequences", "output_attentions",
    "output_gate_type", "output_hidden_states", "output_router_logits", "output_scores", "pad_token_id",
    "partial_rotary_factor", "prefix", "pretraining_tp", "problem_type", "pruned_heads", "qk_head_dim",
    "query_pre_attn_scalar", "remove_invalid_values", "repetition_penalty", "rescale_prenorm_residual",
    "resid_pdrop", "residual_in_fp32", "return_dict", "return_dict_in_generate", "rms_norm_eps", "rope_interleave",
    "rope_local_base_freq", "rope_parameters", "rope_scaling", "rope_theta", "rotary_dim", "routed_scaling_factor",
    "router_aux_loss_coef", "router_jitter_noise", "scoring_func", "sep_token_id", "seq_aux", "suppress_tokens",
    "swa_rope_theta", "swiglu_alpha", "swiglu_limit", "task_specific_params", "temperature", "tf_legacy_loss",
    "tie_encoder_decoder", "time_step_floor", "time_step_limit", "time_step_max", "time_step_min", "time_step_rank",
    "tokenizer_class", "top_k", "top_p", "topk_group", "topk_method", "torch_dtype", "torchscript",
    "transformers_version", "typical_p", "unsloth_fixed", "unsloth_version", "use_bfloat16",
    "use_bidirectional_attention", "use_cache", "use_grouped_topk", "use_mamba_kernels", "use_moe_router_bias",
    "use_mrope", "use_routing_bias", "use_unified_vision_chunk", "video_placeholder", "video_token_id",
    "vision_end_token_id", "vision_feature_layer", "vision_soft_tokens_per_image", "vision_start_token_id",
    "vocab_size_per_layer_input",
})  # fmt: skip
_MTP_FIELDS: Final = (
    "num_nextn_predict_layers", "num_mtp_modules", "mtp_num_hidden_layers", "mtp_layers_block_type", "use_mtp",
    "mtp_transformer_layers", "mtp_use_dedicated_embeddings", "mtp_hybrid_override_pattern", "num_mtp_layers",
)  # fmt: skip
_MISSING: Final = object()
_MAX_COUNT: Final = 2**40
_MAX_LAYERS: Final = 10_000
"""Layers are listed one by one."""


class ConfigReader:
    """The fields of one config.json, each marked when it is read.

    `ignored` fields are taken as if they were harmless; those that were there are in `fields_ignored` afterwards.
    """

    def __init__(self, config: Mapping[str, Any], *, name: str, ignored: Collection[str] = ()) -> None:
        self.name = name
        self._config = config
        self._ignored = ignored
        self._read: set[str] = set()

    def has(self, key: str) -> bool:
        """Whether a field states anything; null, false and empty do not."""
        return _says_something(self._config.get(key))

    def value(self, *keys: str, default: Any = _MISSING) -> Any:
        """The first of these fields that is there, all of them read.

        Raises: ValueError if none is and there is no default.
        """
        self._read.update(keys)
        for key in keys:
            if self._config.get(key) is not None:
                return self._config[key]
        if default is _MISSING:
            raise ValueError(f"the config of {self.name} must have {keys[0]}, got none")
        return default

    def count(self, *keys: str, default: Any = _MISSING) -> int:
        """A whole number of at least 0 and at most 2**40, of layers at most ten thousand.

        Raises: ValueError naming the field if it is something else.
        """
        value = self.value(*keys, default=default)
        most = _MAX_LAYERS if "layers" in keys[0] else _MAX_COUNT
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            rule = "an integer from 0 on" if most == _MAX_COUNT else f"an integer in 0..{most}"
            raise ValueError(f"{keys[0]} in the config of {self.name} must be {rule}, got {_shown(value)}")
        return value

    def flag(self, *keys: str, default: bool = False) -> bool:
        """True or false.

        Raises: ValueError naming the field if it is something else.
        """
        value = self.value(*keys, default=default)
        if not isinstance(value, bool):
            raise ValueError(f"{keys[0]} in the config of {self.name} must be true or false, got {_shown(value)}")
        return value

    def per_layer(self, *keys: str, num_layers: int, default: Any = _MISSING) -> list[Any]:
        """One value a layer.

        Raises: ValueError naming the field if it is no list of that length.
        """
        value = self.value(*keys, default=default)
        if not isinstance(value, list | tuple | str) or len(value) < num_layers:
            raise ValueError(
                f"{keys[0]} in the config of {self.name} must have a value for each of {num_layers} layers, "
                f"got {_shown(value)}"
            )
        found = list(value)[:num_layers]
        if strange := [one for one in found if isinstance(one, list | dict)]:
            raise ValueError(f"{keys[0]} in the config of {self.name} must list plain values, got {_shown(strange[0])}")
        return found

    def must_be(self, key: str, *allowed: object) -> None:
        """Read a field of which only some values are understood.

        Raises: ValueError naming field and value otherwise, unless the field is ignored.
        """
        value = self.value(key, default=None)
        if key not in self._ignored and value is not None and value not in allowed:
            choices = " or ".join(_shown(one) for one in allowed) or "absent"
            raise ValueError(
                f"{key} in the config of {self.name} must be {choices}, got {_shown(value)}; "
                f"--ignore-field {key} counts without it"
            )

    def section(self, key: str) -> ConfigReader:
        """A nested object, read on its own.

        Raises: ValueError if there is none.
        """
        value = self.value(key)
        if not isinstance(value, Mapping):
            raise ValueError(f"{key} in the config of {self.name} must be an object, got {_shown(value)}")
        return ConfigReader(value, name=f"{key} of {self.name}", ignored=self._ignored)

    def drop(self, *keys: str) -> bool:
        """Read fields of parts that are left out on purpose; whether any of them was there."""
        self._read.update(keys)
        return any(self.has(key) for key in keys)

    def drop_mtp(self) -> tuple[str, ...]:
        """What to say of heads that predict several tokens, all of whose fields are read."""
        return ("heads that predict further tokens",) if self.drop(*_MTP_FIELDS) else ()

    def fields_ignored(self) -> tuple[str, ...]:
        """Fields that would have been refused or counted and were ignored by request."""
        return tuple(key for key in self._config if key in self._ignored and self.has(key))

    def finish(self) -> None:
        """Refuse what was not read.

        Raises: ValueError naming the first field that says something and is neither read, harmless nor ignored.
        """
        known = self._read | _HARMLESS | set(self._ignored)
        unknown = [one_line(key, limit=60) for key in self._config if key not in known and self.has(key)]
        if unknown:
            others = f" ({len(unknown) - 1} more: {', '.join(unknown[1:6])})" if len(unknown) > 1 else ""
            raise ValueError(
                f"{unknown[0]} in the config of {self.name} is not understood and may change what a step reads{others}"
                f"; --ignore-field {unknown[0]} counts without it"
            )


def _says_something(value: object) -> bool:
    return value is not None and value is not False and value != {} and value != [] and value != "" and value != 0


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
