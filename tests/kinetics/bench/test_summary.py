"""The closing summary can be printed from the file alone, and hides nothing."""

import io

from kinetics.bench.summary import print_summary, skip_lines, suspicious_lines
from kinetics.results.store import SCHEMA

CEILINGS = {
    "read_bytes_per_s": 2e10,
    "cached_read_bytes_per_s": 1e11,
    "copy_bytes_per_s": 1e10,
    "matmul_flop_per_s": 1.3e11,
    "launch_s": 2e-6,
    "dtype": "float32",
}


def bench(operation, context_len, median_s, **changes):
    row = {
        "case": f"{operation}-ours-c{context_len}", "operation": operation, "provider": "ours", "model": "Qwen3-8B",
        "batch": 4, "context_len": context_len, "page_size": 16, "dtype": "float32", "cache_state": "cold",
        "graph": False, "kv_budget": 1024 if operation == "block_topk" else None, "median_s": median_s,
        "predicted_s": median_s / 2, "calibrated_s": median_s * 1.1, "calibration_role": "held_out",
        "measured_over_predicted": 2.0, "achieved_bytes_per_s": 1e10, "fraction_of_ceiling": 0.5,
    }  # fmt: skip
    return {"extra_info": row | changes, "stats": {"iqr": median_s / 10}}


def printed(benchmarks, skipped=(), result="results/x.json"):
    document = {
        "schema": SCHEMA,
        "benchmarks": benchmarks,
        "skipped": list(skipped),
        "machine_info": {"device": "A [bold]CPU", "device_slug": "cpu-a", "ceilings": CEILINGS},
    }
    file = io.StringIO()
    print_summary(document, result=result, recovered=[], file=file)
    return file.getvalue()


def test_a_summary_shows_times_speedups_crossover_and_error():
    text = printed(
        [
            bench("dense", 1024, 1e-3),
            bench("block_topk", 1024, 2e-3),
            bench("dense", 4096, 4e-3),
            bench("block_topk", 4096, 2e-3),
        ]
    )
    for expected in (
        "2.00x",
        "0.50x",
        "measured from 2048 tokens on",
        "held-out cases median 10 %",
        "50 %",
        "results/x.json",
    ):
        assert expected in text


def test_names_from_a_file_are_not_markup():
    assert "A [bold]CPU" in printed([bench("dense", 1024, 1e-3)])


def test_a_run_without_rows_says_so():
    assert "No case was measured" in printed([], result=None)


def test_skips_with_one_reason_share_a_line():
    skipped = [{"name": f"bench/x.py::case{i}", "reason": "too large"} for i in range(5)]
    skipped.append({"name": "bench/x.py::other", "reason": "not installed"})
    assert skip_lines(skipped) == [
        "Skipped 5 cases (case0, case1, case2, ...): too large",
        "Skipped other: not installed",
    ]


def test_a_row_faster_than_the_ceiling_is_called_suspicious():
    rows = [bench("dense", 1024, 1e-3, fraction_of_ceiling=fraction)["extra_info"] for fraction in (0.9, 1.3)]
    assert len(suspicious_lines(rows)) == 1
