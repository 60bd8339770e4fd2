"""A disk that is full after so many synced writes of results: `-p tests.support.full_disk`, FULL_AFTER_WRITES of them.

Journals and result files meet it, nothing else does: caches of compilers and of Python go on as they do.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

_FULL_AFTER = int(os.environ["FULL_AFTER_WRITES"])
_fsync = os.fsync
_written = [0]


def full_fsync(descriptor: int) -> None:
    """What a system says that finds no room for what was written."""
    name = Path(f"/proc/self/fd/{descriptor}").readlink().name
    if "fastest" not in name and (".journal" in name or ".partial" in name):
        _written[0] += 1
        if _written[0] > _FULL_AFTER:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    _fsync(descriptor)


vars(os)["fsync"] = full_fsync
