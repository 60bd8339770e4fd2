"""Valid files of JSON with one thing made hostile: a value, a key, a byte. For hypothesis to draw from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

DEEP: Any = 1
for _ in range(40):
    DEEP = [DEEP]
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 10**400, 0.5, -0.0, 1e308, float("inf"), float("nan"), "", " ",
    "x", "\ud800", "a\ud83d", "\x00\x1b[31m\n", "9" * 5000, [], {}, [[]], [None], ["x"], [1.5], {"a": 1}, DEEP,
    {"": ""},
)  # fmt: skip
BYTES = (b"\xff", b"\x00", b"[" * 3000, b'{"a":' * 3000, b"9" * 5000, b"}", b'"', b",", b"\n", b"\r", b"", b"\\ud800")


@st.composite
def hostile_lines(draw: st.DrawFn, lines: Sequence[Any]) -> bytes:
    """One JSON document a line, one of them with a value replaced, taken away, added or said twice, or bytes put in."""
    number = draw(st.integers(0, len(lines) - 1))
    texts = [json.dumps(line).encode() for line in lines]
    kind = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add", "twice", "bytes"]))
    document = json.loads(texts[number])
    places = list(_places(document))
    place = draw(st.sampled_from(places)) if places else ()
    if kind == "bytes" or not place:
        whole = b"\n".join(texts) + b"\n"
        at, num_cut = draw(st.integers(0, len(whole))), draw(st.integers(0, 40))
        return whole[:at] + draw(st.sampled_from(BYTES)) + whole[at + num_cut :]
    holder = _at(document, place[:-1])
    value = draw(st.sampled_from(VALUES))
    if kind == "replace":
        holder[place[-1]] = value
    elif kind == "remove":
        del holder[place[-1]]
    elif isinstance(holder, list):
        holder.insert(draw(st.integers(0, len(holder))), value)
    else:
        holder["added" if kind == "add" else f"{place[-1]}\0"] = value
    texts[number] = json.dumps(document).encode().replace(b"\\u0000", b"")  # a name with \0 is one said twice
    return b"\n".join(texts) + b"\n"


def _places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value within a value."""
    keys: Sequence[Any] = (
        list(value) if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)
    )
    for key in keys:
        yield (*above, key)
        yield from _places(value[key], (*above, key))


def _at(value: Any, place: Sequence[Any]) -> Any:
    for key in place:
        value = value[key]
    return value
