"""`pytest bench/ --benchmark-only` from outside: what it writes, what it refuses, and what survives."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kinetics.results.field import Rows
from kinetics.results.fields import fields_of
from kinetics.results.store import read_result
from kinetics.specs.identity import identity_of
from tests.support.paths import ROOT

DECODE = "bench/test_decode_attention.py"
TINY = ("--device", "cpu", "--model", "qwen3_0.6b", "--batch", "1", "--kv-budget", "64")


def command(results_dir, *arguments):
    return [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--benchmark-only",
        "--results-dir",
        str(results_dir),
        *arguments,
    ]


def bench(results_dir, *arguments, **environment):
    return subprocess.run(
        command(results_dir, *arguments),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        env=os.environ | environment,
    )


def results(results_dir):
    return sorted(results_dir.glob("cpu-*/*.json"))


def rows(results_dir):
    return [row for path in results(results_dir) for row in read_result(path)["benchmarks"]]


def refuse_constant(text):
    raise AssertionError(f"not strict JSON: {text}")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    done = bench(folder, DECODE, "bench/test_page_selection.py", *TINY, "--context", "256,512")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done


def test_every_row_carries_the_promised_fields(finished):
    folder, _ = finished
    recorded = rows(folder)
    assert len(recorded) == 2 * (4 + 4)
    for row in recorded:
        assert set(fields_of(Rows.KERNEL)) == set(row["extra_info"])
        assert len(row["stats"]["data"]) == row["stats"]["rounds"] >= 20
        assert row["stats"]["median"] == row["extra_info"]["median_s"]
        assert row["options"]["timer"] == "kinetics_samples"


def test_the_file_is_strict_json_that_tells_the_machine_and_its_ceilings(finished):
    folder, _ = finished
    (path,) = results(folder)
    document = json.loads(path.read_text(), parse_constant=refuse_constant)
    assert document["machine_info"]["ceilings"]["read_bytes_per_s"] > 0
    assert document["machine_info"]["device_slug"] == path.parent.name
    assert identity_of(document["machine_info"]).slug == path.parent.name
    assert "dense-flash_attn_3" in {skip["name"] for skip in document["skipped"]}
    assert all(skip["reason"] for skip in document["skipped"])


def test_pytest_benchmark_reads_the_file(finished):
    folder, _ = finished
    compared = subprocess.run(
        [Path(sys.executable).with_name("pytest-benchmark"), "compare", *results(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "block_topk-ours-qwen3_0.6b-b1-c512-k64-p16" in compared.stdout


def test_the_summary_shows_measured_beside_predicted_and_the_path(finished):
    folder, done = finished
    for expected in (
        "measured ceilings",
        "Measured beside predicted",
        "speed-up",
        "Prediction error",
        str(results(folder)[0]),
    ):
        assert expected in done.stdout


@pytest.mark.parametrize("bug", ["drop_page", "swap_heads", "write_nothing"])
def test_a_broken_kernel_turns_its_case_red_and_leaves_no_row(tmp_path, bug):
    done = bench(
        tmp_path,
        DECODE,
        *TINY,
        "--context",
        "512",
        "-p",
        "tests.support.planted_bugs",
        PLANTED_BUG=bug,
        PYTHONPATH=str(ROOT),
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert "output errs by" in done.stdout
    left = {(row["extra_info"]["operation"], row["extra_info"]["provider"]) for row in rows(tmp_path)}
    assert left == {("dense", "ours"), ("dense", "torch_sdpa"), ("block_topk", "naive_sparse")}


def wait_for_rows(results_dir, process, num_rows):
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        journals = list(results_dir.glob("cpu-*/*.journal.jsonl"))
        if journals and journals[0].read_text().count("\n") > num_rows:
            return
        time.sleep(0.05)
    pytest.fail(f"no journal with {num_rows} rows appeared: {process.communicate(timeout=300)}")


def start(results_dir):
    arguments = command(results_dir, DECODE, *TINY, "--context", "256,512,1k,2k,4k,8k,16k")
    return subprocess.Popen(
        arguments,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
        env=os.environ,
    )


def heed_ctrl_c():
    """A shell has what it starts in the background ignore Ctrl-C, and its children with it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_rows_survive_kill_9_and_the_next_run_says_so(tmp_path):
    process = start(tmp_path)
    wait_for_rows(tmp_path, process, 2)
    process.kill()
    process.communicate()
    assert results(tmp_path) == []
    done = bench(tmp_path, DECODE, *TINY, "--context", "256", "--provider", "torch_sdpa")
    assert "earlier run that was killed were kept" in done.stdout
    (partial,) = tmp_path.glob("cpu-*/*_partial.json")
    assert len(read_result(partial)["benchmarks"]) >= 2


