"""What documents quote of a published run: each quote made from its file alone, so that it can be made again.

A document holds a quote between `<!-- published: NAME of RUN -->` and `<!-- /published -->`; before the first run there
is no `of RUN`. A run replaces the quotes of runs on the same kind of device.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from kinetics.bench.quoted_figures import figure, filled, ratios, reached, steps
from kinetics.bench.quoted_rows import excerpt_rows
from kinetics.bench.summary import crossover_lines, device_line, prediction_line, rows_table, speedup_table
from kinetics.files.atomic import write_texts
from kinetics.results.speedup import crossovers, speedups
from kinetics.results.store import Document, tables_folder
from kinetics.specs.identity import identity_of

_WIDTH: Final = 120
_QUOTE: Final = re.compile(
    r"<!-- published: (?P<name>\w+)(?: of (?P<run>\S+))? -->\n(?P<text>.*?)<!-- /published -->", re.DOTALL
)
_DOCUMENTS: Final = ("README.md", "results/README.md", "docs/*.md")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A published run as documents see it. `path` is that of its result file, below `root`."""

    document: Document
    path: Path
    root: Path

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The fields of every row."""
        return [bench["extra_info"] for bench in self.document["benchmarks"]]

    @property
    def name(self) -> str:
        """The path that quotes name: from the root, with slashes."""
        return self.path.relative_to(self.root).as_posix()

    @property
    def kind(self) -> str:
        """The kind of its device."""
        return identity_of(self.document["machine_info"]).kind


def quote(name: str, run: Run, *, place: Path) -> str | None:
    """The text of one quote for a document in the folder `place`; None if the run lacks what it speaks of.

    Raises: ValueError for a quote that nobody knows.
    """
    if name not in _QUOTES:
        raise ValueError(f"a quote must be one of {', '.join(_QUOTES)}, got {name!r}")
    return _QUOTES[name](run, lambda path: Path(os.path.relpath(path, place)).as_posix())


def requote(run: Run) -> dict[Path, list[str]]:
    """Make every document's quotes anew from this run; the names of those made, by document.

    Left as they are: quotes of runs on another kind of device, and those that this run has nothing for.
    """
    made: dict[Path, list[str]] = {}
    for path in sorted(path for pattern in _DOCUMENTS for path in run.root.glob(pattern)):
        text, names = path.read_text(encoding="utf-8"), list[str]()

        def replaced(found: re.Match[str], place: Path = path.parent, names: list[str] = names) -> str:
            quoted = quote(found["name"], run, place=place) if _is_replaceable(found["run"], run) else None
            if quoted is None:
                return found.group()
            names.append(found["name"])
            return f"<!-- published: {found['name']} of {run.name} -->\n{quoted}\n<!-- /published -->"

        written = _QUOTE.sub(replaced, text)
        if names:
            write_texts({path.name: written}, path.parent)
            made[path] = names
    return made


def quotes_in(text: str) -> list[tuple[str, str, str]]:
    """(name, run, quoted text) of every quote that a document holds and some run has filled."""
    return [(found["name"], found["run"], found["text"]) for found in _QUOTE.finditer(text) if found["run"]]


def _is_replaceable(quoted: str | None, run: Run) -> bool:
    """Whether nothing is quoted yet, or a run that is gone, or one on the same kind of device."""
    path = run.root / (quoted or "")
    if quoted is None or not path.is_file():
        return True
    return identity_of(json.loads(path.read_text(encoding="utf-8"))["machine_info"]).kind == run.kind


Link = Callable[[Path], str]


def _run(run: Run, link: Link) -> str | None:
    machine, wall_s = run.document["machine_info"], float(run.document["wall_s"])
    minutes, seconds = divmod(round(wall_s), 60)
    taken = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    threads = f", {machine['torch_threads']} threads" if "torch_threads" in machine else ""
    title = identity_of(machine).title
    return filled(f"From [a run]({link(run.path)}) on {title}{threads} ({taken}, {len(run.rows)} rows; some lines):")


def _excerpt(run: Run, link: Link) -> str | None:  # noqa: ARG001 - all quotes are made alike
    """Lines of the closing summary: one cell's cases, speed-ups from short to long contexts, prediction error."""
    chosen = excerpt_rows(run.document)
    if chosen is None:
        return None
    measured = [row for row in run.rows if "predicted_s" in row]
    pairs = speedups(chosen.speedups)
    shown = [one for one in crossovers(speedups(measured)) if one.provider == "ours" and one.batch == chosen.batch]
    lines = _printed(
        device_line(run.document),
        rows_table(chosen.cases),
        speedup_table(chosen.speedups) if pairs else "",
        *crossover_lines(shown[:1]),
        prediction_line(measured),
    )
    kept = [line.rstrip() for line in lines if line.strip() and not line.startswith("* held out")]
    return "\n".join([f"<!-- excerpt: {run.name} -->", "```", *kept, "```"])


def _summary(run: Run, link: Link) -> str | None:  # noqa: ARG001 - all quotes are made alike
    """The five lines that a reader starts with: our dense and sparse case, the longest speed-up, where it pays."""
    chosen = excerpt_rows(run.document)
    if chosen is None:
        return None
    longest = max(row["context_len"] for row in chosen.speedups)
    pair = [row for row in chosen.speedups if row["context_len"] == longest]
    measured = [row for row in run.rows if "predicted_s" in row]
    where = [one for one in crossovers(speedups(measured)) if one.provider == "ours" and one.batch == chosen.batch]
    lines = _printed(
        rows_table([row for row in chosen.cases if row["provider"] == "ours"]),
        speedup_table(pair),
        *crossover_lines(where[:1]),
    )
    kept = [line.rstrip() for line in lines if line.strip() and not line.startswith("* held out")]
    return "\n".join([f"<!-- excerpt: {run.name} -->", "```", *kept, "```"])


def _printed(*parts: Any) -> list[str]:
    text = io.StringIO()
    console = Console(file=text, highlight=False, width=_WIDTH)
    for part in parts:
        console.print(part)
    return text.getvalue().splitlines()


def _figure(run: Run, link: Link) -> str | None:
    picture = tables_folder(run.path) / "aime" / "accuracy_per_cost.png"
    return (
        figure(run.rows, picture=link(picture), page=link(run.root / "docs" / "mini.md")) if picture.exists() else None
    )


_QUOTES: Final[Mapping[str, Callable[[Run, Link], str | None]]] = {
    "run": _run,
    "excerpt": _excerpt,
    "summary": _summary,
    "ratios": lambda run, link: ratios(run.rows),  # noqa: ARG005 - all quotes are made alike
    "reached": lambda run, link: reached(run.document, link=link(run.path)),
    "steps": lambda run, link: steps(run.document, link=link(run.path)),
    "figure": _figure,
}
