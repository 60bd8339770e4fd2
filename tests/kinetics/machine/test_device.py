"""The machine is described as it is, and result files do not make a source tree dirty."""

import subprocess

import pytest
import torch

from kinetics.machine.device import available_bytes, last_level_cache_bytes, num_cpus, resolve_device
from kinetics.machine.facts import machine_facts, source_state


def git(folder, *arguments):
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments], cwd=folder, check=True, capture_output=True
    )


def test_only_changed_sources_make_a_tree_dirty(tmp_path):
    (tmp_path / "results").mkdir()
    for name in ("code.py", "results/old.json"):
        (tmp_path / name).write_text("1")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "all")
    (tmp_path / "results" / "old.json").write_text("2")
    commit, is_dirty = source_state(tmp_path)
    assert (len(commit), is_dirty) == (40, False)
    (tmp_path / "code.py").write_text("2")
    assert source_state(tmp_path)[1]


def test_a_folder_without_git_has_an_unknown_commit(tmp_path, monkeypatch):
    monkeypatch.delenv("KINETICS_COMMIT", raising=False)
    assert source_state(tmp_path) == ("unknown", False)


@pytest.mark.parametrize(
    ("named", "state"),
    [("0123abc", ("0123abc", False)), ("0" * 40 + "-dirty", ("0" * 40, True)), ("", ("unknown", False))],
)
def test_without_git_an_environment_variable_names_the_commit(tmp_path, monkeypatch, named, state):
    monkeypatch.setenv("KINETICS_COMMIT", named)
    assert source_state(tmp_path) == state


def test_a_commit_that_is_none_is_refused_and_git_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("KINETICS_COMMIT", "main")
    with pytest.raises(ValueError, match=r"KINETICS_COMMIT must be a commit .* got 'main'"):
        source_state(tmp_path)
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "all")
    assert source_state(tmp_path)[0] != "main"


def test_a_slug_is_the_device_and_for_a_cpu_its_cores():
    device = resolve_device("cpu")
    assert device.slug.startswith("cpu-")
    assert f"{num_cpus()}" in device.slug.rsplit("-", 1)[-1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_gpu_that_is_not_there_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match="sees 0 CUDA devices; use --device cpu"):
        resolve_device("cuda")


def test_the_facts_of_a_cpu_are_complete():
    facts = machine_facts(resolve_device("cpu"))
    assert facts["versions"]["torch"] == str(torch.__version__)
    assert facts["last_level_cache_bytes"] == last_level_cache_bytes(resolve_device("cpu")) > 0
    assert 0 < available_bytes(resolve_device("cpu")) <= facts["total_memory_bytes"]
