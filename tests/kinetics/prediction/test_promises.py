"""A promise is kept by the rows it speaks of, and broken by them."""

import numpy as np
import pytest

from kinetics.prediction.promises import PROMISES, keep_promises
from kinetics.prediction.silicon_judging import Judged
from kinetics.prediction.silicon_package import Kernel
from kinetics.prediction.splits import Split
from kinetics.prediction.validation_tables import errors_table, promises_table, validation_document, worst_table


def made(errors, *, operation="attention", variant="gqa-128", split=Split.ALTERNATE, name="k"):
    return Judged(
        operation=operation, kernel=Kernel(system="h200_sxm", framework="vllm", version="1", name=name), dtype="bf16",
        variant=variant, split=split, fitted_on="every other row", errors=np.asarray(errors, float),
        roof_errors=np.full(len(errors), 0.5),
    )  # fmt: skip


def test_a_promise_holds_over_all_rows_of_the_kernels_it_speaks_of():
    good, bad = made(np.full(700, 0.01)), made(np.full(300, 0.2), name="bad")
    few, windowed = made(np.full(299, 9.0)), made(np.full(900, 9.0), variant="gqa-64-window")
    (kept,) = keep_promises([good, bad, few, windowed])
    assert kept.kernels == (good, bad)
    assert kept.errors == (0.01, pytest.approx(0.2))
    assert not kept.is_kept, "nine of ten rows were promised within 15 %"
    assert (kept.num_within, kept.worst) == (1, bad)
    (kept,) = keep_promises([good])
    assert kept.is_kept


def test_every_promise_is_broken_by_errors_above_it():
    for promise in PROMISES:
        num_rows = max(promise.least_rows, 30)
        for factor, is_kept in ((0.99, True), (1.01, False)):
            errors = made(np.full(num_rows, factor * promise.median), operation=promise.operation, split=promise.split)
            (kept,) = keep_promises([errors])
            assert (kept.promise, kept.is_kept) == (promise, is_kept)


def test_tables_and_document_say_the_same():
    judged = [made([0.01, 0.02, 0.03]), made([0.2, 0.4], operation="dsa")]
    document = validation_document(judged, keep_promises(judged))
    assert (document["cases"], document["median_abs_error"]) == (5, 0.03)
    assert [(one["operation"], one["median_abs_error"]) for one in document["by_operation"]] == [
        ("attention", 0.02), ("dsa", pytest.approx(0.3)),
    ]  # fmt: skip
    assert [one["kept"] for one in document["promises"]] == [False]
    assert [row[5:7] for row in errors_table(judged).rows] == [(3, 0.02), (2, pytest.approx(0.3))]
    (promised,) = promises_table(keep_promises(judged)).rows
    assert promised[:2] == ("dsa", "alternate")
    assert promised[-2:] == (False, "0 of 1")
    assert worst_table(keep_promises(judged)).rows[0][2].startswith("k of vllm 1 on h200_sxm")


def test_many_kernels_are_shown_by_operation_and_device():
    judged = [made([0.01, 0.03], name=f"k{i}") for i in range(41)]
    (row,) = errors_table(judged).rows
    assert row == ("attention", "alternate", "H200", "vllm", 41, 82, pytest.approx(0.02), 0.03, 0.5)
