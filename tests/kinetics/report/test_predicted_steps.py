"""The figure of predicted steps says contexts as people type them and names what tells its lines apart."""

import pytest

from kinetics.prediction.step_sweep import Sweep, sweep_rows
from kinetics.specs.cache_formats import find_cache_format
from kinetics.specs.hardware import find_accelerator
from kinetics.specs.known_models import find_architecture
from kinetics.specs.policies import Dense


@pytest.fixture
def axes():
    pytest.importorskip("matplotlib")
    from kinetics.report.predicted_steps import draw_steps

    def draw(policies):
        sweep = Sweep(
            architecture=find_architecture("Qwen3-8B"), devices=[find_accelerator("H200")], framework="vllm",
            policies=policies, batches=[1, 64], context_lens=[4096, 131_072], device_counts=[1],
            cache=find_cache_format("bf16"),
        )  # fmt: skip
        return draw_steps(list(sweep_rows(sweep)), title="steps").axes[0]

    return draw


def test_a_line_is_named_by_what_tells_it_apart(axes):
    (own,) = [axes({"own": None})]
    assert [text.get_text() for text in own.get_legend().get_texts()] == ["1 x H200, batch 1", "1 x H200, batch 64"]
    both = axes({"own": None, "dense": Dense()})
    assert both.get_legend().get_texts()[0].get_text() == "1 x H200, batch 1, own"


def test_contexts_and_times_read_as_numbers(axes):
    found = axes({"own": None})
    found.figure.draw_without_rendering()
    assert [label.get_text() for label in found.get_xticklabels()] == ["4k", "128k"]
    times = [label.get_text() for label in found.get_yticklabels()]
    assert {"5", "10", "100"} <= set(times)
    assert not any("10^" in text for text in times)
    crosses = [line for line in found.lines if line.get_marker() == "x"]
    assert len(crosses) == 1, "batch 64 at 128k does not fit"
