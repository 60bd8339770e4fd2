"""A tiny random model saved in Qwen3 format, with a real tokenizer trained on the spot."""

from __future__ import annotations

import json
from pathlib import Path

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTROL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
EOS = "<|im_end|>"
_TEXTS = (
    "Find the remainder when 2024 is divided by 7.",
    "Solve the following math problem efficiently and clearly.",
    "Therefore, the final answer is: $\\boxed{204}$. I hope it is correct.",
)


def save_tiny_model(folder: Path, *, has_chat_template: bool = True, max_position: int = 1024, seed: int = 1) -> Path:
    """Save model and tokenizer; the model ends an answer now and then."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    vocab_size = _save_tokenizer(folder, has_chat_template=has_chat_template)
    torch.manual_seed(seed)
    config = Qwen3Config(
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=48,
        vocab_size=vocab_size,
        head_dim=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=max_position,
        initializer_range=0.2,
        rope_theta=10_000.0,
        tie_word_embeddings=True,
        eos_token_id=CONTROL_TOKENS.index(EOS),
        bos_token_id=None,
        pad_token_id=0,
    )
    Qwen3ForCausalLM(config).eval().save_pretrained(folder)
    return folder


def _save_tokenizer(folder: Path, *, has_chat_template: bool) -> int:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=list(CONTROL_TOKENS), initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(_TEXTS, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": EOS, "pad_token": CONTROL_TOKENS[0]}
    if has_chat_template:
        config["chat_template"] = CHAT_TEMPLATE
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return tokenizer.get_vocab_size()


def save_problems(path: Path, count: int = 4) -> Path:
    """Problems whose golds are spelled as contests spell them."""
    golds = ["025", "336^\\circ", "7", "999"]
    rows = [
        {"id": f"made-{i}", "problem": f"What is {i} + {i * i}? Answer in full.", "answer": golds[i % len(golds)]}
        for i in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
