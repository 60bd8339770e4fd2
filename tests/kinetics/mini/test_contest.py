"""The contest has one right answer per problem, and solutions as they are taught reach it."""

from __future__ import annotations

from itertools import product
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinetics.mini.batches import FIRST_TRAINING_SEED, TokenKind, draw_batch, token_kinds, token_weights
from kinetics.mini.contest import (
    ATTEMPT_SYMBOLS,
    FIRST_NAMES,
    HIT_RATE,
    NUM_TEST_SEEDS,
    PROMPT_SYMBOLS,
    SECOND_NAMES,
    SYMBOLS,
    make_problem,
    solution_length,
    write_solution,
)
from kinetics.mini.exam import step_mistakes
from kinetics.mini.family import MAX_MISSES, MAX_NEW_TOKENS, contest_problems
from kinetics.mini.tokenizer import END_ID, TOKEN_IDS, make_tokenizer
from kinetics.samples.grading import grade_strict

seeds = st.integers(0, 10**10)
miss_counts = st.integers(0, MAX_MISSES)


@given(seeds)
def test_exactly_one_pair_fits_and_the_gold_answer_names_it(seed):
    problem = make_problem(seed)
    read = dict(zip(problem.text[:-3:2], map(int, problem.text[1:-3:2]), strict=True))
    target = int(problem.text[-2])
    found = [(a, b) for a, b in product(FIRST_NAMES, SECOND_NAMES) if (read[a] + read[b]) % 10 == target]
    assert len(found) == 1
    [(a, b)] = found
    assert problem.gold == 10 * ("ABCDEFGHIJKLMNOP".index(a) + 1) + "rstuvwxyz".index(b) + 1
    assert 0 <= problem.gold <= 999


@given(seeds)
def test_a_seed_is_a_problem(seed):
    assert make_problem(seed) == make_problem(seed)
    assert make_problem(seed) != make_problem(seed + 1)


@given(seeds)
def test_every_prompt_has_the_same_length(seed):
    symbols = make_problem(seed).symbols
    assert len(symbols) == PROMPT_SYMBOLS
    assert set(symbols) <= set(SYMBOLS)


def test_the_pair_may_lie_anywhere_and_every_target_occurs():
    problems = contest_problems(2000)
    assert {problem.pairs[0] for problem in problems} == set(product(range(16), range(9)))
    assert {problem.target for problem in problems} == set(range(10))


@given(seeds, miss_counts)
def test_solutions_are_right_at_every_step_and_graded_correct(seed, num_misses):
    problem = make_problem(seed)
    symbols = write_solution(problem, Random(seed), num_misses=num_misses)
    text = "".join(symbols[:-1])
    assert len(symbols) == solution_length(num_misses) <= MAX_NEW_TOKENS
    assert grade_strict(text, str(problem.gold)).is_correct
    assert step_mistakes(problem, text) == {"attempt": num_misses + 1, "look-up": 0, "sum": 0, "verdict": 0}


def test_a_longer_search_would_pass_the_cap():
    assert solution_length(MAX_MISSES + 1) > MAX_NEW_TOKENS


def test_each_wrong_step_is_counted_where_it_is_made():
    problem = make_problem(3)
    [(i, j)] = problem.pairs
    a, b, target = problem.first[i], problem.second[j], problem.target
    attempt = f"{FIRST_NAMES[i]}{{}}+{SECOND_NAMES[j]}{{}}={{}}?{{}} {{}}\n"
    lookup = attempt.format((a + 1) % 10, b, (target + 1) % 10, target, "no")
    total = attempt.format(a, b, (target + 1) % 10, target, "no")
    verdict = attempt.format(a, b, target, target, "no")
    wanted = attempt.format(a, b, target, (target + 1) % 10, "no")
    assert step_mistakes(problem, lookup) == {"attempt": 1, "look-up": 1, "sum": 0, "verdict": 0}
    assert step_mistakes(problem, total) == {"attempt": 1, "look-up": 0, "sum": 1, "verdict": 0}
    assert step_mistakes(problem, verdict) == {"attempt": 1, "look-up": 0, "sum": 0, "verdict": 1}
    assert step_mistakes(problem, wanted) == {"attempt": 1, "look-up": 0, "sum": 0, "verdict": 1}


