"""A server is sent what it accepts, asked again when that can help, and given up on in one line."""

from __future__ import annotations

import gzip
import threading
import time

import pytest
from hypothesis import given, settings

from kinetics.files.json_text import parse_json
from kinetics.samples.log_writer import LostWork
from kinetics.samples.problems import Problem
from kinetics.samples.prompts import PAPER_TEMPLATE, PromptStyle
from kinetics.samples.trials import plan_trials
from kinetics.specs.generation import FinishReason, SamplingSettings
from tests.support.hostile_json import hostile_lines
from tests.support.stub_server import DRIP, ENDLESS_ERROR, ERROR_DRIP, HANG, HEAD_DRIP, OPEN_DRIP, StubServer, good

pytest.importorskip("openai", reason="openai is not installed; pip install openai")
from kinetics.samples import bounded_client, openai_client
from kinetics.samples.openai_client import OpenAiAnswers, Server

PAPER = SamplingSettings(temperature=0.6, top_p=0.95, top_k=20)
TRIALS = plan_trials(
    [Problem(problem_id=name, text=f"{name}?", gold=204) for name in "ab"], num_trials=3, seed=0, done=frozenset()
)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(openai_client, "_FIRST_PAUSE_S", 0.01)


def connect(stub, *, timeout_s=20.0, max_retries=2, concurrency=4, say=lambda _: None):
    server = Server(base_url=stub.url, model="m", concurrency=concurrency, timeout_s=timeout_s, max_retries=max_retries)
    return OpenAiAnswers(server, style=PromptStyle.PAPER, max_new_tokens=9, sampling=PAPER, say=say)


def rejecting(field, status):
    """Servers name the field in different places: vLLM in `error`, `transformers serve` in `detail`."""
    message = f"Unexpected fields in the request: {{'{field}'}}"
    content = {"error": {"message": message}} if status == 400 else {"detail": message}

    def rule(body):
        return (status, content) if field in body else good()

    return rule


def test_answers_carry_text_counts_and_the_trial_they_are_of():
    with StubServer() as stub:
        answers = list(connect(stub)(TRIALS))
    assert {a.trial.key for a in answers} == {t.key for t in TRIALS}
    assert {(a.text, a.prompt_tokens, a.completion.usage.num_tokens, a.completion.finish) for a in answers} == {
        ("so \\boxed{204}", 7, 5, FinishReason.STOP)
    }
    sent = stub.bodies[1:]
    assert {(b["max_tokens"], b["temperature"], b["top_p"], b["top_k"]) for b in sent} == {(9, 0.6, 0.95, 20)}
    assert sorted(b["seed"] for b in sent) == sorted(t.seed for t in TRIALS)
    assert {b["messages"][0]["content"] for b in sent} == {f"{PAPER_TEMPLATE}{name}?" for name in "ab"}


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("field", ["top_k", "seed", "top_p"])
def test_a_field_that_the_server_rejects_is_left_out_and_said_so(field, status):
    with StubServer(rule=rejecting(field, status)) as stub:
        answers = connect(stub)
        assert answers.rejected == (field,)
        assert field not in answers.accepted
        assert len(list(answers(TRIALS))) == 6
        assert all(field not in body for body in stub.bodies[1:])


def test_a_request_that_the_server_cannot_run_is_refused_and_the_others_go_on():
    def rule(body):
        if "a?" in body["messages"][0]["content"]:
            return 400, {"error": {"message": "maximum context length is 8 tokens"}}
        return good()

    with StubServer(rule=rule) as stub:
        answers = list(connect(stub)(TRIALS))
    refused = [a for a in answers if a.completion.finish is FinishReason.REFUSED]
    assert {a.trial.problem.problem_id for a in refused} == {"a"}
    assert "maximum context length" in refused[0].completion.reason
    assert len(answers) == 6


def test_an_answer_that_the_server_always_cuts_for_its_own_reason_is_refused_and_the_others_go_on():
    def rule(body):
        return good(finish="content_filter" if "a?" in body["messages"][0]["content"] else "stop")

    with StubServer(rule=rule) as stub:
        answers = list(connect(stub, max_retries=1)(TRIALS))
    refused = [a for a in answers if a.completion.finish is FinishReason.REFUSED]
    assert {a.trial.problem.problem_id for a in refused} == {"a"}
    assert "'content_filter'" in refused[0].completion.reason
    assert len(answers) == 6


