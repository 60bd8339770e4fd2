"""A sample follows its distribution, and depends on its own seed and logits alone."""

from __future__ import annotations

import math

import pytest
import torch

from kinetics.engine.sampling import sample, uniform
from kinetics.specs.generation import SamplingSettings

PAPER = SamplingSettings(temperature=0.6, top_p=0.95, top_k=20)


def draw_many(logits, settings, num_samples):
    """Counts of each token over many seeds."""
    many = logits.expand(num_samples, -1)
    tokens = sample(many, [settings] * num_samples, list(range(num_samples)), [3] * num_samples)
    return torch.bincount(torch.tensor(tokens), minlength=logits.shape[-1])


def expected_shares(logits, settings):
    """The textbook way: one token at a time, in plain Python."""
    ranked = sorted(range(len(logits)), key=lambda token: -logits[token])[: settings.top_k or None]
    weights = {token: math.exp((logits[token] - logits[ranked[0]]) / settings.temperature) for token in ranked}
    total, reached, kept = sum(weights.values()), 0.0, {}
    for token in ranked:
        if reached >= settings.top_p * total:
            break
        kept[token] = weights[token]
        reached += weights[token]
    return [kept.get(token, 0.0) / sum(kept.values()) for token in range(len(logits))]


@pytest.mark.parametrize(
    "settings",
    [
        SamplingSettings(temperature=1.0),
        SamplingSettings(temperature=0.6, top_k=3),
        SamplingSettings(temperature=1.5, top_p=0.7),
        SamplingSettings(temperature=0.8, top_p=0.6, top_k=4),
    ],
)
def test_tokens_are_drawn_with_their_probabilities(settings):
    logits = torch.tensor([0.1, 2.0, -1.0, 1.5, 0.7, -3.0])
    num_samples = 20_000
    counts = draw_many(logits, settings, num_samples)
    for count, share in zip(counts.tolist(), expected_shares(logits.tolist(), settings), strict=True):
        spread = math.sqrt(num_samples * share * (1 - share))
        assert abs(count - num_samples * share) <= 4 * spread
    assert sum(counts[token] for token in range(6) if expected_shares(logits.tolist(), settings)[token] == 0) == 0


def test_a_sample_does_not_depend_on_what_else_is_in_the_batch():
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(7, 500, generator=generator)
    others = [
        SamplingSettings(),
        PAPER,
        SamplingSettings(temperature=1.0),
        SamplingSettings(temperature=0.9, top_k=7),
        SamplingSettings(temperature=1.0, top_p=0.4),
        PAPER,
        SamplingSettings(temperature=2.0, top_k=499),
    ]
    seeds, positions = list(range(40, 47)), [0, 3, 9, 1, 1, 4, 8]
    together = sample(logits, others, seeds, positions)
    for row in range(7):
        alone = sample(logits[row : row + 1], others[row : row + 1], seeds[row : row + 1], positions[row : row + 1])
        assert alone == together[row : row + 1]


def test_temperature_zero_is_the_likeliest_token():
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, -1.0, 2.0]])
    assert sample(logits, [SamplingSettings()] * 2, [1, 2], [0, 0]) == [1, 0]


def test_places_and_seeds_give_unrelated_numbers():
    numbers = torch.tensor([[uniform(seed, place) for place in range(200)] for seed in range(200)], dtype=torch.float64)
    assert 0.0 <= float(numbers.min()) < float(numbers.max()) < 1.0
    assert abs(float(numbers.mean()) - 0.5) < 4 * math.sqrt(1 / 12 / numbers.numel())
    for shifted in (numbers[:, 1:] - numbers[:, :-1], numbers[1:] - numbers[:-1]):
        correlation = 1 - float((shifted**2).mean()) * 6  # Var of a difference of two independents is 1/6
        assert abs(correlation) < 0.03


@pytest.mark.parametrize(
    "wrong", [{"temperature": -0.1}, {"temperature": float("nan")}, {"top_p": 0.0}, {"top_p": 1.1}, {"top_k": -1}]
)
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must"):
        SamplingSettings(**wrong)


@pytest.mark.parametrize("settings", [SamplingSettings(temperature=1.0), SamplingSettings(temperature=0.6, top_p=0.95)])
def test_every_place_of_an_answer_is_drawn_with_a_number_of_its_own(settings):
    """Equal logits: whoever draws two places with one number draws one token twice."""
    logits = torch.zeros(300, 1000)
    seeds, places = [5] * 300, list(range(300))
    together = sample(logits, [settings] * 300, seeds, places)
    assert len(set(together)) > 200
    assert together == [sample(logits[:1], [settings], [5], [place])[0] for place in places]
