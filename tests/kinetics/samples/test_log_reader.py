"""The pipeline from text: paper-format files in, the plain loops' accuracy out; bad files named by file and line."""

import json
import math
import random
from dataclasses import asdict, replace

import numpy as np
import pytest

from kinetics.cost.published import paper_cost
from kinetics.files.lines import MAX_LINE_BYTES, DataFileError
from kinetics.law.allocation import allocate
from kinetics.law.cost_models import PublishedCost
from kinetics.law.strategies import tabulate
from kinetics.samples.grading import grade_strict
from kinetics.samples.log_header import read_header
from kinetics.samples.log_reader import read_trace_answers, read_trace_file
from kinetics.samples.problems import question_id
from kinetics.samples.tokenizers import FileTokenizer, WordTokenizer, open_tokenizer
from kinetics.samples.trace_answers import TraceRules
from kinetics.specs.generation import DecodeUsage
from kinetics.specs.models import find_model
from kinetics.specs.policies import BlockTopK, Dense, Local, TopK, policy_label
from kinetics.specs.policy_options import parse_policy

WORDS = TraceRules(tokenizer=WordTokenizer(), grader=None, template_tokens=10)
FILES = {
    "aime24_qwen3-0-6b_dense.jsonl": {"attn_local": None},
    "aime24_qwen3-0-6b_local0_topk64.jsonl": {"attn_local": 0, "attn_topk": 64},
    "aime24_qwen3-0-6b_local0_block32_blocktopk4.jsonl": {
        "attn_local": 0,
        "attn_topk": 0,
        "attn_block_size": 32,
        "attn_block_topk": 4,
    },
}


def make_samples(seed):
    """{question: (gold, [(answer, length)])}, as a sample table would have them."""
    rng = random.Random(seed)
    samples = {}
    for i in range(5):
        gold = rng.randint(0, 999)
        answers = [(gold if rng.random() < 0.4 else rng.randint(0, 999), rng.randint(20, 900)) for _ in range(4)]
        samples[f"Question {i}:  what is  it?"] = (gold, answers)
    return samples