def test_what_was_on_its_way_when_the_server_broke_is_kept():
    def rule(body):
        if body["seed"] == TRIALS[0].seed:
            return 500, "oops"
        time.sleep(0.3)
        return good()

    with StubServer(script=[good()], rule=rule) as stub:
        answers = []
        with pytest.raises(LostWork, match="oops"):
            answers.extend(connect(stub, max_retries=0, concurrency=3)(TRIALS))
        assert len(stub.bodies) < 1 + len(TRIALS), "what had not been asked for need not be"
    assert len(answers) >= 2


@pytest.mark.parametrize(
    "hiccup",
    [
        (429, {"error": {"message": "slow down"}}),
        (500, "oops"),
        (503, ""),
        (200, "<html>not json"),
        (200, {"a": 1}),
        good(finish="content_filter"),
    ],
    ids=["429", "500", "503", "garbage", "no answer", "filtered"],
)
def test_what_trying_again_can_mend_is_tried_again(hiccup):
    with StubServer(script=[good(), hiccup, hiccup]) as stub:
        answers = list(connect(stub, concurrency=1)(TRIALS[:1]))
    assert [a.text for a in answers] == ["so \\boxed{204}"]
    assert len(stub.bodies) == 4


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((429, {"error": {"message": "slow down"}}), "slow down"),
        ((500, "oops"), "oops|500"),
        ((200, "<html>not json"), "got "),
        ((200, {"choices": []}), "choices and usage"),
        ((401, {"error": {"message": "who are you"}}), "who are you"),
    ],
)
def test_a_server_that_stays_broken_ends_the_run_in_one_line(answer, message):
    with StubServer(rule=lambda _: answer) as stub, pytest.raises(LostWork, match=message) as raised:
        connect(stub, max_retries=1)
    assert stub.url in str(raised.value)
    assert "--resume" in str(raised.value)
    assert "\n" not in str(raised.value)


def named(model):
    status, content = good()
    return status, content | {"model": model}


def test_a_server_that_renames_its_model_midway_ends_the_run_in_one_line():
    with StubServer(script=[named("old"), named("old")], rule=lambda _: named("new")) as stub:
        answers, found = connect(stub)(TRIALS), []
        with pytest.raises(LostWork, match="all answers must be of one model, got 'old' and then 'new'") as raised:
            found += answers
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("model", [None, 7, ""])
def test_a_server_that_names_no_model_is_believed(model):
    with StubServer(script=[named("old")], rule=lambda _: named(model)) as stub:
        assert len(list(connect(stub)(TRIALS))) == len(TRIALS)


def test_a_server_that_hangs_is_left_after_the_timeout():
    with StubServer(script=[good()], rule=lambda _: HANG) as stub:
        answers = connect(stub, timeout_s=0.5, max_retries=1)
        started_s = time.monotonic()
        with pytest.raises(LostWork, match="timed out"):
            list(answers(TRIALS[:1]))
        assert time.monotonic() - started_s < 10


def test_nobody_there_is_one_line():
    with StubServer() as stub:
        pass
    with pytest.raises(LostWork, match="Connection error"):
        connect(stub, max_retries=0)


def test_no_more_requests_are_open_than_allowed():
    def rule(_):
        time.sleep(0.05)
        return good()

    with StubServer(rule=rule) as stub:
        list(connect(stub, concurrency=2)(TRIALS))
    assert stub.most_at_once == 2


def test_an_answer_at_the_cap_was_cut_whatever_the_server_calls_it():
    with StubServer(rule=lambda _: good(generated=9)) as stub:
        (answer,) = connect(stub)(TRIALS[:1])
    assert answer.completion.finish is FinishReason.LENGTH


def test_thinking_that_the_server_splits_off_is_part_of_the_answer():
    status, content = good("so \\boxed{204}")
    content["choices"][0]["message"]["reasoning_content"] = "hm, "
    with StubServer(rule=lambda _: (status, content)) as stub:
        (answer,) = connect(stub)(TRIALS[:1])
    assert answer.text == "hm, so \\boxed{204}"


