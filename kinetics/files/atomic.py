"""Files written whole or not at all, and values as strict JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any


def write_texts(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Write files into a folder, each at once; all are written aside before the first one is replaced.

    Raises: ValueError naming the folder if it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staged = {name: folder / f".{name}.{os.getpid()}.partial" for name in texts}
        for name, text in texts.items():
            staged[name].write_text(text, encoding="utf-8")
        return [staged[name].replace(folder / name) for name in texts]
    except OSError as error:
        raise ValueError(f"output folder {folder} cannot be written ({error.strerror}); choose another") from error


def to_strict(value: Any) -> Any:
    """`value` as plain JSON types: numpy scalars become numbers, NaN and infinities null, the rest text."""
    if isinstance(value, Enum):
        return to_strict(value.value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): to_strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_strict(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return to_strict(value.item())
    return str(value)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write strict JSON so that `path` is at every moment the old file or the new one, never half of either."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    text = json.dumps(to_strict(document), indent=1, allow_nan=False)
    with partial.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
