"""A dataclass declares a verb's options once; no option of `generate` is lost on its way into a request."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from kinetics.cli.generate import GenerateOptions
from kinetics.cli.option_class import fields_of, options_from
from kinetics.generate.request import EngineName, PromptChoice
from kinetics.specs.policies import BlockSummary, PolicyKind


@dataclass(frozen=True)
class Options:
    name: Annotated[str, typer.Option(help="Whose.")]
    num_things: Annotated[int, typer.Option("--things", help="How many.")] = 3
    is_loud: Annotated[bool, typer.Option("--loud", help="Whether.")] = False


def run(*arguments: str) -> tuple[list[Options], Any]:
    seen: list[Options] = []
    app = typer.Typer()
    app.command()(options_from(Options)(seen.append))
    return seen, CliRunner().invoke(app, arguments)


def test_options_arrive_as_the_dataclass_with_its_defaults_and_flags():
    assert run("--name", "a")[0] == [Options(name="a")]
    assert run("--name", "a", "--things", "5", "--loud")[0] == [Options(name="a", num_things=5, is_loud=True)]


def test_what_has_no_default_must_be_given_and_unknown_options_are_refused():
    for arguments in ((), ("--name", "a", "--num-things", "5"), ("--name", "a", "--things", "x")):
        seen, result = run(*arguments)
        assert (seen, result.exit_code) == ([], 2)


def test_fields_of_takes_what_bears_the_same_name_and_lets_others_win():
    @dataclass(frozen=True)
    class Other:
        name: str
        is_loud: bool
        extra: int = 1

    assert fields_of(Other, Options(name="a", is_loud=True)) == Other(name="a", is_loud=True)
    assert fields_of(Other, Options(name="a"), name="b", extra=2) == Other(name="b", is_loud=False, extra=2)


DEFAULTS = GenerateOptions(model="m", attention=PolicyKind.BLOCK_TOPK, kv_budget=64)
OTHER_VALUES = {
    "model": "other", "dataset": "mini", "problems": Path("p.jsonl"), "num_questions": 7, "attention": PolicyKind.TOPK,
    "kv_budget": 128, "num_local": 16, "summary": BlockSummary.MIN_MAX, "num_sink_tokens": 0, "num_dense_layers": 1,
    "page_size": 32, "num_trials": 9, "max_new_tokens": 11, "temperature": 0.7, "top_p": 0.5, "top_k": 3,
    "repetition_window": 64, "prompt": PromptChoice.PLAIN, "seed": 5, "batch": 6, "num_threads": 2, "device": "cpu",
    "dtype": "bf16",
    "out": Path("elsewhere"), "resumes": True, "num_workers": 2, "ray_address": "auto", "engine": EngineName.OPENAI,
    "base_url": "http://host/v1", "architecture": "Qwen3-8B", "timeout_s": 3.0,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(OTHER_VALUES))
def test_every_option_of_generate_reaches_its_request(name):
    before, after = (asdict(one.request()) for one in (DEFAULTS, replace(DEFAULTS, **{name: OTHER_VALUES[name]})))
    assert before != after


def test_the_options_tried_are_all_there_are_but_the_form_of_the_output():
    assert {field.name for field in fields(GenerateOptions)} - OTHER_VALUES.keys() == {"as_json"}
    assert DEFAULTS.request(api_key="k").api_key == "k"


def test_no_repetition_window_is_no_rule():
    assert replace(DEFAULTS, repetition_window=0).request().repetition is None
