"""What the CPU backends share: torch's threads, the few instructions numba lacks, attention over page lists.

numba keeps compiled code by the time stamp of the file that was compiled, blind to the files it calls. So that no
machine code of older sources is ever run, the cache lives in a folder named after the contents of all of them. Without
a home folder to write to, it lives as long as the process, which then compiles anew.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import numba


def cache_folder() -> Path:
    """A folder that can be written, named after the sources where it can outlive the process."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for source in sorted([*package.glob("*/cpu*.py"), *package.glob("cpu_runtime/*.py")]):
        digest.update(source.read_bytes())
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = caches / "kinetics-bench" / f"numba-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="kinetics-bench-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


if not os.environ.get("NUMBA_CACHE_DIR"):
    numba.config.CACHE_DIR = str(cache_folder())  # type: ignore[attr-defined]
