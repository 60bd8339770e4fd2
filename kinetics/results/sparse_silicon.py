"""Where sparse decode attention pays on other people's GPUs: pairs of dense and sparse modules, cell by cell.

Two pairs of one shape each: the indexed latent attention of DeepSeek V3.2 over the dense one of V3 (128 heads), and
the block-sparse attention of MiniMax M3 over dense grouped-query attention of its shape (64 query and 4 KV heads; its
projections, which the sparse module's times hold, are added from fits). Beside each measured time stands a predicted
one; `kinetics.results.silicon_pairs` reads both, `kinetics.results.silicon_document` keeps them.
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
    """One batch and context, a layer's seconds as measured and as predicted.

    `dense_s` and `predicted_dense_s` hold `projections_s`, fitted and added where the dense table leaves them out.
    """

    batch: int
    context_len: int
    projections_s: float
    dense_s: float
    sparse_s: float
    predicted_dense_s: float
    predicted_sparse_s: float

    @property
    def measured(self) -> float:
        """How many times as fast sparse was."""
        return self.dense_s / self.sparse_s

    @property
    def predicted(self) -> float:
        """How many times as fast it should be."""
        return self.predicted_dense_s / self.predicted_sparse_s


@dataclass(frozen=True, slots=True, kw_only=True)
class SparsePair:
    """All cells of one pair on one device, by one framework, and where they come from.

    `weights`: the format of the projections. Predictions are from fits of these very kernels that saw no context
    beyond `longest_fitted`.
    """

    kind: PairKind
    device: str
    framework: str
    version: str
    dense_version: str
    dense_kernel: str
    sparse_kernel: str
    weights: str
    source: str
    longest_fitted: int
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
    """The context from which sparse pays at one batch; None where it pays nowhere or everywhere, as the notes say.

    Speed-ups are those at the longest context of the batch.
    """

    batch: int
    shortest_context_len: int
    longest_context_len: int
    measured: float | None
    predicted: float | None
    measured_note: str
    predicted_note: str
    measured_speedup: float
    predicted_speedup: float


def crossovers_of(pair: SparsePair) -> list[PairCrossover]:
    """One crossover a batch, by log-log interpolation between contexts."""
    found = []
    for batch in pair.batches:
        line = pair.line(batch)
        contexts = [cell.context_len for cell in line]
        measured, predicted = [cell.measured for cell in line], [cell.predicted for cell in line]
        found.append(
            PairCrossover(
                batch=batch,
                shortest_context_len=contexts[0],
                longest_context_len=contexts[-1],
                measured=crossover_context(contexts, measured),
                predicted=crossover_context(contexts, predicted),
                measured_note=where_it_pays(contexts, measured),
                predicted_note=where_it_pays(contexts, predicted),
                measured_speedup=measured[-1],
                predicted_speedup=predicted[-1],
            )
        )
    return found
