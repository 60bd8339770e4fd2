"""A file is the old one or the new one; devices are written into; what cannot be written ends with exit code 3."""

import os
import threading
from pathlib import Path

import pytest

from kinetics.files.atomic import CannotWriteError, check_can_write, write_json, write_text, write_texts, written_aside


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    write_text(tmp_path / "a.txt", "old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(CannotWriteError, match=r"a\.txt cannot be written \(No space left on device\); choose another"):
        write_text(tmp_path / "a.txt", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "old")]


def test_a_pipe_or_device_is_written_into_and_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_text(tmp_path / "pipe", "words")
    reader.join(timeout=10)
    assert read == ["words"]
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize(
    "write", [lambda path: write_text(path, "x"), check_can_write, lambda path: write_json(path, {})]
)
@pytest.mark.parametrize("name", ["", ".", "folder", "file/below", "y" * 3000])
def test_a_place_that_cannot_hold_a_file_is_one_line_and_exit_3(tmp_path, monkeypatch, write, name):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file").touch()
    with pytest.raises(CannotWriteError, match=r"^file .* cannot be written \(.+\); choose another file$") as raised:
        write(Path(name))
    assert raised.value.exit_code == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_full_device_is_one_line(tmp_path):
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(CannotWriteError, match="No space left"):
        write_text(tmp_path / "full", "words")
    assert (tmp_path / "full").is_symlink()


def test_files_of_a_folder_are_all_replaced_or_none(tmp_path):
    write_texts({"a": "1", "b": "2"}, tmp_path)
    (tmp_path / "c").write_text("")
    with pytest.raises(CannotWriteError):
        write_texts({"a": "3", "c/d": "4"}, tmp_path)
    assert (tmp_path / "a").read_text() == "1"


def test_the_place_aside_keeps_the_ending_that_says_the_format(tmp_path):
    with written_aside(tmp_path / "figure.svg") as partial:
        assert partial.suffix == ".svg"
        partial.touch()
    assert [path.name for path in tmp_path.iterdir()] == ["figure.svg"]
