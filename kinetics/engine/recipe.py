"""The built-in engine as one recipe: a model folder, a policy and a batch in, a `Generator` out, wherever it is made.

The recipe is plain data, so that another process can make the same engine from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from kinetics.engine.attention import AttentionSettings, page_selection
from kinetics.engine.checkpoint import load_weights
from kinetics.engine.decode_step import graph_unavailable_on
from kinetics.engine.decoder import Decoder
from kinetics.engine.decoder_spec import DecoderSpec
from kinetics.engine.generator import Generator
from kinetics.engine.step_meter import StepMeter
from kinetics.machine.device import available_bytes, resolve_device
from kinetics.machine.energy import energy_counter
from kinetics.machine.threads import cpu_threads
from kinetics.specs.dtypes import default_dtype, element_bytes
from kinetics.specs.models import ModelSpec
from kinetics.specs.policies import AttentionPolicy, BlockTopK
from kinetics.specs.units import GIBI
from kinetics_kernels.shapes import num_pages_for
from kinetics_kernels.unavailable import Unavailable

_CACHE_SHARE: Final = 0.8
"""Of the memory that is free once the weights are there; the rest is for activations and the allocator."""
FIXED_SPLITS: Final = {"cpu": 1, "cuda": 0}
"""On a CPU a sample must not depend on its neighbours; on a GPU long contexts need the kernel's own choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecipe:
    """Everything that decides what the engine computes. `spec` describes the model whose weights lie in `folder`.

    `batch` is the bucket that every step runs at, idle rows included. `longest` bounds prompt and answer together.
    `num_threads` of a CPU: the sums of a matrix product may depend on it. `weights_dtype`: empty for the device's own.

    Raises: ValueError if the policy does not come out as whole pages.
    """

    folder: Path
    spec: DecoderSpec
    device: str
    policy: AttentionPolicy
    num_dense_layers: int
    page_size: int
    batch: int
    longest: int
    num_threads: int
    weights_dtype: str = ""

    def __post_init__(self) -> None:
        for field in ("batch", "longest", "num_threads"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be at least 1, got {getattr(self, field)}")
        page_selection(self.policy, page_size=self.page_size)

    @property
    def device_kind(self) -> str:
        """`cpu` or `cuda`."""
        return self.device.split(":", maxsplit=1)[0]

    @property
    def dtype(self) -> str:
        """Of the weights, and of what is multiplied with them."""
        return self.weights_dtype or default_dtype(self.device_kind)

    @property
    def kv_dtype(self) -> str:
        """Of the cache: float32 on a CPU, whose attention kernels take nothing else."""
        return "float32" if self.device_kind == "cpu" else self.dtype

    def facts(self) -> dict[str, Any]:
        """What a log must say of the engine; with the same facts the same seeds give the same samples."""
        facts: dict[str, Any] = {
            "name": "builtin",
            "device_kind": self.device_kind,
            "dtype": self.dtype,
            "batch": self.batch,
            "page_size": self.page_size,
            "num_splits": FIXED_SPLITS[self.device_kind],
        }
        if self.kv_dtype != self.dtype:
            facts["kv_dtype"] = self.kv_dtype
        return facts | ({"num_threads": self.num_threads} if self.device_kind == "cpu" else {})

    @contextmanager
    def open(self, observe: Callable[[int], None] | None = None) -> Iterator[Generator]:
        """The engine, ready to generate within the context, on as many CPU threads as the recipe says.

        `observe` is told after each step how many tokens it drew.

        Raises: ValueError if the model cannot be loaded or not one request fits the memory.
        """
        with cpu_threads(self.num_threads):
            yield self._generator(observe)

    def _generator(self, observe: Callable[[int], None] | None) -> Generator:
        device, model = resolve_device(self.device), self.spec.model
        weights = load_weights(self.folder, model, device=device.torch_name, dtype=getattr(torch, self.dtype))
        settings = AttentionSettings(
            policy=self.policy, num_dense_layers=self.num_dense_layers, num_splits=FIXED_SPLITS[device.kind]
        )
        counter = energy_counter(device)
        return Generator(
            Decoder(self.spec, weights),
            settings=settings,
            max_batch=self.batch,
            num_pages=self._num_pages(model, available_bytes(device)),
            page_size=self.page_size,
            max_context=self.longest,
            uses_graph=graph_unavailable_on(torch.device(device.torch_name)) is None,
            observe=observe,
            meter=StepMeter(None if isinstance(counter, Unavailable) else counter.read_j),
        )

    def _num_pages(self, model: ModelSpec, free_bytes: int) -> int:
        """Pages for a full batch of longest requests, or as many as the memory holds."""
        per_request = num_pages_for(self.longest, self.page_size) + 1
        wanted = per_request * (self.batch + 1)
        summary = self.policy.summary.num_vectors if isinstance(self.policy, BlockTopK) else 0
        heads_bytes = model.num_layers * model.num_kv_heads * model.head_dim * element_bytes(self.kv_dtype)
        page_bytes = (2 * self.page_size + summary) * heads_bytes
        num_pages = min(wanted, int(_CACHE_SHARE * free_bytes) // page_bytes - self.batch)
        if num_pages < per_request:
            raise ValueError(
                f"the cache must hold one request of {self.longest} tokens ({per_request * page_bytes / GIBI:.1f} GiB) "
                f"and {self.batch} idle pages, got {_CACHE_SHARE * free_bytes / GIBI:.1f} GiB for it; "
                "lower --max-new-tokens or --batch"
            )
        return num_pages
