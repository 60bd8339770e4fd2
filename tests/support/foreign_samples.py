"""Answers as other programs log them, made here: harnesses, servers, load generators."""

from __future__ import annotations

from typing import Any

from kinetics.samples.problems import Problem

PROBLEMS = (
    Problem(problem_id="2024-I-1", text="How many?", gold=25),
    Problem(problem_id="2024-I-2", text="How much?", gold=7),
)
RIGHT, WRONG = "so \\boxed{25}", "so \\boxed{24}"


def lm_eval(doc_id: int, question: str, target: Any, answers: list[str], **more: Any) -> dict[str, Any]:
    return {
        "doc_id": doc_id, "doc": {"Problem": question, "Answer": target}, "target": target,
        "arguments": {"gen_args_0": {"arg_0": f"Question: {question}\nAnswer:", "arg_1": {"until": ["Question:"]}}},
        "resps": [answers], "filtered_resps": answers[:1], "filter": "none", "metrics": ["exact_match"],
    } | more  # fmt: skip


def flat_lighteval(question: str, gold: str, answers: list[str], ids: list[list[int]]) -> dict[str, Any]:
    return {
        "example": question, "full_prompt": question, "predictions": answers, "cont_tokens": [ids], "gold": [gold],
        "metrics": {"extractive_match": 1.0}, "truncated": [0], "padded": [0],
    }  # fmt: skip


def lighteval(question: str, gold: str, answers: list[str], ids: list[list[int]]) -> dict[str, Any]:
    return {
        "doc": {"query": question, "choices": ["0", gold], "gold_index": [1], "id": "0", "task_name": "aime24"},
        "model_response": {"text": answers, "output_tokens": ids, "input_tokens": [1, 2]},
        "metric": {"pass@k:k=1": 0.5},
    }


def completion(text: str, *, finish: str = "stop", tokens: int = 9, **message: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "model": "Qwen/Qwen3-8B",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text} | message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 31, "completion_tokens": tokens, "total_tokens": 31 + tokens},
    }  # fmt: skip


def batch(custom_id: str, body: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "vllm-1", "custom_id": custom_id,
        "response": {"status_code": 200, "request_id": "r", "body": body}, "error": None,
    }  # fmt: skip


def bench(texts: list[str], prompts: list[int], **more: Any) -> dict[str, Any]:
    return {
        "date": "20260101", "backend": "vllm", "model_id": "Qwen/Qwen3-8B", "num_prompts": len(texts), "duration": 9.0,
        "input_lens": prompts, "output_lens": [5 + i for i in range(len(texts))], "ttfts": [0.1] * len(texts),
        "itls": [[0.01]] * len(texts), "generated_texts": texts, "errors": [""] * len(texts),
    } | more  # fmt: skip


VORTEX_SUMMARY = {
    "mean@16": 0.7, "pass@16": 0.9, "total_example": 480, "e2e_time": 9.0, "total_tokens": 99, "throughput": 11.0,
    "args": {"model_path": "Qwen/Qwen3-8B", "trials": 16}, "content_hash": "x",
}  # fmt: skip
VORTEX_ANSWER = {"query": "How many?", "choices": ["25"], "prediction": [RIGHT], "score": 1.0, "num_tokens": 12}
