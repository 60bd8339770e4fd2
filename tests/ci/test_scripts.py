"""The scripts that CI calls: a summary that is never silent, a preflight that trusts nothing it cannot read."""

import json

import pytest

from kinetics.files.atomic import write_json
from kinetics.gate.gate_file import Mode, complete, header
from kinetics.gate.verdicts import CasePlan
from tests.support.scripts import script


@pytest.fixture
def gate_file(tmp_path):
    ceilings = {"read_bytes_per_s": 1e9, "cached_read_bytes_per_s": 1e9, "copy_bytes_per_s": 1e9}
    ceilings |= {"matmul_flop_per_s": 1e12, "launch_s": 1e-6, "cache_bytes": 1}
    document = header(
        mode=Mode.LOCKSTEP,
        plans=[CasePlan(name="dense|<script>alert(1)</script>", spec={}, detectable_budget=0.1)],
        machine_info={"device": "AMD <EPYC>"},
        commit_info={"id": "0123456789", "dirty": True},
        base={"id": "fedcba9876"},
        settings={"num_launches": 5},
        ceilings=ceilings,
        lost="the candidate worker died",
    )
    complete(document)
    write_json(tmp_path / "gate.json", document)
    return tmp_path / "gate.json"


def test_the_summary_shows_title_verdicts_and_how_the_run_ended(gate_file, capsys):
    assert script("step_summary").main([str(gate_file)]) == 0
    text = capsys.readouterr().out
    assert "### Gate: 0123456-dirty against fedcba9 on AMD &lt;EPYC>, 5 launches a look" in text
    assert "| dense\\|&lt;script>alert(1)&lt;/script> | INVALID |" in text
    assert "The run ended early: the candidate worker died." in text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "cannot be read"),
        ('{"schema": 1, "bench', "is not JSON"),
        ('{"benchmarks": [], "schema": 1}', "is not a file of"),
        ('{"benchmarks": [], "schema": 99}', "schema must be 1, got 99"),
    ],
)
def test_a_missing_or_broken_file_is_said_in_the_summary(tmp_path, capsys, text, complaint):
    path = tmp_path / "gate.json"
    if text is not None:
        path.write_text(text)
    assert script("step_summary").main([str(path)]) == 3
    said = capsys.readouterr().out
    assert said.startswith("**No verdicts**: ")
    assert complaint in said


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (None, "base"),
        ("settings", "num_launches"),
        ("commit_info", "dirty"),
        ("machine_info", "device"),
        ("ceilings", "launch_s"),
    ],
)
def test_a_file_of_another_version_is_said_in_the_summary(gate_file, capsys, part, name):
    document = json.loads(gate_file.read_text())
    del (document[part] if part else document)[name]
    write_json(gate_file, document)
    assert script("step_summary").main([str(gate_file)]) == 3
    assert "holds rows of another version" in capsys.readouterr().out


@pytest.mark.parametrize("changes", [{"verdict": "PERHAPS"}, {"a_field_of_tomorrow": 1}])
def test_a_verdict_of_another_version_is_said_in_the_summary(gate_file, capsys, changes):
    document = json.loads(gate_file.read_text())
    document["verdicts"][0] |= changes
    write_json(gate_file, document)
    assert script("step_summary").main([str(gate_file)]) == 3
    assert "holds rows of another version" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("device", "processes", "complaint"),
    [
        ("NVIDIA H100, 570.1, 4\n", "", None),
        ("NVIDIA H100, 570.1, 900\n", "", "900 MiB of the device are in use"),
        ("NVIDIA H100, 570.1, 4\n", "4711\n", "a neighbour on the device"),
        ("NVIDIA H100, 570.1, [N/A]\n", "", "cannot be read"),
        ("", "", "cannot be read"),
    ],
)
def test_the_preflight_passes_only_an_idle_device(device, processes, complaint):
    answers = {"--query-compute-apps=pid": processes, "--query-gpu=clocks_event_reasons.active": "0x1"}
    found = script("gpu_preflight").preflight(lambda fields: answers.get(fields, device))
    assert found is None if complaint is None else complaint in found


def test_without_a_gpu_the_preflight_fails_in_one_line(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert script("gpu_preflight").main() == 3
    said = capsys.readouterr().err
    assert said.startswith("preflight: the state of the GPU cannot be read")
    assert said.count("\n") == 1
