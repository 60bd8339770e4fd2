"""The options of a benchmark run, read once into facts. Wrong values raise ValueError in one line."""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from kinetics.cases.kernels import CacheState, GridOptions, GridSize, check_kv_budget, kv_budgets
from kinetics.cases.steps import step_cases
from kinetics.machine.device import Device, resolve_device
from kinetics.results.store import RUNS
from kinetics.specs.counts import parse_count
from kinetics.specs.dtypes import parse_dtype
from kinetics.specs.models import find_model

if TYPE_CHECKING:
    import pytest

_DEFAULT_TIME_BUDGET_S = {"cpu": 360.0, "cuda": 540.0}

Parsed = TypeVar("Parsed")

_OPTIONS: Final = (
    ("--grid", "quick", "smoke, quick or full: how many cases (default quick)"),
    ("--device", "auto", "auto, cpu, cuda or cuda:<index> (default auto: a GPU if there is one)"),
    ("--provider", "", "only these, e.g. ours,torch_sdpa (`kinetics providers` lists them)"),
    ("--model", "", "head shapes of these models, e.g. qwen3_8b,qwen3_14b"),
    ("--batch", "", "requests decoded together, e.g. 1,8,64"),
    ("--context", "", "keys attended, e.g. 4k,32k"),
    ("--kv-budget", "", "tokens kept per KV head by sparse attention, e.g. 512,1k"),
    ("--page-size", "", "tokens per page: 16, 32, 64, 128 or 256 (default 16)"),
    ("--dtype", "", "float32 on a CPU; bfloat16 (default) or float16 on a GPU"),
    (
        "--kv-layout",
        "",
        "on a GPU: nhd, as peers expect it, or hnd, as the engine keeps it (default nhd, some hnd)",
    ),
    ("--cache-state", "", "cold, warm or cold,warm (default cold, and one warm case)"),
    ("--energy", "off", "on: joules of each case, three seconds of it, where a GPU counts them (default off)"),
    ("--tp", "1", "decode steps: ranks that share the model, each started by torchrun (default 1)"),
    ("--time-budget", "", "stop starting new cells after this long, e.g. 90s or 5m; what is left is listed"),
    ("--traces", "", "bench/test_aime.py: cost these logs of `kinetics generate` instead of generating"),
    ("--hf-model", "", "bench/test_aime.py: real weights on AIME 2024 instead of the miniature family"),
    ("--results-dir", "", "where result files go (default runs/, in a folder per device)"),
)

RECORDING: Final = {"record_case", "not_slower"}
"""The fixtures that record samples measured by this suite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings:
    """Everything a benchmark run was asked for. Empty `providers` means all that can run here.

    `rank`: the place of this process among those that share a model, counted from 0.
    """

    device: Device
    grid: GridOptions
    providers: tuple[str, ...]
    time_budget_s: float
    meters_energy: bool
    results_dir: Path
    root: Path
    rank: int = 0


def add_options(group: pytest.OptionGroup) -> frozenset[str]:
    """Declare the options, and return the names of those that nobody else had; lists are separated by commas."""
    added = set()
    for name, default, text in _OPTIONS:
        try:
            group.addoption(name, default=default, metavar="VALUE", help=text)
        except ValueError:  # a conftest.py or another plugin has an option of this name, and keeps it
            continue
        added.add(name)
    return frozenset(added)


def own_options(option: Namespace, added: Collection[str]) -> Namespace:
    """The values of this suite's options; the default where the option of that name is somebody else's."""
    return Namespace(
        **{
            _attribute(name): getattr(option, _attribute(name)) if name in added else default
            for name, default, _ in _OPTIONS
        }
    )


def is_any_given(option: Namespace) -> bool:
    """Whether any of this suite's options differs from its default."""
    return any(getattr(option, _attribute(name)) != default for name, default, _ in _OPTIONS)


