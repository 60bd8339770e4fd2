"""Result files are strict JSON, whole or absent, and rows outlive their process."""

import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics.files.atomic import CannotWriteError, to_strict, write_json
from kinetics.results.store import check_writable, read_result, result_path


def test_numpy_scalars_become_numbers_and_nan_becomes_null():
    value = {"a": np.float32(1.5), "b": np.int64(3), "c": float("nan"), "d": [float("inf")], 5: {"e": np.bool_(True)}}
    assert to_strict(value) == {"a": 1.5, "b": 3, "c": None, "d": [None], "5": {"e": True}}


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=12,
)


@given(json_like)
def test_strict_values_always_survive_a_strict_round_trip(value):
    strict = to_strict(value)
    assert json.loads(json.dumps(strict, allow_nan=False)) == strict


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_json(path, {"rows": 1})
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(CannotWriteError, match="disk full"):
        write_json(path, {"rows": 2})
    assert json.loads(path.read_text()) == {"rows": 1}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a result file"),
        ('{"benchmarks": [], "schema": 99}', "schema must be 1, got 99"),
    ],
)
def test_a_file_that_is_no_result_is_refused_by_name(tmp_path, text, complaint):
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"broken.json: {complaint}"):
        read_result(path)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.json: cannot be read"):
        read_result(tmp_path / "gone.json")


def test_the_file_name_tells_device_time_commit_and_grid(tmp_path):
    path = result_path(tmp_path, "nvidia-h200", started=0.0, commit="0123456789", is_dirty=True, grid="quick")
    assert path == tmp_path / "nvidia-h200" / f"19700101T000000Z_0123456-dirty_quick_{os.getpid()}.json"


def test_an_unwritable_folder_is_refused_before_anything_is_measured(tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    with pytest.raises(ValueError, match=r"taken.* cannot be written .*--results-dir"):
        check_writable(tmp_path / "taken")
