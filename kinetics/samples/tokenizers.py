"""Token counts of texts whose token ids were not kept.

A tokenizer here counts and cuts; it does not generate. The right one is the model's own `tokenizer.json`.
"""

from pathlib import Path
from typing import Final, Protocol

from kinetics.files.printable import one_line
from kinetics.files.reading import DataFileError, read_text

CHARS_PER_TOKEN: Final = 2.6
"""Characters of reasoning text per token, roughly; it varies by model and by 10 % and more."""


class Tokenizer(Protocol):
    """Counts tokens and cuts texts after so many.

    `estimates`: its tokens are no model's, and whatever is made of them must say so. `vocab_size`: 0 if it has none.
    """

    @property
    def estimates(self) -> bool:
        """Whether counts are estimates."""

    @property
    def vocab_size(self) -> int:
        """Tokens that it knows."""

    def count(self, text: str) -> int:
        """Tokens of a text."""

    def cut(self, text: str, max_tokens: int) -> str:
        """The text of the first `max_tokens` tokens."""


class WordTokenizer:
    """One token a word, as whitespace separates them: for texts made for tests, not for real ones."""

    estimates = True
    vocab_size = 0

    def count(self, text: str) -> int:
        """Words of a text."""
        return len(text.split())

    def cut(self, text: str, max_tokens: int) -> str:
        """The first words, single-spaced."""
        return " ".join(text.split()[:max_tokens])


class CharTokenizer:
    """So many characters a token: for reasoning texts whose model's tokenizer is not at hand."""

    estimates = True
    vocab_size = 0

    def count(self, text: str) -> int:
        """Tokens that a text has, roughly."""
        return round(len(text) / CHARS_PER_TOKEN)

    def cut(self, text: str, max_tokens: int) -> str:
        """The first characters."""
        return text[: int(max_tokens * CHARS_PER_TOKEN)]


class FileTokenizer:
    """A Hugging Face `tokenizer.json`.

    Raises: DataFileError if the file cannot be read as one; RuntimeError without the package `tokenizers`.
    """

    estimates = False

    @property
    def vocab_size(self) -> int:
        """Tokens that it knows, special ones too."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def __init__(self, path: Path) -> None:
        try:
            import tokenizers
        except ImportError as error:
            raise RuntimeError("reading tokenizer.json needs the package tokenizers; pip install tokenizers") from error
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(read_text(path))
        except DataFileError:
            raise
        except Exception as error:  # the package raises bare Exception
            raise DataFileError(f"tokenizer must be a tokenizer.json, got {path}: {one_line(error)}") from error

    def count(self, text: str) -> int:
        """Tokens of a text, no special ones added."""
        return len(self._ids(text))

    def cut(self, text: str, max_tokens: int) -> str:
        """The text of the first tokens, decoded."""
        ids = self._ids(text)
        return text if len(ids) <= max_tokens else str(self._tokenizer.decode(ids[:max_tokens]))

    def _ids(self, text: str) -> list[int]:
        try:
            return list(self._tokenizer.encode(text, add_special_tokens=False).ids)
        except Exception as error:  # bare Exception again: a file can be read and still be no tokenizer
            raise ValueError(
                f"the tokenizer must encode {one_line(text, limit=40)!r}, got: {one_line(error)}"
            ) from error


def open_tokenizer(name: str) -> Tokenizer:
    """`words` as whitespace separates them, `chars` for an estimate; anything else is the path of a tokenizer.json."""
    if name == "chars":
        return CharTokenizer()
    return WordTokenizer() if name == "words" else FileTokenizer(Path(name))
