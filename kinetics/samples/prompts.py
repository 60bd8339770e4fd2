"""From a problem to prompt tokens and from answer tokens to text.

A model with a chat template gets the paper's instruction in it; one without is given text as its tokenizer reads it.
Code that comes with a model is never run.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any, Final, Protocol

from kinetics.files.printable import one_line
from kinetics.specs.distribution import install_command

PAPER_TEMPLATE: Final = (
    "Solve the following math problem efficiently and clearly.  The last line of your response should be of the "
    "following format: 'Therefore, the final answer is: $\\boxed{ANSWER}$. I hope it is correct' (without quotes) "
    "where ANSWER is just the final number or expression that solves the problem. Think step by step before "
    "answering.\n\n"
)
"""What stands before a problem in the paper's runs. Source: lighteval's AIME tasks, which the paper's code follows."""


class PromptStyle(Enum):
    """What is put around a problem's text."""

    PAPER = "paper"
    """The paper's instruction, then the problem."""
    PLAIN = "plain"
    """The problem alone."""

    def text(self, problem: str) -> str:
        """What the model is asked."""
        return PAPER_TEMPLATE + problem if self is PromptStyle.PAPER else problem


class Encoder(Protocol):
    """A model's tokenizer as a run needs it."""

    def encode(self, prompt: str) -> tuple[int, ...]:
        """Tokens of a prompt, whatever the model wants around it included."""

    def decode(self, token_ids: tuple[int, ...]) -> str:
        """Text of generated tokens, without control tokens."""


class PlainEncoder:
    """A `tokenizer.json` and nothing around the text.

    Raises: ValueError if the folder has none that can be read.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the package raises bare Exception
            raise ValueError(
                f"{folder}: must hold a tokenizer.json that can be read, got: {one_line(error)}"
            ) from error

    def encode(self, prompt: str) -> tuple[int, ...]:
        """Tokens of the text."""
        try:
            return tuple(self._tokenizer.encode(prompt).ids)
        except Exception as error:  # bare Exception again: a file can be read and still be no tokenizer
            raise ValueError(
                f"the tokenizer must encode {one_line(prompt, limit=40)!r}, got: {one_line(error)}"
            ) from error

    def decode(self, token_ids: tuple[int, ...]) -> str:
        """Text of generated tokens, without control tokens."""
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=True))


class ChatEncoder:
    """The model's chat template around one message of a user.

    Raises: ValueError if the tokenizer cannot be read, or transformers is missing.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from transformers import AutoTokenizer
        except ImportError as error:
            raise ValueError(f"the chat template of {folder} needs transformers; {install_command('aime')}") from error
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
        except Exception as error:  # many kinds; all mean that the folder's tokenizer is no tokenizer
            raise ValueError(
                f"{folder}: must hold a tokenizer that transformers can read, got: {one_line(error)}"
            ) from error

    def encode(self, prompt: str) -> tuple[int, ...]:
        """Tokens of the message, up to where the model's answer begins."""
        message = [{"role": "user", "content": prompt}]
        text = self._tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        # The template has written every control token; the tokenizer must not add its own.
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, token_ids: tuple[int, ...]) -> str:
        """Text of generated tokens, without control tokens."""
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=True))


def open_encoder(folder: Path) -> Encoder:
    """The tokenizer of a model folder: with its chat template if it has one.

    Raises: ValueError if it cannot be read.
    """
    return ChatEncoder(folder) if has_chat_template(folder) else PlainEncoder(folder)


def has_chat_template(folder: Path) -> bool:
    """Whether the tokenizer's files hold a chat template."""
    config = folder / "tokenizer_config.json"
    return (folder / "chat_template.jinja").exists() or (
        config.exists() and '"chat_template"' in config.read_text(encoding="utf-8", errors="replace")
    )
