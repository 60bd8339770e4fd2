"""Each option of a cost model changes the cost by what it says."""

from dataclasses import replace

import pytest

from kinetics.cost.answers import Combine, answer_work
from kinetics.law.cost_models import EFlopCost, MeasuredCost, ModelledStepCost, StepCost
from kinetics.specs.models import find_model
from kinetics.specs.policies import Dense, TopK
from kinetics.specs.units import TERA

MODEL = find_model("Qwen3-8B")
ANSWER = {"prompt_len": 100, "lengths": [1000], "trials": [1]}


def test_the_larger_of_compute_and_memory_hides_the_other() -> None:
    model = EFlopCost(model=MODEL)
    work = answer_work(MODEL, Dense(), prompt_len=100, generated=1000)
    compute, memory = work.flop / TERA, work.num_bytes * model.intensity / TERA
    (summed,) = model.mean_costs(Dense(), **ANSWER)
    (hidden,) = replace(model, combine=Combine.MAX).mean_costs(Dense(), **ANSWER)
    assert summed == pytest.approx(compute + memory)
    assert hidden == pytest.approx(max(compute, memory))


def test_layers_that_run_dense_cost_as_dense_ones() -> None:
    sparse = MeasuredCost(dense=StepCost(token=0.0, key=1.0), sparse=StepCost(token=0.0, key=1.0))
    (all_sparse,) = sparse.mean_costs(TopK(kv_budget=10), **ANSWER)
    (all_dense,) = sparse.mean_costs(Dense(), **ANSWER)
    (mixed,) = replace(sparse, dense_share=0.25).mean_costs(TopK(kv_budget=10), **ANSWER)
    assert mixed == pytest.approx(0.75 * all_sparse + 0.25 * all_dense)


def test_an_answer_pays_its_share_of_the_batch() -> None:
    alone, shared = (ModelledStepCost(step_s=lambda policy, context_len: 1e-3, batch=batch) for batch in (1, 8))
    assert alone.mean_costs(Dense(), **ANSWER) == [pytest.approx(1.0)]
    assert shared.mean_costs(Dense(), **ANSWER) == [pytest.approx(1.0 / 8)]