def test_recover_makes_the_file_without_another_run_and_leaves_a_living_one_alone(tmp_path):
    process = start(tmp_path)
    wait_for_rows(tmp_path, process, 2)
    process.send_signal(signal.SIGSTOP)  # lives, and does not end meanwhile
    recover = [sys.executable, "-m", "kinetics", "recover", str(tmp_path), "--json"]
    alive = subprocess.run(recover, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(alive.stdout) == {"files": []}
    process.kill()
    process.communicate()
    dead = subprocess.run(recover, cwd=ROOT, capture_output=True, text=True, check=True)
    (made,) = json.loads(dead.stdout)["files"]
    assert made.endswith("_partial.json")
    assert len(read_result(Path(made))["benchmarks"]) >= 2
    assert not list(tmp_path.rglob("*.journal.jsonl"))


@pytest.mark.parametrize(("num_writes", "num_rows"), [(2, 1), (6, 4)], ids=["in the second row", "in the file"])
def test_a_full_disk_is_one_line_and_keeps_the_rows_before(tmp_path, num_writes, num_rows):
    """A journal of four rows takes six writes: a header, the rows, and which file is about to hold them."""
    options = (DECODE, *TINY, "--context", "256", "-p", "tests.support.full_disk")
    done = bench(tmp_path, *options, FULL_AFTER_WRITES=str(num_writes), PYTHONPATH=str(ROOT))
    assert done.returncode == 3, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "INTERNALERROR" not in done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "No space left on device" in line]
    assert re.search(rf"{num_rows} finished rows? (is|are) safe in \S+: make room and give `kinetics recover", line)
    assert ("Interrupted: a row cannot be written" in done.stdout) == (num_rows == 1)
    (journal,) = [path for path in tmp_path.glob("cpu-*/*") if not path.name.startswith(".fastest")]
    recover = [sys.executable, "-m", "kinetics", "recover", str(tmp_path)]
    subprocess.run(recover, cwd=ROOT, check=True)
    assert len(rows(tmp_path)) == num_rows
    assert not journal.exists()


def test_kernels_come_before_whatever_else_is_collected(tmp_path):
    files = ("bench/test_scaling_law.py", "bench/test_aime.py", "bench/test_decode_step.py", DECODE)
    done = bench(tmp_path, *files, *TINY, "--context", "256", "--collect-only", "-q")
    order = list(dict.fromkeys(line.split("::")[0] for line in done.stdout.splitlines() if "::" in line))
    assert set(order[:2]) == {"bench/test_decode_step.py", DECODE}
    assert set(order[2:]) == {"bench/test_scaling_law.py", "bench/test_aime.py"}


@pytest.mark.slow
def test_the_order_of_files_changes_no_condition(tmp_path):
    files = (DECODE, "bench/test_page_selection.py", "bench/test_scaling_law.py")
    conditions = []
    for order in (files, files[::-1]):
        folder = tmp_path / str(len(conditions))
        done = bench(folder, *order, *TINY, "--context", "256")
        assert done.returncode == 0, done.stdout + done.stderr
        measured = [row for row in rows(folder) if "torch_threads" in row["extra_info"]]
        assert len(measured) == 2 * 4
        conditions.append({row["name"]: row["extra_info"]["torch_threads"] for row in measured})
    assert conditions[0] == conditions[1]
    assert set(conditions[0].values()) == {len(os.sched_getaffinity(0))}


def test_ctrl_c_keeps_what_was_measured(tmp_path):
    process = start(tmp_path)
    wait_for_rows(tmp_path, process, 2)
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=300)
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert len(rows(tmp_path)) >= 2
    assert "Result file" in stdout
    assert not list(tmp_path.glob("cpu-*/*.journal.jsonl"))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--grid", "huge"), "ERROR: --grid must be one of smoke, quick, full, got 'huge'"),
        (("--kv-budget", "100"), "ERROR: kv_budget must be a multiple of page_size"),
    ],
)
def test_a_wrong_option_is_a_usage_error_in_one_line(tmp_path, arguments, line):
    done = bench(tmp_path, DECODE, "--device", "cpu", *arguments)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert line in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unwritable_result_folder_is_a_usage_error(tmp_path):
    (tmp_path / "taken").write_text("")
    done = bench(tmp_path / "taken", DECODE, *TINY)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "cannot be written" in done.stderr


def test_a_case_that_cannot_fit_is_skipped_with_the_arithmetic(tmp_path):
    done = bench(
        tmp_path,
        DECODE,
        "--device",
        "cpu",
        "--model",
        "qwen3_8b",
        "--batch",
        "4096",
        "--context",
        "32k",
        "--kv-budget",
        "64",
    )
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout
    assert re.search(r"needs \d+\.\d GiB \(kv \d+\.\d .*\), free \d+\.\d GiB x 0\.90", done.stdout)
    assert "No case was measured" in done.stdout


def test_a_spent_time_budget_lists_what_was_left_out(tmp_path):
    done = bench(tmp_path, DECODE, *TINY, "--context", "256,512", "--time-budget", "0.001s")
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "Skipped 8 cases" in done.stdout


def test_a_file_from_another_device_is_not_compared(tmp_path, finished):
    folder, _ = finished
    document = read_result(results(folder)[0])
    document["machine_info"]["identity"]["microarchitecture"] = "zen9"
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text(json.dumps(document))
    done = bench(tmp_path, DECODE, *TINY, "--context", "256", f"--benchmark-compare={elsewhere}")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "needs a file from this device" in done.stderr
    assert re.search(r"differs in .*microarchitecture: \w+, zen9", done.stderr)
