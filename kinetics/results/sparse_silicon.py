"""Where sparse decode attention pays on other people's GPUs: pairs of dense and sparse modules, cell by cell.

Two pairs of one shape each: the indexed latent attention of DeepSeek V3.2 over the dense one of V3 (128 heads), and
the block-sparse attention of MiniMax M3 over dense grouped-query attention of its shape (64 query and 4 KV heads; its
projections, which the sparse module's times hold, are added from fits). Beside each measured time stands a predicted
one; `kinetics.results.silicon_pairs` makes both.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from kinetics.results.speedup import crossover_context, where_it_pays


class PairKind(Enum):
    """Which sparse attention stands against which dense one."""

    DSA = "dsa"
    MSA = "msa"

    @property
    def title(self) -> str:
        """In words."""
        return {"dsa": "DSA over dense MLA (DeepSeek V3.2)", "msa": "MSA over dense GQA (MiniMax M3)"}[self.value]

    @property
    def heads(self) -> int:
        """Query heads of the one shape that is compared."""
        return {"dsa": 128, "msa": 64}[self.value]

    @property
    def model(self) -> str:
        """Whose sparse attention it is."""
        return {"dsa": "DeepSeek-V3.2", "msa": "MiniMax-M3"}[self.value]

    @property
    def kept_tokens(self) -> int:
        """Tokens that the sparse attention keeps."""
        return 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One batch and context. Measured seconds are None where only predictions are at hand."""

    batch: int
    context_len: int
    dense_s: float | None
    sparse_s: float | None
    predicted_dense_s: float
    predicted_sparse_s: float

    @property
    def measured(self) -> float | None:
        """How many times as fast sparse was."""
        return None if self.dense_s is None or self.sparse_s is None else self.dense_s / self.sparse_s

    @property
    def predicted(self) -> float:
        """How many times as fast it should be."""
        return self.predicted_dense_s / self.predicted_sparse_s


@dataclass(frozen=True, slots=True, kw_only=True)
class SparsePair:
    """All cells of one pair on one device, by one framework. `weights` of the projections."""

    kind: PairKind
    device: str
    framework: str
    version: str
    weights: str
    cells: tuple[Cell, ...]

    def line(self, batch: int) -> tuple[Cell, ...]:
        """The cells of one batch, by context."""
        return tuple(sorted((c for c in self.cells if c.batch == batch), key=lambda cell: cell.context_len))

    @property
    def batches(self) -> tuple[int, ...]:
        """Batches that have two contexts or more."""
        found = sorted({cell.batch for cell in self.cells})
        return tuple(batch for batch in found if len(self.line(batch)) > 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCrossover:
    """The context from which sparse pays at one batch; None where it pays nowhere or everywhere, as the notes say."""

    batch: int
    measured: float | None
    predicted: float | None
    measured_note: str
    predicted_note: str
    farthest_speedup: float


def crossovers_of(pair: SparsePair) -> list[PairCrossover]:
    """One crossover a batch, by log-log interpolation between contexts."""
    found = []
    for batch in pair.batches:
        line = pair.line(batch)
        contexts, predicted = [cell.context_len for cell in line], [cell.predicted for cell in line]
        measured = [cell.measured for cell in line if cell.measured is not None]
        is_measured = len(measured) == len(line)
        found.append(
            PairCrossover(
                batch=batch,
                measured=crossover_context(contexts, measured) if is_measured else None,
                predicted=crossover_context(contexts, predicted),
                measured_note=where_it_pays(contexts, measured) if is_measured else "not at hand",
                predicted_note=where_it_pays(contexts, predicted),
                farthest_speedup=measured[-1] if is_measured else predicted[-1],
            )
        )
    return found
