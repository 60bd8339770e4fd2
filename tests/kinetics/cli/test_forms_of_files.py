"""Every verb that reads samples reads every form of them alike."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kinetics.cli.main import app
from tests.support.hostile_options import SAMPLES
from tests.support.result_rows import BANDWIDTH, make_document, make_row


def rows() -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(SAMPLES)))


def as_json_lines() -> str:
    return "".join(
        json.dumps(row | {"correct": row["correct"] == "1", "trial": int(row["trial"])}) + "\n" for row in rows()
    )


FORMS = {
    "samples.csv": SAMPLES.encode(),
    "marked.csv": SAMPLES.encode("utf-8-sig"),
    "SAMPLES.CSV": SAMPLES.replace(",1\n", ",True\n").replace(",0\n", ",False\n").encode(),
    "samples.csv.gz": gzip.compress(SAMPLES.encode()),
    "samples.jsonl": as_json_lines().encode(),
    "samples.jsonl.gz": gzip.compress(as_json_lines().encode()),
}


def document(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.stderr
    return {key: value for key, value in json.loads(done.stdout).items() if key not in ("source", "files", "file")}


@pytest.fixture
def forms(tmp_path: Path) -> dict[str, str]:
    for name, data in FORMS.items():
        (tmp_path / name).write_bytes(data)
    return {name: str(tmp_path / name) for name in FORMS}


def test_samples_in_every_form_make_the_same_law(forms, tmp_path):
    out = ["--out", str(tmp_path / "out"), "--no-figures"]
    plain = document("law", forms["samples.csv"], *out)
    for name in ("SAMPLES.CSV", "samples.jsonl.gz"):
        assert document("law", forms[name], *out) == plain, name


def test_samples_in_every_form_are_graded_alike(forms):
    plain = document("grade", forms["samples.csv"])
    for name, path in forms.items():
        assert document("grade", path) == plain, name


def test_a_config_json_is_a_model_wherever_one_is_asked_for(tmp_path):
    config = {
        "model_type": "qwen3", "num_hidden_layers": 36, "hidden_size": 4096, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 12288, "vocab_size": 151936,
    }  # fmt: skip
    (tmp_path / "config.json").write_bytes(json.dumps(config).encode("utf-8-sig"))
    known = document("cost", "--model", "Qwen3-8B")
    for name in (str(tmp_path), str(tmp_path / "config.json")):
        found = document("cost", "--model", name)

        same = {key: value for key, value in found.items() if key != "model" and not isinstance(value, dict)}
        assert same == {key: known[key] for key in same}


def test_a_result_file_is_a_device_to_predict_for(tmp_path):
    made = make_document([make_row()])
    made["machine_info"]["ceilings"] |= {"cached_read_bytes_per_s": 1e11, "copy_bytes_per_s": 2e10}
    made["machine_info"]["identity"] = {"kind": "cpu", "name": "Made CPU", "total_memory_bytes": 2**34}
    (tmp_path / "here.json").write_text(json.dumps(made))
    (tmp_path / "blind.json").write_text(json.dumps(make_document([make_row()])))
    words = ["predict", "--operation", "dense", "--context", "4k", "--on"]
    found = document(*words, str(tmp_path / "here.json"))
    assert found["predicted_s"] == pytest.approx(found["minimum_bytes"] / BANDWIDTH, rel=0.2)
    done = CliRunner().invoke(app, [*words, str(tmp_path / "blind.json")])
    assert (done.exit_code, len(done.stderr.splitlines())) == (3, 1)
    assert "must tell its device's " in done.stderr
