"""JSON of strangers gives its value or one ValueError, and nothing in it changes in silence."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics.files.json_text import MAX_DEPTH, parse_json, whole_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_what_json_writes_is_read_back(value):
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value).encode()) == value


@given(st.text() | st.binary())
def test_any_other_text_is_a_value_or_a_value_error(text):
    with suppress(ValueError):
        parse_json(text)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_ends_at_the_limit_and_beyond_every_other(opening):
    closing = {"[": "]", '{"a":': "}"}[opening]
    for depth, is_fine in ((1, True), (MAX_DEPTH, True), (MAX_DEPTH + 1, False), (900, False), (10**6, False)):
        for inner in ("1", "[]"):
            levels = depth - (inner == "[]")
            text = opening * levels + inner + closing * levels
            if is_fine:
                parse_json(text)
            else:
                with pytest.raises(ValueError, match="nested at most 64 deep"):
                    parse_json(text)


def test_brackets_within_strings_are_no_nesting():
    assert parse_json(json.dumps({"a": "[{" * 200, "b": [1] * 1000})) == {"a": "[{" * 200, "b": [1] * 1000}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"score": 0, "a": 1, "score": 100}', "each key once, got 'score' twice"),
        ('{"a": {"b": 1, "b": 1}}', "each key once, got 'b' twice"),
        ("9" * 5000, "less than thousands of digits"),
        ('{"a": ', "Expecting value"),
        (b'"\xff"', "can't decode byte"),
    ],
)
def test_what_would_be_lost_or_end_the_process_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_json(text)


@given(st.text(alphabet=st.characters()))
def test_whole_text_can_be_written_and_keeps_what_could_be_before(text):
    whole = whole_text(text)
    whole.encode("utf-8")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return
    assert whole == text


def test_halves_of_a_pair_become_the_replacement_character():
    assert whole_text("a\ud83d b\ude00 c\ud83d\ude00") == "a\ufffd b\ufffd c\U0001f600"
