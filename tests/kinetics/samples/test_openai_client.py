"""A server is sent what it accepts, asked again when that can help, and given up on in one line."""

from __future__ import annotations

import threading
import time

import pytest

from kinetics.samples.log_writer import LostWork
from kinetics.samples.problems import Problem
from kinetics.samples.prompts import PAPER_TEMPLATE, PromptStyle
from kinetics.samples.trials import plan_trials
from kinetics.specs.generation import FinishReason, SamplingSettings
from tests.support.stub_server import DRIP, HANG, StubServer, good

pytest.importorskip("openai", reason="openai is not installed; pip install openai")
from kinetics.samples import openai_client
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
    monkeypatch.setattr(openai_client, "_MAX_ANSWER_BYTES", 1000)
    with (
        StubServer(script=[good()], rule=lambda _: good("x" * 2000)) as stub,
        pytest.raises(LostWork, match="1000 bytes"),
    ):
        list(connect(stub, max_retries=0)(TRIALS[:1]))
    with StubServer(script=[good()], rule=lambda _: DRIP) as stub, pytest.raises(LostWork, match="timed out"):
        list(connect(stub, max_retries=0, timeout_s=0.4)(TRIALS[:1]))


def test_half_a_surrogate_pair_in_an_answer_becomes_a_character():
    with StubServer(rule=lambda _: good("a\ud83d \\boxed{204}")) as stub:
        (answer,) = connect(stub)(TRIALS[:1])
    assert answer.text == "a\ufffd \\boxed{204}"
