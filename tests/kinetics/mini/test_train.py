"""Training lowers the loss, goes on where it stopped as if it had not, and writes a model that others can load."""

from __future__ import annotations

import re

import pytest
import torch
from typer.testing import CliRunner

from kinetics.cli.main import app
from kinetics.engine.checkpoint import load_weights, read_spec
from kinetics.mini.contest import PROMPT_SYMBOLS
from kinetics.mini.family import MAX_MISSES, mini_spec
from kinetics.mini.muon import Muon, orthogonalized
from kinetics.mini.network import NUM_SINK_TOKENS, PAGE_SIZE, sparse_mask
from kinetics.mini.train import CHECKPOINT_NAME, CURVE_STEPS, Trainer, TrainingPlan, train


def small_plan(**changes):
    return TrainingPlan(**{"model": "mini-50k", "num_steps": 12, "tokens_per_step": 128, "warmup_steps": 2, **changes})


def run(trainer, num_steps):
    for _ in range(num_steps):
        trainer.advance()
    return trainer


def assert_same(one, two):
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_few_steps_lower_the_loss():
    trainer = run(Trainer(small_plan(num_steps=200, tokens_per_step=256, short_misses=1, short_share=1.0)), 200)
    first, last = trainer.curve[0], trainer.curve[-1]
    assert last.step == 200 == 2 * CURVE_STEPS
    assert last.loss < 0.8 * first.loss
    assert set(first.accuracy) == {
        "first_digit", "plus", "second_digit", "sum", "target", "miss", "hit", "answer"
    }  # fmt: skip


