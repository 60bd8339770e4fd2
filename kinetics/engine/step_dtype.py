"""In which dtype a step multiplies on this device, chosen by timing products in each candidate.

The CPU's attention kernels are float32 whatever the weights are in, so only products are compared. Most CPUs emulate
bfloat16 and lose a hundredfold with several tokens, though not with one; those with matrix units for it read half the
bytes. So one token and eight are timed, and their sum decides; for one model at one batch, its own step's products.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch

from kinetics.engine.linear import linear
from kinetics.specs.models import ModelSpec
from kinetics.specs.units import format_seconds

_ROWS, _WIDTH, _REPEATS = 4096, 1024, 3
_TOKENS = (1, 8)
_MOST_ROWS, _STREAMED_BYTES, _MOST_TURNS, _EACH_S = 8192, 64 * 2**20, 24, 0.3
"""A large product is timed in part, a small one on as many copies of its weights as no cache holds."""
CLEARLY = 0.9
"""A smaller gain may be noise, and a choice that falls otherwise every time would make logs that cannot be compared."""
_CANDIDATES = {"cpu": ("float32", "bfloat16"), "cuda": ("bfloat16",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class DtypeChoice:
    """The fastest dtype, and the seconds that `products` took in each; none if untimed."""

    dtype: str
    product_s: Mapping[str, float]
    products: str = "the products of one token and of eight"

    def __str__(self) -> str:
        """One line for a reader."""
        times = ", ".join(f"{format_seconds(seconds)} in {name}" for name, seconds in self.product_s.items())
        return f"steps multiply in {self.dtype}" + (f": {self.products} took {times}" if times else "")


def choose_dtype(device_kind: str) -> DtypeChoice:
    """The dtype whose products are fastest here. Takes a few tenths of a second where bfloat16 is emulated."""
    candidates = _CANDIDATES[device_kind]
    if len(candidates) == 1:
        return DtypeChoice(dtype=candidates[0], product_s={})
    return fastest({name: _product_s(getattr(torch, name)) for name in candidates})


def choose_model_dtype(model: ModelSpec, *, num_tokens: int) -> DtypeChoice:
    """The dtype in which a CPU multiplies a step of so many tokens of this model fastest, by its own products.

    On as many threads as torch has now; about a second. bfloat16 must be clearly faster, since it rounds more.
    """
    product_s = dict.fromkeys(_CANDIDATES["cpu"], 0.0)
    for rows, width, count in step_products(model):
        timed_rows = min(rows, _MOST_ROWS)
        for name, seconds in _interleaved_s(timed_rows, width, num_tokens).items():
            product_s[name] += seconds * count * rows / timed_rows
    return clearly_fastest(product_s, products=f"the products of a step of {num_tokens} tokens of {model.name}")


def step_products(model: ModelSpec) -> list[tuple[int, int, int]]:
    """(rows, width, how often) of every matrix that a step of a dense model multiplies with."""
    hidden, attended = model.hidden_size, model.num_q_heads * model.head_dim
    qkv_rows = (model.num_q_heads + 2 * model.num_kv_heads) * model.head_dim
    layer = [(qkv_rows, hidden), (hidden, attended), (2 * model.intermediate_size, hidden)]
    layer.append((hidden, model.intermediate_size))
    return [*((rows, width, model.num_layers) for rows, width in layer), (model.vocab_size, hidden, 1)]


def clearly_fastest(product_s: Mapping[str, float], *, products: str) -> DtypeChoice:
    """float32, unless bfloat16 takes at most `CLEARLY` of its time."""
    is_clear = product_s["bfloat16"] <= CLEARLY * product_s["float32"]
    return DtypeChoice(dtype="bfloat16" if is_clear else "float32", product_s=product_s, products=products)


def fastest(product_s: Mapping[str, float]) -> DtypeChoice:
    """The choice that these times make."""
    return DtypeChoice(dtype=min(product_s, key=lambda name: product_s[name]), product_s=product_s)


def cache_dtype(weights_dtype: torch.dtype, device: torch.device | str) -> torch.dtype:
    """In which dtype keys and values are kept: float32 on a CPU, whose kernels take nothing else."""
    return torch.float32 if torch.device(device).type == "cpu" else weights_dtype


def _interleaved_s(rows: int, width: int, num_tokens: int) -> dict[str, float]:
    """Shortest seconds of one product by dtype; weights go round, so that they come from memory as in a step."""
    generator = torch.Generator().manual_seed(0)
    token, weight = (torch.randn(count, width, generator=generator) for count in (num_tokens, rows))
    num_copies = max(1, _STREAMED_BYTES // weight.nbytes)
    made = {
        name: (token.to(dtype), [weight.to(dtype).clone() for _ in range(num_copies)])
        for name, dtype in ((name, getattr(torch, name)) for name in _CANDIDATES["cpu"])
    }
    best = dict.fromkeys(made, float("inf"))
    deadline_s = time.perf_counter() + _EACH_S
    with torch.inference_mode():
        for turn in range(_MOST_TURNS):
            for name, (tokens, weights) in made.items():
                best[name] = min(best[name], _seconds(tokens, weights[turn % num_copies]))
            if turn and time.perf_counter() > deadline_s:
                break
    return best


@cache
def _product_s(dtype: torch.dtype) -> float:
    generator = torch.Generator().manual_seed(0)
    tokens, weight = (torch.randn(rows, _WIDTH, generator=generator).to(dtype) for rows in (max(_TOKENS), _ROWS))
    with torch.inference_mode():
        return sum(min(_seconds(tokens[:count], weight) for _ in range(_REPEATS)) for count in _TOKENS)


def _seconds(tokens: torch.Tensor, weight: torch.Tensor) -> float:
    started = time.perf_counter()
    linear(tokens, weight)
    return time.perf_counter() - started
