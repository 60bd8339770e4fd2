"""Counts are read as people write them, one or several."""

import pytest

from kinetics.specs.counts import parse_count, parse_counts, short


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("1", [1]),
        ("1,16,64", [1, 16, 64]),
        ("4k..32k", [4096, 8192, 16384, 32768]),
        ("4k..20k", [4096, 8192, 16384, 20480]),
        ("8..8,8,1", [8, 1]),
    ],
)
def test_several_counts_keep_their_order_and_ranges_double(text, counts):
    assert parse_counts(text) == counts


@pytest.mark.parametrize("text", ["", "1,", "a..b", "8k..4k", "1..", "-1", "1..2..3"])
def test_what_is_no_list_of_counts_is_refused(text):
    with pytest.raises(ValueError, match="count"):
        parse_counts(text)


@pytest.mark.parametrize("count", [1, 1000, 1024, 4096, 32768])
def test_a_count_reads_back_as_it_was_printed(count):
    assert parse_count(short(count)) == count
