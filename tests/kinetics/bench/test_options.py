"""A wrong option ends the run in one line that names the option, the rule and the value."""

from argparse import Namespace
from pathlib import Path

import pytest

from kinetics.bench.options import bench_settings
from kinetics.cases.kernels import CacheState, GridSize

DEFAULTS = {
    "grid": "quick", "device": "cpu", "provider": "", "model": "", "batch": "", "context": "", "kv_budget": "",
    "page_size": "", "dtype": "", "cache_state": "", "kv_layout": "", "energy": "off", "time_budget": "",
    "results_dir": "", "tp": "1", "traces": "", "hf_model": "",
}  # fmt: skip


def settings(**changes):
    return bench_settings(Namespace(**(DEFAULTS | changes)), root=Path("/somewhere"))


def test_lists_and_counts_are_read_as_written():
    found = settings(model="Qwen/Qwen3-8B,qwen3_14b", batch="1,8", context="4k,32k", kv_budget="1k", time_budget="2m")
    assert found.grid.models == ("Qwen3-8B", "Qwen3-14B")
    assert (found.grid.batches, found.grid.context_lens) == ((1, 8), (4096, 32768))
    assert (found.grid.kv_budgets, found.time_budget_s) == ((1024,), 120.0)


def test_defaults_are_the_quick_grid_in_fp32_under_results():
    found = settings()
    assert (found.grid.size, found.grid.dtype, found.providers) == (GridSize.QUICK, "float32", ())
    assert found.results_dir == Path("/somewhere/runs")


def test_a_layout_that_the_device_has_not_is_refused():
    assert settings(kv_layout="hnd").grid.kv_layouts == ("hnd",)
    with pytest.raises(ValueError, match="--kv-layout must be hnd on cpu, got 'nhd'"):
        settings(kv_layout="nhd")


@pytest.mark.parametrize(("text", "found"), [("on", True), ("off", False)])
def test_energy_is_metered_when_asked_for(text, found):
    assert settings(energy=text).meters_energy is found


def test_both_cache_states_can_be_asked_for():
    assert settings(cache_state="cold,warm").grid.cache_states == (CacheState.COLD, CacheState.WARM)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"grid": "huge"}, "--grid must be one of smoke, quick, full, got 'huge'"),
        ({"device": "tpu"}, "--device must be auto, cpu, cuda or cuda:<index>, got 'tpu'"),
        ({"provider": "theirs"}, "--provider must be among ours, .*, got 'theirs'"),
        ({"model": "gpt"}, "--model: .*gpt"),
        ({"batch": "0"}, "--batch: a count must be a positive integer such as 1024 or 32k, got '0'"),
        ({"context": "4.5k"}, "--context: a count .* got '4.5k'"),
        ({"page_size": "24"}, "--page-size must be one of 16, 32, 64, 128, 256, got 24"),
        ({"kv_budget": "1000"}, "kv_budget must be a multiple of page_size .* got kv_budget=1000 and page_size=16"),
        (
            {"page_size": "256", "kv_budget": "512"},
            "kv_budget .* at least 3 pages, got kv_budget=512 and page_size=256",
        ),
        ({"dtype": "bfloat16"}, "--dtype on cpu must be one of float32, got 'bfloat16'"),
        ({"cache_state": "tepid"}, "--cache-state must be one of cold, warm, got 'tepid'"),
        ({"time_budget": "soon"}, "--time-budget must be a positive time such as 90s, 5m or 1h, got 'soon'"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(changes, line):
    with pytest.raises(ValueError, match=line) as refused:
        settings(**changes)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("tp", "started", "model", "line"),
    [
        ("2", "", "", "--tp must be the number of processes that torchrun started, got --tp 2 and 1; .* --tp 2"),
        ("4", "2", "", "--tp must be the number of processes that torchrun started, got --tp 4 and 2; .* --tp 4"),
        ("1", "2", "", "--tp must be the number of processes that torchrun started, got --tp 1 and 2; .* --tp 2"),
        ("0", "", "", "--tp must be a number of ranks, at least 1, got '0'"),
        ("two", "", "", "--tp must be a number of ranks, at least 1, got 'two'"),
        ("3", "3", "", "the number of ranks must divide num_q_heads of Qwen3-0.6B, got 3 and 16"),
        ("16", "16", "qwen3_8b", "the number of ranks must divide num_kv_heads of Qwen3-8B, got 16 and 8"),
    ],
)
def test_ranks_that_cannot_share_are_refused_in_one_line(monkeypatch, tp, started, model, line):
    monkeypatch.setenv("WORLD_SIZE", started)
    with pytest.raises(ValueError, match=line) as refused:
        settings(tp=tp, model=model)
    assert "\n" not in str(refused.value)


def test_each_rank_of_a_run_knows_its_place(monkeypatch):
    assert (settings().rank, settings().grid.num_devices) == (0, 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    found = settings(tp="2")
    assert (found.rank, found.grid.num_devices) == (1, 2)
