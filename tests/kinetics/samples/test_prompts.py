"""Prompts reach the model in the template it was trained with, and tokens are counted as they are."""

from __future__ import annotations

import pytest

from kinetics.samples.prompts import PAPER_TEMPLATE, ChatEncoder, PlainEncoder, PromptStyle, open_encoder
from tests.support.tiny_model import save_tiny_model

transformers = pytest.importorskip("transformers")


def test_the_chat_template_stands_around_the_paper_s_instruction(tiny_model):
    encoder = open_encoder(tiny_model)
    assert isinstance(encoder, ChatEncoder)
    tokens = encoder.encode(PromptStyle.PAPER.text("What is 1 + 1?"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tiny_model))
    assert tokenizer.decode(list(tokens)) == (
        f"<|im_start|>user\n{PAPER_TEMPLATE}What is 1 + 1?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert tokens.count(tokenizer.convert_tokens_to_ids("<|im_start|>")) == 2


def test_a_tokenizer_without_a_template_reads_the_text_as_it_is(tmp_path):
    encoder = open_encoder(save_tiny_model(tmp_path / "plain", has_chat_template=False))
    assert isinstance(encoder, PlainEncoder)
    tokens = encoder.encode(PromptStyle.PLAIN.text("What is 1 + 1?"))
    assert encoder.decode(tokens) == "What is 1 + 1?"


@pytest.mark.parametrize("has_chat_template", [True, False])
def test_control_tokens_are_not_text(tmp_path, has_chat_template):
    encoder = open_encoder(save_tiny_model(tmp_path / "model", has_chat_template=has_chat_template))
    plain = PlainEncoder(tmp_path / "model")
    answer = plain.encode("so \\boxed{204}")
    assert encoder.decode((*answer, 2, 0)) == "so \\boxed{204}"


def test_a_folder_without_a_tokenizer_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"must hold a tokenizer\.json that can be read"):
        open_encoder(tmp_path)


def test_a_template_in_a_file_of_its_own_counts(tmp_path):
    folder = save_tiny_model(tmp_path / "model", has_chat_template=False)
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}!")
    tokens = open_encoder(folder).encode("hm")
    assert PlainEncoder(folder).decode(tokens) == "hm!"
