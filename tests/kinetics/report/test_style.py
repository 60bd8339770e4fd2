"""Colours that can be seen on light and dark paper, and axes that label what they show."""

import math
import re
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics.report.style import PALETTE, decade_ticks, log_axis
from kinetics.specs.counts import short
from tests.support.contrast import contrast

TEXT, MARK = 4.5, 3.0
THEMES = re.findall(r"(?<=\{)[^{}]*--paper:[^{}]*", (files("kinetics.report") / "page.css").read_text())


def colors_of(theme: str) -> dict[str, str]:
    return dict(re.findall(r"--(\w+): (#\w{6})", theme))


def test_the_page_has_one_light_theme_and_one_dark_one_said_twice():
    light, dark, chosen_dark = map(colors_of, THEMES)
    assert dark == chosen_dark != light
    assert set(light) == set(dark)


@pytest.mark.parametrize("theme", THEMES)
def test_texts_and_marks_stand_out_from_the_paper(theme):
    colors = colors_of(theme)
    for paper in ("paper", "panel"):
        for text in ("ink", "soft", "accent", "warn", "good", "bad"):
            assert contrast(colors[text], colors[paper]) >= TEXT, (text, paper)
        for color in PALETTE:
            assert contrast(color, colors[paper]) >= MARK, (color, paper)


def test_contrast_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@given(st.lists(st.floats(1e-300, 1e300), min_size=1))
def test_a_logarithmic_axis_has_few_labels_and_one_within_two_decades(values):
    ticks = decade_ticks(values)
    assert 1 <= len(ticks) <= 12
    assert all(math.isfinite(tick) and text for tick, text in ticks.items())
    if max(values) > 10 * min(values) * 1.001:
        assert any(min(values) <= tick * (1 + 1e-9) and tick <= max(values) * (1 + 1e-9) for tick in ticks)


def test_contexts_label_their_own_axis():
    assert log_axis("context", [1024, 2048], labels=short).ticks == {1024.0: "1k", 2048.0: "2k"}
    many = log_axis("context", [1024 * i for i in range(1, 100)], labels=short).ticks
    assert 5 <= len(many) <= 8
