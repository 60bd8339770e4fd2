"""The distribution by its name: what to type for a package that it can do without.

It is on no package index, so no hint may name it: `pip install` would fetch whoever takes the name. What can be
installed from anywhere are the packages of an extra, as the metadata lists them.
"""

from __future__ import annotations

import importlib.metadata
import shlex
from typing import Final

DISTRIBUTION: Final = "kinetics-bench"


def install_command(extra: str) -> str:
    """The command that installs the packages of an extra, in whatever form this distribution was installed.

    Raises: ValueError if the distribution has no such extra.
    """
    try:
        listed = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return f"pip install -e '.[{extra}]' in a checkout"
    packages = _added_by(extra, listed)
    if not packages:
        raise ValueError(f"extra must be one of {DISTRIBUTION}'s, got {extra!r}")
    return f"pip install {shlex.join(packages)}"


def _added_by(extra: str, listed: list[str]) -> list[str]:
    """The requirements that hold on this platform with the extra, and not without it."""
    from packaging.requirements import Requirement

    added = []
    for requirement in map(Requirement, listed):
        marker, requirement.marker = requirement.marker, None
        if marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}):
            added.append(str(requirement))
    return added
