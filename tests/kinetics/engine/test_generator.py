"""Continuous batching gives each request the tokens it would get alone, shares prompts, and refuses one at a time."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from kinetics.engine import generator as engine_generator
from kinetics.engine.attention import AttentionSettings
from kinetics.engine.decode_step import DecodeBuffers, EagerStep, graph_unavailable_on
from kinetics.engine.decoder import Decoder
from kinetics.engine.generator import Generator
from kinetics.engine.sampling import sample
from kinetics.engine.step_meter import StepMeter
from kinetics.specs.generation import FinishReason, GenerationRequest, RepetitionRule, SamplingSettings
from kinetics.specs.policies import BlockTopK
from tests.support.decoding import Decoding, random_prompts
from tests.support.small_models import MAX_POSITION, VOCAB_SIZE

SETTINGS = AttentionSettings(backend="reference", num_splits=1)
PAPER = SamplingSettings(temperature=0.6, top_p=0.95, top_k=20)


def request(name, prompt, *, max_new_tokens=12, sampling=PAPER, seed=0):
    return GenerationRequest(
        request_id=name, prompt_token_ids=tuple(prompt), max_new_tokens=max_new_tokens, sampling=sampling, seed=seed
    )


def some_requests(num_trials=3):
    """Ragged prompts and caps, several trials each."""
    prompts = random_prompts([5, 33, 16, 50], vocab_size=VOCAB_SIZE)
    return [
        request(f"{question}/{trial}", prompt.tolist(), max_new_tokens=4 + 7 * trial + question, seed=trial)
        for question, prompt in enumerate(prompts)
        for trial in range(num_trials)
    ]


def make_generator(decoder, *, max_batch=4, num_pages=40, settings=SETTINGS, **options):
    return Generator(decoder, settings=settings, max_batch=max_batch, num_pages=num_pages, **options)


def tokens_by_id(completions):
    return {one.request_id: one.token_ids for one in completions}


@pytest.fixture
def decoder(load_model):
    return load_model("qwen3").ours


@pytest.mark.parametrize("family", ["qwen3", "qwen3_moe"])
def test_a_request_gets_the_same_tokens_alone_and_among_others(load_model, family):
    decoder = load_model(family).ours
    requests = some_requests()
    together = tokens_by_id(make_generator(decoder)(requests))
    assert {len(together[one.request_id]) for one in requests} == {one.max_new_tokens for one in requests}
    for one in requests[::4]:
        assert tokens_by_id(make_generator(decoder)([one])) == {one.request_id: together[one.request_id]}
    assert together["1/1"][:11] != together["1/2"][:11], "seeds must matter"


def test_greedy_generation_equals_transformers(load_model):
    model = load_model("qwen3")
    prompts = random_prompts([9, 40], vocab_size=VOCAB_SIZE, seed=3)
    greedy = [request(str(i), p.tolist(), sampling=SamplingSettings()) for i, p in enumerate(prompts)]
    ours = tokens_by_id(make_generator(model.ours)(greedy))
    for i, prompt in enumerate(prompts):
        mask = torch.ones(1, len(prompt), dtype=torch.long)
        theirs = model.theirs.generate(
            prompt[None], attention_mask=mask, max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0
        )
        assert list(ours[str(i)]) == theirs[0, len(prompt) :].tolist()


def test_trials_share_the_pages_of_their_prompt(decoder):
    prompt = random_prompts([100], vocab_size=VOCAB_SIZE)[0].tolist()
    trials = [request(str(trial), prompt, max_new_tokens=8, seed=trial) for trial in range(4)]
    # 7 pages of prompt once, one page of its own for each trial: 11, not 4 x 7.
    generator = make_generator(decoder, num_pages=11)
    completions = generator(trials)
    next(completions)
    assert len(list(completions)) == 3
    alone = tokens_by_id(make_generator(decoder)(trials[2:3]))
    assert tokens_by_id(make_generator(decoder, num_pages=11)(trials))["2"] == alone["2"]


@pytest.mark.parametrize("num_pages", [8, 11, 23])
def test_few_pages_make_requests_wait_and_all_finish(decoder, num_pages):
    requests = some_requests()
    generator = make_generator(decoder, num_pages=num_pages)
    assert tokens_by_id(generator(requests)) == tokens_by_id(make_generator(decoder)(requests))
    assert generator.cache.allocator.num_free == num_pages


def test_a_refused_request_does_not_stop_the_others(decoder):
    good = some_requests(num_trials=1)
    bad = [
        request("long", [1] * MAX_POSITION),
        request("empty", []),
        request("unknown token", [VOCAB_SIZE]),
        request("too many pages", [1] * 100, max_new_tokens=100),
        request("no room", [1], max_new_tokens=0),
    ]
    completions = list(make_generator(decoder, num_pages=8)([bad[0], good[0], *bad[1:], *good[1:]]))
    refused = {one.request_id: one.reason for one in completions if one.finish is FinishReason.REFUSED}
    assert refused.keys() == {one.request_id for one in bad}
    assert "must fit 512 tokens, got 512 + 12" in refused["long"]
    assert "may need 14 cache pages, the cache has 8" in refused["too many pages"]
    finished = {one.request_id for one in completions if one.finish is FinishReason.LENGTH}
    assert finished == {one.request_id for one in good}


def test_generation_stops_at_a_stop_token_and_keeps_it(decoder):
    prompt = random_prompts([20], vocab_size=VOCAB_SIZE)[0].tolist()
    free = tokens_by_id(make_generator(decoder)([request("a", prompt, max_new_tokens=30)]))["a"]
    stop = free[6]
    stopping = Decoder(dataclasses.replace(decoder.spec, eos_token_ids=(stop,)), decoder.weights)
    completion = next(iter(make_generator(stopping)([request("a", prompt, max_new_tokens=30)])))
    assert completion.finish is FinishReason.STOP
    assert completion.token_ids == free[: free.index(stop) + 1]


def test_a_prompt_kept_for_later_makes_way_for_a_request_that_needs_its_pages(decoder):
    first, second = (prompt.tolist() for prompt in random_prompts([60, 100], vocab_size=VOCAB_SIZE))
    requests = [request("a", first), request("big", second), request("b", first, seed=1)]
    generator = make_generator(decoder, num_pages=9)
    assert tokens_by_id(generator(requests)) == tokens_by_id(make_generator(decoder)(requests))


def test_a_caller_that_stops_listening_leaves_no_page_behind(decoder):
    generator = make_generator(decoder)
    completions = generator(some_requests())
    next(completions)
    completions.close()
    assert generator.cache.allocator.num_free == 40
    assert len(list(generator(some_requests(num_trials=1)))) == 4


def test_a_completion_tells_what_the_rows_of_its_steps_read(decoder):
    prompts = random_prompts([20, 9], vocab_size=VOCAB_SIZE)
    requests = [
        request("long", prompts[0].tolist(), max_new_tokens=6),
        request("short", prompts[1].tolist(), max_new_tokens=3),
    ]
    read = {one.request_id: one.usage.keys_read for one in make_generator(decoder, max_batch=4)(requests)}
    # The first token comes from the prefill. Of 4 rows two are idle, later three.
    steps = [(21 + 10) / 4, (22 + 11) / 4, 23 / 4, 24 / 4, 25 / 4]
    assert read == {"long": sum(steps) / 5, "short": sum(steps[:2]) / 2}


def test_a_completion_tells_the_joules_of_its_time_where_they_are_counted(decoder):
    reading = iter(range(0, 1000, 10))
    one = request("one", random_prompts([9], vocab_size=VOCAB_SIZE)[0].tolist(), max_new_tokens=3)
    (counted,) = make_generator(decoder, meter=StepMeter(lambda: float(next(reading))))([one])
    assert counted.usage.energy_j == 20.0, "two steps of ten joules: the first token comes from the prefill"
    (uncounted,) = make_generator(decoder)([one])
    assert uncounted.usage.energy_j is None


def test_sparse_generation_keeps_its_summaries_across_shared_prompts(decoder):
    policy = BlockTopK(block_size=16, top_blocks=1, num_local=16, num_sink_tokens=16, keeps_partial_block=True)
    settings = AttentionSettings(policy=policy, backend="reference", num_splits=1)
    prompt = random_prompts([133], vocab_size=VOCAB_SIZE)[0].tolist()
    trials = [request(str(trial), prompt, max_new_tokens=40, seed=trial) for trial in range(3)]
    together = tokens_by_id(make_generator(decoder, settings=settings)(trials))
    alone = tokens_by_id(make_generator(decoder, settings=settings)(trials[1:2]))
    assert alone["1"] == together["1"]
    dense = tokens_by_id(make_generator(decoder)(trials[1:2]))
    assert dense["1"] != alone["1"], "the policy must leave keys out"


def test_a_graph_is_refused_on_a_cpu_with_the_reason(decoder):
    assert "needs a CUDA device" in str(graph_unavailable_on(torch.device("cpu")))
    with pytest.raises(ValueError, match="decode eagerly"):
        make_generator(decoder, uses_graph=True)


def test_the_tokens_are_those_drawn_one_by_one_from_the_logits_of_each_place(decoder):
    wild = SamplingSettings(temperature=1.5)
    prompt = random_prompts([17], vocab_size=VOCAB_SIZE)[0]
    drawn, decoding = [], Decoding(decoder, [prompt], settings=SETTINGS)
    for place in range(30):
        drawn += sample(decoding.logits, [wild], [7], [place])
        decoding.step(torch.tensor(drawn[-1:]))
    one = request("a", prompt.tolist(), max_new_tokens=30, sampling=wild, seed=7)
    (completion,) = make_generator(decoder)([one])
    assert list(completion.token_ids) == drawn
    assert len(set(drawn)) > 10


def test_each_request_ends_by_its_own_rule_of_repetition(decoder):
    """Stop tokens make it circle: whatever is drawn, only one token is left."""
    prompt = random_prompts([9], vocab_size=VOCAB_SIZE)[0].tolist()
    one_token = SamplingSettings(temperature=1.0, top_k=1)
    head = decoder.weights.head.clone().zero_()
    circling = Decoder(decoder.spec, dataclasses.replace(decoder.weights, head=head))
    rules = {"none": None, "short": RepetitionRule(window=8), "long": RepetitionRule(window=16)}
    requests = [
        dataclasses.replace(request(name, prompt, max_new_tokens=40, sampling=one_token), repetition=rule)
        for name, rule in rules.items()
    ]
    done = {one.request_id: one for one in make_generator(circling)(requests)}
    assert {name: len(one.token_ids) for name, one in done.items()} == {"none": 40, "short": 8, "long": 16}
    assert {name: one.finish for name, one in done.items()} == {
        "none": FinishReason.LENGTH, "short": FinishReason.REPETITION, "long": FinishReason.REPETITION,
    }  # fmt: skip


@pytest.mark.parametrize(("asked", "longest"), [(40, 40), (None, MAX_POSITION), (10 * MAX_POSITION, MAX_POSITION)])
def test_prompt_and_answer_fit_the_context_asked_for_and_the_model(decoder, asked, longest):
    fits = request("fits", [1] * (longest - 3), max_new_tokens=3)
    too_long = request("too long", [1] * (longest - 3), max_new_tokens=4)
    done = {one.request_id: one for one in make_generator(decoder, max_context=asked)([fits, too_long])}
    assert len(done["fits"].token_ids) == 3
    assert f"must fit {longest} tokens, got {longest - 3} + 4" in done["too long"].reason


def test_the_clock_runs_from_the_layout_of_a_step_until_its_tokens_are_drawn(decoder, monkeypatch):
    """What a step does takes seconds of a known clock; what is outside takes none of them."""
    now_s, order = [0.0], []

    def taking(seconds, what, function):
        def timed(*args, **kwargs):
            order.append(what)
            now_s[0] += seconds
            return function(*args, **kwargs)

        return timed

    monkeypatch.setattr(engine_generator, "sample", taking(1.0, "draw", engine_generator.sample))
    monkeypatch.setattr(DecodeBuffers, "fill", taking(10.0, "fill", DecodeBuffers.fill))
    monkeypatch.setattr(EagerStep, "__call__", taking(100.0, "step", EagerStep.__call__))
    read_j = taking(1000.0, "joules", lambda: now_s[0])
    meter = StepMeter(read_j, clock=taking(0.0, "clock", lambda: now_s[0]))
    generator = make_generator(decoder, meter=meter)
    order.clear()
    (completion,) = generator([request("a", [1, 2, 3], max_new_tokens=3)])
    one_step = ["joules", "clock", "fill", "step", "draw", "clock", "joules"]
    assert order == ["draw", *one_step, *one_step], "the first token comes from the prefill"
    assert completion.usage.decode_s == 2 * 111.0
    assert completion.usage.energy_j == 2 * 1111.0