def test_a_long_pause_that_the_server_asks_for_is_said_once_and_ends_with_the_run():
    said = []
    busy = (429, {"error": {"message": "slow down"}}, ("Retry-After", "59"))
    with StubServer(script=[good()], rule=lambda _: busy) as stub:
        answers = connect(stub, say=said.append)
        ended = threading.Timer(0.5, answers.close)
        ended.start()
        started_s = time.monotonic()
        with pytest.raises(LostWork, match="slow down"):
            list(answers(TRIALS))
        ended.join()
    assert time.monotonic() - started_s < 20
    assert len(stub.bodies) == 1 + 4, "nobody asks again before the pause is over"
    (line,) = said
    assert line.startswith(f"{stub.url}: asked again in 59 s, got ")
    assert "slow down" in line


@pytest.mark.parametrize(
    ("asked", "waited_s"), [("0.2", 0.2), ("-1", 0.01), ("soon", 0.01), ("nan", 0.01), ("1e9", 0.3)]
)
def test_the_pause_is_the_one_asked_for_within_reason_and_short_ones_are_not_said(monkeypatch, asked, waited_s):
    monkeypatch.setattr(openai_client, "_MAX_ASKED_PAUSE_S", 0.3)
    said = []
    with StubServer(script=[good(), (503, "", ("Retry-After", asked))]) as stub:
        answers = connect(stub, concurrency=1, say=said.append)
        started_s = time.monotonic()
        list(answers(TRIALS[:1]))
    assert time.monotonic() - started_s >= waited_s
    assert said == []


def body(*, message='{"content": "a"}', prompt=1, generated=1, before=""):
    choices = f'"choices": [{{"message": {message}, "finish_reason": "stop"}}]'
    return f'{{{before}{choices}, "usage": {{"prompt_tokens": {prompt}, "completion_tokens": {generated}}}}}'


HOSTILE = {
    "deep": "[" * 100_000 + "]" * 100_000,
    "deep object": '{"a":' * 5000 + "1" + "}" * 5000,
    "huge number": body(prompt="9" * 900),
    "digits": body(prompt="9" * 9000),
    "true": body(prompt="true"),
    "uncounted": body(generated=0),
    "twice": body(before='"choices": [], '),
    "lists": body(message="[]"),
    "parts": body(message='{"content": [1]}'),
    "not text": body(message='{"content": 5}'),
    "lists of text": body(message='{"content": ["a"], "reasoning_content": ["b"]}'),
    "numbers as text": body(message='{"content": 5, "reasoning_content": 5}'),
    "object as text": body(message='{"content": {"a": 1}}'),
    "no message": body(message="null"),
    "choice of text": '{"choices": ["a"], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}',
    "choices of keys": '{"choices": {"0": 1}, "usage": {"prompt_tokens": 1, "completion_tokens": 1}}',
    "usage as list": '{"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "usage": [1]}',
    "negative": body(generated=-5),
    "a million": body(generated=1_000_000),
    "no prompt": body(prompt=0),
    "infinite": body(generated="Infinity"),
    "fraction": body(generated=1.5),
    "null": "null",
}


def test_the_hostile_answers_would_else_be_answers():
    with StubServer(rule=lambda _: (200, body())) as stub:
        assert [answer.text for answer in connect(stub)(TRIALS[:1])] == ["a"]


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_no_answer_of_a_server_ends_in_more_than_one_line(hostile):
    with StubServer(script=[good()], rule=lambda _: (200, hostile)) as stub, pytest.raises(LostWork) as raised:
        list(connect(stub, max_retries=1)(TRIALS[:1]))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


def test_an_answer_that_is_too_large_or_never_whole_is_given_up(monkeypatch):
    monkeypatch.setattr(bounded_client, "MAX_ANSWER_BYTES", 1000)
    with (
        StubServer(script=[good()], rule=lambda _: good("x" * 2000)) as stub,
        pytest.raises(LostWork, match="1000 bytes"),
    ):
        list(connect(stub, max_retries=0)(TRIALS[:1]))
    with StubServer(script=[good()], rule=lambda _: DRIP) as stub, pytest.raises(LostWork, match="timed out"):
        list(connect(stub, max_retries=0, timeout_s=0.4)(TRIALS[:1]))


