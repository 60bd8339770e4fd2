"""Frontiers: every change of model is a mark, and names hide neither each other nor the axis."""

from hypothesis import given
from hypothesis import strategies as st

from kinetics.law.stored_frontiers import FrontierLine, LawTask
from kinetics.report.frontiers import _LETTER_WIDTH, _NAME_HEIGHT, _Names, common_prefix, draw_frontiers


def task(*models, attention="dense"):
    seconds = [0.1 * 4**i for i in range(len(models))]
    line = FrontierLine(
        attention=attention, seconds=seconds, accuracy=[0.1 + 0.8 * i / len(models) for i in range(len(models))],
        best_model=models,
    )  # fmt: skip
    return LawTask(task="long_cot", source="made", pricing="by hand", device="B200", lines=(line,))


def marks(figure):
    return {one.name: one.data_source.data for one in figure.renderers}


def test_marks_name_the_model_from_there_on_without_what_all_names_share():
    found = marks(draw_frontiers(task("none", "Qwen3-4B", "Qwen3-4B", "Qwen3-8B")))
    assert list(found["dense: marks"]["best_model"]) == ["Qwen3-4B", "Qwen3-8B"]
    assert list(found["dense: names"]["text"]) == ["4B", "8B"]
    assert len(found["dense"]["x"]) == 3  # where no model answers anything there is no line


def test_names_that_share_nothing_are_written_out():
    assert common_prefix(task("a-1", "b-1")) == ""
    assert common_prefix(task("Qwen3-4B")) == ""
    assert common_prefix(task("Qwen3-4B", "Qwen3-8B")) == "Qwen3-"


@given(st.lists(st.tuples(st.floats(1e-3, 1e3), st.floats(0, 100), st.sampled_from(["4B", "0.6B", "a long name"]))))
def test_no_two_names_overlap(points):
    names = _Names([1e-3, 1e3], 0)
    names.placed({key: [point[i] for point in points] for i, key in enumerate(("x", "y", "best_model"))})
    taken = names._taken
    assert all(width >= 2 * _LETTER_WIDTH for _, width, _ in taken)
    for index, (left, width, height) in enumerate(taken):
        for other_left, other_width, other_height in taken[:index]:
            beside = left >= other_left + other_width or other_left >= left + width
            assert beside or abs(height - other_height) >= _NAME_HEIGHT
