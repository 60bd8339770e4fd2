"""Who answers a run's trials, and what the log must say of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from kinetics.generate.request import PolicyChoice
from kinetics.samples.answers import Answerer


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Who answers, what the header says of it, and what people should know.

    `prompts_sha256`: of the prompts as tokens; None where a server makes them.
    """

    answer: Answerer
    facts: dict[str, Any]
    prompts_sha256: str | None = None
    remarks: tuple[str, ...] = ()


def attention_facts(choice: PolicyChoice) -> dict[str, Any]:
    """What a header says of the attention."""
    return {
        "kind": choice.attention.value,
        **asdict(choice.policy()),
        "num_dense_layers": choice.num_dense_layers,
    }
