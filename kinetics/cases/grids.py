"""The cases of the benchmark files that measure a device, as functions of what was asked for and who can run.

Pure; the files themselves parametrize their tests with these, and `kinetics plan` counts them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, overload

from kinetics.cases.kernels import ATTENTION, Case, Cell, GridOptions, PageOperation, cells, is_narrowed, kv_budgets
from kinetics.cases.steps import StepCase, StepCell

_NUM_SELECTION_CELLS: Final = 4


def attention_cases(options: GridOptions, providers: Mapping[str, Sequence[str]]) -> list[Case]:
    """Dense and block top-k decode of every cell by those who can run them, `providers` by operation.

    In the engine's own layout only our kernels run: it is compared with theirs, not with peers.
    """
    return [
        Case(cell=cell, operation=operation, provider=provider, kv_budget=budget)
        for cell in cells(options)
        for operation in ATTENTION
        for budget in (kv_budgets(options) if operation.has_kv_budget else (None,))
        for provider in providers[operation.value]
        if provider == "ours" or not cell.has_engine_layout
    ]


def selection_cases(options: GridOptions) -> list[Case]:
    """Append, score, select and all three by our kernels, in the first cells of a grid or in all that were named."""
    num_cells = None if is_narrowed(options) else _NUM_SELECTION_CELLS
    return [
        Case(cell=cell, operation=operation, provider="ours", kv_budget=budget)
        for cell in cells(options)[:num_cells]
        for operation in PageOperation
        for budget in (kv_budgets(options)[:1] if operation.has_kv_budget else (None,))
    ]


@overload
def by_cell(cases: Sequence[Case]) -> list[tuple[Cell, list[Case]]]: ...
@overload
def by_cell(cases: Sequence[StepCase]) -> list[tuple[StepCell, list[StepCase]]]: ...
def by_cell(cases: Sequence[Any]) -> list[tuple[Any, list[Any]]]:
    """The cells in order, each with its cases."""
    found: dict[Any, list[Any]] = {}
    for case in cases:
        found.setdefault(case.cell, []).append(case)
    return list(found.items())
