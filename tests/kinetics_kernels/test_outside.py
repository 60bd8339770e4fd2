"""Other packages bring providers and selection policies by entry points alone, and harm nobody when they break."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

MODULE = '''
import torch
from kinetics_kernels.peers import ours
from kinetics_kernels.providers import DENSE

class Mine(type(ours.PROVIDER)):
    name = "mine"
    distribution = "strange-kernels"
    operations = (DENSE,)

PROVIDER = Mine()

def pages_of(cache, request):
    size = cache.k_cache.shape[1]
    return cache.block_table[request, : -(-int(cache.seq_lens[request]) // size)]

class NewestPages:
    """The first page and the newest ones, whatever their scores."""

    def select(self, q, cache, page_summary, selection):
        kept = torch.full((q.shape[0], cache.k_cache.shape[2], selection.num_pages), -1, dtype=torch.int32)
        for request in range(q.shape[0]):
            pages = pages_of(cache, request)
            chosen = torch.cat([pages[:1], pages[1:][-(selection.num_pages - 1):]])
            kept[request, :, : len(chosen)] = chosen
        return kept

class OneTooFew(NewestPages):
    """Loses the page that holds the newest token."""

    def select(self, q, cache, page_summary, selection):
        kept = super().select(q, cache, page_summary, selection)
        kept[..., -1] = -1
        return kept
'''
ENTRY_POINTS = """
[kinetics.providers]
mine = strange_kernels:PROVIDER
ours = strange_kernels:PROVIDER
broken = strange_kernels.gone:PROVIDER

[kinetics.selection_policies]
newest = strange_kernels:NewestPages()
one_too_few = strange_kernels:POLICY
"""


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of site-packages with one distribution that is none of ours."""
    folder = tmp_path_factory.mktemp("site-packages")
    made = MODULE + "\nPOLICY = OneTooFew()\nNEWEST = NewestPages()\n"
    (folder / "strange_kernels.py").write_text(made)
    info = folder / "strange_kernels-4.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strange-kernels\nVersion: 4.2\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS.replace("NewestPages()", "NEWEST"))
    return folder


def run(strangers: Path, here: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, (ROOT, ROOT / "kernels", strangers)))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    return subprocess.run(
        [sys.executable, "-m", "kinetics", *words],
        cwd=here,
        env=environment | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_they_are_listed_each_with_its_reason_where_it_cannot_run(strangers: Path, tmp_path: Path) -> None:
    done = run(strangers, tmp_path, "providers", "--device", "cpu", "--json")
    assert done.returncode == 0, done.stderr
    listed = {row["provider"]: row for row in json.loads(done.stdout)["providers"]}
    assert listed["mine"]["reason"] is None
    assert listed["newest"]["operations"] == ["block_topk"]
    assert (
        "strange_kernels.gone:PROVIDER of strange-kernels cannot be loaded (ModuleNotFoundError"
        in (listed["broken"]["reason"])
    )
    assert listed["ours"]["operations"] == ["dense", "block_topk"], "a stranger must not take our own name"


def test_they_are_proved_and_measured_beside_ours(strangers: Path, tmp_path: Path) -> None:
    tiny = ("--device", "cpu", "--model", "qwen3_0.6b", "--batch", "2", "--context", "96", "--kv-budget", "64")
    done = run(strangers, tmp_path, "bench", "test_decode_attention.py", *tiny, "--provider", "mine,newest,one_too_few")
    assert "1 failed, 2 passed" in done.stdout, done.stdout + done.stderr
    assert "one_too_few-qwen3_0.6b" in done.stdout
    (path,) = (tmp_path / "runs").glob("cpu-*/*.json")
    rows = [benchmark["extra_info"] for benchmark in json.loads(path.read_text())["benchmarks"]]
    found = {(row["operation"], row["provider"]): row["provider_version"] for row in rows}
    assert set(found) == {("dense", "mine"), ("block_topk", "newest")}
    assert found["block_topk", "newest"].startswith("4.2 on ")
