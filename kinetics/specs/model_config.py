"""From a config.json to an architecture: which family reads it, what is left out, what is refused.

Every field is read, known to be harmless, or refused by its name: a field that nobody reads may change what a step
costs. `ignored` fields are let through, and the architecture says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from kinetics.files.json_text import parse_json
from kinetics.files.printable import one_line
from kinetics.files.reading import DataFileError, read_text
from kinetics.specs.architectures import Architecture, Layer, LayerRun
from kinetics.specs.config_reader import ConfigReader
from kinetics.specs.families import grouped_query, hybrid, latent
from kinetics.specs.quantization import published_formats

_MAX_CONFIG_BYTES: Final = 8 * 2**20
_TEXT_FIELDS: Final = ("text_config", "llm_config", "language_config")
FAMILIES: Final[dict[str, Callable[[ConfigReader], list[Layer]]]] = {
    "llama": grouped_query.read_llama, "mistral": grouped_query.read_llama, "ministral": grouped_query.read_llama,
    "mimo": grouped_query.read_mimo, "qwen2": grouped_query.read_qwen, "qwen3": grouped_query.read_qwen,
    "qwen3_moe": grouped_query.read_qwen, "qwen3_vl_text": grouped_query.read_qwen,
    "qwen3_vl_moe_text": grouped_query.read_qwen, "mixtral": grouped_query.read_mixtral,
    "minimax_m2": grouped_query.read_mixtral, "minimax_m3": grouped_query.read_minimax_m3,
    "minimax_m3_vl": grouped_query.read_minimax_m3, "gpt_oss": grouped_query.read_gpt_oss,
    "glm4_moe": grouped_query.read_glm4_moe, "deepseek_v3": latent.read_deepseek, "deepseek_v32": latent.read_deepseek,
    "kimi_k2": latent.read_deepseek, "glm_moe_dsa": latent.read_deepseek, "gemma3_text": hybrid.read_gemma3,
    "gemma4_text": hybrid.read_gemma4, "mimo_v2_flash": hybrid.read_mimo_v2, "qwen3_next": hybrid.read_qwen_hybrid,
    "qwen3_5_text": hybrid.read_qwen_hybrid, "qwen3_5_moe_text": hybrid.read_qwen_hybrid,
    "nemotron_h": hybrid.read_nemotron_h, "kimi_linear": hybrid.read_kimi_linear,
}  # fmt: skip
"""What reads a config, by its model_type."""


def read_architecture(config: Mapping[str, Any], *, name: str, ignored: Collection[str] = ()) -> Architecture:
    """The architecture that a Hugging Face config describes.

    Raises: ValueError naming the family or the field that is not understood.
    """
    text, is_wrapped = _text_half(config)
    family = text.get("model_type") or config.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        raise ValueError(
            f"model_type of {name} must be one of {', '.join(FAMILIES)}, got {one_line(repr(family), limit=40)}"
        )
    reader = ConfigReader(text, name=name, ignored=ignored)
    try:
        layers = FAMILIES[family](reader)
    except (TypeError, AttributeError, LookupError) as error:
        shown = one_line(error, limit=80)
        raise ValueError(f"fields of {name} must be as {family} has them, got one of another kind ({shown})") from error
    ties = reader.flag("tie_word_embeddings", default=False)
    ties = bool(config.get("tie_word_embeddings", ties)) if is_wrapped else ties
    left_out = reader.drop_mtp() + (("towers for other senses than text",) if is_wrapped else ())
    reader.drop("model_type", "quantization_config", *_TEXT_FIELDS)
    found = Architecture(
        name=name,
        hidden_size=reader.count("hidden_size"),
        vocab_size=reader.count("vocab_size"),
        ties_embeddings=ties or family in ("gemma3_text", "gemma4_text"),
        runs=tuple(_runs(layers)),
        weights=published_formats(config, name=name),
        left_out=left_out,
        ignored_fields=reader.fields_ignored(),
    )
    reader.finish()
    return found


def read_config_file(path: Path, *, ignored: Collection[str] = ()) -> Architecture:
    """The architecture of a config.json, or of the folder that holds one.

    Raises: DataFileError naming the file if it cannot be read or is no JSON object; ValueError if it describes what is
    not known.
    """
    file = path / "config.json" if path.is_dir() else path
    return read_architecture(read_config(file), name=file.resolve().parent.name or str(file), ignored=ignored)


def read_config(file: Path) -> Mapping[str, Any]:
    """The object in a config.json.

    Raises: DataFileError naming the file if it cannot be read, or is no JSON object.
    """
    try:
        config = parse_json(read_text(file, max_bytes=_MAX_CONFIG_BYTES))
    except DataFileError:
        raise
    except ValueError as error:
        raise DataFileError(f"{file}: must be a JSON object, got something else ({one_line(error)})") from error
    if not isinstance(config, dict):
        raise DataFileError(f"{file}: must be a JSON object, got {type(config).__name__}")
    return config


def _text_half(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """The part that describes the language model, and whether the config describes others beside it."""
    for field in _TEXT_FIELDS:
        if isinstance(config.get(field), Mapping):
            return config[field], True
    return config, False


def _runs(layers: list[Layer]) -> Iterator[LayerRun]:
    """Each kind of layer once, in order of appearance."""
    order = list(dict.fromkeys(layers))
    numbers = sorted(order.index(layer) for layer in layers)
    for index, group in groupby(numbers):
        yield LayerRun(count=len(list(group)), layer=order[index])
