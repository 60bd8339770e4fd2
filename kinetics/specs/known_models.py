"""Models by name: the table of known ones, one row each, and config.json files.

`known_models.jsonl` holds of each config the fields that are read, with its source. Files win over names.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from kinetics.specs.architectures import Architecture
from kinetics.specs.model_config import read_architecture, read_config, read_config_file
from kinetics.specs.models import MODEL_SPECS, ModelSpec, find_model
from kinetics.specs.names import spelling, unknown_name

_SHAPELESS: Final = ("hf", "it", "instruct", "base", "chat", "bf16")
"""Endings of names that say how a model was trained or kept, not what shape it has."""


def find_architecture(name: str, *, ignored_fields: Collection[str] = ()) -> Architecture:
    """The architecture for a config.json, its folder, or the name of a known model in any usual spelling.

    Raises: ValueError if no model answers, with the names nearest to it; or if the config is not understood.
    """
    if name.endswith(".json") or (Path(name).is_dir() and (Path(name) / "config.json").exists()):
        return read_config_file(Path(name), ignored=ignored_fields)
    wanted = _spelled(name)
    for spec in MODEL_SPECS:
        if _spelled(spec.name) == wanted:
            return spec.architecture
    for row in _rows():
        if _spelled(row["model"]) == wanted:
            return read_architecture(row["config"], name=row["model"], ignored=ignored_fields)
    raise ValueError(unknown_name("model must be a known one or a config.json", name, known_model_names()))


def named_model(name: str) -> ModelSpec:
    """The plain decoder that a command line names: a known model, a config.json or the folder that holds one.

    Raises: ValueError if no model answers, or it has layers that costs and the engine do not describe.
    """
    path = Path(name)
    if name.lower().endswith((".json", ".json.gz")) or (path.is_dir() and (path / "config.json").exists()):
        file = path / "config.json" if path.is_dir() else path
        return ModelSpec.from_config(read_config(file), name=file.resolve().parent.name or str(file))
    try:
        return find_model(name)
    except ValueError:
        for row in _rows():
            if _spelled(row["model"]) == _spelled(name):
                return ModelSpec.from_config(row["config"], name=row["model"])
    raise ValueError(unknown_name("model must be a known one or a config.json", name, known_model_names()))


def known_model_names() -> list[str]:
    """Every name in the tables."""
    return [spec.name for spec in MODEL_SPECS] + [row["model"] for row in _rows()]


def _spelled(name: str) -> str:
    """Letters and digits of a name without its owner, and without words that change no shape."""
    own = spelling(name.rsplit("/", maxsplit=1)[-1]).removeprefix("meta")
    for word in _SHAPELESS:
        own = own.removesuffix(word)
    return own


@lru_cache(maxsize=1)
def _rows() -> list[dict[str, Any]]:
    text = (files("kinetics.specs") / "known_models.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
