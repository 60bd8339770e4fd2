"""Predictions of every operation are judged on rows they have not seen, and a wrong formula or number shows."""

from dataclasses import replace

import numpy as np
import pytest

from kinetics.prediction import silicon_judging, silicon_terms
from kinetics.prediction.silicon_fits import committed_fits
from kinetics.prediction.silicon_judging import judge_group, judge_groups
from kinetics.prediction.silicon_terms import TERMS
from kinetics.prediction.splits import Split
from tests.support.silicon_rows import sample_rows

MEDIANS = {
    "attention": 0.05, "mla": 0.06, "dsa": 0.06, "msa": 0.06, "matmul": 0.085, "experts": 0.12, "all_reduce": 0.12,
    "gated_delta_net": 0.06, "kda": 0.06, "mamba2": 0.10, "dsa_index": 0.06, "dsa_choice": 0.08, "dsa_attention": 0.08,
}  # fmt: skip
"""What samples of one kernel keep within; a hundred rows of a kernel scatter more than all of its rows."""


def judged(operation, split, *, fits=None):
    return list(judge_groups(sample_rows(operation), [split], fits=fits))


@pytest.mark.parametrize("operation", MEDIANS)
def test_half_of_the_rows_predict_the_other_half(operation):
    (found,) = judged(operation, Split.ALTERNATE)
    assert found.median <= MEDIANS[operation]
    assert found.fitted_on == "every other row"
    assert found.median < float(np.median(found.roof_errors)) / 2


@pytest.mark.parametrize("operation", MEDIANS)
def test_shipped_fits_predict_the_rows_as_they_are(operation):
    assert max(one.median for one in judged(operation, Split.SHIPPED)) <= MEDIANS[operation]


@pytest.mark.parametrize("operation", ["attention", "mla", "dsa", "msa", "dsa_index"])
def test_fits_of_short_contexts_predict_long_ones(operation):
    (found,) = judged(operation, Split.BEYOND)
    assert found.median <= 0.10
    assert found.fitted_on == f"contexts to {'16k' if operation == 'attention' else '8k'}"
    longest = max(group.cases.columns["context_len"].max() for group in sample_rows(operation))
    assert longest > 32_768


@pytest.mark.parametrize("operation", ["attention", "dsa", "matmul", "experts", "all_reduce", "gated_delta_net"])
def test_the_nearest_device_with_this_ones_data_sheet_stands_in(operation):
    (found,) = judged(operation, Split.DEVICE)
    assert " on h200_sxm" not in found.fitted_on
    assert found.median <= 1.5 * MEDIANS[operation]


def test_another_versions_rows_are_judged_by_the_shipped_version():
    (found,) = judged("all_reduce", Split.VERSION)
    assert found.kernel.version == "0.19.0"
    assert "0.24.0" in found.fitted_on
    assert found.median <= 0.12
    assert judged("matmul", Split.VERSION) == []


WRONG = {
    "attention": ("keys", 0.7), "mla": ("batch", 0.6), "dsa": ("batch", 0.6), "msa": ("batch", 0.6),
    "matmul": ("inputs", 0.6), "experts": ("visited", 0.5), "all_reduce": ("message_bytes", 0.5),
    "gated_delta_net": ("batch", 0.5), "kda": ("batch", 0.5), "mamba2": ("batch", 0.5), "dsa_index": ("keys", 0.6),
    "dsa_choice": ("keys", 0.5), "dsa_attention": ("programs", 0.5),
}  # fmt: skip


@pytest.mark.parametrize("operation", WRONG)
def test_a_wrong_exponent_turns_an_operation_red(operation, monkeypatch):
    column, exponent = WRONG[operation]
    right = TERMS[operation]

    def bent(shape, device, settings):
        return right({**shape, column: shape[column] ** exponent}, device, settings)

    monkeypatch.setitem(silicon_terms.TERMS, operation, bent)
    medians = [one.median for split in (Split.ALTERNATE, Split.SHIPPED) for one in judged(operation, split)]
    assert max(medians) > MEDIANS[operation]


