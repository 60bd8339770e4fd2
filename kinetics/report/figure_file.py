"""Figures of matplotlib as files: whether they can be drawn here, and how they are written."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from kinetics.files.atomic import writing, written_aside
from kinetics.specs.distribution import install_command

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_can_draw() -> None:
    """Raise RuntimeError, with what to install, if matplotlib is missing."""
    if find_spec("matplotlib") is None:
        raise RuntimeError(f"--figure needs matplotlib, not installed; {install_command('report')}")


def save_figure(figure: Figure, path: Path, *, dpi: int = 150) -> None:
    """Write a figure in the format that the file's name says.

    Raises: ValueError for a format that there is not; CannotWriteError naming the file if it cannot be written.
    """
    if path.suffix.lower().removeprefix(".") not in figure.canvas.get_supported_filetypes():
        raise ValueError(f"--figure must name a .png, .svg or .pdf, got {str(path)!r}; choose such a name")
    with writing(f"figure {path}", remedy="choose another file"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(path) as partial:
            figure.savefig(partial, dpi=dpi)
