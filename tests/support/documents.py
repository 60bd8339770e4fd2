"""What the project's documents ask a reader to type, and what they say that it prints."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT

DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "kernels/*.md", "results/**/*.md")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"
)
_FENCE = re.compile(r"(?:<!-- (?P<mark>[^>]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block. `mark`: the comment right above it, which tells where an output comes from."""

    document: Path
    mark: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}: {self.mark or self.text.splitlines()[0][:60]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command of a document or of a verb's help, as typed, without its comment."""

    where: str
    line: str

    @property
    def words(self) -> tuple[str, ...]:
        """The words of a shell, `.venv/bin/` taken off."""
        return tuple(word.removeprefix(".venv/bin/") for word in shlex.split(self.line))

    def __str__(self) -> str:
        return f"{self.where}: {self.line}"


def blocks() -> list[Block]:
    """Every fenced block of every document."""
    return [
        Block(document=path, mark=found["mark"] or "", language=found["language"], text=found["text"])
        for path in DOCUMENTS
        for found in _FENCE.finditer(path.read_text(encoding="utf-8"))
    ]


def document_commands() -> list[Command]:
    """Every command of every block of shell, lines put together, joined commands taken apart."""
    found = []
    for block in blocks():
        if block.language == "sh":
            where = str(block.document.relative_to(ROOT))
            lines = block.text.replace("\\\n", " ").splitlines()
            typed = [" ".join(line.split()) for text in lines for line in re.sub(r"(^|\s)# .*", "", text).split("&&")]
            found += [Command(where=where, line=line) for line in typed if line]
    return found


def help_examples(group: Any) -> Iterator[Command]:
    """The example of every verb's help; a verb without one comes with an empty line."""
    for name, verb in group.commands.items():
        if hasattr(verb, "commands"):
            yield from help_examples(verb)
        elif not verb.hidden:
            example = (verb.epilog or "").removeprefix("Example: ")
            yield Command(where=f"--help of {name}", line=" ".join(example.split()))
