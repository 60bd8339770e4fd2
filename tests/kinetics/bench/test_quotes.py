"""Quotes are functions of the file they name: the documents' are what their runs give, and a new run replaces them."""

import json
import re

import pytest

from kinetics.bench.quotes import Run, quote, quotes_in, requote
from kinetics.results.store import tables_folder
from tests.support.documents import DOCUMENTS
from tests.support.made_runs import make_run
from tests.support.paths import ROOT

NAMES = ("run", "excerpt", "ratios", "reached", "steps", "figure")
QUOTED = [(path, *found) for path in DOCUMENTS for found in quotes_in(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("document", "name", "run", "text"), QUOTED, ids=lambda part: str(part)[-40:])
def test_the_documents_quote_what_their_run_says(document, name, run, text):
    path = ROOT / run
    made = quote(name, Run(document=json.loads(path.read_text()), path=path, root=ROOT), place=document.parent)
    assert text == f"{made}\n"


def test_the_readme_and_the_results_quote_a_run():
    assert {path.name for path, *_ in QUOTED} >= {"README.md", "decode_step.md"}


@pytest.fixture
def checkout(tmp_path):
    """A checkout with every quote once, nothing quoted yet, and a published run with a figure."""
    run = tmp_path / "results" / "cpu-made-zen5-2c" / "one.json"
    picture = tables_folder(run) / "aime" / "accuracy_per_cost.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"png")
    (tmp_path / "docs").mkdir()
    marks = "\n\n".join(f"before\n<!-- published: {name} -->\n<!-- /published -->\nafter" for name in NAMES)
    for name in ("README.md", "docs/page.md", "results/README.md"):
        (tmp_path / name).write_text(marks)
    write(run, make_run())
    return tmp_path


def write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return document


def run_of(checkout, name="one.json", **changes):
    path = checkout / "results" / "cpu-made-zen5-2c" / name
    return Run(document=write(path, make_run(**changes)), path=path, root=checkout)


def test_a_run_fills_every_quote_that_it_has_something_for(checkout):
    made = requote(run_of(checkout))
    assert set(made) == {checkout / name for name in ("README.md", "docs/page.md", "results/README.md")}
    assert set(map(tuple, made.values())) == {("run", "excerpt", "ratios", "reached", "figure")}
    text = (checkout / "README.md").read_text()
    assert text.count("before\n") == text.count("\nafter") == len(NAMES)
    assert "is 2.00 times as fast as torch's attention there (batch 4, context 8k" in " ".join(text.split())
    assert "21.8 times as fast as dense at 32k" in " ".join(text.split())  # 4 * 32,768 us over 6 ms
    assert "From [a run](results/cpu-made-zen5-2c/one.json) on Made CPU (zen5, 2 CPUs), 2 threads (5 min 1 s" in text
    assert "| dense decode over torch SDPA, batch 4, context 8k, 32 query / 8 KV heads | 1.25x, goal 2x | 2.00x" in text
    assert "Best-of-N, by measured seconds, less accurate at 3 of 40 costs (by at most 1.5 points)" in " ".join(
        text.split()
    )
    assert "one longer answer, by eFLOPs, less accurate at 0 of 40 costs;" in " ".join(text.split())


@pytest.mark.parametrize(("name", "link"), [("docs/page.md", "../results/"), ("results/README.md", "")])
def test_links_lead_from_where_the_document_lies(checkout, name, link):
    requote(run_of(checkout))
    text = (checkout / name).read_text()
    assert f"[a run]({link}cpu-made-zen5-2c/one.json)" in text
    assert f"]({link}cpu-made-zen5-2c/one/aime/accuracy_per_cost.png)" in text
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "mini.md" not in target:
            assert ((checkout / name).parent / target).exists(), target


def test_an_excerpt_shows_both_providers_of_one_cell_and_three_contexts(checkout):
    text = quote("excerpt", run_of(checkout), place=checkout)
    cases = [line.split()[0] for line in text.splitlines() if line.startswith(("dense-", "block_topk-"))]
    assert cases == [
        "dense-ours-b4-c8192",
        "dense-torch_sdpa-b4-c8192",
        "block_topk-ours-b4-c8192-k1024",
        "block_topk-naive_sparse-b4-c8192-k1024",
    ]
    contexts = [line.split()[3] for line in text.splitlines() if line.startswith("ours ")]
    assert contexts == ["1k", "4k", "32k"]
    assert all(len(line) <= 120 for line in text.splitlines())


def test_a_second_run_replaces_the_first_and_the_same_run_changes_nothing(checkout):
    requote(run_of(checkout))
    once = (checkout / "README.md").read_text()
    requote(run_of(checkout))
    assert (checkout / "README.md").read_text() == once
    requote(run_of(checkout, "two.json", wall_s=59.0))
    text = (checkout / "README.md").read_text()
    assert "(59 s, " in text
    assert text.count("two.json") > 3
    assert "one.json -->" in text  # the second run has no figure: the first one's stays
    assert "run of results/cpu-made-zen5-2c/one.json" not in text


def test_a_run_of_another_kind_of_device_leaves_what_is_quoted(checkout):
    requote(run_of(checkout))
    before = (checkout / "README.md").read_text()
    document = make_run()
    document["machine_info"] |= {"identity": {"kind": "cuda", "name": "NVIDIA H100"}, "device_kind": "cuda"}
    path = checkout / "results" / "nvidia-h100" / "gpu.json"
    assert requote(Run(document=write(path, document), path=path, root=checkout)) == {}
    assert (checkout / "README.md").read_text() == before


def test_a_quote_that_nobody_knows_is_refused(checkout):
    (checkout / "README.md").write_text("<!-- published: everything -->\n<!-- /published -->\n")
    with pytest.raises(ValueError, match="a quote must be one of run, excerpt, summary, ratios"):
        requote(run_of(checkout))