def test_a_sparse_step_sees_the_problem_its_own_page_and_the_one_before():
    assert PROMPT_SYMBOLS <= NUM_SINK_TOKENS
    mask = sparse_mask(torch.arange(200))
    for query in range(200):
        pages = {query // PAGE_SIZE, query // PAGE_SIZE - 1, *range(NUM_SINK_TOKENS // PAGE_SIZE)}
        seen = {key for key in range(query + 1) if key // PAGE_SIZE in pages}
        assert set(torch.nonzero(mask[query])[:, 0].tolist()) == seen


def test_a_sparse_step_counts_pages_by_position_where_a_gap_lies_behind_the_problem():
    positions = torch.arange(120)
    positions[PROMPT_SYMBOLS:] += 500
    mask = sparse_mask(positions)
    whole = sparse_mask(torch.arange(620))
    assert torch.equal(mask, whole[positions][:, positions])


def test_what_a_sparse_step_does_not_see_does_not_matter():
    network = run(Trainer(small_plan()), 3).network
    one = torch.randint(0, mini_spec("mini-50k").vocab_size, (1, 160), generator=torch.Generator().manual_seed(0))
    other = one.clone()
    other[:, NUM_SINK_TOKENS : 6 * PAGE_SIZE] = 5
    last = [network(tokens, is_sparse=is_sparse)[0, -1] for is_sparse in (True, False) for tokens in (one, other)]
    # Two layers see two pages back each: what was replaced ends before that.
    torch.testing.assert_close(last[0], last[1])
    assert not torch.allclose(last[2], last[3])


def test_every_second_step_is_sparse(monkeypatch):
    trainer, seen = Trainer(small_plan()), []
    forward = trainer.network.forward
    monkeypatch.setattr(
        trainer.network,
        "forward",
        lambda tokens, positions, *, is_sparse: (
            seen.append(is_sparse) or forward(tokens, positions, is_sparse=is_sparse)
        ),
    )
    run(trainer, 4)
    assert seen == [False, True, False, True]


def test_a_resumed_run_equals_one_that_was_not_interrupted(tmp_path):
    plan = small_plan()
    whole = run(Trainer(plan), 12)
    run(Trainer(plan), 5).save(tmp_path / "half.pt")
    resumed = run(Trainer.resume(tmp_path / "half.pt", plan), 7)
    assert_same(resumed.network.state_dict(), whole.network.state_dict())
    assert resumed.curve == whole.curve


def test_another_seed_is_another_model():
    one, two = run(Trainer(small_plan()), 1), run(Trainer(small_plan(seed=2)), 1)
    same = torch.equal(one.network.model.embed_tokens.weight, two.network.model.embed_tokens.weight)
    assert not same


def test_an_interrupt_leaves_a_checkpoint_that_the_same_call_finishes(tmp_path):
    def interrupt(trainer):
        if trainer.step == 4:
            raise KeyboardInterrupt

    plan = small_plan()
    with pytest.raises(KeyboardInterrupt):
        train(plan, tmp_path, on_step=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT_NAME]
    seen = []
    trainer = train(plan, tmp_path, on_step=lambda trainer: seen.append(trainer.step))
    assert seen == list(range(5, 13))
    assert_same(trainer.network.state_dict(), run(Trainer(plan), 12).network.state_dict())
    assert not (tmp_path / CHECKPOINT_NAME).exists()


def test_the_written_model_is_the_trained_one_in_bfloat16(tmp_path):
    trainer = train(small_plan(), tmp_path, on_step=lambda trainer: None)
    spec = read_spec(tmp_path)
    weights = load_weights(tmp_path, spec.model, device="cpu", dtype=torch.float32)
    expected = trainer.network.model.layers[1].mlp.down_proj.weight.bfloat16().float()
    assert torch.equal(weights.layers[1].down, expected)
    assert expected.any()


def test_a_checkpoint_of_another_plan_is_refused(tmp_path):
    Trainer(small_plan()).save(tmp_path / "c.pt")
    with pytest.raises(ValueError, match="belongs to another plan"):
        Trainer.resume(tmp_path / "c.pt", small_plan(seed=9))


def test_half_a_checkpoint_is_refused(tmp_path):
    path = tmp_path / "c.pt"
    Trainer(small_plan()).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=re.escape(f"{path}: is not a whole checkpoint")):
        Trainer.resume(path, small_plan())


def test_rates_rise_stay_and_fall():
    plan = TrainingPlan(model="mini-50k", num_steps=1000)
    assert plan.rate_factor(0) == 1 / 50
    assert plan.rate_factor(49) == plan.rate_factor(500) == 1.0
    assert plan.rate_factor(750) == 0.5
    assert plan.max_misses(0) == plan.max_misses(600) == 7
    assert plan.max_misses(800) == plan.max_misses(999) == MAX_MISSES == 318


@pytest.mark.parametrize("shape", [(32, 128), (128, 32), (7, 7)])
def test_orthogonalizing_brings_every_singular_value_near_one(shape):
    generator = torch.Generator().manual_seed(4)
    matrix = torch.randn(shape, generator=generator)
    values = torch.linalg.svdvals(orthogonalized(matrix))
    assert values.max() < 1.3
    assert values.min() > 0.3 or min(shape) == 7  # a square matrix may be nearly singular
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.linalg.matrix_norm(orthogonalized(matrix) - left @ right) < 0.5 * min(shape) ** 0.5


def test_the_command_trains_shows_and_writes(tmp_path):
    done = CliRunner().invoke(app, ["mini", "train", "--out", str(tmp_path), "--steps", "3"])
    assert done.exit_code == 0, done.output
    assert "step 3" in done.stderr
    assert "loss" in done.stderr
    assert (tmp_path / "model.safetensors").exists()


def test_the_command_refuses_an_unknown_model_and_shows_an_example():
    refused = CliRunner().invoke(app, ["mini", "train", "--model", "mini-9k"])
    assert refused.exit_code == 2
    assert "mini-50k, mini-200k, mini-800k" in refused.stderr
    assert "Example: kinetics mini train" in CliRunner().invoke(app, ["mini", "train", "--help"]).output


@pytest.mark.parametrize("shape", [(6, 6), (12, 4), (4, 12)])
def test_muon_steps_as_its_formula_says(shape):
    """Momentum of 0.9, a look ahead (Nesterov) along it, decay by the rate, tall matrices stepping further."""
    rate, momentum, decay = 0.02, 0.9, 0.1
    generator = torch.Generator().manual_seed(3)
    gradients = [torch.randn(shape, generator=generator) for _ in range(3)]
    matrix = torch.randn(shape, generator=generator).requires_grad_()
    expected, average = matrix.detach().clone(), torch.zeros(shape)
    optimizer = Muon([matrix], lr=rate, momentum=momentum, weight_decay=decay)
    for gradient in gradients:
        matrix.grad = gradient.clone()
        optimizer.step()
        average = momentum * average + (1 - momentum) * gradient
        ahead = (1 - momentum) * gradient + momentum * average
        expected = (1 - rate * decay) * expected
        expected -= rate * max(1.0, shape[0] / shape[1]) ** 0.5 * orthogonalized(ahead)
        torch.testing.assert_close(matrix.detach(), expected, rtol=1e-5, atol=1e-6)


def test_muon_leaves_alone_what_has_no_gradient():
    matrix = torch.ones(3, 3, requires_grad=True)
    Muon([matrix], lr=0.1, weight_decay=0.5).step()
    assert torch.equal(matrix, torch.ones(3, 3))
