"""Ways of hiding rows from a fit. On its own, so that a command line can name them before anything is read."""

from __future__ import annotations

from enum import Enum


class Split(Enum):
    """Which rows a fit has not seen."""

    ALTERNATE = "alternate"
    """Fitted on every other row in order of shape, judged on the rest."""
    BEYOND = "beyond"
    """Fitted on short contexts, judged on longer ones."""
    SHIPPED = "shipped"
    """The fits that come with the suite, judged on these rows as they are."""
    VERSION = "version"
    """The shipped fit of one version of a kernel, judged on another version's rows."""
    DEVICE = "device"
    """The shipped fit of another device, this one's data sheet put in."""
