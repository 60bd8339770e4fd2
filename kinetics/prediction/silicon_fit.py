"""Fitting times that are sums of parts, each part as slow as the slowest of what bounds it.

    t = sum of linear terms + sum over parts of max over its bounds of (sum of the bound's terms)

Every term is a column of numbers with one non-negative parameter. A part whose bounds are bytes, FLOP and a chain of
dependent keys is a roofline with a third roof. Fitted by assigning each row's parts to the bound that is largest,
solving a non-negative least-squares problem of relative errors, and assigning anew; outliers are damped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Part = tuple[tuple[str, ...], ...]
"""Bounds of a part, each a sum of terms by name."""

_ROUNDS, _ROUGH_ROUNDS = 7, 4
_DAMPING = 0.02
"""Relative errors beyond it count by their size, not their square."""
_CLIPPED = 0.5
_STARTS = (1.0, 0.1, 10.0)
"""How much heavier than the rest the first bound of each part is taken at first: the answer depends on the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Columns by name, one value a row; the parts they make; and the least that their parameters may be."""

    columns: Mapping[str, Array]
    parts: tuple[Part, ...] = ()
    least: Mapping[str, float] = field(default_factory=dict)

    @property
    def num_rows(self) -> int:
        """Rows of every column."""
        return len(next(iter(self.columns.values())))

    def take(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Terms:
        """These rows only."""
        return Terms(
            columns={name: column[rows] for name, column in self.columns.items()}, parts=self.parts, least=self.least
        )


def evaluate(terms: Terms, parameters: Mapping[str, float]) -> Array:
    """Seconds of every row; a parameter that is not stated is 0."""
    in_parts = {name for part in terms.parts for bound in part for name in bound}
    total = np.zeros(terms.num_rows)
    for name, column in terms.columns.items():
        if name not in in_parts:
            total += parameters.get(name, 0.0) * column
    for part in terms.parts:
        total += np.max(_bounds(terms, part, parameters), axis=0)
    return total


def fit_terms(terms: Terms, seconds: Array, *, is_rough: bool = False) -> dict[str, float]:
    """The parameters that explain `seconds` best, of those that several starts lead to; roughly, from one start."""
    starts = _STARTS if terms.parts and not is_rough else _STARTS[:1]
    found = [_fit_from(terms, seconds, start, rounds=_ROUGH_ROUNDS if is_rough else _ROUNDS) for start in starts]
    return min(found, key=lambda parameters: damped_error(evaluate(terms, parameters), seconds))


def damped_error(predicted: Array, seconds: Array) -> float:
    """Mean relative error, each row's clipped."""
    return float(np.minimum(np.abs(predicted / seconds - 1.0), _CLIPPED).mean())


def _bounds(terms: Terms, part: Part, parameters: Mapping[str, float]) -> Array:
    """Seconds of each bound of a part: [bounds, rows]."""
    return np.stack([sum(parameters.get(name, 0.0) * terms.columns[name] for name in bound) for bound in part])


def _fit_from(terms: Terms, seconds: Array, start: float, *, rounds: int) -> dict[str, float]:
    names = list(terms.columns)
    parameters = dict.fromkeys(names, 1.0)
    for part in terms.parts:
        parameters |= dict.fromkeys(part[0], start)
    weights = np.ones(len(seconds))
    for _ in range(rounds):
        matrix = _assigned(terms, names, parameters)
        parameters |= _solve(matrix, names, seconds, weights, terms.least)
        error = np.abs(evaluate(terms, parameters) / seconds - 1.0)
        weights = 1.0 / np.sqrt(np.maximum(error, _DAMPING) / _DAMPING)
    return parameters


def _assigned(terms: Terms, names: Sequence[str], parameters: Mapping[str, float]) -> Array:
    """The columns, those of bounds that do not bind set to 0 row by row."""
    columns = dict(terms.columns)
    for part in terms.parts:
        binding = np.argmax(_bounds(terms, part, parameters), axis=0)
        for index, bound in enumerate(part):
            for name in bound:
                columns[name] = np.where(binding == index, terms.columns[name], 0.0)
    return np.stack([columns[name] for name in names], axis=1)


def _solve(
    matrix: Array, names: Sequence[str], seconds: Array, weights: Array, least: Mapping[str, float]
) -> dict[str, float]:
    """Non-negative least squares of relative errors; columns that bind nowhere keep what they had."""
    from scipy.optimize import nnls

    relative = matrix * (weights / seconds)[:, None]
    size = relative.max(axis=0)
    binds = size > 0
    lowest = np.array([least.get(name, 0.0) for name in names])
    target = weights - relative[:, binds] @ lowest[binds]
    solved, _ = nnls(relative[:, binds] / size[binds], target)
    values = solved / size[binds] + lowest[binds]
    return dict(zip((name for name, here in zip(names, binds, strict=True) if here), values.tolist(), strict=True))
