"""Latency tables that others publish read as written; what is wrong in one is named by line."""

import pytest

from kinetics.files.lines import DataFileError
from kinetics.prediction.latency_tables import read_latency_table

HEADER = "hw,kernel_source,src,batch_size,kv_len,num_heads,num_key_value_heads,head_dim,latency_ms"


def write(path, rows):
    path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["h100_sxm", "H100", "NVIDIA H100 80GB HBM3", "h100-sxm"])
def test_devices_are_known_by_the_names_of_the_world(tmp_path, name):
    (row,) = read_latency_table(write(tmp_path / "t.csv", [f"{name},k,s,4,512,32,8,128,0.5"]))
    assert (row.device, row.shape, row.measured_s) == ("H100 SXM5 80GB", (4, 512, 32, 8, 128), 0.5e-3)
    assert row.roof_s == pytest.approx(4 * (2 * 512 * 8 * 128 * 2 + 2 * 32 * 128 * 2) / 3.35e12)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("h900,k,s,1,512,32,8,128,1", r":2: accelerator must name one row of the table, got 'h900'; did you mean H"),
        ("h200_sxm,k,s,0,512,32,8,128,1", r":2: batch_size must be a count above 0, got '0'"),
        ("h200_sxm,k,s,1,512,32,8,128,nan", r":2: latency_ms must be above 0, got 'nan'"),
        ("h200_sxm,k,s,1,512,32,8,128,x", r":2: could not convert string to float"),
        ("h200_sxm,k,s,1,512,33,8,128,1", r":2: num_kv_heads must divide num_q_heads"),
        ("h200_sxm,k,s,1,512,32,8,128", r":2: row must have 9 fields, got 8"),
    ],
)
def test_a_bad_row_is_named(tmp_path, bad, message):
    with pytest.raises(DataFileError, match=message):
        read_latency_table(write(tmp_path / "t.csv", [bad]))


def test_a_missing_column_is_named(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataFileError, match=r"t\.csv:1: table must have columns hw, .* got none named hw"):
        read_latency_table(tmp_path / "t.csv")
