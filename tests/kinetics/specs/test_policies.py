"""Closed-form sums of keys and blocks equal the loop over steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics.cost.answers import sum_steps
from kinetics.specs.policies import BlockSummary, BlockTopK, Dense, Local, TopK, num_read, policy_label
from kinetics.specs.policy_options import parse_attention, parse_policy

block_policies = st.builds(
    BlockTopK,
    block_size=st.integers(1, 20),
    top_blocks=st.integers(1, 6),
    num_local=st.integers(0, 9),
    num_sink_tokens=st.integers(0, 5),
    keeps_partial_block=st.booleans(),
    summary=st.sampled_from(BlockSummary),
)
policies = st.one_of(
    st.just(Dense()),
    st.builds(TopK, kv_budget=st.integers(1, 50), num_sink_tokens=st.integers(0, 5)),
    st.builds(Local, num_local=st.integers(1, 50), num_sink_tokens=st.integers(0, 5)),
    block_policies,
)


@given(policies, st.integers(0, 200))
def test_summed_keys_equal_the_loop_over_steps(policy, context_len):
    assert policy.sum_keys(context_len) == sum(policy.num_keys(n) for n in range(1, context_len + 1))


@given(block_policies, st.integers(0, 200))
def test_summed_blocks_equal_the_loop_over_steps(policy, context_len):
    assert policy.sum_blocks(context_len) == sum(policy.num_blocks(n) for n in range(1, context_len + 1))


@given(policies, st.integers(0, 50), st.integers(1, 60))
def test_what_steps_read_sums_to_what_an_answer_costs(policy, prompt_len, generated):
    sums = sum_steps(policy, prompt_len=prompt_len, generated=generated)
    read = sum(num_read(policy, prompt_len + step) for step in range(1, generated + 1))
    assert read == sums.attended_keys + sums.scored_vectors


@given(policies, st.integers(0, 200))
def test_no_policy_attends_more_keys_than_there_are(policy, context_len):
    assert 0 <= policy.num_keys(context_len) <= context_len


def test_sinks_and_partial_blocks_add_what_engines_were_seen_to_add():
    # 4 sinks and on average 63.5 keys of the partial block on top of 128: 195.5 keys a step.
    policy = BlockTopK(block_size=128, top_blocks=1, num_sink_tokens=4, keeps_partial_block=True)
    steps = range(128 * 50, 128 * 60)
    assert sum(policy.num_keys(n) for n in steps) / len(steps) == 195.5


@pytest.mark.parametrize(
    "make",
    [lambda: TopK(kv_budget=0), lambda: Local(num_local=0), lambda: BlockTopK(block_size=0, top_blocks=1)],
)
def test_an_empty_budget_is_an_error(make):
    with pytest.raises(ValueError, match=r"must be at least 1, got 0"):
        make()


@given(policies, st.integers(0, 3))
def test_unlike_policies_never_share_a_label_since_each_is_read_back(policy, num_dense_layers):
    label = policy_label(policy, num_dense_layers=num_dense_layers)
    assert parse_attention(label) == (policy, 0 if isinstance(policy, Dense) else num_dense_layers)
    assert set(label) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")


def test_a_label_says_no_more_than_differs_from_what_was_published():
    assert policy_label(BlockTopK(block_size=128, top_blocks=1)) == "block128_blocktopk1"
    assert parse_policy("local64_topk192") == TopK(kv_budget=256)


@pytest.mark.parametrize(
    "label",
    ["", "dense_sink16", "dense_dense1", "topk4_minmax", "local4_partial", "block16_sink16", "sink16", "topk4_sink",
     "topk4_dense1_sink16", "block16_blocktopk2_partial_minmax", "topk4_sink16_extra"],
)  # fmt: skip
def test_what_is_no_label_is_refused_with_those_there_are(label):
    with pytest.raises(ValueError, match=r"policy must read dense, topk256, .*_minmax, _partial, _sink16"):
        parse_attention(label)


def test_dense_layers_are_refused_where_all_layers_attend_alike():
    with pytest.raises(ValueError, match=r"the same in every layer here, got 'topk4_dense1'; leave _dense out"):
        parse_policy("topk4_dense1")
