"""Steps composed of fits: parts add up, more work takes longer, devices share, policies change what they should."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetics.prediction.silicon import ROOF, find_fit, measured_devices, roof_seconds, time_cases
from kinetics.prediction.silicon_cases import attention_cases, matmul_cases
from kinetics.prediction.step_silicon import StepQuery, apply_policy, is_roof_only, step_time
from kinetics.specs.attention_layers import BlockSparseAttention, GroupedQueryAttention
from kinetics.specs.cache_formats import find_cache_format
from kinetics.specs.hardware import find_accelerator
from kinetics.specs.known_models import find_architecture, known_model_names
from kinetics.specs.latent_layers import LatentAttention
from kinetics.specs.policies import BlockTopK, Dense, Local
from kinetics.specs.weight_formats import BF16

H200 = find_accelerator("H200")


def query(model="Qwen3-8B", **fields):
    return StepQuery(**({"architecture": find_architecture(model), "batch": 16, "context_len": 8192} | fields))


def time(model="Qwen3-8B", device=H200, framework="vllm", **fields):
    return step_time(query(model, **fields), device, framework)


def test_a_step_is_the_sum_of_its_parts_within_its_band():
    found = time()
    assert found.seconds == pytest.approx(sum(part.count * part.timing.seconds for part in found.parts))
    assert 0 < found.low_s < found.seconds < found.high_s
    assert found.fitted_fraction > 0.9
    assert not found.is_extrapolated


# Source: NVIDIA's estimator (aiconfigurator 0.12, static_gen, h200_sxm, vllm), batch and context: milliseconds
@pytest.mark.parametrize(
    ("batch", "context_len", "milliseconds"), [(1, 4096, 5.17), (1, 32768, 6.37), (64, 4096, 14.85), (64, 32768, 75.3)]
)
def test_qwen3_8b_on_h200_is_close_to_another_estimator(batch, context_len, milliseconds):
    assert time(batch=batch, context_len=context_len).seconds == pytest.approx(milliseconds * 1e-3, rel=0.10)


@given(
    model=st.sampled_from(("Qwen3-8B", "gpt-oss-120b", "DeepSeek-V3", "Qwen3.5-27B")),
    batch=st.sampled_from((1, 8, 64)), context_len=st.sampled_from((1024, 8192, 65_536)),
)  # fmt: skip
@settings(max_examples=25)
def test_longer_contexts_take_no_less_time(model, batch, context_len):
    shorter, longer = (time(model, batch=batch, context_len=c).seconds for c in (context_len, 2 * context_len))
    assert longer >= 0.999 * shorter


@pytest.mark.parametrize("model", known_model_names())
def test_every_known_model_has_a_time_that_no_roof_exceeds(model):
    found = time(model, batch=8, num_devices=2)
    assert found.seconds > 0
    assert all(part.timing.seconds > 0 for part in found.parts)


def test_devices_share_the_work_and_pay_for_the_sums():
    alone, shared = time("Qwen3-32B"), time("Qwen3-32B", num_devices=4)
    assert alone.seconds / 4 < shared.seconds < alone.seconds / 2
    sums = [part for part in shared.parts if part.name == "all-reduce"]
    assert [part.count for part in sums] == [2 * 64]
    assert "all-reduce" not in {part.name for part in alone.parts}


def test_devices_that_do_not_divide_the_heads_are_refused():
    with pytest.raises(ValueError, match="the number of devices must divide 32 query heads, got 3"):
        time(num_devices=3)
    with pytest.raises(ValueError, match="context_len must be at least 1, got 0"):
        query(context_len=0)
    with pytest.raises(ValueError, match="framework must be one of vllm, sglang, trtllm, got 'tgi'"):
        time(framework="tgi")


def test_a_device_without_fits_gets_its_roof_and_says_so():
    found = time(device=find_accelerator("MI300X"))
    assert is_roof_only(found)
    assert found.fitted_fraction == 0
    assert found.high_s > 1.5 * found.seconds
    assert len(measured_devices()) == 10


@pytest.mark.parametrize("device", ["H100", "H200", "B200"])
def test_sparse_latent_attention_pays_by_batch_and_context_not_by_context_alone(device):
    def ratio(batch, context_len):
        own, dense = (
            time("DeepSeek-V3.2", find_accelerator(device), batch=batch, context_len=context_len, policy=policy).seconds
            for policy in (None, Dense())
        )
        return dense / own

    assert ratio(1, 131_072) < 1.05
    assert ratio(256, 131_072) > 2
    assert ratio(64, 2048) < 1 < ratio(64, 65_536)


def test_policies_change_full_attention_and_leave_windows_and_states_alone():
    full = GroupedQueryAttention(num_q_heads=32, num_kv_heads=8, head_dim=128, value_dim=128)
    windowed = replace(full, window=128)
    blocks = BlockTopK(block_size=64, top_blocks=16)
    assert apply_policy(windowed, blocks) is windowed
    assert apply_policy(full, Dense()) is full
    assert apply_policy(full, Local(num_local=256)) == replace(full, window=256)
    sparse = apply_policy(full, blocks)
    assert isinstance(sparse, BlockSparseAttention)
    assert (sparse.block_size, sparse.top_blocks, sparse.index_dim) == (64, 16, 8 * 128 // 64)
    _, mixer = next(iter(find_architecture("DeepSeek-V3.2").mixers()))
    assert isinstance(mixer, LatentAttention)
    assert apply_policy(mixer, Dense()) == replace(mixer, indexer=None)
    with pytest.raises(ValueError, match="a sparse policy must be for grouped-query attention"):
        apply_policy(mixer, blocks)


def test_block_top_k_overtakes_dense_as_batch_times_context_grows():
    policy = BlockTopK(block_size=64, top_blocks=16)
    dense, sparse = (time(batch=64, context_len=131_072, policy=one).seconds for one in (Dense(), policy))
    assert sparse < dense / 2


def test_keys_kept_in_half_the_bytes_are_read_faster():
    assert (
        time(batch=64, context_len=32_768, cache=find_cache_format("fp8")).seconds
        < time(batch=64, context_len=32_768).seconds
    )


def test_another_framework_stands_in_and_is_named_and_a_roof_where_none_does():
    cases = matmul_cases(BF16, rows=[8], inputs=[4096], outputs=[4096], is_thin=True)
    own = time_cases(cases, H200, "vllm")
    assert own.source == "fit"
    only_sglang = [fit for fit in [find_fit(cases, H200, "sglang")] if fit]
    assert time_cases(cases, H200, "vllm", fits=only_sglang).source == "fit of sglang"
    nothing = time_cases(cases, H200, "vllm", fits=[])
    assert (nothing.source, nothing.is_roof) == (ROOF, True)
    assert nothing.seconds == roof_seconds(cases, H200) < own.seconds


def test_a_context_beyond_the_fit_is_answered_and_marked():
    one = GroupedQueryAttention(num_q_heads=32, num_kv_heads=8, head_dim=128, value_dim=128)
    far = attention_cases(one, find_cache_format("bf16"), batch=[64], context_len=[10_000_000])
    found = time_cases(far, H200, "vllm")
    assert found.outside == ("context_len",)
    assert time(context_len=10_000_000).is_extrapolated
