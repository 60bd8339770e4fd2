"""Names and policies that follow from what is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinetics.generate.request import GenerateRequest, PolicyChoice, choose_problems, log_path, max_new_tokens
from kinetics.specs.policies import BlockTopK, Dense, Local, PolicyKind, TopK


def test_a_choice_becomes_a_policy_whose_blocks_are_pages():
    block = PolicyChoice(attention=PolicyKind.BLOCK_TOPK, kv_budget=1024, num_local=64, num_sink_tokens=16)
    assert block.policy() == BlockTopK(
        block_size=16, top_blocks=60, num_local=64, num_sink_tokens=16, keeps_partial_block=True
    )
    assert block.policy().kv_budget == 1024
    assert PolicyChoice().policy() == Dense()
    assert PolicyChoice(attention=PolicyKind.TOPK, kv_budget=100).policy() == TopK(kv_budget=100)
    assert PolicyChoice(attention=PolicyKind.LOCAL, kv_budget=64, num_sink_tokens=0).policy() == Local(num_local=64)


@pytest.mark.parametrize("kind", PolicyKind)
@pytest.mark.parametrize("given", [None, 0, 64])
def test_a_page_of_sinks_is_kept_unless_said_and_none_only_with_a_remark(kind, given):
    choice = PolicyChoice(
        attention=kind, kv_budget=64 * kind.has_kv_budget, page_size=32,
        num_sink_tokens=given if kind.has_kv_budget else None,
    )  # fmt: skip
    needs_sinks = kind in (PolicyKind.BLOCK_TOPK, PolicyKind.LOCAL)
    expected = given if given is not None and kind.has_kv_budget else 32 * needs_sinks
    assert getattr(choice.policy(), "num_sink_tokens", 0) == expected
    assert ("--sink-tokens 32, the default, keeps one page" in choice.remark) == (needs_sinks and given == 0)
    assert bool(choice.remark) == (needs_sinks and given == 0)


def test_logs_are_named_as_published_files_are_and_unlike_runs_unlike():
    def name(**options):
        return log_path(GenerateRequest(out=Path("runs"), **options)).name

    assert name(model="Qwen/Qwen3-0.6B", dataset="aime24") == "aime24_Qwen3-0.6B_dense.jsonl"
    sparse = PolicyChoice(
        attention=PolicyKind.BLOCK_TOPK, kv_budget=32, num_sink_tokens=16, num_dense_layers=1, page_size=16
    )
    assert name(model="own_model", dataset="aime25", choice=sparse) == (
        "aime25_own-model_block16_blocktopk2_partial_sink16_dense1.jsonl"
    )
    assert name(model="m", problems=Path("x/my_set.csv")) == "my-set_m_dense.jsonl"


def test_a_name_longer_than_a_file_may_have_is_refused_before_anything_runs():
    request = GenerateRequest(model="m" * 250, dataset="aime24", out=Path("runs"))
    with pytest.raises(ValueError, match=r"at most 247 bytes, got 269 for data set, model and policy .*shorter name"):
        log_path(request)


def test_the_cap_is_the_paper_s_unless_given_or_the_miniature_s():
    from kinetics.mini.family import MAX_NEW_TOKENS

    def cap(**options):
        return max_new_tokens(GenerateRequest(model="m", out=Path("runs"), **options))

    assert cap(dataset="aime24") == 30767
    assert cap(dataset="mini") == MAX_NEW_TOKENS
    assert cap(dataset="aime24", max_new_tokens=5) == 5


def test_the_miniature_s_problems_are_the_first_of_its_test_set():
    problems = choose_problems(GenerateRequest(model="m", out=Path("runs"), dataset="mini", num_questions=3))
    assert len(problems) == 3
    assert all(0 <= problem.gold <= 999 for problem in problems)
    more = choose_problems(GenerateRequest(model="m", out=Path("runs"), dataset="mini", num_questions=5))
    assert more[:3] == problems


def test_an_unknown_data_set_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"one of aime24, aime25, .*got 'aime23'"):
        choose_problems(GenerateRequest(model="m", out=Path("runs"), dataset="aime23"))