def write_traces(path, samples, metadata):
    """The paper's format: a metadata line, then one answer a line, the box padded to the answer's token length."""
    lines = [json.dumps(metadata)] if metadata is not None else []
    for i in range(4):
        for question, (gold, answers) in samples.items():
            answer, length = answers[i]
            text = " ".join(["hm"] * (length - 1) + [f"\\boxed{{{answer}}}"])
            score = 100.0 if answer == gold else 0.0
            lines.append(json.dumps({"query": question, "choices": [str(gold)], "prediction": [text], "score": score}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def trace_files(tmp_path):
    tables = {name: make_samples(seed) for seed, name in enumerate(FILES)}
    golds = {question: gold for question, (gold, _) in next(iter(tables.values())).items()}
    for name, table in tables.items():
        for question, (old_gold, answers) in table.items():
            gold = golds[question]
            table[question] = (gold, [(gold if answer == old_gold else answer, n) for answer, n in answers])
        write_traces(tmp_path / name, table, FILES[name])
    return tmp_path, tables


def loop_accuracy(tables, cap, *, is_best_of_n):
    """Algorithms 1 and 2 in plain loops, with the published costs."""
    model, policies = find_model("Qwen3-0.6B"), [Dense(), TopK(kv_budget=64), BlockTopK(block_size=32, top_blocks=4)]
    scores = []
    for question in next(iter(tables.values())):
        best = 0.0
        for policy, table in zip(policies, tables.values(), strict=True):
            gold, answers = table[question]
            choices = (1, 2, 4) if is_best_of_n else (100, 400, 1000)
            for choice in choices:
                trials, lengths = (choice, [n for _, n in answers]) if is_best_of_n else (1, None)
                lengths = lengths or [min(n, choice) for _, n in answers]
                prompt_len = 10 + len(question.split())
                costs = [paper_cost(model, policy, prompt_len=prompt_len, generated=n, trials=trials) for n in lengths]
                if sum(cost.compute + cost.memory for cost in costs) / len(costs) > cap:
                    continue
                if is_best_of_n:
                    wrong = sum(answer != gold for answer, _ in answers)
                    score = 1 - math.prod((wrong - i) / (4 - i) for i in range(trials))
                else:
                    score = sum(answer == gold and n <= choice for answer, n in answers) / 4
                best = max(best, score)
        scores.append(best)
    return sum(scores) / len(scores)


CAPS = [0.2, 0.5, 0.8, 1.2, 1.8, 3.0, 5.0, 50.0]


@pytest.mark.parametrize("cap", CAPS)
def test_accuracy_from_text_equals_the_plain_loops(trace_files, cap):
    folder, tables = trace_files
    sets = [read_trace_file(folder / name, WORDS).samples for name in FILES]
    models = {"eflop": PublishedCost(model=find_model("Qwen3-0.6B"))}
    grid = np.array([cap])
    best_of_n, long_cot = (
        allocate(
            tabulate(sets, trials=trials, caps_of=lambda _, caps=caps: caps, cost_models_of=lambda _: models),
            "eflop",
            grid,
        ).accuracy.mean()
        for trials, caps in (((1, 2, 4), (None,)), ((1,), (100, 400, 1000)))
    )
    assert best_of_n == pytest.approx(loop_accuracy(tables, cap, is_best_of_n=True), abs=1e-12)
    assert long_cot == pytest.approx(loop_accuracy(tables, cap, is_best_of_n=False), abs=1e-12)


def test_the_caps_of_that_test_bind(trace_files):
    _, tables = trace_files
    for is_best_of_n in (True, False):
        assert len({loop_accuracy(tables, cap, is_best_of_n=is_best_of_n) for cap in CAPS}) >= 4


def test_grading_cut_texts_counts_what_the_cut_still_shows(trace_files):
    folder, _ = trace_files
    name = "aime24_qwen3-0-6b_dense.jsonl"
    plain = read_trace_file(folder / name, WORDS).samples
    cut = read_trace_file(
        folder / name, TraceRules(tokenizer=WordTokenizer(), grader=grade_strict, cut_budgets=(400,))
    ).samples
    for before, after in zip(plain.questions, cut.questions, strict=True):
        expected = tuple(ok and n <= 400 for ok, n in zip(before.is_correct, before.lengths, strict=True))
        assert after.graded_cuts == {400: expected}


def test_questions_are_told_apart_by_text_not_by_order_or_spacing(tmp_path):
    samples = make_samples(0)
    shuffled = {f" {question.replace('  ', ' ')}\n": samples[question] for question in reversed(samples)}
    paths = [tmp_path / "aime24_qwen3-8b_dense.jsonl", tmp_path / "aime24_qwen3-8b_local0_topk64.jsonl"]
    write_traces(paths[0], samples, None)
    write_traces(paths[1], shuffled, None)
    first, second = (read_trace_file(path, WORDS).samples for path in paths)
    assert first.question_ids == second.question_ids
    assert question_id("a\u00a0b  c") == question_id("a b c")


def test_stored_token_ids_come_before_tokenising(tmp_path):
    path = tmp_path / "aime24_qwen3-8b_dense.jsonl"
    record = {"query": "q", "choices": ["5"], "prediction": ["\\boxed{5}"], "score": 1, "token_ids": [1, 2, 3]}
    path.write_text(json.dumps(record))
    samples = read_trace_file(path, TraceRules(tokenizer=None, grader=None)).samples
    assert samples.questions[0].lengths == (3,)


@pytest.mark.parametrize(
    ("name", "metadata", "policy"),
    [
        ("aime24_qwen3-8b_dense.jsonl", {"task": "aime24", "pass@1": 1.0, "total_example": 30, "pass@N": 1}, Dense()),
        ("aime24_qwen3-8b_local0_topk256.jsonl", {"task": "aime24", "pass@1": 0.5}, TopK(kv_budget=256)),
        ("aime24_qwen3-30b-a3b_local128_topk128_ntrial.jsonl", None, TopK(kv_budget=256)),
        ("aime24_qwen3-8b_local64.jsonl", None, Local(num_local=64)),
        ("any.jsonl", {"model": "Qwen/Qwen3-8B", "attn_local": 4, "attn_block_size": 16, "attn_block_topk": 2},
         BlockTopK(block_size=16, top_blocks=2, num_local=4)),
        ("any.jsonl", {"model": "Qwen3-8B", "attn_local": None}, Dense()),
    ],
)  # fmt: skip
def test_attention_comes_from_metadata_else_from_the_file_name(tmp_path, name, metadata, policy):
    assert read_header(tmp_path / name, metadata).policy == policy


@pytest.mark.parametrize(
    "policy", [Dense(), TopK(kv_budget=7), Local(num_local=3), BlockTopK(block_size=8, top_blocks=2)]
)
def test_policy_labels_are_read_back(policy):
    assert parse_policy(policy_label(policy)) == policy


def test_a_layer_that_ran_dense_is_reported(tmp_path):
    path = tmp_path / "aime24_qwen3-8b_local0_topk64.jsonl"
    write_traces(path, make_samples(0), {"attn_local": 0, "attn_topk": 64, "attn_layer_skip": [0]})
    assert "charge them with --dense-layers 1" in read_trace_file(path, WORDS).notes[0]


def test_answers_at_the_length_cap_are_reported(tmp_path):
    path = tmp_path / "aime24_qwen3-8b_dense.jsonl"
    record = {"query": "q", "choices": ["5"], "prediction": ["hm"], "score": 0, "token_ids": [0] * 30767}
    path.write_text(json.dumps(record))
    assert "1 answers reached 30767 tokens" in read_trace_file(path, WORDS).notes[0]


GOOD = {"query": "q", "choices": ["5"], "prediction": ["\\boxed{5}"], "score": 1}


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("notes.jsonl", [GOOD], r"notes\.jsonl:1: attention must be named by attn_\* keys .* or by the file name"),
        ("aime24_qwen3-8b_dense.jsonl", [GOOD | {"num_tokens": 3}, GOOD],
         r":2: lengths of a file must all be recorded or all be counted by a tokenizer, got both"),
        ("aime24_qwen3-8b_dense.jsonl", [{"attn_local": 0, "attn_topk": 64}, GOOD],
         r":1: metadata and file name must agree, got topk64 and dense"),
        ("x.jsonl", [{"attn_local": 0, "attn_topk": 64}, GOOD], r":1: model must be named by the file name"),
        ("x.jsonl", [{"model": "Qwen3-8B", "attn_local": "many"}, GOOD], r":1: attn_local must be a count, got 'many'"),
        ("aime24_qwen3-8b_dense.jsonl", [GOOD, GOOD | {"score": 50}], r":2: score must be 0, 1 or 100, got '50'"),
        ("aime24_qwen3-8b_dense.jsonl", [GOOD, GOOD | {"prediction": [""]}], r":2: prediction must be one text"),
        ("aime24_qwen3-8b_dense.jsonl", [GOOD, GOOD | {"prediction": ["a", "b"]}], r":2: prediction must be one text"),
        ("aime24_qwen3-8b_dense.jsonl", [GOOD, {"query": "q"}], r":2: sample must have choices, got keys query"),
        ("aime24_qwen3-8b_dense.jsonl", [GOOD, "{oops"], r":2: line must be JSON, got "),
        ("aime24_qwen3-8b_dense.jsonl", [GOOD, "[1]"], r":2: line must be a JSON object, got list"),
        ("aime24_qwen3-8b_dense.jsonl", [GOOD, GOOD, GOOD | {"query": "other"}],
         r":3: every question must have as many trials, got 1 of 2 for \w+ \('other'\)"),
        ("aime24_qwen3-8b_dense.jsonl", [GOOD, GOOD | {"choices": ["6"]}], r":2: a question must have one gold answer"),
        ("aime24_qwen3-8b_dense.jsonl", [], r"must hold at least one sample, got none"),
        ("aime24_qwen3-8b_dense.jsonl", [GOOD, b"\xff\xfe"], r":2: line must be UTF-8, got byte 0xff at offset 0"),
        ("aime24_qwen3-8b_dense.jsonl", [GOOD, b"x" * (MAX_LINE_BYTES + 7)], r":2: line must be at most \d+ bytes"),
    ],
    ids=range(16),
)  # fmt: skip
def test_a_bad_file_is_named_with_its_line(tmp_path, name, lines, message):
    path = tmp_path / name
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else encode(line) for line in lines))
    with pytest.raises(DataFileError, match=message) as caught:
        read_trace_file(path, WORDS)
    assert str(path) in str(caught.value)


