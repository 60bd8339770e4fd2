"""The model families that the engine computes, one file each, found by listing this folder.

A file names the `MODEL_TYPE` of its configs and gives `read(config, name=...)`, the `DecoderSpec` that one describes;
what the engine does not compute it refuses there, before a weight is read. Checkpoints bear the names of Llama's
tensors; the shapes are those of `ModelSpec`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

from kinetics.engine.decoder_spec import DecoderSpec


def read_config(config: Mapping[str, Any], *, name: str) -> DecoderSpec:
    """The decoder that a Hugging Face `config.json` describes.

    Raises: ValueError if no file here knows the family, a field is missing, or a setting is one the engine lacks.
    """
    readers = {family.MODEL_TYPE: family.read for family in _families()}
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in readers:
        known = ", ".join(sorted(readers))
        raise ValueError(f"model_type of {name} must be one of {known} for the engine, got {str(model_type)[:40]!r}")
    read: Callable[..., DecoderSpec] = readers[model_type]
    return read(config, name=name)


def _families() -> list[Any]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [importlib.import_module(f"{__name__}.{name}") for name in names]
