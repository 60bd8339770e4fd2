"""The per-step counts, and the purity and speed of the file they live in."""

import subprocess
import sys

import pytest

from kinetics.cost.kernels import (
    Work,
    append_work,
    block_topk_work,
    dense_attention_work,
    page_score_work,
    page_select_work,
    sparse_attention_work,
)

SHAPE = {"num_q_heads": 32, "num_kv_heads": 8, "head_dim": 128}


def test_dense_step_of_qwen3_8b_counts_by_hand():
    work = dense_attention_work(batch=4, context_len=8192, element_bytes=2, **SHAPE)
    assert work.flop == 4 * 8192 * (2 * 32 * 128 + 2 * 32 * 128)
    assert work.num_bytes == 4 * 2 * (8192 * 8 * 128 + 8192 * 8 * 128 + 32 * 128 + 32 * 128)


def test_sparse_step_over_every_key_is_the_dense_step():
    dense = dense_attention_work(batch=3, context_len=97, element_bytes=4, **SHAPE)
    assert sparse_attention_work(batch=3, num_keys=97, element_bytes=4, **SHAPE) == dense


@pytest.mark.parametrize(("num_summary_vectors", "num_vectors"), [(0, 4), (1, 4 + 6 + 1), (2, 4 + 6 + 2)])
def test_append_moves_keys_values_and_the_summary(num_summary_vectors, num_vectors):
    work = append_work(
        batch=5,
        num_kv_heads=8,
        head_dim=128,
        element_bytes=2,
        tokens_in_page=7,
        page_size=16,
        num_summary_vectors=num_summary_vectors,
    )
    assert work.num_bytes == 5 * num_vectors * 8 * 128 * 2
    assert work.flop == 5 * num_summary_vectors * 7 * 8 * 128


def test_the_sparse_path_is_the_sum_of_its_parts():
    score = page_score_work(batch=2, num_pages=64, element_bytes=2, num_summary_vectors=2, **SHAPE)
    select = page_select_work(batch=2, num_pages=64, num_kept_pages=8, num_kv_heads=8)
    attend = sparse_attention_work(batch=2, num_keys=120, element_bytes=2, **SHAPE)
    path = block_topk_work(
        batch=2, num_pages=64, num_kept_pages=8, num_keys=120, element_bytes=2, num_summary_vectors=2, **SHAPE
    )
    assert path == score + select + attend
    assert score.num_bytes == 2 * (64 * 2 * 8 * 128 * 2 + 32 * 128 * 2 + 64 * 8 * 4)
    assert select == Work(flop=0, num_bytes=2 * 4 * (64 * 8 + 64 + 8 * 8))


def test_keeping_more_pages_than_exist_writes_only_those_that_exist():
    at_most = page_select_work(batch=1, num_pages=4, num_kept_pages=4, num_kv_heads=2)
    assert page_select_work(batch=1, num_pages=4, num_kept_pages=9, num_kv_heads=2) == at_most


def test_work_scales_and_adds():
    work = Work(flop=3, num_bytes=5)
    assert 2 * work + work * 1 == Work(flop=9, num_bytes=15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dense_attention_work(batch=0, context_len=1, element_bytes=2, **SHAPE), "batch must be at least 1"),
        (
            lambda: sparse_attention_work(
                batch=1, num_keys=1, num_q_heads=6, num_kv_heads=4, head_dim=64, element_bytes=2
            ),
            "num_kv_heads must divide num_q_heads, got num_q_heads=6 and num_kv_heads=4",
        ),
        (
            lambda: append_work(
                batch=1,
                num_kv_heads=1,
                head_dim=64,
                element_bytes=2,
                tokens_in_page=17,
                page_size=16,
                num_summary_vectors=1,
            ),
            "tokens_in_page must not exceed page_size, got tokens_in_page=17 and page_size=16",
        ),
    ],
)
def test_an_impossible_step_is_an_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_analytic_half_imports_nothing_heavy():
    code = "import sys, kinetics.cost.answers, kinetics.cost.published, kinetics.specs.hardware; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "triton", "numba", "numpy", "matplotlib", "pandas", "transformers"} & set(loaded)
