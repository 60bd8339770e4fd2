"""The published figures this suite checks itself against: where they lie, and how to read them.

They are data with a source, restated as numbers. Nothing here computes; `kinetics.law.claims` does.
"""

import csv
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np

from kinetics.law.frontier import Curve
from kinetics.specs.policies import PolicyKind

_KINDS = {"dense": PolicyKind.DENSE, "sparse_topk": PolicyKind.TOPK}


class ClaimStatus(Enum):
    """What became of a published claim."""

    HOLDS = "holds"
    HOLDS_WITH_CAVEAT = "holds with a caveat"
    FAILS = "does not hold"
    NOT_INDEPENDENT = "not independent"
    """It follows from printed constants, or from the very figure that it describes: it could not come out else."""
    NEEDS_DATA = "needs data"


class Rule(Enum):
    """How a number that was found is held against a published one, give or take the claim's tolerance."""

    WITHIN = "within"
    AT_LEAST = "at least"
    AT_MOST = "at most"


class ClaimData(Enum):
    """What a claim is judged by."""

    CONFIGS = "the models' configs"
    CONSTANTS = "printed constants"
    CURVES = "the published curves"
    OTHERS = "figures that others published"
    MEASURED = "kernels that others measured"
    FITS = "fits of kernels that others measured"
    SAMPLES = "samples"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedClaim:
    """One number of a paper. `key` names the check; `expected` is the verdict that is known without traces.

    `data`: what it is judged by unless samples are given; `restates`: whether that is the claim itself in other words.
    `caveat`: what a fair reader should know beside the verdict.
    """

    claim: str
    key: str
    statement: str
    published: float
    rule: Rule
    tolerance: float
    unit: str
    data: ClaimData
    restates: bool
    caveat: str
    expected: ClaimStatus
    source: str


def published_dir() -> Path:
    """The folder of published figures: inside an installed package, or `results/paper` of a checkout.

    Raises: FileNotFoundError if neither is there.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "published_data", package.parent / "results" / "paper"):
        if (folder / "claims.csv").is_file():
            return folder
    raise FileNotFoundError(f"published figures must lie in {package.parent / 'results' / 'paper'}; reinstall")


def read_published_curves() -> tuple[Curve, ...]:
    """AIME24 long-CoT accuracy against cost: six Qwen3 sizes in order of size, dense and top-k, 100 costs each.

    The values carry the published moving average over three grid points.
    """
    points: dict[tuple[PolicyKind, str], list[tuple[float, float]]] = {}
    with (published_dir() / "longcot_topk_aime24.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            key = (_KINDS[row["attention"]], f"Qwen3-{row['model']}")
            points.setdefault(key, []).append((float(row["cost_tera_eflops"]), float(row["accuracy_smoothed3"])))
    kinds = list(PolicyKind)
    by_size = sorted(points, key=lambda key: (kinds.index(key[0]), float(key[1].removeprefix("Qwen3-")[:-1])))
    return tuple(
        Curve(model=model, kind=kind, cost=np.array(costs), accuracy=np.array(accuracies))
        for kind, model in by_size
        for costs, accuracies in [zip(*points[kind, model], strict=True)]
    )


def read_others_figures() -> dict[str, float]:
    """Numbers that others published and that settle a claim, by its key; the file says where each is from."""
    with (published_dir() / "others.csv").open(encoding="utf-8", newline="") as file:
        return {row["key"]: float(row["value"]) for row in csv.DictReader(file)}


def read_claims() -> tuple[PublishedClaim, ...]:
    """Every checked number of the paper, in order."""
    with (published_dir() / "claims.csv").open(encoding="utf-8", newline="") as file:
        return tuple(
            PublishedClaim(
                claim=row["claim"],
                key=row["key"],
                statement=row["statement"],
                published=float(row["published"]),
                rule=Rule(row["rule"]),
                tolerance=float(row["tolerance"]),
                unit=row["unit"],
                data=ClaimData(row["data"]),
                restates=row["restates"] == "yes",
                caveat=row["caveat"],
                expected=ClaimStatus(row["expected"]),
                source=row["source"],
            )
            for row in csv.DictReader(file)
        )
