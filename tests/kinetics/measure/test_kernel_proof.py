"""A proof passes what is right and nothing else."""

from functools import partial

import pytest
import torch

from kinetics.cases.kernel_work import work_of
from kinetics.cases.kernels import OPERATIONS, Case, Cell, GridOptions, GridSize, PageOperation, cells
from kinetics.measure.cell_inputs import make_cell_inputs
from kinetics.measure.kernel_proof import prove_append, prove_attention, prove_scores, prove_selection
from kinetics.measure.kernel_workload import prepare, selection_of
from kinetics.measure.oracle import Oracle
from kinetics.specs.policies import PolicyKind
from kinetics_kernels import api
from kinetics_kernels.providers import PreparedDecode

PAGE_SIZE, CONTEXT_LEN, KV_BUDGET = 16, 409, 96


@pytest.fixture
def cell() -> Cell:
    options = GridOptions(
        size=GridSize.SMOKE,
        device_kind="cpu",
        dtype="float32",
        models=["Qwen3-0.6B"],
        batches=[2],
        context_lens=[CONTEXT_LEN],
        page_sizes=[PAGE_SIZE],
    )
    return cells(options)[0]


@pytest.fixture
def inputs(cell):
    return make_cell_inputs(cell, device="cpu", seed=0)


def case_of(cell, operation, provider="ours"):
    return Case(
        cell=cell, operation=operation, provider=provider, kv_budget=KV_BUDGET if operation.has_kv_budget else None
    )


def pages_of(cell, inputs):
    selection = selection_of(case_of(cell, PolicyKind.BLOCK_TOPK))
    return api.select_pages(inputs.scores, inputs.decode.cache, selection=selection), selection


@pytest.mark.parametrize("operation", OPERATIONS.values())
def test_our_kernels_are_proved_in_every_operation(cell, inputs, operation):
    prepared = prepare(case_of(cell, operation), inputs)
    assert prepared.prove(prepared.call, Oracle(inputs)) < 1e-5


@pytest.mark.parametrize(
    ("operation", "provider"), [(PolicyKind.DENSE, "torch_sdpa"), (PolicyKind.BLOCK_TOPK, "naive_sparse")]
)
def test_peers_are_proved_against_the_same_oracle(cell, inputs, operation, provider):
    prepared = prepare(case_of(cell, operation, provider), inputs)
    assert prepared.prove(prepared.call, Oracle(inputs)) < 1e-5


def test_a_perturbed_output_is_refused(cell, inputs):
    right = prepare(case_of(cell, PolicyKind.DENSE), inputs)

    def wrong():
        out = right.call().clone()
        out[0, 0, 0] += 1e-3
        return out

    with pytest.raises(AssertionError, match="output errs by"):
        prove_attention(PreparedDecode(run=wrong), inputs, Oracle(inputs), None)


def test_a_nan_in_the_output_is_refused(inputs):
    wrong = PreparedDecode(run=lambda: torch.full_like(inputs.decode.q, float("nan")))
    with pytest.raises(AssertionError, match="output errs by inf"):
        prove_attention(wrong, inputs, Oracle(inputs), None)


def test_a_selection_by_our_kernel_is_proved(cell, inputs):
    pages, selection = pages_of(cell, inputs)
    assert prove_selection(pages, inputs, Oracle(inputs), selection) == 0.0


def drop_current(pages, inputs):
    pages[..., -1] = -1


def repeat_a_page(pages, inputs):
    pages[..., 2] = pages[..., 1]


def keep_the_worst(pages, inputs):
    """The right number of pages in the right order, but the lowest scores instead of the highest."""
    num_free = pages.shape[2] - 3
    num_pages = -(-CONTEXT_LEN // PAGE_SIZE)
    worst = inputs.scores[0, 0, 1 : num_pages - 2].argsort()[:num_free].sort().values + 1
    pages[0, 0, 1 : 1 + num_free] = inputs.decode.block_table[0, worst]


def borrow_from_a_neighbour(pages, inputs):
    pages[0, 0, 1] = inputs.decode.block_table[1, 1]


def leave_a_hole(pages, inputs):
    pages[0, 0, 1] = -1


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (drop_current, "must keep num_pages distinct pages"),
        (repeat_a_page, "must ascend"),
        (keep_the_worst, "outscores a kept one"),
        (borrow_from_a_neighbour, "pages of its own request"),
        (leave_a_hole, "only in the tail"),
    ],
)
def test_a_spoilt_selection_is_refused(cell, inputs, spoil, complaint):
    pages, selection = pages_of(cell, inputs)
    spoil(pages, inputs)
    with pytest.raises(AssertionError, match=complaint):
        prove_selection(pages, inputs, Oracle(inputs), selection)


def test_scores_of_another_query_are_refused(inputs):
    assert prove_scores(inputs.scores, Oracle(inputs)) < 1e-4
    with pytest.raises(AssertionError, match="scores errs by"):
        prove_scores(inputs.scores.flip(1), Oracle(inputs))


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_page_that_exists_has_a_finite_score(inputs, value):
    scores = inputs.scores.clone()
    scores[1, 0, 3] = value
    with pytest.raises(AssertionError, match="must be finite exactly where a page exists"):
        prove_scores(scores, Oracle(inputs))


def test_an_append_that_writes_nothing_is_refused(inputs):
    with pytest.raises(AssertionError, match="must write the new token"):
        prove_append(lambda: None, inputs)


def test_an_append_that_forgets_the_summary_is_refused(inputs):
    forgetful = partial(api.append_kv, inputs.new_key, inputs.new_value, inputs.decode.cache)
    with pytest.raises(AssertionError, match="page summary errs by"):
        prove_append(forgetful, inputs)


def test_sparse_work_counts_the_partial_page_once(cell):
    dense = work_of(case_of(cell, PolicyKind.DENSE))
    search = work_of(case_of(cell, PageOperation.SCORE)) + work_of(case_of(cell, PageOperation.SELECT))
    attend = work_of(case_of(cell, PolicyKind.BLOCK_TOPK)).num_bytes - search.num_bytes
    unused_slots = 26 * PAGE_SIZE - CONTEXT_LEN
    saved_keys = CONTEXT_LEN - (KV_BUDGET - unused_slots)
    assert dense.num_bytes - attend == 2 * saved_keys * 2 * 8 * 128 * 4
