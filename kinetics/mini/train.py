"""Training a miniature from nothing, in steps that can stop and go on: the same seed gives the same model.

Knows optimisers, the schedule and the checkpoint. What is learned from lies in `batches`, the result in `model_folder`.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch.nn.functional import cross_entropy

from kinetics.files.atomic import written_aside
from kinetics.mini.batches import Batch, TokenKind, draw_batch
from kinetics.mini.contest import GENERATOR_VERSION
from kinetics.mini.family import MAX_MISSES, mini_spec
from kinetics.mini.model_folder import write_model_folder
from kinetics.mini.muon import Muon
from kinetics.mini.network import TrainableDecoder

CHECKPOINT_NAME: Final = "checkpoint.pt"
CHECKPOINT_EVERY_S: Final = 30.0
CURVE_STEPS: Final = 100
"""Steps that one point of the learning curve sums up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """How a miniature is trained. Learning rates rise over `warmup_steps` and fall to zero over the second half.

    Solutions have at most `short_misses` misses until `short_share` of the steps are done, and grow to full length
    over the next fifth: looking a digit up is learned from short ones, long ones only teach to do it far away.
    Every second step sees only the keys that sparse attention is sure to keep; it is given the end of a long
    solution, since what lies between is not seen.
    """

    model: str
    num_steps: int
    tokens_per_step: int = 2048
    muon_rate: float = 0.01
    adam_rate: float = 3e-3
    warmup_steps: int = 50
    short_misses: int = 7
    short_share: float = 0.6
    seed: int = 1

    def __post_init__(self) -> None:
        mini_spec(self.model)
        if self.num_steps < 1:
            raise ValueError(f"the number of training steps must be at least 1, got {self.num_steps}")

    def rate_factor(self, step: int) -> float:
        """The share of the full learning rates at a step counted from 0."""
        return min(1.0, (step + 1) / self.warmup_steps, 2.0 * (1.0 - step / self.num_steps))

    def max_misses(self, step: int) -> int:
        """The most misses a solution has at a step."""
        grown = min(1.0, max(0.0, step / self.num_steps - self.short_share) / 0.2)
        return self.short_misses + round(grown * (MAX_MISSES - self.short_misses))


DEFAULT_STEPS: Final = {"mini-50k": 8000, "mini-200k": 8000, "mini-800k": 5000}


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """Means over the steps before `step`: the weighted loss, and the share of tokens of each kind guessed right."""

    step: int
    loss: float
    accuracy: Mapping[str, float]


