"""Which samples are wanted, with which seeds; and what the log keeps of an answer."""

from __future__ import annotations

import json

import pytest

from kinetics.samples.answers import Answer, EngineAnswers, TrialEncoder
from kinetics.samples.evaluate import evaluate
from kinetics.samples.log_writer import SampleLog
from kinetics.samples.problems import Problem
from kinetics.samples.prompts import PromptStyle
from kinetics.samples.trials import Trial, plan_trials, seed_of
from kinetics.specs.generation import Completion, DecodeUsage, FinishReason, RepetitionRule, SamplingSettings

PROBLEMS = [Problem(problem_id=name, text=f"{name}?", gold=204) for name in ("a", "b", "c")]


class WordEncoder:
    """One token a character."""

    def encode(self, prompt):
        return tuple(map(ord, prompt))

    def decode(self, token_ids):
        return "".join(map(chr, token_ids))


def test_every_trial_has_a_seed_of_its_own_that_nothing_else_moves():
    trials = plan_trials(PROBLEMS, num_trials=8, seed=5, done=frozenset())
    assert len({trial.seed for trial in trials}) == 24
    alone = plan_trials(PROBLEMS[1:2], num_trials=9, seed=5, done=frozenset({("b", 0)}))
    assert {t.key: t.seed for t in trials if t.problem.problem_id == "b" and t.trial} == {
        t.key: t.seed for t in alone[:-1]
    }
    assert all(0 <= trial.seed < 2**31 for trial in trials)
    assert seed_of(6, "b", 1) != seed_of(5, "b", 1)


def test_a_seed_is_the_same_in_every_version():
    assert seed_of(0, "a", 0) == 1746515184


def test_only_missing_trials_are_planned_and_those_of_a_problem_stand_together():
    trials = plan_trials(PROBLEMS, num_trials=2, seed=0, done=frozenset({("a", 1), ("c", 0)}))
    assert [trial.key for trial in trials] == [("a", 0), ("b", 0), ("b", 1), ("c", 1)]


def test_an_engine_gets_prompts_caps_and_seeds_and_its_tokens_are_counted_as_they_are(tmp_path):
    seen = []

    def generate(requests):
        seen.extend(requests)
        for request in reversed(seen):
            text = "\\boxed{204}" if request.request_id == "a/0" else "hm"
            usage = DecodeUsage(num_tokens=len(text), decode_s=0.25, keys_read=3.5, energy_j=7.0)
            tokens = tuple(map(ord, text))
            yield Completion(request_id=request.request_id, token_ids=tokens, finish=FinishReason.STOP, usage=usage)

    rule, sampling = RepetitionRule(), SamplingSettings(temperature=1.0)
    trial_encoder = TrialEncoder(
        encoder=WordEncoder(), style=PromptStyle.PLAIN, max_new_tokens=9, sampling=sampling, repetition=rule
    )
    answers = EngineAnswers(generate=generate, trial_encoder=trial_encoder)
    trials = plan_trials(PROBLEMS[:2], num_trials=1, seed=0, done=frozenset())
    with SampleLog.create(tmp_path / "log.jsonl", {}) as log:
        assert evaluate(trials, answers, log, on_sample=lambda _: None) == []
    assert [(r.prompt_token_ids, r.max_new_tokens, r.seed, r.sampling, r.repetition) for r in seen] == [
        (tuple(map(ord, f"{t.problem.text}")), 9, t.seed, sampling, rule) for t in trials
    ]
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()[1:]]
    assert [(r["problem_id"], r["score"], r["answer"], r["generated_tokens"]) for r in records] == [
        ("b", 0.0, "", 2),
        ("a", 100.0, "204", 11),
    ]
    assert records[1]["prompt_tokens"] == 2
    assert records[1]["choices"] == ["204"]
    assert (records[1]["decode_s"], records[1]["row_keys"], records[1]["device_j"]) == (0.25, 3.5, 7.0)


def test_a_refused_trial_is_told_and_leaves_no_sample(tmp_path):
    def answer(trials):
        for trial in trials:
            completion = Completion.refused(trial.request_id, "too long")
            yield Answer(trial=trial, text="", prompt_tokens=1, completion=completion)

    told = []
    with SampleLog.create(tmp_path / "log.jsonl", {}) as log:
        trials = [Trial(problem=PROBLEMS[0], trial=0, seed=1)]
        (refused,) = evaluate(trials, answer, log, on_sample=told.append)
    assert (refused.key, refused.reason) == (("a", 0), "too long")
    assert len(told) == 1
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("finish", [FinishReason.LENGTH, FinishReason.REPETITION])
def test_a_finish_reason_is_kept_with_the_text(tmp_path, finish):
    def answer(trials):
        for trial in trials:
            completion = Completion(
                request_id=trial.request_id, token_ids=(1,), finish=finish, usage=DecodeUsage(num_tokens=1)
            )
            yield Answer(trial=trial, text="on and on", prompt_tokens=1, completion=completion)

    with SampleLog.create(tmp_path / "log.jsonl", {}) as log:
        evaluate([Trial(problem=PROBLEMS[0], trial=0, seed=1)], answer, log, on_sample=lambda _: None)
    record = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[1])
    assert (record["finish"], record["prediction"]) == (finish.value, ["on and on"])