@pytest.mark.parametrize("operation", MEDIANS)
def test_shipped_coefficients_off_by_a_third_turn_an_operation_red(operation):
    wrong = [
        replace(fit, parameters={name: 1.3 * value for name, value in fit.parameters.items()})
        for fit in committed_fits()
        if fit.operation == operation
    ]
    assert max(one.median for one in judged(operation, Split.SHIPPED, fits=wrong)) > 2 * MEDIANS[operation]


def test_too_few_rows_or_no_other_device_judge_nothing():
    (group,) = sample_rows("matmul")
    assert list(judge_groups([group.take(np.arange(23))], list(Split))) == []
    own = [fit for fit in committed_fits() if fit.kernel.system == "h200_sxm"]
    assert judge_group(group, Split.DEVICE, fits=own) is None
    assert judge_group(group, Split.BEYOND, fits=own) is None
    assert silicon_judging.judge_group(group, Split.SHIPPED, fits=[]) is None


def test_an_unknown_kernel_is_judged_by_the_fit_that_a_prediction_would_take():
    (group,) = sample_rows("attention")
    renamed = replace(group, kernel=replace(group.kernel, name="someone's kernel"))
    found = judge_group(renamed, Split.SHIPPED, fits=committed_fits())
    assert found is not None
    assert "vllm_flash_attn_fa3 of vllm" in found.fitted_on


def test_a_tile_of_scores_serves_four_requests_and_walks_the_keys_of_each():
    (group,) = sample_rows("dsa_index")
    columns = group.cases.columns
    for batch, keys, programs in ((1, 1, 1), (4, 4, 1), (16, 4, 4), (1024, 4, 256)):
        rows = columns["batch"] == batch
        assert np.all(columns["keys"][rows] == keys * columns["context_len"][rows])
        assert np.all(columns["programs"][rows] == programs)


@pytest.mark.parametrize("split", [Split.ALTERNATE, Split.BEYOND])
def test_no_row_judges_that_was_fitted_and_none_is_lost(split, monkeypatch):
    (group,) = sample_rows("attention")
    seen = {}

    def recorded(fitted, unseen):
        seen.update(fitted=set(zip(*fitted.cases.columns.values(), strict=True)), unseen=unseen)
        return unseen.seconds

    monkeypatch.setattr(silicon_judging, "predict_unseen", recorded)
    found = judge_group(group, split, fits=())
    assert found is not None
    unseen = set(zip(*seen["unseen"].cases.columns.values(), strict=True))
    assert not unseen & seen["fitted"]
    assert len(unseen | seen["fitted"]) == len(group.seconds)
    assert not found.errors.any()
    if split is Split.BEYOND:
        assert seen["unseen"].cases.columns["context_len"].min() > 16_385
    monkeypatch.setattr(silicon_judging, "predict_unseen", lambda _, rows: 1.25 * rows.seconds)
    wrong = judge_group(group, split, fits=())
    assert wrong is not None
    assert (wrong.median, wrong.p90) == (pytest.approx(0.25), pytest.approx(0.25))


def test_the_newest_version_is_judged_and_the_older_one_under_version_alone():
    older, newer = sample_rows("all_reduce")
    older = replace(older, kernel=replace(older.kernel, version="0.5.14"))
    for groups in ([older, newer], [newer, older]):
        assert [one.kernel.version for one in judge_groups(groups, [Split.ALTERNATE])] == ["0.24.0"]
        assert [one.kernel.version for one in judge_groups(groups, [Split.VERSION])] == ["0.5.14"]


@pytest.mark.parametrize("operation", MEDIANS)
def test_a_roof_is_above_0_and_below_most_of_what_was_measured(operation):
    for found in judged(operation, Split.ALTERNATE):
        assert 0 < float(np.median(found.roof_errors)) < 1
