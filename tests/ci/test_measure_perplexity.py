"""Perplexity through decode steps: that of transformers when every key is kept, and worse the less is kept."""

from __future__ import annotations

import math
import re

import pytest
import torch

from kinetics.engine.checkpoint import load_weights, read_spec
from kinetics.engine.decoder import Decoder
from kinetics.samples.prompts import PlainEncoder
from kinetics.specs.policies import Dense
from tests.support.scripts import script
from tests.support.tiny_model import save_tiny_model

pytest.importorskip("transformers")
TEXT = "Find the remainder when 2024 is divided by 7. Solve the problem efficiently. " * 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def test_dense_steps_and_steps_that_keep_every_page_score_as_transformers_does(folder):
    from transformers import AutoModelForCausalLM

    module = script("measure_perplexity")
    tokens = torch.tensor(PlainEncoder(folder).encode(TEXT)[:160]).view(2, 80)
    spec = read_spec(folder)
    decoder = Decoder(spec, load_weights(folder, spec.model, device="cpu", dtype=torch.float32))
    with torch.inference_mode():
        logits = AutoModelForCausalLM.from_pretrained(folder).eval()(tokens).logits[:, 49:-1]
    expected = math.exp(torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 50:].flatten()).item())
    for policy in (Dense(), module.policies(80)[1]):
        assert module.perplexity(decoder, tokens, policy, context=50) == pytest.approx(expected, rel=1e-4)
    kept_less = module.perplexity(decoder, tokens, module.policies(80)[1].__class__(
        block_size=16, top_blocks=1, keeps_partial_block=True), context=50)  # fmt: skip
    assert kept_less != pytest.approx(expected, rel=1e-3)


def test_the_table_has_a_row_a_policy_and_a_column_a_text(folder, tmp_path, capsys):
    for name in ("code.py", "prose.txt"):
        (tmp_path / name).write_text(TEXT)
    texts = [str(tmp_path / name) for name in ("code.py", "prose.txt")]
    script("measure_perplexity").main([str(folder), *texts, "--context", "96", "--kept", "80", "--scored", "20"])
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head == "| attention | code.py | prose.txt |"
    names = [re.fullmatch(r"\| `(\w+)` \| [\d.]+ \| [\d.]+ \|", row).group(1) for row in rows]
    assert names == [
        "dense", "block16_blocktopk5_partial", "block16_blocktopk5_partial_sink16",
        "local64_block16_blocktopk1_partial", "block16_blocktopk5_minmax_partial",
        "block16_blocktopk5_minmax_partial_sink16",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kept", "100"], "--kept must be a multiple of 16 above 64, got 100"),
        (["--context", "4k"], r"--context \+ --scored must be at most the model's 1024|must hold --context"),
        (["--context", "0"], "both above 0"),
    ],
)
def test_what_cannot_be_measured_is_one_line(folder, tmp_path, capsys, options, message):
    (tmp_path / "t.txt").write_text(TEXT)
    with pytest.raises(SystemExit):
        script("measure_perplexity").main([str(folder), str(tmp_path / "t.txt"), *options])
    assert re.search(message, capsys.readouterr().err)
