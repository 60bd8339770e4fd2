from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A folder with a tiny random Qwen3 model, a real tokenizer and a chat template."""
    pytest.importorskip("transformers")
    from tests.support.tiny_model import save_tiny_model

    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny-chat")


@pytest.fixture
def problems_file(tmp_path):
    """Four problems as JSONL."""
    from tests.support.tiny_model import save_problems

    return save_problems(tmp_path / "made.jsonl")
