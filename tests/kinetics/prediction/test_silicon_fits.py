"""Fits of measured rows keep what they promise on rows they have not seen, and read back as they were written."""

from collections import defaultdict
from dataclasses import replace
from statistics import median

import numpy as np
import pytest

from kinetics.prediction.silicon_fits import (
    MIN_ROWS,
    committed_fits,
    errors_of,
    fit_measured,
    judge,
    newest,
    parse_fits,
    version_key,
    write_fits,
)
from tests.support.paths import ROOT
from tests.support.silicon_rows import frozen_rows


@pytest.mark.parametrize(
    ("operation", "median", "p90"), [("attention", 0.05, 0.15), ("mla", 0.06, 0.18), ("dsa", 0.06, 0.18)]
)
def test_half_of_the_measured_rows_predict_the_other_half(operation, median, p90):
    fit = fit_measured(frozen_rows(operation))
    assert fit.held_out.median <= median
    assert fit.held_out.p90 <= p90
    assert fit.beyond is not None
    assert fit.beyond.median <= 0.10


@pytest.mark.parametrize("column", ["context_len", "keys", "batch"])
def test_a_wrong_exponent_turns_the_errors_red(column):
    rows = frozen_rows("attention")
    bent = {**rows.cases.columns, column: rows.cases.columns[column] ** 0.7}
    wrong = replace(rows, cases=replace(rows.cases, columns=bent))
    right = fit_measured(rows).held_out
    if column == "context_len":  # the keys say how many are read
        assert fit_measured(wrong).held_out == right
    else:
        assert fit_measured(wrong).held_out.median > 2 * right.median


def test_a_fit_of_one_device_predicts_another_by_its_data_sheet():
    h200, as_h100 = frozen_rows("attention"), frozen_rows("attention", "h100_sxm")
    columns = h200.cases.columns
    memory_bound = columns["batch"] * columns["context_len"] * columns["kv_heads"] >= 2**21
    slower = replace(as_h100, seconds=h200.seconds * 4.8 / 3.35).take(np.flatnonzero(memory_bound))
    assert judge(h200, slower).median < 0.06
    assert judge(h200, replace(slower, kernel=h200.kernel)).median > 0.25


def test_shapes_beyond_what_was_fitted_are_named():
    rows = frozen_rows("attention")
    fit = fit_measured(rows.take(np.flatnonzero(rows.cases.columns["context_len"] <= 16_384)))
    near, far = (rows.take(np.flatnonzero(rows.cases.columns["context_len"] == c)) for c in (8_192, 65_536))
    assert fit.outside(near.cases) == ()
    assert fit.outside(far.cases) == ("context_len",)


def test_too_few_rows_make_no_fit():
    rows = frozen_rows("attention").take(np.arange(MIN_ROWS - 1))
    with pytest.raises(ValueError, match=f"a fit must have {MIN_ROWS} rows, got {MIN_ROWS - 1} of frozen of vllm"):
        fit_measured(rows)


def test_fits_read_back_as_they_were_written():
    fits = [fit_measured(frozen_rows(operation)) for operation in ("attention", "dsa")]
    text = write_fits(fits)
    assert write_fits(parse_fits(text)) == text
    rows = frozen_rows("dsa")
    read = next(fit for fit in parse_fits(text) if fit.operation == "dsa")
    assert errors_of(read.seconds(rows.cases), fits[1].seconds(rows.cases)).p90 < 1e-3


def test_committed_fits_are_physical_and_keep_their_promises():
    by_operation = defaultdict(list)
    for fit in committed_fits():
        by_operation[fit.operation].append(fit)
        assert min(fit.parameters.values()) > 0
        assert fit.num_rows >= MIN_ROWS
    promised = {"attention": 0.05, "dsa": 0.06, "msa": 0.06, "matmul": 0.08, "experts": 0.12, "all_reduce": 0.12}
    for operation, most in promised.items():
        fits = by_operation[operation]
        medians, rows = [f.held_out.median for f in fits], [f.held_out.num_rows for f in fits]
        assert np.average(medians, weights=rows) <= most, operation
    assert len({fit.kernel.system for fit in by_operation["attention"]}) == 10


def test_only_the_newest_version_of_a_kernel_is_kept():
    fit = fit_measured(frozen_rows("attention"))
    versions = ["0.24.0", "0.5.14", "0.22.0"]
    fits = [replace(fit, kernel=replace(fit.kernel, version=version)) for version in versions]
    assert [kept.kernel.version for kept in newest(fits)] == ["0.24.0"]
    assert version_key("1.3.0rc20") > version_key("1.3.0rc9") > version_key("1.2.0rc20")


def test_the_document_quotes_the_committed_fits():
    text = (ROOT / "docs" / "silicon.md").read_text(encoding="utf-8")
    assert f"The {len(committed_fits()):,} fits" in " ".join(text.split())
    for operation, name in [("attention", "dense GQA attention"), ("dsa", "DSA module"), ("experts", "routed experts")]:
        fits = [fit for fit in committed_fits() if fit.operation == operation]
        held_out = median(fit.held_out.median for fit in fits)
        assert f"| {name} | {len(fits)} | {sum(fit.num_rows for fit in fits):,} | {100 * held_out:.1f} % |" in text
