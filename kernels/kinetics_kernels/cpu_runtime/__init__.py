"""What the CPU backends share: torch's threads, the few instructions numba lacks, attention over page lists.

numba keeps compiled code by the time stamp of the file that was compiled, blind to the files it calls. So that no
machine code of older sources is ever run, the cache lives in a folder named after the contents of all of them.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numba


def _cache_folder() -> Path:
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for source in sorted([*package.glob("*/cpu*.py"), *package.glob("cpu_runtime/*.py")]):
        digest.update(source.read_bytes())
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "kinetics-bench" / f"numba-{digest.hexdigest()[:16]}"


if not os.environ.get("NUMBA_CACHE_DIR"):
    numba.config.CACHE_DIR = str(_cache_folder())  # type: ignore[attr-defined]
