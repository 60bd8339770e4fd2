"""What is predicted of a GPU comes from a command, and the documents say what it says."""

from __future__ import annotations

import pytest

pytest.importorskip("triton")

from kinetics.engine.decoder import Decoder
from kinetics.engine.fused_decoder import FusedDecoder
from kinetics_kernels.gpu_runtime.configs import FAST, PLAIN
from tests.support.paths import ROOT
from tests.support.scripts import script

estimates = script("gpu_estimates")

MOST_LAUNCHES = 15


def test_a_layer_of_the_fused_engine_takes_few_launches_and_the_plain_one_many():
    fused = estimates.launches_per_layer(FusedDecoder, FAST)
    assert fused == {
        "add_norm": 2, "norm_rotate": 1, "gated": 1, "append": 1, "score": 1, "select": 1, "merged_decode": 1,
        "torch linear": 4,
    }  # fmt: skip
    assert fused.total() <= MOST_LAUNCHES
    assert estimates.launches_per_layer(Decoder, PLAIN).total() > 2 * MOST_LAUNCHES


@pytest.mark.slow
def test_the_document_quotes_what_the_command_prints():
    for line in estimates.report().splitlines():
        assert line in (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_improvement_shortens_the_sparse_path():
    assert estimates.sparse_path_s(FAST) < estimates.sparse_path_s(PLAIN)
    assert [one.name for one in estimates.sparse_path(FAST)] == ["score", "select", "merged_decode"]
