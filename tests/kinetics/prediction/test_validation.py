"""Time predictions judged on latency tables: recovered where they are known, named where a table is bad."""

import os
from pathlib import Path

import pytest

from kinetics.files.lines import DataFileError
from kinetics.prediction.validation import read_latency_table, validate_rows, validation_document

HEADER = "hw,kernel_source,src,batch_size,kv_len,num_heads,num_key_value_heads,head_dim,latency_ms"
REFERENCE = os.environ.get("KINETICS_REFERENCE_DATA")


def write(path, rows):
    path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    return path


def made_row(batch, kv_len, *, overhead_s=12e-6, efficiency=0.8):
    num_bytes = batch * (2 * kv_len * 8 * 128 * 2 + 2 * 32 * 128 * 2)
    seconds = overhead_s + num_bytes / (4.8e12 * efficiency)
    return f"h200_sxm,k,made,{batch},{kv_len},32,8,128,{seconds * 1e3!r}"


def test_a_table_that_follows_the_model_is_predicted_exactly(tmp_path):
    rows = [made_row(batch, kv_len) for batch in (1, 8, 64) for kv_len in (512, 2048, 8192, 32768)]
    (found,) = validate_rows(read_latency_table(write(tmp_path / "t.csv", rows)), min_context=512)
    assert found.calibration.overhead_s == pytest.approx(12e-6, rel=1e-3)
    assert found.calibration.efficiency == pytest.approx(0.8, rel=1e-3)
    assert max(found.errors) < 1e-3
    assert (found.num_fitted, len(found.errors)) == (6, 6)
    assert found.roofline_errors[0] > 0.5


def test_rows_below_the_least_context_neither_fit_nor_judge(tmp_path):
    rows = [made_row(batch, kv_len) for batch in (1, 8, 64) for kv_len in (512, 2048, 8192, 32768)]
    rows += [made_row(1, kv_len).rsplit(",", 1)[0] + ",999" for kv_len in (1, 2, 4)]
    table = read_latency_table(write(tmp_path / "t.csv", rows))
    assert validation_document(validate_rows(table, min_context=512))["median_abs_error"] < 1e-3
    assert validation_document(validate_rows(table, min_context=1))["p90_abs_error"] > 0.3


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("h900,k,s,1,512,32,8,128,1", r":2: accelerator must name one row of the table, got 'h900'"),
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


def test_too_few_rows_are_refused(tmp_path):
    table = read_latency_table(write(tmp_path / "t.csv", [made_row(1, 512)]))
    with pytest.raises(ValueError, match=r"must have 8 rows from 512 keys on, got 1; lower --min-context"):
        validate_rows(table, min_context=512)


@pytest.mark.skipif(
    REFERENCE is None, reason="KINETICS_REFERENCE_DATA is not set: it holds published_decode_latency.csv"
)
def test_published_latencies_are_predicted_within_the_promised_errors():
    rows = read_latency_table(Path(REFERENCE or ".") / "published_decode_latency.csv")
    found = validation_document(validate_rows(rows, min_context=512))
    assert found["median_abs_error"] <= 0.08
    assert found["p90_abs_error"] <= 0.30
    medians = {(row["device"], row["kernel"]): row["median_abs_error"] for row in found["by_kernel"]}
    assert len(medians) == 4
    assert max(medians.values()) <= 0.14
    assert max(error for (device, kernel), error in medians.items() if "H200" in device and "fa3" in kernel) <= 0.07
