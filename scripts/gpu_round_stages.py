"""The stages of a round on a GPU: what each runs, for how long, and which of them must not be given up.

Pure. The order is that of worth: whatever comes last is lost first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

PRETEND_PLUGIN: Final = "tests.support.pretend_gpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One process: the words behind the interpreter. `is_kept`: its time is set aside whatever comes before."""

    name: str
    limit_s: float
    arguments: tuple[str, ...]
    is_kept: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """How large the cases are: as on a GPU, or small enough for a pretend one."""

    model: str
    batches: str
    contexts: str
    sparse_batches: str
    sparse_contexts: str
    page_sizes: str
    kv_budget: str
    step_cases: str
    energy_batches: str
    energy_contexts: str


ON_GPU: Final = Shapes(
    model="qwen3_8b", batches="1,8,32,64", contexts="1k,8k,32k,128k", sparse_batches="1,8,64",
    sparse_contexts="8k,32k", page_sizes="16,64", kv_budget="1k",
    step_cases="graph and (b1-c2k or b8-c8k or b8-c32k or b32-c8k)", energy_batches="1,32", energy_contexts="8k,32k",
)  # fmt: skip
PRETEND: Final = Shapes(
    model="qwen3_0.6b", batches="1", contexts="256,512", sparse_batches="1", sparse_contexts="256",
    page_sizes="32", kv_budget="128", step_cases="graph and b1-c128", energy_batches="1", energy_contexts="256",
)  # fmt: skip

RIVALS: Final = "ours,ours_fast,torch_sdpa,naive_sparse,flash_attn_3,flashinfer,flashinfer_sparse"
_DEVICE_TESTS: Final = tuple(
    f"tests/kinetics_kernels/test_gpu_{name}.py" for name in ("decode", "pages", "graph_replay", "stream_read")
)


def stages_of(part: int, *, out: Path, device: str) -> list[Stage]:
    """The stages of one part, in order. `device`: cuda or pretend."""
    make = _Maker(out=out, is_pretend=device == "pretend")
    stages = {1: make.first, 2: make.second, 3: make.third}[part]()
    if not make.is_pretend:
        return stages
    return [replace(one, limit_s=_PRETEND_KEPT_S if one.is_kept else _PRETEND_LIMIT_S) for one in stages]


_PRETEND_LIMIT_S: Final = 150.0
_PRETEND_KEPT_S: Final = 60.0
"""Of every stage: a busy host plays the device, and may take half a minute to import torch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Maker:
    """Makes stages for one folder and one device."""

    out: Path
    is_pretend: bool

    @property
    def shapes(self) -> Shapes:
        return PRETEND if self.is_pretend else ON_GPU

    def first(self) -> list[Stage]:
        """Facts, proof, ceilings, the result file, the sparse path by stage, the sweep of configurations."""
        shapes = self.shapes
        plane = self._plane(shapes.batches, shapes.contexts)
        sparse = self._plane(shapes.sparse_batches, shapes.sparse_contexts)
        paged = ("--page-size", shapes.page_sizes, "--kv-layout", "nhd,hnd", "--provider", "ours")
        return [
            self._script("facts", 15),
            self._device_tests("device tests", 90),
            self._script("ceilings", 30),
            self._bench("result file", 200, "test_decode_attention.py", *plane, "--provider", RIVALS),
            self._bench("sparse path", 60, "test_page_selection.py", *sparse, *paged),
            self._script("sweep", 90),
            self._script("ceilings", 15, name="ceilings again", is_kept=True),
            self._recovery(),
        ]

    def second(self) -> list[Stage]:
        """The proof and the file again, with what the sweep taught; whole steps; where the time goes."""
        plane = self._plane(self.shapes.batches, self.shapes.contexts)
        chosen = ("-k", self.shapes.step_cases)
        if self.is_pretend:
            chosen += ("--model", self.shapes.model, "--batch", "1", "--context", "128", "--kv-budget", "64")
        return [
            self._device_tests("device tests", 40),
            self._bench("result file", 200, "test_decode_attention.py", *plane, "--provider", RIVALS),
            self._bench("steps", 150, "test_decode_step.py", *chosen),
            self._script("profile", 90),
            self._script("ceilings", 15, is_kept=True),
            self._recovery(),
        ]

    def third(self) -> list[Stage]:
        """The rest of the default grid, joules, and the gate against itself."""
        shapes = self.shapes
        metered = self._plane(shapes.energy_batches, shapes.energy_contexts)
        whole = self._plane(shapes.batches, shapes.contexts) if self.is_pretend else ("--grid", "quick")
        self_test = ("-m", "kinetics", "gate", "self-test", "--grid", "smoke", "--launches", "10", "--device", "cuda")
        return [
            self._bench("default grid", 240, "test_decode_attention.py", *whole),
            self._bench("joules", 200, "test_decode_attention.py", *metered, "--provider", RIVALS, "--energy", "on"),
            self._stage("gate against itself", 100, (*self_test, "--results-dir", str(self.out / "runs"))),
            self._recovery(),
        ]

    def _plane(self, batches: str, contexts: str) -> tuple[str, ...]:
        shapes = self.shapes
        budget = ("--kv-budget", shapes.kv_budget)
        return ("--model", shapes.model, "--batch", batches, "--context", contexts, *budget)

    def _bench(self, name: str, limit_s: float, file: str, *options: str) -> Stage:
        """A benchmark run that stops by itself before it is interrupted."""
        budget = ("--time-budget", f"{0.9 * limit_s:.0f}s", "--results-dir", str(self.out / "runs"))
        quiet = ("-q", "-p", "no:cacheprovider", "--device", "cuda")
        return self._pytest(name, limit_s, f"bench/{file}", "--benchmark-only", *quiet, *budget, *options)

    def _device_tests(self, name: str, limit_s: float) -> Stage:
        """The properties of the kernels, on the device; in the interpreter's stead, where there is none, one file."""
        if self.is_pretend:
            return self._pytest(name, limit_s, "tests/kinetics_kernels/test_gpu_graph_safety.py", "-q")
        return self._pytest(name, limit_s, *_DEVICE_TESTS, "-q", "-p", "no:cacheprovider", "--maxfail=20", "-n", "8")

    def _pytest(self, name: str, limit_s: float, *arguments: str) -> Stage:
        plugin = ("-p", PRETEND_PLUGIN) if self.is_pretend and "--benchmark-only" in arguments else ()
        return Stage(name=name, limit_s=limit_s, arguments=("-m", "pytest", *plugin, *arguments))

    def _script(self, verb: str, limit_s: float, *, name: str = "", is_kept: bool = False) -> Stage:
        words = ("scripts/gpu_stage.py", verb, "--out", str(self.out), *(("--small",) if self.is_pretend else ()))
        return self._stage(name or verb, limit_s, words, is_kept=is_kept)

    def _recovery(self) -> Stage:
        words = ("-m", "kinetics", "recover", str(self.out / "runs"))
        return Stage(name="recovery", limit_s=10, arguments=words, is_kept=True)

    def _stage(self, name: str, limit_s: float, words: tuple[str, ...], *, is_kept: bool = False) -> Stage:
        pretending = ("-m", PRETEND_PLUGIN) if self.is_pretend else ()
        return Stage(name=name, limit_s=limit_s, arguments=(*pretending, *words), is_kept=is_kept)
