"""Figures of matplotlib as files: whether they can be drawn here, and how they are written."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from kinetics.distribution import install_command

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_can_draw() -> None:
    """Raise RuntimeError, with what to install, if matplotlib is missing."""
    if find_spec("matplotlib") is None:
        raise RuntimeError(f"--figure needs matplotlib, not installed; {install_command('report')}")


def save_figure(figure: Figure, path: Path, *, dpi: int = 150) -> None:
    """Write a figure in the format that the file's name says.

    Raises: ValueError naming the file if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=dpi)
    except (OSError, ValueError) as error:
        raise ValueError(f"figure {path} cannot be written ({error}); name a .png, .svg or .pdf") from error
