"""The openai engine against a real server: `transformers serve` with a tiny random model, on loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest

from kinetics.generate.request import EngineName, GenerateRequest
from kinetics.generate.run import run_generate
from kinetics.samples.answers import Answer
from kinetics.samples.prompts import PromptStyle, open_encoder

NEEDED = ("openai", "fastapi", "uvicorn", "accelerate")
MISSING = [name for name in NEEDED if find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}; pip install 'transformers[serving]'"),
]


class Silent:
    def start(self, **_):
        pass

    def on_tokens(self, _):
        pass

    def on_sample(self, answer: Answer):
        pass

    def say(self, _):
        pass


@pytest.fixture(scope="module")
def server(tiny_model, tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("serve") / "log").open("w")
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(tiny_model)]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"],
        stdout=log,
        stderr=log,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    try:
        wait_until_up(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(20)


def wait_until_up(url, process, timeout_s=180.0):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        assert process.poll() is None, "transformers serve ended by itself"
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("transformers serve did not come up")


def test_samples_come_from_a_real_server_and_resume(server, tiny_model, problems_file, tmp_path):
    request = GenerateRequest(
        model=str(tiny_model),
        problems=problems_file,
        out=tmp_path / "runs",
        num_trials=2,
        max_new_tokens=8,
        batch=2,
        engine=EngineName.OPENAI,
        base_url=server,
        timeout_s=60.0,
        resumes=True,
        num_questions=2,
    )
    outcome = run_generate(request, Silent())
    assert outcome.document["generated"] == 4
    assert outcome.remarks == (f"{server} rejects top_k: sampled without it",)
    path = Path(outcome.document["log"])
    header, *samples = (json.loads(line) for line in path.read_text().splitlines())
    assert header["sampling"] == {"temperature": 0.6, "top_p": 0.95, "top_k": None}
    encoder = open_encoder(tiny_model)
    for sample in samples:
        prompt = encoder.encode(PromptStyle.PAPER.text(sample["query"]))
        assert sample["prompt_tokens"] == len(prompt), "the server must ask what the built-in engine asks"
        assert 1 <= sample["generated_tokens"] <= 8

    path.write_text("".join(line + "\n" for line in path.read_text().splitlines()[:3]) + '{"problem_id": "mad')
    again = run_generate(request, Silent())
    assert (again.document["found"], again.document["generated"]) == (2, 2)
    keys = {(s["problem_id"], s["trial"]) for s in map(json.loads, path.read_text().splitlines()[1:])}
    assert keys == {(f"made-{i}", trial) for i in range(2) for trial in range(2)}
