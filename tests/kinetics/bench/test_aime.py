"""Which logs the paper's claims are held against: its own traces, all six models of them."""

from __future__ import annotations

import json

import pytest

from kinetics.bench.aime import claim_facts, law_request, paper_traces
from kinetics.cost.published import PUBLISHED_BILLION_PARAMETERS
from kinetics.law.run import run_law

MODELS = list(PUBLISHED_BILLION_PARAMETERS)


def save_trace(folder, model, *, task="aime24"):
    """Two questions, two trials; larger models are right more often."""
    rank = MODELS.index(model)
    rows = [
        {
            "query": f"q{question}",
            "choices": ["7"],
            "prediction": ["\\boxed{7}"],
            "score": 100.0 * (question + trial < rank / 2),
            "token_ids": list(range(1000 + 500 * trial)),
        }
        for question in range(2)
        for trial in range(2)
    ]
    path = folder / f"{task}_{model}_dense.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_traces_of_all_six_models_are_the_papers(tmp_path):
    paths = {save_trace(tmp_path, model) for model in MODELS}
    save_trace(tmp_path, MODELS[0], task="aime25")
    assert set(paper_traces(tmp_path)) == paths
    outcome = run_law(law_request(tmp_path, tmp_path / "out", files=tuple(paths)))
    facts = claim_facts(outcome)
    assert facts["claims"] == len(outcome.document["claims"]) > 50
    assert facts["does_not_hold"] > 0, "made samples do not bear out the paper"
    assert facts["changed"], "and so the bench must fail on them"


@pytest.mark.parametrize("missing", [MODELS[0], MODELS[-1]])
def test_traces_that_lack_a_model_are_not(tmp_path, missing):
    for model in MODELS:
        if model != missing:
            save_trace(tmp_path, model)
    assert paper_traces(tmp_path) == ()
