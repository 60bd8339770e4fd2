"""The tests of the gpu kernels, run in Triton's interpreter: a process of its own, since Triton decides on import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.paths import ROOT

HERE = Path(__file__).parent


@pytest.mark.kernel
@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="the same tests run on the CUDA device here")
@pytest.mark.parametrize(
    "module",
    [
        "test_gpu_decode.py",
        "test_gpu_pages.py",
        "test_gpu_e4m3.py",
        "test_gpu_stream_read.py",
        "test_gpu_elementwise.py",
        "test_gpu_lse.py",
        "gpu_runtime/test_variants.py",
        "test_mutations.py",
    ],
)
def test_kernels_hold_their_promises_in_the_interpreter(module: str) -> None:
    triton = pytest.importorskip("triton")
    if version(triton.__version__) < (3, 7) and version(np.__version__) >= (2, 4):
        pytest.skip(f"the interpreter of triton {triton.__version__} needs numpy < 2.4, installed is {np.__version__}")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", str(HERE / module)]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    assert " passed" in run.stdout
    assert "skipped" not in run.stdout


def version(text: str) -> tuple[int, ...]:
    """The first two numbers of a version."""
    return tuple(int(part) for part in text.split(".")[:2])
