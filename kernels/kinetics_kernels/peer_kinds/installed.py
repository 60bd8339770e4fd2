"""Whether a package is installed, read from its metadata: importing it could crash, hang or take a GPU."""

from __future__ import annotations

import importlib.metadata


def installed_version(distribution: str) -> str | None:
    """The version of a package as pip calls it; None if it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