@given(seeds, st.integers(0, 10), st.booleans())
def test_texts_come_back_from_their_tokens(seed, num_misses, has_end):
    problem = make_problem(seed)
    symbols = [*problem.symbols, *write_solution(problem, Random(seed), num_misses=num_misses)[:-1]]
    tokenizer = make_tokenizer()
    token_ids = tokenizer.encode("".join(symbols)).ids
    assert token_ids == [TOKEN_IDS[symbol] for symbol in symbols]
    assert tokenizer.decode(token_ids + [END_ID] * has_end) == "".join(symbols)


def test_the_test_set_is_never_trained_on():
    with pytest.raises(ValueError, match=f"must lie in 1..{NUM_TEST_SEEDS}, got {NUM_TEST_SEEDS + 1}"):
        contest_problems(NUM_TEST_SEEDS + 1)
    assert FIRST_TRAINING_SEED >= NUM_TEST_SEEDS
    tested = {problem.text for problem in contest_problems(NUM_TEST_SEEDS)}
    texts = make_tokenizer()
    trained = {
        texts.decode(row[:PROMPT_SYMBOLS])
        for step in range(40)
        for row in draw_batch(seed=1, step=step, max_misses=3, num_tokens=2048).token_ids.tolist()
    }
    assert len(trained) > 1000
    assert not tested & trained


@given(seeds, st.integers(0, 10**6))
def test_a_batch_is_a_function_of_seed_and_step(seed, step):
    one, two = (draw_batch(seed=seed, step=step, max_misses=3, num_tokens=200) for _ in range(2))
    assert one.token_ids.equal(two.token_ids)
    other = draw_batch(seed=seed, step=step + 1, max_misses=3, num_tokens=200)
    assert not one.token_ids.equal(other.token_ids)


def test_kinds_and_weights_lie_where_their_tokens_are():
    batch = draw_batch(seed=5, step=0, max_misses=6, num_tokens=500)
    ids_of = {
        TokenKind.FIRST_NAME: FIRST_NAMES,
        TokenKind.PLUS: "+",
        TokenKind.SECOND_NAME: SECOND_NAMES,
        TokenKind.SUM: [f"={digit}" for digit in range(10)],
        TokenKind.TARGET: [f"?{digit}" for digit in range(10)],
        TokenKind.MISS: [" no\n"],
        TokenKind.HIT: [" yes\n"],
    }
    for kind, symbols in ids_of.items():
        own = batch.token_ids[:, batch.kinds == kind]
        assert set(own.flatten().tolist()) <= {TOKEN_IDS[symbol] for symbol in symbols}
    assert batch.token_ids.shape[1] == len(batch.kinds) == len(batch.weights)
    assert not batch.weights[:PROMPT_SYMBOLS].any()


def test_fitting_pairs_weigh_at_each_attempt_as_often_as_they_are_drawn():
    max_misses = 9
    hit_weight = [0.0] * (max_misses + 1)
    miss_weight = [0.0] * (max_misses + 1)
    for num_misses in range(max_misses + 1):  # equally likely
        weights, kinds = token_weights(num_misses, max_misses=max_misses), token_kinds(num_misses)
        names = weights[kinds == TokenKind.SECOND_NAME].tolist()
        hit_weight[num_misses] += names.pop()
        for attempt, weight in enumerate(names):
            miss_weight[attempt] += weight
    for hit, miss in zip(hit_weight[:-1], miss_weight[:-1], strict=True):
        assert hit / (hit + miss) == pytest.approx(HIT_RATE)


def test_the_writer_hits_as_often_as_stated_and_tries_pairs_anew():
    problem = make_problem(3)
    symbols = write_solution(problem, Random(7), num_misses=MAX_MISSES)
    attempts = [tuple(symbols[k * ATTEMPT_SYMBOLS :][:4:3]) for k in range(MAX_MISSES)]
    assert len(set(attempts)) > 0.75 / HIT_RATE, "most pairs come up in 319 blind attempts"
    assert len(set(attempts)) < MAX_MISSES


@given(seeds, st.integers(0, 50), st.integers(1, 300))
def test_a_gap_leaves_whole_attempts_out_behind_the_problem(seed, step, max_gap):
    batch = draw_batch(seed=seed, step=step, max_misses=3, num_tokens=200, max_gap=max_gap)
    steps = batch.positions.diff()
    jump = int(steps[PROMPT_SYMBOLS - 1]) - 1
    assert jump % ATTEMPT_SYMBOLS == 0
    assert 0 <= jump <= max_gap * ATTEMPT_SYMBOLS
    assert (steps[torch.arange(len(steps)) != PROMPT_SYMBOLS - 1] == 1).all()
    assert batch.positions[0] == 0
