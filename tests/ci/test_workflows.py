"""The workflows: pinned, least privilege, serialised on the GPU, and no fork's code without a label just set."""

import re
import subprocess

import pytest
import yaml

from tests.support.paths import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
OURS = "owner/kinetics"


def read(path):
    return yaml.safe_load(path.read_text())


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def runs_for(condition, event):
    """What GitHub makes of an `if` of comparisons, && and ||, in the context of this event."""
    tokens = re.findall(r"'[^']*'|&&|\|\||==|!=|[()]|[\w.]+", condition)

    def value(token):
        if token.startswith("github."):
            found = event
            for name in token.split(".")[1:]:
                found = found.get(name, {}) if isinstance(found, dict) else None
            return repr(found)
        return {"&&": "and", "||": "or"}.get(token, token)

    return bool(eval(" ".join(map(value, tokens)), {"__builtins__": {}}))


def pull_request(action, *, head, label=None):
    event = {"action": action, "pull_request": {"head": {"repo": {"full_name": head}}}, "label": {"name": label}}
    return {"event_name": "pull_request", "repository": OURS, "event": event}


@pytest.fixture
def gpu():
    return read(ROOT / ".github" / "workflows" / "gpu.yml")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_are_pinned_and_may_do_nothing_but_read(path):
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        assert job["timeout-minutes"] <= 60
    for step in steps(workflow):
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"])
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False
    assert "secrets." not in path.read_text()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_nothing_a_stranger_can_write_is_pasted_into_a_shell(path):
    assert not [step for step in steps(read(path)) if "${{" in step.get("run", "")]


@pytest.mark.parametrize(
    ("event", "may_run"),
    [
        (pull_request("opened", head=OURS), True),
        (pull_request("synchronize", head=OURS), True),
        (pull_request("opened", head="stranger/fork"), False),
        (pull_request("synchronize", head="stranger/fork"), False),
        (pull_request("reopened", head="stranger/fork"), False),
        (pull_request("labeled", head="stranger/fork", label="documentation"), False),
        (pull_request("labeled", head="stranger/fork", label="run-gpu"), True),
        ({"event_name": "workflow_dispatch", "repository": OURS, "event": {"inputs": {"what": "gate"}}}, True),
        ({"event_name": "workflow_dispatch", "repository": OURS, "event": {"inputs": {"what": "self-test"}}}, False),
        ({"event_name": "schedule", "repository": OURS}, False),
    ],
)
def test_code_of_forks_reaches_the_gpu_only_when_the_label_was_just_set(gpu, event, may_run):
    assert runs_for(gpu["jobs"]["gate"]["if"], event) is may_run
    is_ours = event["event_name"] in ("schedule", "workflow_dispatch")
    assert runs_for(gpu["jobs"]["self-test"]["if"], event) is (is_ours and not may_run)


def test_the_gpu_is_checked_first_used_by_one_run_at_a_time_and_its_evidence_kept(gpu):
    assert "concurrency" not in gpu, "runs whose jobs are all skipped would take part in it"
    assert gpu[True].keys() == {"pull_request", "workflow_dispatch", "schedule"}  # YAML reads the key `on` as true
    for job in gpu["jobs"].values():
        assert job["runs-on"][0] == "self-hosted"
        assert job["concurrency"] == {"group": "gpu-runner", "cancel-in-progress": False}
        order = {step.get("name", step.get("uses")): i for i, step in enumerate(job["steps"])}
        measuring = next(i for i, step in enumerate(job["steps"]) if ".venv/bin/kinetics" in step.get("run", ""))
        assert order["preflight"] < measuring < order["summary"]
        after = job["steps"][measuring + 1 :]
        assert after
        assert all(step["if"] == "always()" for step in after)


@pytest.mark.parametrize(("code", "ends"), [(0, 0), (1, 1), (2, 2), (3, 0), (130, 130)])
def test_a_hosted_gate_is_red_for_what_a_change_did_and_warns_of_a_restless_machine(tmp_path, code, ends):
    job = read(ROOT / ".github" / "workflows" / "cpu.yml")["jobs"]["gate"]
    (step,) = [step for step in job["steps"] if step.get("name") == "gate"]
    for name, text in (("git", "echo base"), ("kinetics", f'echo "$@"; exit {code}')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "BASE": "abc"}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == ends
    assert done.stdout.startswith("gate --base base --device cpu --out gate.json")
    assert ("::warning::" in done.stdout) is (code == 3)
