"""Files of measured latencies become groups that share a kernel; what is wrong in one is named by line."""

import numpy as np
import pytest

from kinetics.files.lines import DataFileError
from kinetics.prediction.measured_files import check_enough, read_measured_file
from tests.kinetics.prediction.test_latency_tables import write
from tests.support.silicon_rows import SAMPLES, sample_rows

ROW = "h200_sxm,fa3,aiconfigurator:sglang/0.5.14,{batch},{keys},{heads},8,128,0.1"


def test_rows_of_a_latency_table_are_grouped_by_the_kernel_that_their_shape_takes(tmp_path):
    rows = [ROW.format(batch=b, keys=k, heads=h) for b in (1, 8) for k in (256, 4096, 512) for h in (8, 32)]
    groups = read_measured_file(write(tmp_path / "t.csv", rows), operation=None, min_context=512)
    assert [group.cases.variant for group in groups] == ["gqa-128", "mha-128"]
    gqa = groups[0]
    assert str(gqa.kernel) == "fa3 of sglang 0.5.14 on H200 SXM 141GB"
    assert gqa.cases.columns["context_len"].tolist() == [512, 4096, 512, 4096]
    assert gqa.cases.columns["q_heads"].tolist() == [32] * 4
    assert gqa.seconds == pytest.approx(np.full(4, 1e-4))


def test_rows_below_the_least_context_are_left_out_and_none_at_all_is_refused(tmp_path):
    path = write(tmp_path / "t.csv", [ROW.format(batch=1, keys=k, heads=32) for k in (16, 600)])
    (group,) = read_measured_file(path, operation="attention", min_context=16)
    assert len(group.seconds) == 2
    with pytest.raises(ValueError, match=r"t\.csv must hold a row to judge, got none; is --min-context above every"):
        read_measured_file(path, operation=None, min_context=1000)
    with pytest.raises(ValueError, match="a kernel must have 24 rows to be judged, got at most 2, of fa3 of sglang"):
        check_enough([group])


def test_cells_that_repeat_are_taken_by_their_median(tmp_path):
    header, row = (SAMPLES / "matmul.csv").read_text(encoding="utf-8").splitlines()[:2]
    shape = row.rpartition(",")[0]
    (tmp_path / "t.csv").write_text("\n".join([header, *(f"{shape},{time}" for time in (1, 2, 9))]))
    (group,) = read_measured_file(tmp_path / "t.csv", operation="matmul", min_context=0)
    assert group.seconds.tolist() == [2e-3]


def test_every_sample_is_read_as_the_package_would_be():
    assert {path.stem for path in SAMPLES.glob("*.csv")} == {
        "attention", "mla", "dsa", "msa", "matmul", "experts", "gated_delta_net", "kda", "mamba2", "all_reduce",
        "dsa_index", "dsa_choice", "dsa_attention",
    }  # fmt: skip
    (group,) = sample_rows("dsa")
    assert (group.kernel.name, group.cases.dtype, len(group.seconds)) == ("FLASHMLA_SPARSE", "bf16, weights bf16", 110)
    assert [one.kernel.version for one in sample_rows("all_reduce")] == ["0.19.0", "0.24.0"]


@pytest.mark.parametrize(
    ("find", "put", "message"),
    [
        ("h200_sxm", "h2000_sxm", r":2: accelerator must name one row of the table, got 'h2000_sxm'; did you mean H20"),
        ("latency", "latency_us", r":1: table must have columns system, .* got none named latency"),
        ("num_gpus", "gpus", r":1: table must have columns system, .* got none named num_gpus"),
        (",2,", ",two,", r":2: num_gpus must be a count, got 'two'"),
        (",2,", ",2.5,", r":2: num_gpus must be a count, got '2.5'"),
        (",2,", ",2,2,", r":2: row must have 7 fields, got 8"),
    ],
)
def test_what_is_wrong_is_named_by_line(tmp_path, find, put, message):
    header, row = (SAMPLES / "all_reduce.csv").read_text(encoding="utf-8").splitlines()[:2]
    changed = f"{header.replace(find, put)}\n{row.replace(find, put, 1)}\n"
    (tmp_path / "t.csv").write_text(changed)
    with pytest.raises(DataFileError, match=message):
        read_measured_file(tmp_path / "t.csv", operation="all_reduce", min_context=0)


def test_what_a_file_holds_must_be_known():
    with pytest.raises(ValueError, match=r"--operation must say what .* holds, got none"):
        read_measured_file(SAMPLES / "matmul.csv", operation=None, min_context=0)
    with pytest.raises(ValueError, match=r"operation must be one of attention, .*, got 'conv'"):
        read_measured_file(SAMPLES / "matmul.csv", operation="conv", min_context=0)
