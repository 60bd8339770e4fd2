"""What answers cost: FLOP and bytes of N trials of one question, in integers, and as eFLOPs.

Sums of the per-step counts of `kinetics.cost.kernels` over all decode steps and layers, in closed form. As in the
published law, q, the attention output and the writing of the cache are left out: of a step that attends n keys they are
the share group_size / n of the bytes or less. Every further choice is a field of `CostOptions` and is off by default.

Weights are read once a step for the whole batch; the law's default is an infinite batch, which makes them free.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

from kinetics.cost.kernels import Work, attention_flop, kv_bytes, summary_bytes, summary_flop
from kinetics.specs.models import ModelSpec
from kinetics.specs.policies import AttentionPolicy, BlockTopK, Dense
from kinetics.specs.units import TERA

INFINITE_BATCH: Final = 0
"""The batch at which weights cost no bytes."""


class Combine(Enum):
    """How compute and memory cost become one number."""

    SUM = "sum"
    """The paper's eFLOPs: neither hides the other."""
    MAX = "max"
    """The paper's variant in which the smaller one is hidden entirely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostOptions:
    """What is counted besides the tokens' own attention and matmuls.

    `batch`: answers that share one read of the weights; INFINITE_BATCH leaves the weights out of the bytes.
    `num_dense_layers`: first layers that run dense whatever the policy, as published engines do with one.
    `includes_prefill`: also the prompt, once for all trials.
    """

    element_bytes: int = 2
    batch: int = INFINITE_BATCH
    num_dense_layers: int = 0
    includes_prefill: bool = False

    def __post_init__(self) -> None:
        for name, least in (("element_bytes", 1), ("batch", 0), ("num_dense_layers", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")


DEFAULT_OPTIONS: Final = CostOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSums:
    """Keys and blocks' summary vectors of one layer over all decode steps of one trial, and those read once for all.

    Only a dense prompt's keys and the blocks of the prompt are shared; sparse trials pick their own keys.
    """

    attended_keys: int
    shared_keys: int
    scored_vectors: int
    shared_vectors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionWork:
    """Work that each trial of a question adds, and work that is done once for all of them."""

    per_trial: Work
    shared: Work

    def total(self, trials: int) -> Work:
        """Work of `trials` trials that run in step.

        Raises: ValueError if trials is below 1.
        """
        if trials < 1:
            raise ValueError(f"trials must be at least 1, got {trials}")
        return trials * self.per_trial + self.shared


@lru_cache(maxsize=2**20)  # allocations ask again and again for the same answers
def sum_steps(policy: AttentionPolicy, *, prompt_len: int, generated: int) -> StepSums:
    """Step t = 1..generated sees prompt_len + t keys, the new one included."""
    last = prompt_len + generated
    attended = policy.sum_keys(last) - policy.sum_keys(prompt_len)
    shared_keys = prompt_len * generated if isinstance(policy, Dense) else 0
    if not isinstance(policy, BlockTopK):
        return StepSums(attended_keys=attended, shared_keys=shared_keys, scored_vectors=0, shared_vectors=0)
    num_vectors = policy.summary.num_vectors
    return StepSums(
        attended_keys=attended,
        shared_keys=shared_keys,
        scored_vectors=num_vectors * (policy.sum_blocks(last) - policy.sum_blocks(prompt_len)),
        shared_vectors=num_vectors * policy.num_blocks(prompt_len) * generated,
    )


def question_work(
    model: ModelSpec,
    policy: AttentionPolicy,
    *,
    prompt_len: int,
    lengths: Sequence[int],
    num_parameters: int | None = None,
    options: CostOptions = DEFAULT_OPTIONS,
) -> QuestionWork:
    """FLOP and bytes of one answer of each length to one prompt, summed: per trial, and shared by all trials.

    `num_parameters` replaces the weights that a token multiplies with, for comparison with published sizes; by
    default they are the matmul weights of the architecture, of the active experts only.

    Raises: ValueError if a length is negative or more layers are dense than there are.
    """
    _check_answer(model, options, prompt_len=prompt_len, shortest=min(lengths))
    num_weights = model.matmul_parameters_per_token if num_parameters is None else num_parameters
    num_dense = options.num_dense_layers
    generated = sum(lengths)
    per_trial = Work(flop=2 * num_weights * generated, num_bytes=0)
    if options.batch != INFINITE_BATCH:
        read = model.weights_read_per_step(options.batch) if num_parameters is None else num_parameters
        per_trial += Work(flop=0, num_bytes=generated * read * options.element_bytes // options.batch)
    shared = Work(flop=0, num_bytes=0)
    if options.includes_prefill:
        prefill = _prefill_work(model, num_weights, prompt_len=prompt_len, element_bytes=options.element_bytes)
        shared += len(lengths) * prefill
    for layers, layer_policy in ((model.num_layers - num_dense, policy), (num_dense, Dense())):
        if layers:
            sums = [sum_steps(layer_policy, prompt_len=prompt_len, generated=n) for n in lengths]
            layer = _layer_work(model, sums, element_bytes=options.element_bytes)
            per_trial += layers * layer.per_trial
            shared += layers * layer.shared
    return QuestionWork(per_trial=per_trial, shared=shared)


def answer_work(
    model: ModelSpec,
    policy: AttentionPolicy,
    *,
    prompt_len: int,
    generated: int,
    trials: int = 1,
    num_parameters: int | None = None,
    options: CostOptions = DEFAULT_OPTIONS,
) -> Work:
    """FLOP and bytes of `trials` answers of `generated` tokens each to one prompt: `question_work`, summed."""
    work = question_work(
        model,
        policy,
        prompt_len=prompt_len,
        lengths=[generated],
        num_parameters=num_parameters,
        options=options,
    )
    return work.total(trials)


def tera_eflop(work: Work, *, intensity: float, combine: Combine = Combine.SUM) -> float:
    """One number for compute and memory: FLOP and bytes x intensity, in 1e12.

    Source: Kinetics, eq. 3; with Combine.MAX its appendix A.1.
    """
    compute, memory = work.flop / TERA, work.num_bytes * intensity / TERA
    return max(compute, memory) if combine is Combine.MAX else compute + memory


def _layer_work(model: ModelSpec, sums: Sequence[StepSums], *, element_bytes: int) -> QuestionWork:
    """Attention and block search of one layer, over all steps of all answers."""
    attended, shared_keys = sum(s.attended_keys for s in sums), sum(s.shared_keys for s in sums)
    scored, shared_vectors = sum(s.scored_vectors for s in sums), sum(s.shared_vectors for s in sums)
    heads, dim = model.num_kv_heads, model.head_dim
    shared_bytes = kv_bytes(shared_keys, num_kv_heads=heads, head_dim=dim, element_bytes=element_bytes)
    shared_bytes += summary_bytes(shared_vectors, num_kv_heads=heads, head_dim=dim, element_bytes=element_bytes)
    all_bytes = kv_bytes(attended, num_kv_heads=heads, head_dim=dim, element_bytes=element_bytes)
    all_bytes += summary_bytes(scored, num_kv_heads=heads, head_dim=dim, element_bytes=element_bytes)
    flop = attention_flop(attended, num_q_heads=model.num_q_heads, head_dim=dim)
    flop += summary_flop(scored, num_q_heads=model.num_q_heads, head_dim=dim)
    return QuestionWork(
        per_trial=Work(flop=flop, num_bytes=all_bytes - shared_bytes), shared=Work(flop=0, num_bytes=shared_bytes)
    )


def _prefill_work(model: ModelSpec, num_weights: int, *, prompt_len: int, element_bytes: int) -> Work:
    """The prompt's matmuls and causal attention, and its keys and values written once; its weights are amortised."""
    pairs = Dense().sum_keys(prompt_len)
    attention = model.num_layers * attention_flop(pairs, num_q_heads=model.num_q_heads, head_dim=model.head_dim)
    return Work(
        flop=2 * num_weights * prompt_len + attention, num_bytes=prompt_len * model.kv_bytes_per_token(element_bytes)
    )


def _check_answer(model: ModelSpec, options: CostOptions, *, prompt_len: int, shortest: int) -> None:
    for name, value in (("prompt_len", prompt_len), ("generated", shortest)):
        if value < 0:
            raise ValueError(f"{name} must be at least 0, got {value}")
    if options.num_dense_layers > model.num_layers:
        raise ValueError(
            f"num_dense_layers must not exceed the {model.num_layers} layers of {model.name}, "
            f"got {options.num_dense_layers}"
        )
