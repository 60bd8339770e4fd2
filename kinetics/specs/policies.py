"""Which keys a decode step attends, and how many: dense, top-k, block top-k, local.

A policy is a rule for one trial and one layer. The file counts keys and blocks, step by step and summed over steps in
closed form; bytes and FLOP are made of these counts elsewhere. Steps are named by `context_len`, the number of keys
in the cache, the new one included.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, ClassVar, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Count = TypeVar("Count", int, NDArray[np.int64])
    """One context length, or an array of them: sums are closed forms of either."""


class PolicyKind(Enum):
    """The kinds of attention policies: what options, curves, logs and result files call them."""

    DENSE = "dense"
    TOPK = "topk"
    BLOCK_TOPK = "block_topk"
    LOCAL = "local"

    @property
    def has_kv_budget(self) -> bool:
        """Whether it keeps a given number of tokens rather than all."""
        return self is not PolicyKind.DENSE


class BlockSummary(Enum):
    """How a block of keys is summed up to be scored."""

    MEAN = "mean"
    """The mean key: the paper's block top-k."""
    MIN_MAX = "min_max"
    """Elementwise minimum and maximum: a bound on every score within the block (Quest)."""

    @property
    def num_vectors(self) -> int:
        """Vectors that scoring a block reads."""
        return 2 if self is BlockSummary.MIN_MAX else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """Every key is attended."""

    kind: ClassVar[PolicyKind] = PolicyKind.DENSE

    def num_keys(self, context_len: int) -> int:
        """Keys attended in the step that sees `context_len` keys."""
        return context_len

    def sum_keys(self, context_len: Count) -> Count:
        """Keys attended in the steps 1..context_len together."""
        return _triangle(context_len)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopK:
    """The `kv_budget` keys with the highest scores, found for free, and `num_sink_tokens` first ones besides."""

    kind: ClassVar[PolicyKind] = PolicyKind.TOPK
    kv_budget: int
    num_sink_tokens: int = 0

    def __post_init__(self) -> None:
        _check(kv_budget=(self.kv_budget, 1), num_sink_tokens=(self.num_sink_tokens, 0))

    def num_keys(self, context_len: int) -> int:
        """Keys attended in the step that sees `context_len` keys."""
        return min(context_len, self.kv_budget + self.num_sink_tokens)

    def sum_keys(self, context_len: Count) -> Count:
        """Keys attended in the steps 1..context_len together."""
        return _sum_capped(context_len, self.kv_budget + self.num_sink_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """The last `num_local` keys, and `num_sink_tokens` first ones besides."""

    kind: ClassVar[PolicyKind] = PolicyKind.LOCAL
    num_local: int
    num_sink_tokens: int = 0

    def __post_init__(self) -> None:
        _check(num_local=(self.num_local, 1), num_sink_tokens=(self.num_sink_tokens, 0))

    @property
    def kv_budget(self) -> int:
        """Keys kept in a long context, sinks apart."""
        return self.num_local

    def num_keys(self, context_len: int) -> int:
        """Keys attended in the step that sees `context_len` keys."""
        return min(context_len, self.num_local + self.num_sink_tokens)

    def sum_keys(self, context_len: Count) -> Count:
        """Keys attended in the steps 1..context_len together."""
        return _sum_capped(context_len, self.num_local + self.num_sink_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTopK:
    """The `top_blocks` blocks whose `summary` scores highest, and the last `num_local` keys.

    Every complete block is scored in every step. With `keeps_partial_block` the keys after the last complete block
    are attended on top of the budget, as engines do; the published formulas leave them out.
    """

    kind: ClassVar[PolicyKind] = PolicyKind.BLOCK_TOPK
    block_size: int
    top_blocks: int
    num_local: int = 0
    num_sink_tokens: int = 0
    keeps_partial_block: bool = False
    summary: BlockSummary = BlockSummary.MEAN

    def __post_init__(self) -> None:
        _check(
            block_size=(self.block_size, 1),
            top_blocks=(self.top_blocks, 1),
            num_local=(self.num_local, 0),
            num_sink_tokens=(self.num_sink_tokens, 0),
        )

    @property
    def kv_budget(self) -> int:
        """Keys kept in a long context, sinks and partial block apart."""
        return self.num_local + self.block_size * self.top_blocks

    def num_keys(self, context_len: int) -> int:
        """Keys attended in the step that sees `context_len` keys."""
        partial = context_len % self.block_size if self.keeps_partial_block else 0
        return min(context_len, self.kv_budget + self.num_sink_tokens + partial)

    def sum_keys(self, context_len: Count) -> Count:
        """Keys attended in the steps 1..context_len together."""
        cap = self.kv_budget + self.num_sink_tokens
        if not self.keeps_partial_block:
            return _sum_capped(context_len, cap)
        # All keys are attended while the complete blocks fit the cap; the partial block never decides.
        last_full = _at_most(context_len, (cap // self.block_size + 1) * self.block_size - 1)
        partial = self._sum_partial(context_len) - self._sum_partial(last_full)
        keys: Count = _triangle(last_full) + cap * (context_len - last_full) + partial
        return keys

    def num_blocks(self, context_len: int) -> int:
        """Complete blocks, all of them scored, in the step that sees `context_len` keys."""
        return context_len // self.block_size

    def sum_blocks(self, context_len: Count) -> Count:
        """Blocks scored in the steps 1..context_len together."""
        full = (context_len + 1) // self.block_size
        rest = context_len + 1 - full * self.block_size
        return self.block_size * _triangle(full - 1) + rest * full

    def _sum_partial(self, context_len: Count) -> Count:
        return _triangle(context_len) - self.block_size * self.sum_blocks(context_len)


AttentionPolicy = Dense | TopK | BlockTopK | Local


def num_read(policy: AttentionPolicy, context_len: int) -> int:
    """Keys attended and summary vectors scored in the step that sees `context_len` keys."""
    scored = policy.summary.num_vectors * policy.num_blocks(context_len) if isinstance(policy, BlockTopK) else 0
    return policy.num_keys(context_len) + scored


def policy_label(policy: AttentionPolicy, *, num_dense_layers: int = 0) -> str:
    """The whole policy as files, tables, figures and claims spell it: unlike policies never share a label.

    `dense`, `topk256`, `local64`, `local64_block16_blocktopk60`; behind it what else holds: `_minmax`, blocks are
    scored by minima and maxima; `_partial`, the current block is kept; `_sink16`, so many first keys are; `_dense1`,
    so many first layers attend every key.
    """
    match policy:
        case Dense():
            return "dense"  # whatever its dense layers are
        case BlockTopK():
            local = f"local{policy.num_local}_" if policy.num_local else ""
            bound = "_minmax" if policy.summary is BlockSummary.MIN_MAX else ""
            partial = "_partial" if policy.keeps_partial_block else ""
            label = f"{local}block{policy.block_size}_blocktopk{policy.top_blocks}{bound}{partial}"
        case Local():
            label = f"local{policy.num_local}"
        case _:
            label = f"topk{policy.kv_budget}"
    sink = f"_sink{policy.num_sink_tokens}" if policy.num_sink_tokens else ""
    return f"{label}{sink}" + (f"_dense{num_dense_layers}" if num_dense_layers else "")


def _triangle(n: Count) -> Count:
    """1 + 2 + ... + n; 0 for n of -1 and 0."""
    return n * (n + 1) // 2


def _at_most(n: Count, cap: int) -> Count:
    """min(n, cap), of arrays too."""
    return n - (n > cap) * (n - cap)


def _sum_capped(n: Count, cap: int) -> Count:
    """min(1, cap) + min(2, cap) + ... + min(n, cap)."""
    growing = _at_most(n, cap)
    return _triangle(growing) + cap * (n - growing)


def _check(**limits: tuple[int, int]) -> None:
    for field, (value, least) in limits.items():
        if value < least:
            raise ValueError(f"{field} must be at least {least}, got {value}")
