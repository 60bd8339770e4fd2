"""Speed-ups that others published stand beside what fits say, each with its source."""

import pytest

from kinetics.results.published_speedups import MSA_PAPER_SPEEDUP, published_speedups
from kinetics.results.silicon_document import committed_pairs
from tests.support.paths import ROOT


def test_every_pair_gives_its_best_and_that_of_one_request():
    found = [one for one in published_speedups() if not one.is_extrapolated]
    assert len(found) == 2 * len(committed_pairs())
    h200 = [one for one in found if "H200, vllm" in one.what and one.what.startswith("DSA")]
    assert [(one.published, one.what.split(", ")[1:3]) for one in h200] == [
        (pytest.approx(0.84, abs=0.01), ["batch 1", "128k tokens"]),
        (pytest.approx(6.85, abs=0.01), ["batch 256", "128k tokens"]),
    ]


def test_most_measured_speedups_are_foreseen_within_a_quarter():
    found = [one for one in published_speedups() if not one.is_extrapolated]
    assert sum(abs(one.found / one.published - 1) <= 0.25 for one in found) >= 0.9 * len(found)


def test_a_claim_beyond_all_tables_says_so_and_depends_on_the_batch():
    one, eight = [one for one in published_speedups() if one.is_extrapolated]
    assert one.published == eight.published == MSA_PAPER_SPEEDUP
    assert one.found < 0.7 * MSA_PAPER_SPEEDUP
    assert eight.found == pytest.approx(MSA_PAPER_SPEEDUP, rel=0.15)
    quoted = f"say {one.found:.1f} for one request and {eight.found:.1f} for eight"
    assert quoted in " ".join((ROOT / "docs" / "silicon.md").read_text(encoding="utf-8").split())
    assert all("arXiv" in claim.source for claim in (one, eight))
