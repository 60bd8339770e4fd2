"""Parameters that made the times are found again, whatever bounds each part; outliers and wrong forms are told."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetics.prediction.silicon_fit import Terms, damped_error, evaluate, fit_terms


def made_terms(num_rows=120, seed=0):
    random = np.random.default_rng(seed)
    size = 10 ** random.uniform(-6, -2, num_rows)
    intensity = 10 ** random.uniform(-1.5, 1.5, num_rows)
    columns = {
        "fixed": np.ones(num_rows),
        "bytes": size,
        "flop": size * intensity,
        "merge": random.uniform(0, 1e-5, num_rows),
    }
    return Terms(columns=columns, parts=((("bytes",), ("flop",)),))


@given(fixed=st.floats(1e-6, 1e-4), read=st.floats(1.0, 3.0), multiply=st.floats(0.5, 4.0), merge=st.floats(0.5, 3.0))
@settings(max_examples=20)
def test_the_parameters_of_a_roofline_are_found_again(fixed, read, multiply, merge):
    terms, made = made_terms(), {"fixed": fixed, "bytes": read, "flop": multiply, "merge": merge}
    found = fit_terms(terms, evaluate(terms, made))
    assert damped_error(evaluate(terms, found), evaluate(terms, made)) < 1e-3
    assert found["bytes"] == pytest.approx(read, rel=0.02)
    assert found["flop"] == pytest.approx(multiply, rel=0.02)


def test_a_part_takes_as_long_as_the_slowest_of_its_bounds():
    terms = Terms(columns={"a": np.array([1.0, 3.0]), "b": np.array([2.0, 2.0])}, parts=((("a",), ("b",)),))
    assert evaluate(terms, {"a": 1.0, "b": 1.0}).tolist() == [2.0, 3.0]
    assert evaluate(terms, {"a": 1.0, "b": 2.0}).tolist() == [4.0, 4.0]


def test_parameters_are_never_negative_nor_below_the_least_allowed():
    size = np.linspace(1e-5, 1e-3, 50)
    falling = Terms(columns={"fixed": np.ones(50), "bytes": size})
    assert fit_terms(falling, 2e-3 - size)["bytes"] == 0.0
    bounded = Terms(columns={"fixed": np.ones(50), "bytes": size}, least={"bytes": 0.97})
    assert fit_terms(bounded, 0.5 * size)["bytes"] == pytest.approx(0.97)


def test_a_few_wild_rows_do_not_move_the_fit():
    terms, made = made_terms(), {"fixed": 5e-6, "bytes": 1.2, "flop": 1.5, "merge": 1.0}
    seconds = evaluate(terms, made)
    wild = seconds.copy()
    wild[::20] *= 5
    found = fit_terms(terms, wild)
    assert np.median(np.abs(evaluate(terms, found) / seconds - 1)) < 0.01


def test_rows_taken_are_the_same_rows_of_every_column():
    taken = made_terms().take(np.array([3, 1]))
    assert taken.num_rows == 2
    assert taken.columns["bytes"].tolist() == made_terms().columns["bytes"][[3, 1]].tolist()
