"""Plain transformers, all of whose layers are alike, and what follows from them: parameters, matmul weights, KV bytes.

Counts are computed from the architecture and never typed in. The file knows the Llama, Qwen2, Qwen3 and Qwen3-MoE
families; models of other layers are an `Architecture`. It knows nothing of weights on disk, nor of the rounded sizes
that papers use in their formulas.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from kinetics.files.printable import one_line
from kinetics.specs.architectures import Architecture, Layer, LayerRun
from kinetics.specs.attention_layers import GroupedQueryAttention
from kinetics.specs.mlps import DenseMlp, Experts, Mlp
from kinetics.specs.names import spelling, unknown_name


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """The shape of a decoder-only transformer with grouped-query attention and a gated MLP.

    `intermediate_size` is the width of one expert when `num_experts` is above 0, of the MLP otherwise.

    Raises: ValueError if a size is not positive or the heads do not divide into groups.
    """

    name: str
    num_layers: int
    hidden_size: int
    num_q_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    ties_embeddings: bool
    has_qkv_bias: bool
    has_qk_norm: bool
    num_experts: int = 0
    num_experts_per_token: int = 0

    def __post_init__(self) -> None:
        for field in _SIZE_FIELDS:
            if getattr(self, field) < 1:
                raise ValueError(f"{field} of {self.name} must be at least 1, got {getattr(self, field)}")
        if self.num_q_heads % self.num_kv_heads:
            raise ValueError(
                f"num_kv_heads of {self.name} must divide num_q_heads, "
                f"got num_q_heads={self.num_q_heads} and num_kv_heads={self.num_kv_heads}"
            )
        if not 0 <= self.num_experts_per_token <= self.num_experts or (
            self.num_experts > 0 and self.num_experts_per_token == 0
        ):
            raise ValueError(
                f"num_experts_per_token of {self.name} must lie in 1..num_experts (both 0 for a dense MLP), "
                f"got num_experts_per_token={self.num_experts_per_token} and num_experts={self.num_experts}"
            )

    @property
    def slug(self) -> str:
        """The name as ids and file names spell it: `Qwen3-8B` is `qwen3_8b`."""
        return re.sub(r"[^a-z0-9.]+", "_", self.name.lower()).strip("_")

    @property
    def group_size(self) -> int:
        """Query heads that share one KV head: the r of the paper."""
        return self.num_q_heads // self.num_kv_heads

    @property
    def architecture(self) -> Architecture:
        """The model as a list of layers of known kinds, of which it has one."""
        return _architecture(self)

    @property
    def num_embedding_parameters(self) -> int:
        """The input embedding table; the output head has as many and is not counted here."""
        return self.vocab_size * self.hidden_size

    @property
    def num_parameters(self) -> int:
        """All distinct parameters; a tied output head counts once."""
        return self.architecture.num_parameters

    @property
    def num_active_parameters(self) -> int:
        """Parameters that one token uses: all of them, except the experts it is not sent to."""
        return self.architecture.num_active_parameters

    @property
    def matmul_parameters_per_token(self) -> int:
        """Weights that a decoded token multiplies with, output head included.

        Norms, biases and the look-up in the input embedding do no matmul and are left out.
        """
        return self.architecture.matmul_parameters_per_token

    def weights_read_per_step(self, batch: int) -> int:
        """Weights that one decode step of `batch` tokens fetches at least once.

        Of the experts, the expected number of distinct ones under uniform routing, rounded; real routers are
        skewed and fetch fewer.
        """
        architecture = self.architecture
        total = sum(count * matmul.num_weights for count, matmul in architecture.dense_matmuls())
        for count, mlp in architecture.mlps():
            if isinstance(mlp, Experts):
                total += count * round(mlp.expected_experts(batch)) * mlp.num_expert_weights(self.hidden_size)
        return total

    def kv_bytes_per_token(self, element_bytes: int) -> int:
        """Bytes of keys and values that one token leaves in the cache, all layers."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * element_bytes

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, name: str) -> "ModelSpec":
        """The spec that a Hugging Face `config.json` of a Llama, Qwen2, Qwen3 or Qwen3-MoE model describes.

        Raises: ValueError if the family is another one, a field is missing, or layers differ from one another.
        """
        family = config.get("model_type")
        if family not in _FAMILIES:
            raise ValueError(
                f"model_type of {name} must be one of {', '.join(_FAMILIES)}, got {one_line(repr(family), limit=40)}"
            )
        is_moe = family == "qwen3_moe"
        if is_moe and (config.get("mlp_only_layers") or config.get("decoder_sparse_step", 1) != 1):
            raise ValueError(
                f"{name} must have experts in every layer, got mlp_only_layers={config.get('mlp_only_layers')} "
                f"and decoder_sparse_step={config.get('decoder_sparse_step')}; mixed stacks are not described here"
            )
        if family == "llama" and (config.get("attention_bias") or config.get("mlp_bias")):
            raise ValueError(f"{name} must have no biases, got attention_bias or mlp_bias; they are not described here")
        num_q_heads, hidden_size = _field(config, "num_attention_heads", name), _field(config, "hidden_size", name)
        return cls(
            name=name,
            num_layers=_field(config, "num_hidden_layers", name),
            hidden_size=hidden_size,
            num_q_heads=num_q_heads,
            num_kv_heads=_field(config, "num_key_value_heads", name),
            # Qwen3 states head_dim, and it is not hidden_size / heads for half of the family.
            head_dim=_field(config, "head_dim", name) if config.get("head_dim") else hidden_size // max(1, num_q_heads),
            intermediate_size=_field(config, "moe_intermediate_size" if is_moe else "intermediate_size", name),
            vocab_size=_field(config, "vocab_size", name),
            ties_embeddings=_flag(config, "tie_word_embeddings", name),
            has_qkv_bias=family == "qwen2" or _flag(config, "attention_bias", name),
            has_qk_norm=family.startswith("qwen3"),
            # transformers 5 writes num_local_experts, published configs say num_experts.
            num_experts=_field(config, "num_experts" if "num_experts" in config else "num_local_experts", name)
            if is_moe
            else 0,
            num_experts_per_token=_field(config, "num_experts_per_tok", name) if is_moe else 0,
        )