def encode(line):
    return (line if isinstance(line, str) else json.dumps(line)).encode()


def test_keep_going_leaves_bad_lines_out_and_lists_them(tmp_path):
    path = tmp_path / "aime24_qwen3-8b_dense.jsonl"
    lines = [GOOD, "{oops", b"\xff", b"y" * (MAX_LINE_BYTES + 1), GOOD | {"score": 7}, GOOD]
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else encode(line) for line in lines))
    rules = TraceRules(tokenizer=WordTokenizer(), grader=None, keeps_going=True)
    found = read_trace_file(path, rules)
    assert [item.line for item in found.left_out] == [2, 3, 4, 5]
    assert found.samples.questions[0].num_trials == 2


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataFileError, match=r"gone\.jsonl: cannot be read \(No such file"):
        read_trace_file(tmp_path / "gone.jsonl", WORDS)


def test_answers_can_be_read_ungraded(tmp_path):
    path = tmp_path / "aime24_qwen3-8b_dense.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in ({"task": "aime24"}, GOOD, {**GOOD, "score": 0})))
    answers, _ = read_trace_answers(path, keeps_going=False)
    assert [(a.line, a.gold, a.is_recorded_correct) for a in answers] == [(2, "5", True), (3, "5", False)]


def test_a_tokenizer_file_counts_and_cuts(tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed (extra: law)")
    model = tokenizers.models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?")
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    tokenizer = open_tokenizer(str(tmp_path / "tokenizer.json"))
    assert tokenizer.count("a b a") == 3
    assert tokenizer.cut("a b a", 2) == "a b"
    assert tokenizer.cut("a b", 2) == "a b"
    with pytest.raises(ValueError, match=r"none\.json: cannot be read"):
        FileTokenizer(tmp_path / "none.json")


SPEC = asdict(find_model("Qwen3-0.6B"))
CEILINGS = {
    "read_bytes_per_s": 1e11, "cached_read_bytes_per_s": 2e11, "copy_bytes_per_s": 1e11, "matmul_flop_per_s": 1e12,
    "launch_s": 1e-5, "cache_bytes": 2**25,
}  # fmt: skip
OWN_HEADER = {
    "kinetics_log": 1, "task": "made", "model": "m", "model_spec": None, "attention": {"kind": "dense"},
    "max_new_tokens": 9, "engine": {"batch": 4}, "machine": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention": {"kind": "sideways"}}, "sideways"),
        ({"attention": {"kind": "topk"}}, "kv_budget"),
        ({"model_spec": {"name": "m"}}, "num_layers must be given"),
        ({"model_spec": SPEC | {"num_layers": 10**400}}, "num_layers must be a count"),
        ({"model_spec": SPEC | {"num_layers": 2.5}}, "num_layers must be a whole number, got 2.5"),
        ({"model_spec": SPEC | {"num_stars": 2}}, "num_stars must be left out, got 2"),
        ({"engine": {}}, "engine.batch must be a count, got 'None'"),
        ({"engine": {"batch": 0}}, "engine.batch must be at least 1, got 0"),
        ({"engine": {"batch": 4, "dtype": "float7"}}, "got 'float7'"),
        ({"machine": {"ceilings": {"launch_s": 1}}}, "read_bytes_per_s must be given"),
        ({"attention": {"kind": "topk", "kv_budget": 10**30}}, "kv_budget must be a count"),
        ({"max_new_tokens": "many"}, "many"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"kinetics_log": 99}, "kinetics_log must be 1, got '99'; another version wrote it"),
        ({"kinetics_log": True}, "kinetics_log must be 1, got 'True'"),
        ({"kinetics_log": 1.0}, "kinetics_log must be 1, got '1.0'"),
        ({"model_spec": SPEC | {"num_layers": 1e30}}, "num_layers must be a whole number"),
        ({"model_spec": SPEC | {"num_layers": float("nan")}}, "num_layers must be a whole number, got nan"),
        ({"model_spec": SPEC, "attention": {"kind": "dense", "num_dense_layers": 29}}, "at most the 28 layers, got 29"),
        (
            {"machine": {"ceilings": CEILINGS | {"launch_s": float("nan")}}},
            "launch_s must be a positive number, got nan",
        ),
        ({"machine": {"ceilings": CEILINGS | {"launch_s": -1}}}, "launch_s must be a positive number, got -1"),
        ({"machine": {"ceilings": CEILINGS | {"cache_bytes": 0}}}, "cache_bytes must be a positive number, got 0"),
        ({"machine": {"ceilings": CEILINGS | {"copy_bytes_per_s": "9"}}}, "copy_bytes_per_s must be a number, got '9'"),
    ],
)
def test_a_broken_header_of_our_own_is_named(tmp_path, change, message):
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps(OWN_HEADER | change) + "\n" + json.dumps({"query": "q"}) + "\n")
    with pytest.raises(
        DataFileError, match=rf"log\.jsonl:1: header must be one that kinetics generate wrote.*{message}"
    ):
        read_trace_file(path, TraceRules(tokenizer=None, grader=None))