class Trainer:
    """A network on its way, and everything that decides how it goes on."""

    def __init__(self, plan: TrainingPlan) -> None:
        self.plan = plan
        self.step = 0
        self.wall_s = self.cpu_s = 0.0
        self.curve: list[CurvePoint] = []
        self._recent = _Recent()
        # The global generator of torch stays as it is.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            self.network = TrainableDecoder(mini_spec(plan.model))
        self._optimizers = _make_optimizers(self.network, plan)

    def advance(self) -> None:
        """One step of training."""
        start_s, start_cpu_s = time.monotonic(), time.process_time()
        plan = self.plan
        max_misses = plan.max_misses(self.step)
        is_sparse = self.step % 2 == 1
        most = plan.short_misses if is_sparse else max_misses
        batch = draw_batch(
            seed=plan.seed,
            step=self.step,
            max_misses=most,
            num_tokens=plan.tokens_per_step,
            max_gap=max_misses - most,
        )
        logits = self.network(batch.token_ids[:, :-1], batch.positions[:-1], is_sparse=is_sparse)
        loss = weighted_loss(logits, batch)
        torch.autograd.backward(loss)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["full_lr"] * plan.rate_factor(self.step)
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        self._recent.add(loss.item(), logits.detach(), batch)
        if self.step % CURVE_STEPS == 0 or self.step == plan.num_steps:
            self.curve.append(self._recent.take(self.step))
        self.wall_s += time.monotonic() - start_s
        self.cpu_s += time.process_time() - start_cpu_s

    def save(self, path: Path) -> None:
        """Write a checkpoint; the old one stays until the new one is whole."""
        state = {
            "plan": asdict(self.plan),
            "step": self.step,
            "wall_s": self.wall_s,
            "cpu_s": self.cpu_s,
            "curve": [asdict(point) for point in self.curve],
            "recent": self._recent.state(),
            "network": self.network.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(path) as partial:
            torch.save(state, partial)

    @classmethod
    def resume(cls, path: Path, plan: TrainingPlan) -> Trainer:
        """The trainer that a checkpoint holds.

        Raises: ValueError if it cannot be read, or belongs to another plan.
        """
        try:
            state = torch.load(path, weights_only=True)
        except Exception as error:  # torch raises half a dozen kinds for a broken file
            raise ValueError(f"{path}: is not a whole checkpoint ({error}); delete it to start anew") from None
        if state["plan"] != asdict(plan):
            raise ValueError(f"{path}: belongs to another plan, {state['plan']}; delete it, or choose another --out")
        trainer = cls(plan)
        trainer.step, trainer.wall_s, trainer.cpu_s = state["step"], state["wall_s"], state["cpu_s"]
        trainer.curve = [CurvePoint(**point) for point in state["curve"]]
        trainer._recent = _Recent(**state["recent"])
        trainer.network.load_state_dict(state["network"])
        for optimizer, own in zip(trainer._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(own)
        return trainer


def train(plan: TrainingPlan, folder: Path, *, on_step: Callable[[Trainer], None]) -> Trainer:
    """Train by a plan and write the model to `folder`, from the checkpoint there if a run before was interrupted.

    The checkpoint is written now and then, and when something ends the run; it goes when the model is written.
    """
    checkpoint = folder / CHECKPOINT_NAME
    trainer = Trainer.resume(checkpoint, plan) if checkpoint.exists() else Trainer(plan)
    saved_s = time.monotonic()
    try:
        while trainer.step < plan.num_steps:
            trainer.advance()
            on_step(trainer)
            if time.monotonic() - saved_s > CHECKPOINT_EVERY_S:
                trainer.save(checkpoint)
                saved_s = time.monotonic()
    except BaseException:
        trainer.save(checkpoint)
        raise
    write_model_folder(folder, mini_spec(plan.model), trainer.network.state_dict(), training=_training_record(trainer))
    checkpoint.unlink(missing_ok=True)
    return trainer


def weighted_loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean cross entropy, each token as much as it counts; logits of all but the last: [rows, length - 1, vocab]."""
    wanted, weights = batch.token_ids[:, 1:], batch.weights[1:]
    losses = cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view_as(wanted)
    return (losses * weights).sum() / (weights.sum() * len(wanted))


class _Recent:
    """Sums since the last point of the curve."""

    def __init__(self, losses: list[float] | None = None, counts: dict[int, tuple[int, int]] | None = None) -> None:
        self.losses = losses or []
        self.counts = defaultdict(lambda: (0, 0), counts or {})

    def add(self, loss: float, logits: torch.Tensor, batch: Batch) -> None:
        self.losses.append(loss)
        is_right = logits.argmax(dim=-1) == batch.token_ids[:, 1:]
        for kind in _SHOWN_KINDS:
            own = is_right[:, batch.kinds[1:] == kind]
            num_right, num_all = self.counts[kind.value]
            self.counts[kind.value] = (num_right + int(own.sum()), num_all + own.numel())

    def take(self, step: int) -> CurvePoint:
        accuracy = {
            TokenKind(kind).name.lower(): right / total for kind, (right, total) in self.counts.items() if total
        }
        point = CurvePoint(step=step, loss=sum(self.losses) / len(self.losses), accuracy=accuracy)
        self.losses, self.counts = [], defaultdict(lambda: (0, 0))
        return point

    def state(self) -> dict[str, Any]:
        return {"losses": self.losses, "counts": dict(self.counts)}


_SHOWN_KINDS: Final = tuple(
    kind for kind in TokenKind if kind not in (TokenKind.PROMPT, TokenKind.FIRST_NAME, TokenKind.SECOND_NAME)
)


def _make_optimizers(network: TrainableDecoder, plan: TrainingPlan) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the embedding and the norms."""
    named = list(network.named_parameters())
    matrices = [parameter for name, parameter in named if _is_matrix(name, parameter)]
    others = [parameter for name, parameter in named if not _is_matrix(name, parameter)]
    optimizers = [
        Muon(matrices, lr=plan.muon_rate, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=plan.adam_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["full_lr"] = group["lr"]
    return optimizers


def _is_matrix(name: str, parameter: torch.Tensor) -> bool:
    return parameter.dim() == 2 and "embed_tokens" not in name


def _training_record(trainer: Trainer) -> dict[str, Any]:
    plan = trainer.plan
    return {
        "command": f"kinetics mini train --model {plan.model} --steps {plan.num_steps}",
        "plan": asdict(plan),
        "data_generator_version": GENERATOR_VERSION,
        "num_parameters": sum(parameter.numel() for parameter in trainer.network.parameters()),
        "num_steps": trainer.step,
        "wall_s": round(trainer.wall_s, 1),
        "cpu_s": round(trainer.cpu_s, 1),
        "num_cpu_cores": os.cpu_count(),
        "num_threads": torch.get_num_threads(),
        "torch_version": torch.__version__,
        "curve": [asdict(point) for point in trainer.curve],
    }