_SIZE_FIELDS: Final = (
    "num_layers", "hidden_size", "num_q_heads", "num_kv_heads", "head_dim", "intermediate_size", "vocab_size",
)  # fmt: skip
_FAMILIES: Final = ("llama", "qwen2", "qwen3", "qwen3_moe")


@lru_cache(maxsize=1024)
def _architecture(model: ModelSpec) -> Architecture:
    """One kind of layer, as often as the model has it."""
    dim = model.head_dim
    attention = GroupedQueryAttention(
        num_q_heads=model.num_q_heads, num_kv_heads=model.num_kv_heads, head_dim=dim, value_dim=dim,
        has_qkv_bias=model.has_qkv_bias, norm_elements=2 * dim if model.has_qk_norm else 0,
    )  # fmt: skip
    mlp: Mlp = DenseMlp(width=model.intermediate_size)
    if model.num_experts:
        mlp = Experts(
            num_experts=model.num_experts, experts_per_token=model.num_experts_per_token, width=model.intermediate_size
        )
    layer = Layer(mixer=attention, mlps=(mlp,), num_norm_parameters=2 * model.hidden_size)
    return Architecture(
        name=model.name, hidden_size=model.hidden_size, vocab_size=model.vocab_size,
        ties_embeddings=model.ties_embeddings, runs=(LayerRun(count=model.num_layers, layer=layer),),
    )  # fmt: skip


def _field(config: Mapping[str, Any], key: str, name: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{key} in the config of {name} must be an integer, got {one_line(repr(value), limit=40)}")
    return value


def _flag(config: Mapping[str, Any], key: str, name: str) -> bool:
    value = config.get(key)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{key} in the config of {name} must be true or false, got {one_line(repr(value), limit=40)}")
    return bool(value)


def _qwen3(
    size: str, layers: int, hidden: int, heads: tuple[int, int], width: int, *, tied: bool = False, experts: int = 0
) -> ModelSpec:
    """A Qwen3 model: head_dim 128, q/k norm, no bias, 8 experts a token if any."""
    return ModelSpec(
        name=f"Qwen3-{size}", num_layers=layers, hidden_size=hidden, num_q_heads=heads[0], num_kv_heads=heads[1],
        head_dim=128, intermediate_size=width, vocab_size=151_936, ties_embeddings=tied, has_qkv_bias=False,
        has_qk_norm=True, num_experts=experts, num_experts_per_token=8 if experts else 0,
    )  # fmt: skip


def _deepseek_qwen(
    size: str, layers: int, hidden: int, heads: tuple[int, int], width: int, *, vocab: int = 152_064
) -> ModelSpec:
    """A DeepSeek-R1 distillate in the Qwen2 architecture: head_dim 128, QKV bias, no q/k norm."""
    return ModelSpec(
        name=f"DeepSeek-R1-Distill-Qwen-{size}", num_layers=layers, hidden_size=hidden, num_q_heads=heads[0],
        num_kv_heads=heads[1], head_dim=128, intermediate_size=width, vocab_size=vocab, ties_embeddings=False,
        has_qkv_bias=True, has_qk_norm=False,
    )  # fmt: skip


# Source: the config.json each model is published with. layers, hidden, (query heads, KV heads), MLP or expert width
MODEL_SPECS: Final = (
    _qwen3("0.6B", 28, 1024, (16, 8), 3072, tied=True),
    _qwen3("1.7B", 28, 2048, (16, 8), 6144, tied=True),
    _qwen3("4B", 36, 2560, (32, 8), 9728, tied=True),
    _qwen3("8B", 36, 4096, (32, 8), 12288),
    _qwen3("14B", 40, 5120, (40, 8), 17408),
    _qwen3("32B", 64, 5120, (64, 8), 25600),
    _qwen3("30B-A3B", 48, 2048, (32, 4), 768, experts=128),
    _qwen3("235B-A22B", 94, 4096, (64, 4), 1536, experts=128),
    _deepseek_qwen("1.5B", 28, 1536, (12, 2), 8960, vocab=151_936),
    _deepseek_qwen("7B", 28, 3584, (28, 4), 18944),
    _deepseek_qwen("14B", 48, 5120, (40, 8), 13824),
    _deepseek_qwen("32B", 64, 5120, (40, 8), 27648),
    ModelSpec(
        name="Qwen2.5-0.5B", num_layers=24, hidden_size=896, num_q_heads=14, num_kv_heads=2, head_dim=64,
        intermediate_size=4864, vocab_size=151_936, ties_embeddings=True, has_qkv_bias=True, has_qk_norm=False,
    ),
)  # fmt: skip


def find_model(name: str) -> ModelSpec:
    """The spec for a name as people spell it: `Qwen3-8B`, `qwen3_8b`, `Qwen/Qwen3-8B`.

    Raises: ValueError if no model answers; the message lists the names.
    """
    wanted = spelling(name.rsplit("/", maxsplit=1)[-1])
    for spec in MODEL_SPECS:
        if spelling(spec.name) == wanted:
            return spec
    raise ValueError(unknown_name("model must be a known one", name, [spec.name for spec in MODEL_SPECS]))
