"""JSON that strangers wrote, read so that nothing in it is lost or changed in silence.

What Python's reader lets pass or stumbles over is one `ValueError` here: a key that stands twice in an object, where
the last would win unseen; nesting deep enough to end the process; numbers of thousands of digits; bytes that are no
text.
"""

from __future__ import annotations

import json
from typing import Any, Final

MAX_DEPTH: Final = 64
"""Objects and lists within one another: a model's config has four."""
_TOO_DEEP: Final = f"must be nested at most {MAX_DEPTH} deep, got more"


def parse_json(text: str | bytes) -> Any:
    """The value that a text of JSON holds.

    Raises: ValueError saying why there is none.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError as error:
        if "integer string conversion" not in str(error):
            raise
        raise ValueError("must have numbers of less than thousands of digits, got one of more") from None
    if isinstance(value, dict | list) and _num_brackets(text) > MAX_DEPTH:
        _check_depth(value)
    return value


def check_encodable(text: str, what: str) -> str:
    """The text, if a file can hold it.

    Raises: ValueError if half a surrogate pair stands in it.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} must be text, got half a surrogate pair at {error.start}") from None
    return text


def whole_text(text: str) -> str:
    """The text with every half of a surrogate pair replaced, as decoders replace what is no character."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object must have each key once, got {twice[:40]!r} twice")
    return found


def _num_brackets(text: str | bytes) -> int:
    """Opening brackets, those within strings too: as many levels there are at most."""
    if isinstance(text, bytes):
        return text.count(b"[") + text.count(b"{")
    return text.count("[") + text.count("{")


def _check_depth(value: Any) -> None:
    containers, depth = [value], 0
    while containers := [
        item
        for container in containers
        for item in (container.values() if isinstance(container, dict) else container)
        if isinstance(item, dict | list)
    ]:
        depth += 1
        if depth == MAX_DEPTH:
            raise ValueError(_TOO_DEEP)
