"""Logs of one device are priced by the best that any of them saw; unlike logs are told, all are listed."""

from __future__ import annotations

import csv
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics.law.log_ceilings import (
    BEST,
    DeviceCeilings,
    ceiling_remarks,
    ceiling_table,
    ceilings_by_label,
    ceilings_of_devices,
)
from kinetics.law.request import LawRequest
from kinetics.law.run import run_law
from kinetics.specs.ceilings import Ceilings
from kinetics.specs.identity import DeviceIdentity
from tests.kinetics.law.test_logs import BLOCK, CEILINGS, CORRECT, DENSE, LENGTHS, header, write_log

HERE = {"device_kind": "cpu", "device": "AMD EPYC", "identity": {"kind": "cpu", "name": "AMD EPYC", "num_cpus": 2}}
rates = st.floats(1e3, 1e15)
ceilings = st.builds(
    Ceilings, read_bytes_per_s=rates, cached_read_bytes_per_s=rates, copy_bytes_per_s=rates, matmul_flop_per_s=rates,
    launch_s=st.floats(1e-9, 1e-3), cache_bytes=st.integers(1, 2**40),
)  # fmt: skip


def made(folder, name, attention, *, machine=None, dtype="bfloat16", **probed):
    head = header("m", attention)
    head["machine"] = {"ceilings": CEILINGS | probed, **(HERE if machine is None else machine)}
    head["engine"] = head["engine"] | {"dtype": dtype}
    return write_log(folder / f"{name}.jsonl", head, lengths=LENGTHS, correct=CORRECT)


def predicted(folder):
    outcome = run_law(LawRequest(out=folder / "law", traces=folder, draws_figures=False))
    rows = csv.DictReader((folder / "law" / "accuracy_per_cost.csv").open())
    return outcome, {
        (row["attention"], row["max_generated"], row["trials"], row["rule"]): float(row["predicted_s"]) for row in rows
    }


def test_a_busy_moment_of_one_log_changes_no_predicted_second(tmp_path):
    quiet, busy = tmp_path / "quiet", tmp_path / "busy"
    for folder in (quiet, busy):
        folder.mkdir()
        made(folder, "block", BLOCK)
    made(quiet, "dense", DENSE)
    made(busy, "dense", DENSE, matmul_flop_per_s=CEILINGS["matmul_flop_per_s"] / 7, launch_s=9e-6)
    (calm, expected), (disturbed, found) = predicted(quiet), predicted(busy)
    assert found == expected
    assert not [remark for remark in calm.remarks if "ceilings" in remark]
    said = [remark for remark in disturbed.remarks if "unlike ceilings" in remark]
    assert ["matmul_flop_per_s differs 7.0 times, worst in m dense" in one for one in said] == [True, False]
    assert "launch_s differs 9.0 times, worst in m dense" in said[1]
    assert "\nceilings\n" in disturbed.text
    assert "\nceilings\n" not in calm.text
    rows = list(csv.DictReader((busy / "law" / "ceilings.csv").open()))
    assert [row["log"] for row in rows] == ["m block16_blocktopk2_partial_sink16", "m dense", BEST]
    assert float(rows[-1]["matmul_flop_per_s"]) == CEILINGS["matmul_flop_per_s"]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"machine": HERE | {"identity": HERE["identity"] | {"num_cpus": 64}}}, "CPUs allowed: 2, 64"),
        ({"machine": HERE | {"device": "Apple M9", "identity": {}}}, "name: AMD EPYC, Apple M9"),
        ({"dtype": "float32"}, "dtype: bfloat16, float32"),
    ],
)
def test_logs_of_unlike_devices_keep_their_own_ceilings_and_that_is_said(tmp_path, other, said):
    files = [made(tmp_path, "a", DENSE), made(tmp_path, "b", BLOCK, **other, matmul_flop_per_s=1e15)]
    devices = ceilings_of_devices(files)
    assert len(devices) == 2
    own = [asdict(ceilings_by_label(devices)[file.samples.label]) for file in files]
    assert own == [file.header.machine["ceilings"] for file in files]
    (remark,) = ceiling_remarks(devices)
    assert remark.startswith("logs of unlike devices in one report: m dense and m block16_blocktopk2_partial_sink16")
    assert said in remark


def test_a_log_without_ceilings_is_of_no_device(tmp_path):
    head = header("m", DENSE) | {"machine": {}}
    assert ceilings_of_devices([write_log(tmp_path / "a.jsonl", head, lengths=LENGTHS, correct=CORRECT)]) == []
    assert ceiling_remarks([]) == []


@given(st.lists(ceilings, min_size=1, max_size=4))
def test_the_best_is_no_worse_than_any_and_each_of_it_was_seen(seen):
    device = DeviceCeilings(
        identity=DeviceIdentity(kind="cpu", name="c", facts={}),
        dtype="float32",
        seen=dict(zip("abcd", seen, strict=False)),
    )
    best = asdict(device.best)
    for name, value in best.items():
        values = [asdict(one)[name] for one in seen]
        assert value in values
        assert all(value <= other for other in values) if name == "launch_s" else all(value >= o for o in values)
    for name, spread, worst in device.spreads():
        assert spread > 1.5
        assert replace(device.seen[worst], **{name: best[name]}) != device.seen[worst]
    assert len(ceiling_table([device]).rows) == len(seen) + 1
