"""One way of opening files: gzip, byte order marks, names in any case, and nothing without an end."""

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest

from kinetics.files.lines import Complaints, read_lines
from kinetics.files.reading import DataFileError, format_of, open_data, read_text
from kinetics.files.records import has_columns, read_records

TEXT = "ä,b\n1,2\n"
FORMS = {
    "plain": TEXT.encode(),
    "marked": TEXT.encode("utf-8-sig"),
    "packed": gzip.compress(TEXT.encode(), mtime=0),
    "packed and marked": gzip.compress(TEXT.encode("utf-8-sig"), mtime=0),
}


@pytest.mark.parametrize("form", FORMS)
def test_text_and_lines_are_the_same_in_every_form_whatever_the_name(tmp_path, form):
    path = tmp_path / "x.bin"
    path.write_bytes(FORMS[form])
    assert read_text(path) == TEXT
    assert [text for _, text in read_lines(path, Complaints(path=path, keeps_going=False))] == TEXT.splitlines()


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"\xff\xfe", "must be UTF-8, got byte 0xff at offset 0"),
        (gzip.compress(b"x" * 5000, mtime=0)[:-9], "must be a whole gzip file"),
        (gzip.compress(b"x" * 5000, mtime=0)[:9] + b"\0" * 40, "must be a whole gzip file"),
        (gzip.compress(b"x" * 10_000_000, mtime=0), "must be at most 1000000 bytes, got more"),
        (b"x" * 1_000_001, "must be at most 1000000 bytes, got more"),
    ],
)
def test_what_cannot_be_read_is_named_and_no_bomb_unpacks(tmp_path, data, complaint):
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(DataFileError, match=complaint) as raised:
        read_text(path, max_bytes=1_000_000)
    assert str(raised.value).startswith(f"{path}: ")
    assert raised.value.exit_code == 3


def test_a_bomb_is_left_where_the_limit_is(tmp_path):
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(bytes(100_000_000), compresslevel=1, mtime=0))
    tracemalloc.start()
    with pytest.raises(DataFileError, match="must be at most 1000 bytes"):
        read_text(path, max_bytes=1000)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 10_000_000


@pytest.mark.parametrize("name", ["missing", ".", "nul\0byte"])
def test_what_cannot_be_opened_is_named(tmp_path, name):
    with pytest.raises(DataFileError, match="cannot be read"), open_data(tmp_path / name):
        pass


def test_a_device_without_lines_comes_to_an_end(monkeypatch):
    monkeypatch.setattr("kinetics.files.lines.MAX_LINE_BYTES", 1000)
    with pytest.raises(DataFileError, match="must have lines, got 16000 bytes without one"):
        list(read_lines(Path("/dev/zero"), Complaints(path=Path("/dev/zero"), keeps_going=True)))


@pytest.mark.parametrize(
    ("name", "ending"), [("a.CSV", ".csv"), ("a.jsonl.gz", ".jsonl"), ("A.Csv.GZ", ".csv"), ("a", ""), ("b.gz", "")]
)
def test_an_ending_says_what_is_inside_in_any_case(name, ending):
    assert format_of(Path(name)) == ending


ROWS = [{"a": "x", "n": 7, "ok": True, "more": None}, {"a": "y", "n": 7.0, "ok": False, "more": 1.5}]


def test_json_lines_and_csv_of_the_same_columns_are_the_same_records(tmp_path):
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "t.csv").write_text("a,n,ok,more\nx,7,true,\ny,7,false,1.5\n")
    found = []
    for path in (tmp_path / "t.jsonl", tmp_path / "t.csv"):
        complaints = Complaints(path=path, keeps_going=False)
        found.append([record for _, record in read_records(path, complaints, ("a", "n", "ok"))])
    assert found[0] == found[1]


def test_json_lines_that_lack_a_column_or_hold_a_list_are_named(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": 1, "n": 2}\n{"a": 1}\n{"a": [], "n": 1}\n[1]\n')
    complaints = Complaints(path=path, keeps_going=True)
    assert len(list(read_records(path, complaints, ("a", "n")))) == 1
    reasons = [item.reason for item in complaints.left_out]
    assert [reason.partition(", got ")[2] for reason in reasons] == ["none named n", "a list as a", "list"]
    assert has_columns(path, ("a", "n"))
    assert not has_columns(path, ("a", "z"))
    with pytest.raises(DataFileError, match=r":1: table must have columns a, z, got none named z"):
        list(read_records(path, complaints, ("a", "z")))
