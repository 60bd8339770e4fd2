"""The fastest that each ceiling of a machine was ever seen, over all runs into one folder."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from kinetics.files.atomic import CannotWriteError, write_json
from kinetics.specs.ceilings import Ceilings

_NAME: Final = ".fastest_ceilings"  # no result file, so not named like one
_RATES: Final = ("read_bytes_per_s", "cached_read_bytes_per_s", "copy_bytes_per_s", "matmul_flop_per_s")


class FastestCeilings:
    """The best of what this session and those before it measured; a file that cannot be read is as good as none."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _NAME
        self._known: dict[str, float] = _rates_of(self._path)

    def learn(self, ceilings: Ceilings) -> Ceilings:
        """Take note of ceilings just measured; return the fastest of all."""
        measured = asdict(ceilings)
        best = {name: max(measured[name], self._known.get(name, 0.0)) for name in _RATES}
        best["launch_s"] = min(ceilings.launch_s, self._known.get("launch_s", ceilings.launch_s))
        if best != self._known:
            self._known = best
            with suppress(CannotWriteError):  # on a full disk the next run knows less; this one loses nothing
                write_json(self._path, best)
        return replace(ceilings, **best)


def _rates_of(path: Path) -> dict[str, float]:
    try:
        stored: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    names = (*_RATES, "launch_s")
    rates: dict[str, Any] = {name: stored.get(name) for name in names} if isinstance(stored, dict) else {}
    return rates if all(isinstance(rate, float) and rate > 0 for rate in rates.values()) else {}
