from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from kinetics.engine.checkpoint import load_weights, read_spec
from kinetics.engine.decoder import Decoder


@dataclass(frozen=True)
class LoadedModel:
    """The same small model in transformers and in the engine, and where it was saved."""

    theirs: Any
    ours: Decoder
    folder: Path


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """These models are too small to share out: threads would only wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def load_model(tmp_path_factory):
    """Load a small model of a family, once per session."""
    pytest.importorskip("transformers")
    from tests.support.small_models import make_model

    loaded: dict[str, LoadedModel] = {}

    def load(family: str) -> LoadedModel:
        if family not in loaded:
            folder = tmp_path_factory.mktemp(family)
            theirs = make_model(family)
            theirs.save_pretrained(folder, max_shard_size="300KB")
            spec = read_spec(folder)
            ours = Decoder(spec, load_weights(folder, spec.model, device="cpu", dtype=torch.float32))
            loaded[family] = LoadedModel(theirs=theirs, ours=ours, folder=folder)
        return loaded[family]

    return load