@pytest.mark.parametrize("answer", [DRIP, HEAD_DRIP, ERROR_DRIP, OPEN_DRIP, HANG])
def test_the_timeout_is_that_of_a_whole_answer_whichever_part_of_it_drips(answer):
    with StubServer(script=[good()], rule=lambda _: answer) as stub:
        answers = connect(stub, max_retries=0, timeout_s=0.4)
        started_s = time.monotonic()
        with pytest.raises(LostWork, match=r"timed out: it was not whole after 0\.4 s"):
            list(answers(TRIALS[:1]))
        assert time.monotonic() - started_s < 5


def test_no_more_of_an_error_is_read_than_is_told():
    with StubServer(script=[good()], rule=lambda _: ENDLESS_ERROR) as stub:
        with pytest.raises(LostWork, match="status 500") as raised:
            list(connect(stub, max_retries=0)(TRIALS[:1]))
        assert len(str(raised.value)) < 500
        assert stub.num_written < 50 * 10**6


def test_a_packed_answer_is_not_unpacked():
    bomb = gzip.compress(b" " * 10**7)
    packed = (200, bomb.decode("latin-1"), ("Content-Encoding", "gzip"))
    with StubServer(script=[good()], rule=lambda _: packed) as stub:
        with pytest.raises(LostWork, match="an answer must come as it is, got it packed by gzip"):
            list(connect(stub, max_retries=0)(TRIALS[:1]))
        assert stub.headers[-1]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_and_not_asked_for_again(status):
    with (
        StubServer() as other,
        StubServer(rule=lambda _: (status, "", ("Location", f"{other.url}/\x1b[31mx"))) as stub,
        pytest.raises(LostWork, match=rf"got a redirect to {other.url}/\?\[31mx; ask there with --base-url"),
    ):
        connect(stub, max_retries=5)
    assert len(stub.bodies) == 1
    assert other.bodies == []


@pytest.mark.parametrize("silence", [HANG, DRIP])
def test_a_server_that_is_silent_at_once_is_asked_once(silence):
    with StubServer(rule=lambda _: silence) as stub:
        with pytest.raises(LostWork, match="timed out"):
            connect(stub, max_retries=6, timeout_s=0.3)
        assert len(stub.bodies) == 1


def test_a_server_that_counts_more_tokens_than_were_asked_for_ends_the_run():
    message = "an answer must have at most the 9 tokens asked for, got 10"
    with StubServer(rule=lambda _: good(generated=10)) as stub, pytest.raises(LostWork, match=message):
        list(connect(stub)(TRIALS[:1]))
    with StubServer(rule=lambda _: good(generated=9)) as stub:
        assert len(list(connect(stub)(TRIALS[:1]))) == 1


def test_a_server_that_counts_one_prompt_in_two_ways_ends_the_run():
    counts = iter([7, 7, 8])

    def rule(_):
        status, content = good()
        return status, content | {"usage": content["usage"] | {"prompt_tokens": next(counts)}}

    message = "a question must have one prompt, got 7 tokens and 8"
    with StubServer(rule=rule) as stub, pytest.raises(LostWork, match=message):
        list(connect(stub, concurrency=1)(TRIALS[:2]))


def test_hanging_up_ends_the_wait_for_an_answer():
    with StubServer(script=[good()], rule=lambda _: HANG) as stub:
        answers = connect(stub, max_retries=0, timeout_s=25)
        threading.Timer(0.3, answers.close).start()
        started_s = time.monotonic()
        with pytest.raises(LostWork):
            list(answers(TRIALS[:1]))
        assert time.monotonic() - started_s < 10


@settings(max_examples=120, derandomize=True, deadline=None)
@given(content=hostile_lines([good()[1]]))
def test_whatever_a_server_says_is_an_answer_or_one_line(content):
    try:
        answer = openai_client._parse(parse_json(content), max_tokens=9)
    except ValueError as error:
        said = str(error)
    else:
        said = str(answer.prompt_tokens)
        assert isinstance(answer.text, str)
        assert min(answer.prompt_tokens, answer.generated_tokens) >= 0
    assert "\n" not in said
    assert len(said) < 300


def test_half_a_surrogate_pair_in_an_answer_becomes_a_character():
    with StubServer(rule=lambda _: good("a\ud83d \\boxed{204}")) as stub:
        (answer,) = connect(stub)(TRIALS[:1])
    assert answer.text == "a\ufffd \\boxed{204}"