@pytest.mark.parametrize(
    ("field", "value"), [("prompt_tokens", -1), ("generated_tokens", "5"), ("decode_s", "soon"), ("decode_s", -1.0)]
)
def test_counts_and_seconds_that_are_none_are_refused_with_their_line(tmp_path, field, value):
    sample = {"query": "q", "choices": ["1"], "prediction": ["x"], "score": 0, "generated_tokens": 5} | {field: value}
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps(OWN_HEADER) + "\n" + json.dumps(sample) + "\n")
    with pytest.raises(DataFileError, match=rf"log\.jsonl:2: {field} must be"):
        read_trace_file(path, TraceRules(tokenizer=None, grader=None))


OWN_SAMPLE = {
    "problem_id": "a", "trial": 0, "query": "q?", "choices": ["25"], "prediction": ["so \\boxed{25}"], "score": 100.0,
    "token_ids": [5, 6, 7], "generated_tokens": 3, "prompt_tokens": 4, "decode_s": 0.5, "row_keys": 9.0,
    "device_j": 2.0,
}  # fmt: skip
RECORDED = TraceRules(tokenizer=None, grader=None)


def own_log(tmp_path, *lines):
    path = tmp_path / "log.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in (OWN_HEADER, *lines)]
    path.write_text("\n".join(texts) + "\n")
    return path


