"""Each kind of value is read in one way, and what it is not is one line."""

import math

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from kinetics.cli.main import app
from kinetics.cli.option_types import count, device, number, seed
from kinetics.specs.counts import MAX_COUNT, parse_count, short


@pytest.mark.parametrize(
    ("text", "value"),
    [("32768", 32768), ("32k", 32768), ("32K", 32768), (" 1m ", 2**20), ("1M", 2**20), ("0", 0), ("007", 7), (5, 5)],
)
def test_counts_are_read_as_people_write_them(text, value):
    assert count()(text) == value
    assert value < 1 or isinstance(text, int) or parse_count(text) == value


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("-1", "must be at least 2, got -1"),
        ("1", "must be at least 2, got 1"),
        ("9k", "must be at most 4096, got 9216"),
        ("9223372036854775808", "must be at most 4096, got 9223372036854775808"),
        ("1.5k", "must be a count such as 8 or 32k, got '1.5k'"),
        ("", "must be a count such as 8 or 32k, got ''"),
        ("٤", "must be a count such as 8 or 32k, got '٤'"),
        ("1e3", "must be a count such as 8 or 32k, got '1e3'"),
        ("9" * 400, f"must be a count such as 8 or 32k, got '{'9' * 37}...'"),
    ],
)
def test_what_is_no_count_is_one_line(text, complaint):
    with pytest.raises(typer.BadParameter) as raised:
        count(2, 4096)(text)
    assert raised.value.message == complaint


@given(st.integers(min_value=1, max_value=MAX_COUNT))
def test_every_count_reads_back_as_it_is_printed(value):
    assert count()(short(value)) == parse_count(short(value)) == value


@given(st.text(max_size=30))
def test_no_text_is_read_as_something_outside_its_bounds(text):
    for parse, low, high in ((count(1, 100), 1, 100), (number(0.5, 2.0), 0.5, 2.0), (seed, -(10**18), 10**18)):
        try:
            found = parse(text)
        except typer.BadParameter as error:
            assert error.message.startswith("must be ")  # noqa: PT017 - most texts end here, some do not
        else:
            assert low <= found <= high
            assert math.isfinite(found)


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e400", "-0.1", "", "x", "2.1", "0"])
def test_numbers_are_finite_and_within_bounds(text):
    with pytest.raises(typer.BadParameter, match="must be a number above 0 and at most 2, got"):
        number(0, 2.0, is_above=True)(text)


@pytest.mark.parametrize("text", ["auto", "CPU", "cuda", " Cuda:1 "])
def test_devices_are_read_in_any_case(text):
    assert device(text) == text.strip().lower()


@pytest.mark.parametrize(
    ("text", "remedy"), [("gpu", "did you mean cuda?"), ("cdua", "did you mean cuda?"), ("tpu", ""), ("cuda:x", "")]
)
def test_an_unknown_device_is_answered_with_the_nearest(text, remedy):
    with pytest.raises(typer.BadParameter) as raised:
        device(text)
    assert raised.value.message.startswith(f"must be auto, cpu, cuda or cuda:<index>, got '{text}'")
    assert raised.value.message.endswith(remedy)


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "--operation", "dense", "--on", "H200", "--page-size", "0"],
        ["predict", "--operation", "dense", "--on", "H200", "--link-gb-per-s", "0"],
        ["predict", "--operation", "step_dense", "--on", "H200", "--link-gb-per-s", "-5"],
        ["predict", "--operation", "step_dense", "--on", "H200", "--link-gb-per-s", "nan"],
        ["predict", "--operation", "dense", "--on", "H200", "--num-devices", "8"],
        ["mini", "train", "--threads", "0"],
        ["coverage", "--samples", "9223372036854775807", "--correct", "4", "--trials", "8"],
        ["generate", "--model", "mini-50k", "--dataset", "mini", "--trials", "0"],
    ],
)
def test_nonsense_that_was_once_accepted_is_a_wrong_value(words):
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    assert "must" in done.stderr