def bench_settings(option: Namespace, *, root: Path) -> BenchSettings:
    """The settings that the command line asks for.

    Raises: ValueError naming the option, its rule and the value.
    """
    for name, _, _ in _OPTIONS:
        if not isinstance(getattr(option, _attribute(name)), str):  # argparse makes a list of `--grid=--`
            raise ValueError(f"{name} must have a value, got none; pytest --help lists what it takes")
    num_ranks = _num_ranks(option.tp, os.environ)
    rank = rank_of(os.environ) if num_ranks > 1 else 0
    device = _device(option.device, num_ranks, os.environ)
    grid = GridOptions(
        size=_choice("--grid", option.grid, GridSize),
        device_kind=device.kind,
        dtype=parse_dtype(option.dtype, device.kind),
        models=_listed("--model", option.model, lambda text: find_model(text).name),
        batches=_listed("--batch", option.batch, parse_count),
        context_lens=_listed("--context", option.context, parse_count),
        kv_budgets=_listed("--kv-budget", option.kv_budget, parse_count),
        page_sizes=_listed("--page-size", option.page_size, _page_size),
        cache_states=_listed(
            "--cache-state", option.cache_state, lambda text: _choice("--cache-state", text, CacheState)
        ),
        kv_layouts=_listed("--kv-layout", option.kv_layout, lambda text: _layout(text, device.kind)),
        num_devices=num_ranks,
    )
    if num_ranks > 1:
        step_cases(grid)  # its models, shared by so many
    for page_size in grid.page_sizes or (16,):
        for budget in kv_budgets(grid):
            check_kv_budget(budget, page_size)
    return BenchSettings(
        device=device,
        grid=grid,
        providers=parse_providers(option.provider),
        time_budget_s=_duration_s(option.time_budget) if option.time_budget else _DEFAULT_TIME_BUDGET_S[device.kind],
        meters_energy=_switch("--energy", option.energy),
        results_dir=(root / (option.results_dir or RUNS)).resolve(),
        root=root,
        rank=rank,
    )


def parse_providers(text: str) -> tuple[str, ...]:
    """The providers in a list separated by commas; none for an empty one.

    Raises: ValueError naming the first that is unknown.
    """
    return _listed("--provider", text, _provider)


def rank_of(environment: Mapping[str, str]) -> int:
    """The place of this process among those that torchrun started; 0 for one that nobody did."""
    return int(environment.get("RANK") or 0)


def _num_ranks(text: str, environment: Mapping[str, str]) -> int:
    num_ranks = int(text) if text.strip().isdigit() else 0
    if num_ranks < 1:
        raise ValueError(f"--tp must be a number of ranks, at least 1, got {text!r}")
    started = int(environment.get("WORLD_SIZE") or 1)
    if started != num_ranks:
        raise ValueError(
            f"--tp must be the number of processes that torchrun started, got --tp {num_ranks} and {started}; run "
            f"torchrun --nproc-per-node {max(num_ranks, 2)} -m pytest bench/test_decode_step.py --benchmark-only "
            f"--tp {max(num_ranks, 2)}"
        )
    return num_ranks


def _device(requested: str, num_ranks: int, environment: Mapping[str, str]) -> Device:
    """The device of this rank: where ranks share a model, as many GPUs from the first on."""
    if num_ranks == 1 or requested == "cpu":
        return resolve_device(requested)
    if requested.startswith("cuda:"):
        raise ValueError(f"--device must be auto, cpu or cuda with --tp, for each rank takes a GPU, got {requested!r}")
    device = resolve_device(requested)
    return resolve_device(f"cuda:{environment.get('LOCAL_RANK') or 0}") if device.kind == "cuda" else device


def _attribute(name: str) -> str:
    return name.removeprefix("--").replace("-", "_")


def _listed(name: str, text: str, parse: Callable[[str], Parsed]) -> tuple[Parsed, ...]:
    try:
        return tuple(dict.fromkeys(parse(part) for part in text.split(",") if part.strip()))
    except ValueError as error:
        prefix = "" if str(error).startswith(name) else f"{name}: "
        raise ValueError(f"{prefix}{error}") from None


def _choice(name: str, text: str, choices: Any) -> Any:
    values = [choice.value for choice in choices]
    if text.strip() not in values:
        raise ValueError(f"{name} must be one of {', '.join(values)}, got {text!r}")
    return choices(text.strip())


def _layout(text: str, device_kind: str) -> str:
    layouts = ("hnd",) if device_kind == "cpu" else ("nhd", "hnd")
    if text.strip() not in layouts:
        raise ValueError(f"--kv-layout must be {' or '.join(layouts)} on {device_kind}, got {text!r}")
    return text.strip()


def _switch(name: str, text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError(f"{name} must be on or off, got {text!r}")
    return text == "on"


def _page_size(text: str) -> int:
    from kinetics_kernels.shapes import SUPPORTED_PAGE_SIZES

    page_size = parse_count(text)
    if page_size not in SUPPORTED_PAGE_SIZES:
        raise ValueError(f"--page-size must be one of {', '.join(map(str, SUPPORTED_PAGE_SIZES))}, got {text}")
    return page_size


def _provider(text: str) -> str:
    from kinetics_kernels.providers import provider_names

    if text.strip() not in provider_names():
        raise ValueError(f"--provider must be among {', '.join(provider_names())}, got {text!r}")
    return text.strip()


def _duration_s(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)?", text.strip())
    if not match or float(match.group(1)) <= 0:
        raise ValueError(f"--time-budget must be a positive time such as 90s, 5m or 1h, got {text!r}")
    return float(match.group(1)) * {"s": 1.0, "m": 60.0, "h": 3600.0}[match.group(2) or "s"]
