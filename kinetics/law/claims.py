"""The paper's claims as checks: each recomputes one number, or says what evidence it lacks.

A check takes the evidence at hand and returns the number it finds, or None where the evidence is missing. Which
published number it answers to, and by which rule, stands in the table of claims; `kinetics.law.verdicts` judges.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from kinetics.cost.published import (
    INTENSITY,
    PUBLISHED_BILLION_PARAMETERS,
    TERA_EFLOP_PER_B200_S,
    attention_to_parameter_ratio,
    num_published_parameters,
)
from kinetics.law.fits import PowerLaw, fit_power_law
from kinetics.law.frontier import (
    Curve,
    Frontier,
    accuracy_at,
    cost_ratio,
    cost_to_reach,
    largest_gain,
    switch_points,
)
from kinetics.law.paid_lengths import dense_flop_of
from kinetics.specs.hardware import Precision, find_accelerator
from kinetics.specs.models import ModelSpec, find_model
from kinetics.specs.policies import PolicyKind
from kinetics.specs.units import GIBI, TERA

LONG_COT: Final = "long_cot"
BEST_OF_N: Final = "best_of_n"
MAX_LONG_COT: Final = "long_cot_max"
MAX_BEST_OF_N: Final = "best_of_n_max"

HEADLINE_ACCURACY: Final = 0.717
"""Accuracy at which the paper's first figure compares the two laws."""
# The published fit of the AIME24 KV budget against cost in TeFLOPs.
PUBLISHED_BUDGET_FIT: Final = PowerLaw(scale=81.77, exponent=0.25, offset=-212.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What checks may draw on. `curves` and `frontiers` are keyed by task, then by kind of attention.

    `numbers` holds figures that only samples give, by claim key: pass@1, mean lengths, refitted exponents. `is_papers`:
    whether the curves are the paper's own figure, so that what follows from them restates it.
    """

    curves: Mapping[str, Sequence[Curve]]
    frontiers: Mapping[tuple[str, PolicyKind], Frontier[Curve]]
    numbers: Mapping[str, float]
    is_papers: bool = False


Check = Callable[[Evidence, list[str]], float | None]


def kv_width(model: ModelSpec) -> int:
    """Elements of keys and values per token: the D of the paper."""
    return model.kv_bytes_per_token(1)


def iso_cost_tokens(model: ModelSpec, eflop: float) -> float:
    """Tokens on an iso-cost contour when attention memory is all that counts: I x D x L^2 = eflop.

    Source: Kinetics, figure 6b; it draws Qwen3-14B with 48 layers where the model has 40.
    """
    return float((eflop / (INTENSITY * kv_width(model))) ** 0.5)


def tokens_for_equal_eflop(model: ModelSpec, eflop: float, *, intensity: float = INTENSITY) -> float:
    """Tokens of one answer without a prompt that cost `eflop` under the published law."""
    quadratic = (model.group_size + intensity) * kv_width(model)
    linear = 2 * num_published_parameters(model)
    return float((-linear + (linear**2 + 4 * quadratic * eflop) ** 0.5) / (2 * quadratic))


def kv_growth_per_doubling(*, is_logarithmic: bool = False) -> float:
    """Factor by which KV bytes a token grow per doubling of parameters, fitted over the six Qwen3 sizes.

    Least squares of the bytes themselves, or of their logarithms, which weighs small models more.
    """
    from scipy.optimize import curve_fit

    models = [find_model(name) for name in PUBLISHED_BILLION_PARAMETERS]
    sizes = np.array([num_published_parameters(model) / 1e9 for model in models])
    gib = np.array([model.kv_bytes_per_token(2) * 32768 / GIBI for model in models])
    if is_logarithmic:
        return float(2 ** fit_power_law(sizes.tolist(), gib.tolist()).exponent)
    (_, exponent), _ = curve_fit(lambda size, scale, power: scale * size**power, sizes, gib, p0=(3.0, 0.2))
    return float(2**exponent)


def share_of_high_costs_above(evidence: Evidence, points: float) -> float | None:
    """Of the costs from which dense is beyond half its best, the percentage where sparse gains more than `points`."""
    pair = _pair(evidence, LONG_COT)
    if pair is None:
        return None
    dense, sparse = pair
    is_high = dense.accuracy >= dense.accuracy.max() / 2
    return float(100 * np.mean((100 * (sparse.accuracy - dense.accuracy) > points)[is_high]))


def largest_flops_penalty(evidence: Evidence) -> float | None:
    """eFLOP of the FLOPs-optimal dense model over those of the eFLOPs-optimal one, near the paper's headline accuracy.

    The largest within a hundredth of it: a model that the FLOPs choose costs ever more as it nears its limit. Costs are
    read as the one answer that the published formula makes for them.
    """
    curves = [curve for curve in evidence.curves.get(LONG_COT, ()) if curve.kind is PolicyKind.DENSE]
    if {curve.model for curve in curves} != set(PUBLISHED_BILLION_PARAMETERS):
        return None
    penalties = [1.0]
    for accuracy in HEADLINE_ACCURACY + np.linspace(-0.01, 0.01, 21):
        costs = [(cost_to_reach(accuracy, curve), curve.model) for curve in curves]
        able = [(cost, dense_flop_of(find_model(model), cost)) for cost, model in costs if np.isfinite(cost)]
        if able:
            penalties.append(min(able, key=lambda one: one[1])[0] / min(able)[0])
    return max(penalties)


def _tokens_4b(_: Evidence, arguments: list[str]) -> float:
    large, small, tokens = find_model("Qwen3-14B"), find_model("Qwen3-4B"), 8192
    params = 2 * num_published_parameters(large) * tokens
    if arguments == ["params"]:
        return params / (2 * num_published_parameters(small))
    attention = (large.group_size + INTENSITY) * kv_width(large) * tokens**2
    return tokens_for_equal_eflop(small, params + attention)


def _phi(generated: int) -> list[float]:
    models = (find_model(name) for name in PUBLISHED_BILLION_PARAMETERS)
    return [attention_to_parameter_ratio(model, prompt_len=0, generated=generated) for model in models]


def _first_cost(evidence: Evidence, model: str) -> float | None:
    frontier = evidence.frontiers.get((LONG_COT, PolicyKind.DENSE))
    found = [s.cost for s in switch_points(frontier) if s.model == model] if frontier else []
    return found[0] if found else None


def _last_14b_cost(evidence: Evidence, _: list[str]) -> float | None:
    frontier = evidence.frontiers.get((LONG_COT, PolicyKind.DENSE))
    switches = switch_points(frontier) if frontier else []
    return switches[-1].cost if switches and switches[-1].model == "Qwen3-14B" else None


def _gain_at(seconds: float) -> Check:
    def check(evidence: Evidence, _: list[str]) -> float | None:
        pair = _pair(evidence, LONG_COT)
        if pair is None:
            return None
        cost = seconds * TERA_EFLOP_PER_B200_S
        return 100 * (accuracy_at(cost, pair[1]) - accuracy_at(cost, pair[0]))

    return check


def _largest_gain(task: str) -> Check:
    def check(evidence: Evidence, arguments: list[str]) -> float | None:
        pair = _pair(evidence, task, *arguments)
        return None if pair is None else 100 * largest_gain(pair[1], pair[0])[1]

    return check


def _cost_ratio(task: str) -> Check:
    def check(evidence: Evidence, arguments: list[str]) -> float | None:
        pair = _pair(evidence, task, *arguments)
        return None if pair is None else cost_ratio(*pair)

    return check


def _counterpart(task: str, *, known: PolicyKind, wanted: PolicyKind) -> Check:
    """Accuracy of one attention at the cost where the other reaches a given accuracy, for one model."""

    def check(evidence: Evidence, arguments: list[str]) -> float | None:
        model, accuracy = arguments
        curves = {curve.kind: curve for curve in evidence.curves.get(task, ()) if curve.model == model}
        if known not in curves or wanted not in curves:
            return None
        cost = cost_to_reach(float(accuracy), curves[known])
        return accuracy_at(cost, curves[wanted]) if np.isfinite(cost) else None

    return check


def _pair(evidence: Evidence, task: str, kind: str = "topk") -> tuple[Frontier[Curve], Frontier[Curve]] | None:
    dense, sparse = (evidence.frontiers.get((task, kind)) for kind in (PolicyKind.DENSE, PolicyKind(kind)))
    return None if dense is None or sparse is None else (dense, sparse)


def _budget_offset(_: Evidence, __: list[str]) -> float:
    # The printed 212 only comes out if 8.19 billion means 8.19 x 2^30; with 1e9 it is 197.5.
    return PUBLISHED_BILLION_PARAMETERS["Qwen3-8B"] * GIBI / (INTENSITY * kv_width(find_model("Qwen3-8B")))


def _b200_intensity(_: Evidence, __: list[str]) -> float:
    # fp8's rate over the advertised 8 TB/s, though the bytes are counted in bf16.
    return find_accelerator("B200").flop_per_s(Precision.FP8) / (8 * TERA)


CHECKS: Final[Mapping[str, Check]] = {
    "intensity": _b200_intensity,
    "b200_seconds": lambda _, __: 1e5 / TERA_EFLOP_PER_B200_S,
    "kv_gib_32k": lambda _, arguments: find_model(arguments[0]).kv_bytes_per_token(2) * 32768 / GIBI,
    "kv_growth_per_doubling": lambda _, arguments: kv_growth_per_doubling(is_logarithmic=arguments == ["log"]),
    "smallest_phi_4096": lambda _, __: min(_phi(4096)),
    "largest_phi_32768": lambda _, __: max(_phi(32768)),
    "tokens_4b_for_14b_8k": _tokens_4b,
    "iso_tokens_2e16": lambda _, arguments: iso_cost_tokens(find_model(arguments[0]), 2e16),
    "first_4b_cost": lambda evidence, _: _first_cost(evidence, "Qwen3-4B"),
    "first_14b_cost": lambda evidence, _: _first_cost(evidence, "Qwen3-14B"),
    "last_14b_cost": _last_14b_cost,
    "longcot_gain_at_80ms": _gain_at(0.08),
    "longcot_share_above": lambda evidence, arguments: share_of_high_costs_above(evidence, float(arguments[0])),
    "uniform_cost_ratio": lambda evidence, _: largest_flops_penalty(evidence),
    "longcot_gain": _largest_gain(LONG_COT),
    "longcot_speedup": _cost_ratio(LONG_COT),
    "bon_gain": _largest_gain(BEST_OF_N),
    "bon_speedup": _cost_ratio(BEST_OF_N),
    "max_longcot_gain": _largest_gain(MAX_LONG_COT),
    "max_longcot_speedup": _cost_ratio(MAX_LONG_COT),
    "max_bon_gain": _largest_gain(MAX_BEST_OF_N),
    "max_bon_speedup": _cost_ratio(MAX_BEST_OF_N),
    "longcot_dense_where_topk": _counterpart(LONG_COT, known=PolicyKind.TOPK, wanted=PolicyKind.DENSE),
    "longcot_topk_where_dense": _counterpart(LONG_COT, known=PolicyKind.DENSE, wanted=PolicyKind.TOPK),
    "bon_dense_where_topk": _counterpart(BEST_OF_N, known=PolicyKind.TOPK, wanted=PolicyKind.DENSE),
    "bon_topk_where_dense": _counterpart(BEST_OF_N, known=PolicyKind.DENSE, wanted=PolicyKind.TOPK),
    "doubling_factor": lambda _, arguments: 2 ** float(arguments[0]),
    "budget_growth_at": lambda _, arguments: PUBLISHED_BUDGET_FIT.growth_per_doubling(float(arguments[0])),
    "budget_offset": _budget_offset,
}