def test_what_an_answer_took_is_read_as_it_was_written(tmp_path):
    (usage,) = read_trace_file(own_log(tmp_path, OWN_SAMPLE), RECORDED).usages
    assert usage == DecodeUsage(num_tokens=3, decode_s=0.5, keys_read=9.0, energy_j=2.0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (OWN_SAMPLE | {"generated_tokens": 4}, "one number of tokens, got 3 by token_ids and 4 by generated_tokens"),
        (OWN_SAMPLE | {"output_ids": [1]}, "got 3 by token_ids and 1 by output_ids and 3 by generated_tokens"),
        (OWN_SAMPLE | {"token_ids": [5, 6, -7]}, "token_ids must be a list of token ids"),
        (OWN_SAMPLE | {"token_ids": [5, 6, True]}, "token_ids must be a list of token ids"),
        (OWN_SAMPLE | {"token_ids": "567"}, "token_ids must be a list of token ids, got '567'"),
        (OWN_SAMPLE | {"prompt_tokens": 10**300}, "prompt_tokens must be a count"),
        (OWN_SAMPLE | {"decode_s": 10**300}, "decode_s must be a number from 0 on"),
        (OWN_SAMPLE | {"decode_s": True}, "decode_s must be a number from 0 on, got 'True'"),
        (OWN_SAMPLE | {"device_j": -1}, "device_j must be a number from 0 on"),
        (OWN_SAMPLE | {"query": "q\ud800"}, "query must be text, got half a surrogate pair at 1"),
        (OWN_SAMPLE | {"score": 10**300}, "score must be 0, 1 or 100"),
        (json.dumps(OWN_SAMPLE)[:-1] + ', "score": 0}', "must have each key once, got 'score' twice"),
        ("[" * 10**5 + "]" * 10**5, "nested at most 64 deep"),
        ('{"decode_s": ' + "9" * 5000 + "}", "numbers of less than thousands of digits"),
    ],
)
def test_a_line_that_contradicts_itself_or_cannot_be_counted_is_refused(tmp_path, line, message):
    path = own_log(tmp_path, OWN_SAMPLE, line)
    with pytest.raises(DataFileError, match=rf"log\.jsonl:3: .*{message}") as raised:
        read_trace_file(path, RECORDED)
    assert len(str(raised.value)) < 400


