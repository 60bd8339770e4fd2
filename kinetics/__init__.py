"""What test-time scaling costs on this machine: predictions, measurements, and the accuracy they buy."""

from typing import Final

__version__: Final = "0.1.0"
"""The one place that says it; the package's metadata is made from here."""
