"""A step's work is that of its layers and its head; its memory is what the engine allocates; devices share both."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kinetics.cost.kernels import Work
from kinetics.cost.steps import StepShape, step_memory, step_parts
from kinetics.prediction.roofline import predict_parts
from kinetics.specs.ceilings import Ceilings
from kinetics.specs.models import find_model

CEILINGS = Ceilings(
    read_bytes_per_s=1e10,
    cached_read_bytes_per_s=9e10,
    copy_bytes_per_s=9e9,
    matmul_flop_per_s=1e11,
    launch_s=1e-6,
    cache_bytes=2**25,
)


def shape_of(name="Qwen3-8B", **changes):
    shape = StepShape(
        model=find_model(name), batch=4, context_len=8192, page_size=16, element_bytes=2, num_kept_pages=None
    )
    return replace(shape, **changes)


def total(shape):
    return sum(step_parts(shape).values(), Work(flop=0, num_bytes=0))


def test_dense_step_of_qwen3_8b_by_hand():
    parts = step_parts(shape_of())
    assert parts["weights"] == Work(flop=2 * 4 * 7_568_097_280, num_bytes=2 * 7_568_097_280)
    keys = 4 * 36 * 8192
    appended = 4 * 36 * 4 * 8 * 128 * 2
    q_and_out = 4 * 36 * 2 * 32 * 128 * 2
    assert parts["attention"].num_bytes == 2 * keys * 8 * 128 * 2 + appended + q_and_out
    assert parts["attention"].flop == 4 * keys * 32 * 128


def test_a_sparse_step_reads_fewer_keys_and_scores_every_page():
    dense, sparse = (step_parts(shape_of(num_kept_pages=kept))["attention"] for kept in (None, 64))
    summaries = 4 * 36 * 512 * 8 * 128 * 2
    kept = 4 * 36 * 2 * 64 * 16 * 8 * 128 * 2
    assert kept + summaries < sparse.num_bytes < 1.02 * (kept + summaries)
    assert sparse.num_bytes < dense.num_bytes / 3
    assert shape_of(num_kept_pages=64).num_launches - shape_of().num_launches == 2 * 36


def test_a_budget_beyond_the_context_reads_every_key_once():
    sparse = step_parts(shape_of(num_kept_pages=10_000))["attention"]
    dense = step_parts(shape_of())["attention"]
    summaries = 4 * 36 * 512 * 8 * 128 * 2
    assert summaries < sparse.num_bytes - dense.num_bytes < 1.5 * summaries


def test_a_batch_of_experts_fetches_those_it_hits():
    one, many = (step_parts(shape_of("Qwen3-30B-A3B", batch=batch))["weights"] for batch in (1, 64))
    assert one.num_bytes == 2 * find_model("Qwen3-30B-A3B").matmul_parameters_per_token
    assert 8 < many.num_bytes / one.num_bytes < 12
    assert many.flop == 64 * one.flop


def test_layers_add_up():
    one, two, three = (total(shape_of(model=replace(find_model("Qwen3-8B"), num_layers=n))) for n in (1, 2, 3))
    assert two.num_bytes - one.num_bytes == three.num_bytes - two.num_bytes
    assert two.flop - one.flop == three.flop - two.flop


@pytest.mark.parametrize("num_devices", [2, 8, 32])
def test_devices_share_weights_and_heads_and_pay_for_sums(num_devices):
    alone, shared = shape_of(), shape_of(num_devices=num_devices)
    parts, alone_parts = step_parts(shared), step_parts(alone)
    assert parts["weights"].num_bytes == alone_parts["weights"].num_bytes // num_devices
    copies = max(1, num_devices // 8)
    kv_share = parts["attention"].num_bytes * num_devices / copies / alone_parts["attention"].num_bytes
    assert kv_share == pytest.approx(1.0, rel=0.02)
    activations = 4 * 4096 * 2
    logits = 4 * shared.model.vocab_size * 2 * (num_devices - 1) // num_devices
    sums = (36 * 2 + 1) * (2 * activations * (num_devices - 1) // num_devices)
    assert parts["all_reduce"].num_bytes == sums + logits
    assert (alone.num_collectives, shared.num_collectives) == (0, 36 * 2 + 2)
    assert step_memory(shared).parts["weights"] == step_memory(alone).parts["weights"] // num_devices


def test_several_devices_need_a_link():
    parts = step_parts(shape_of(num_devices=2))
    with pytest.raises(ValueError, match="link_bytes_per_s must be given"):
        predict_parts(parts, CEILINGS, num_launches=1)
    slow, fast = (predict_parts(parts, CEILINGS, num_launches=1, link_bytes_per_s=rate) for rate in (1e8, 1e11))
    assert slow.part_s["all_reduce"] == pytest.approx(1000 * fast.part_s["all_reduce"])


def test_parts_follow_each_other_each_at_its_own_roof():
    parts = {"weights": Work(flop=10**10, num_bytes=10**8), "attention": Work(flop=10**8, num_bytes=3 * 10**9)}
    predicted = predict_parts(parts, CEILINGS, num_launches=1000)
    assert predicted.part_s == pytest.approx({"weights": 0.1, "attention": 0.3})
    assert predicted.total_s == pytest.approx(0.401)
    assert predicted.bound_by == "attention"


def test_memory_is_weights_and_pages():
    need = step_memory(shape_of(context_len=8193, num_kept_pages=64))
    assert need.parts["weights"] == 2 * find_model("Qwen3-8B").num_parameters
    assert need.parts["kv"] == 4 * 513 * 16 * find_model("Qwen3-8B").kv_bytes_per_token(2)
    assert need.parts["summaries"] == need.parts["kv"] // 32
    assert step_memory(shape_of()).parts["summaries"] == 0


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"context_len": 0}, {"num_devices": 0}, {"num_devices": 5}])
def test_shapes_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        shape_of(**wrong)


def test_a_wider_cache_changes_attention_and_memory_and_nothing_else():
    narrow, wide = shape_of(num_kept_pages=64), shape_of(num_kept_pages=64, kv_element_bytes=4)
    of_narrow, of_wide = step_parts(narrow), step_parts(wide)
    assert of_wide["attention"].num_bytes == pytest.approx(2 * of_narrow["attention"].num_bytes, rel=1e-2)
    assert (of_wide["weights"], of_wide["activations"]) == (of_narrow["weights"], of_narrow["activations"])
    assert step_memory(wide).parts["kv"] == 2 * step_memory(narrow).parts["kv"]
    assert step_memory(wide).parts["weights"] == step_memory(narrow).parts["weights"]


def test_pages_that_are_known_need_no_search():
    searched, known = (shape_of(num_kept_pages=64, num_summary_vectors=count) for count in (1, 0))
    assert step_parts(known)["attention"].num_bytes < step_parts(searched)["attention"].num_bytes
    assert searched.num_launches - known.num_launches == 2 * 36
    assert step_memory(known).parts["summaries"] == 0 < step_memory(searched).parts["summaries"]


def test_minima_and_maxima_are_twice_as_much_to_keep_and_to_search():
    known, mean, min_max = (shape_of(num_kept_pages=64, num_summary_vectors=count) for count in (0, 1, 2))
    assert step_memory(min_max).parts["summaries"] == 2 * step_memory(mean).parts["summaries"]
    read = [step_parts(shape)["attention"].num_bytes for shape in (known, mean, min_max)]
    assert read[0] < read[1] < read[2]


def test_logits_are_written_and_read_whatever_the_dtype():
    small = shape_of()
    large = replace(small, model=replace(small.model, vocab_size=small.model.vocab_size + 1000))
    grown = step_parts(large)["activations"].num_bytes - step_parts(small)["activations"].num_bytes
    assert grown == 4 * 2 * 1000 * 4  # batch, both ways, fp32


def test_every_chosen_expert_moves_its_own_activations():
    shape = shape_of("Qwen3-30B-A3B")
    model = shape.model
    fewer = replace(shape, model=replace(model, num_experts_per_token=model.num_experts_per_token - 1))
    saved = step_parts(shape)["activations"].num_bytes - step_parts(fewer)["activations"].num_bytes
    assert saved == 4 * model.num_layers * 3 * model.intermediate_size * 2  # gate, up and their product