SECOND = OWN_SAMPLE | {"trial": 1}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (OWN_SAMPLE, "samples must be there once, got a trial 0 in line 2 too"),
        (SECOND | {"problem_id": "b"}, "a question must have one problem_id, got 'a' and 'b'"),
        (SECOND | {"problem_id": 5}, "problem_id must be text, got '5'"),
        (SECOND | {"trial": -1}, "trial must be a count, got '-1'"),
        ({key: value for key, value in SECOND.items() if key != "trial"}, "trial must be a count, got 'None'"),
        (
            {key: value for key, value in SECOND.items() if key not in ("trial", "problem_id")},
            "sample must have problem_id and trial, got neither",
        ),
        (SECOND | {"prompt_tokens": 5}, "a question must be asked in one prompt, got 4 tokens and 5"),
        (SECOND | {"choices": ["26"]}, "a question must have one gold answer, got '25' and '26'"),
        (
            SECOND | {"token_ids": list(range(10)), "generated_tokens": 10},
            "an answer must have at most the header's max_new_tokens, 9, got 10",
        ),
    ],
)
def test_an_answer_that_contradicts_the_log_is_refused_and_left_out(tmp_path, line, message):
    path = own_log(tmp_path, OWN_SAMPLE, line, OWN_SAMPLE | {"trial": 2})
    with pytest.raises(DataFileError, match=rf"log\.jsonl:3: {message}"):
        read_trace_file(path, RECORDED)
    file = read_trace_file(path, replace(RECORDED, keeps_going=True))
    assert [(item.line, message in item.reason) for item in file.left_out] == [(3, True)]
    assert [question.num_trials for question in file.samples.questions] == [2]


def test_an_answer_as_long_as_the_cap_is_read(tmp_path):
    longest = SECOND | {"token_ids": list(range(9)), "generated_tokens": 9}
    (question,) = read_trace_file(own_log(tmp_path, OWN_SAMPLE, longest), RECORDED).samples.questions
    assert question.lengths == (3, 9)


def test_a_sample_is_graded_once_wherever_it_stands(tmp_path):
    with pytest.raises(DataFileError, match=r"log\.jsonl:4: samples must be there once, got a trial 0 in line 2 too"):
        read_trace_answers(own_log(tmp_path, OWN_SAMPLE, SECOND, OWN_SAMPLE), keeps_going=False)


@pytest.mark.parametrize(
    "line",
    [
        "[" * 10**5 + "]" * 10**5, '{"query": ' + "9" * 5000 + "}", json.dumps(SECOND | {"query": "q\ud800"}),
        json.dumps(SECOND | {"generated_tokens": 10**400}), '{"query": "q"', "[]", "\x00",
    ],
    ids=["deep", "digits", "surrogate", "huge", "cut", "list", "nothing"],
)  # fmt: skip
def test_keep_going_lists_a_hostile_line_by_its_number_and_reads_the_others(tmp_path, line):
    path = own_log(tmp_path, OWN_SAMPLE, line, SECOND)
    file = read_trace_file(path, replace(RECORDED, keeps_going=True))
    assert [str(item).split(": ")[0] for item in file.left_out] == [f"{path}:3"]
    assert [question.num_trials for question in file.samples.questions] == [2]


@pytest.mark.parametrize("change", [{"model": "m\ud800"}, {"task": "\ud800"}, {"machine": {"device": "\udfff"}}])
def test_a_header_that_cannot_be_written_is_refused_with_its_line(tmp_path, change):
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps(OWN_HEADER | change) + "\n" + json.dumps(OWN_SAMPLE) + "\n")
    with pytest.raises(DataFileError, match=r"log\.jsonl:1: header must be text, got half a surrogate pair"):
        read_trace_file(path, RECORDED)


def test_half_a_surrogate_pair_at_the_end_of_an_answer_is_a_character_that_was_cut(tmp_path):
    path = own_log(tmp_path, OWN_SAMPLE | {"prediction": ["so \\boxed{25} \ud83d"]})
    ((answer,), _) = read_trace_answers(path, keeps_going=False)
    assert answer.text == "so \\boxed{25} \ufffd"


@pytest.mark.parametrize("budget", range(1, 7))
def test_a_text_is_cut_after_exactly_as_many_tokens_as_the_budget(tmp_path, budget):
    path = tmp_path / "aime24_qwen3-8b_dense.jsonl"
    path.write_text(
        json.dumps({"query": "q?", "choices": ["5"], "prediction": ["hm hm so \\boxed{5} and on"], "score": 1})
    )
    rules = TraceRules(tokenizer=WordTokenizer(), grader=grade_strict, cut_budgets=(budget,))
    (question,) = read_trace_file(path, rules).samples.questions
    assert question.lengths == (6,)
    assert question.graded_cuts == {budget: (budget >= 4,)}
