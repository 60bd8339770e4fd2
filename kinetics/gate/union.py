"""The union of both revisions' grids: no candidate drops a case or loosens a budget unmentioned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec

from kinetics.gate.base_answers import ask_base
from kinetics.gate.decision import MIN_MARGIN
from kinetics.gate.verdicts import CasePlan

DELETED = "only the base's grid has it"
_SCRIPT = Path(__file__).with_name("grid_of.py")


class ToldCase(msgspec.Struct, frozen=True):
    """A gate case as another revision tells it."""

    name: str
    budget: Annotated[float, msgspec.Meta(gt=MIN_MARGIN)]
    detectable_budget: Annotated[float, msgspec.Meta(gt=0.0)]
    spec: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseGrid:
    """What the base's grid says beside the candidate's.

    `only_base`: cases that the candidate lacks. `own_budgets`: the candidate's budget of each case that is judged by
    another, the base's. `other_specs`: cases of which the candidate changes what is run under their name.
    `untold`: in a line, why the base tells no grid.
    """

    only_base: tuple[str, ...] = ()
    own_budgets: dict[str, float | None] = field(default_factory=dict)
    other_specs: tuple[str, ...] = ()
    untold: str | None = None


def told_grid(root: Path, device_kind: str, grid: str) -> list[ToldCase] | str:
    """The gate cases of the checkout at `root`; in their place, in a line, why it tells none."""
    return ask_base(_SCRIPT, root, (device_kind, grid), list[ToldCase])


def joined(plans: Sequence[CasePlan], told: Sequence[ToldCase] | str) -> tuple[list[CasePlan], BaseGrid]:
    """The candidate's plans by the base's budgets, and what the base's grid says beside them."""
    if isinstance(told, str):
        return list(plans), BaseGrid(untold=told)
    by_name = {one.name: one for one in told}
    names = {plan.name for plan in plans}
    judged = [
        replace(plan, budget=by_name[plan.name].budget, detectable_budget=by_name[plan.name].detectable_budget)
        if plan.name in by_name
        else plan
        for plan in plans
    ]
    changed = {old.name: old.budget for old, new in zip(plans, judged, strict=True) if old.budget != new.budget}
    return judged, BaseGrid(
        only_base=tuple(name for name in by_name if name not in names),
        own_budgets=changed,
        other_specs=tuple(
            plan.name for plan in plans if plan.name in by_name and by_name[plan.name].spec not in (None, plan.spec)
        ),
    )


def grid_remarks(found: BaseGrid) -> list[str]:
    """One line for each budget that is the base's, and one if the base tells no grid."""
    lines = [
        f"{name}: judged by the base's budget, not by its own" + ("" if budget is None else f" of {100 * budget:g} %")
        for name, budget in found.own_budgets.items()
    ]
    lines += [f"{name}: the candidate changes what is run under this name, on both sides" for name in found.other_specs]
    untold = f"The base does not tell its grid ({found.untold}): cases and budgets are the candidate's"
    return lines + ([untold] if found.untold else [])
