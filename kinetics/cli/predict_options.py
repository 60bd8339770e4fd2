"""What `kinetics predict` is asked: its options, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from kinetics.cli.option_types import count_option, device_option, number_option

if TYPE_CHECKING:
    from kinetics.prediction.step_sweep import Sweep
    from kinetics.specs.architectures import Architecture
    from kinetics.specs.hardware import Accelerator
    from kinetics.specs.policies import AttentionPolicy

STEP: Final = "step"
"""The operation that is a whole decode step, from fits."""


class SortBy(Enum):
    """What rows can be sorted by."""

    GIVEN = "given"
    TIME = "time"
    TOKENS = "tokens"
    PRICE = "price"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions:
    """Options of `kinetics predict`."""

    model: Annotated[str, typer.Option(help="A known model, a config.json or its folder.")] = "qwen3_8b"
    on: Annotated[
        str,
        typer.Option(help="Devices such as H200,B200 or result files, by commas; `here` probes this machine."),
    ] = "here"
    operation: Annotated[
        str,
        typer.Option(
            help="step: a whole decode step, from fits of measured kernels. By ceilings alone: step_dense, "
            "step_block_topk, step_local, or one layer's dense, block_topk, append, score, select, search."
        ),
    ] = STEP
    batch: Annotated[str, typer.Option(help="Requests decoded together, such as 1,16,64.")] = "1"
    context: Annotated[str, typer.Option(help="Keys in each cache, such as 32k, or 4k..128k doubling.")] = "32k"
    tp: Annotated[
        str, typer.Option("--tp", "--num-devices", help="Devices that share the model, such as 8 or 1,2,4.")
    ] = "1"
    framework: Annotated[str, typer.Option(help="Whose kernels: vllm, sglang or trtllm.")] = "vllm"
    attention: Annotated[
        str,
        typer.Option(
            help="own, dense, or policies such as block64_blocktopk16, local1024, topk1024; separated by commas. "
            "By default the model's own, and dense beside it where its own is sparse."
        ),
    ] = ""
    kv_dtype: Annotated[str, typer.Option(help="Of the cache: bf16, fp8, int4 or fp4.")] = "bf16"
    weights: Annotated[
        str, typer.Option(help="bf16, fp8, fp8_block, nvfp4, mxfp4 or int4; as the config says by default.")
    ] = ""
    ignore_field: Annotated[
        list[str] | None, typer.Option(help="A field of the config to count without; may be repeated.")
    ] = None
    dollars_per_hour: Annotated[str, typer.Option(help="Of one device: 3.50 for all of them, or H200=3.50,B200=6.")] = (
        ""
    )
    tokens_per_answer: Annotated[
        float | None, number_option("With --accuracy: dollars per right answer.", is_above=True)
    ] = None
    accuracy: Annotated[
        float | None, number_option("Share of answers that are right, above 0 and up to 1.", most=1.0, is_above=True)
    ] = None
    sort: Annotated[SortBy, typer.Option(help="The rows: quickest, most tokens/s or cheapest first.")] = SortBy.GIVEN
    csv: Annotated[Path | None, typer.Option(help="Also write the rows to this file.")] = None
    figure: Annotated[Path | None, typer.Option(help="Also draw times over context into this file.")] = None
    kv_budget: Annotated[str, typer.Option(help="For --operation: tokens kept per KV head.")] = "1k"
    page_size: Annotated[int, count_option("For --operation: tokens per page.", least=1, most=2**16)] = 16
    link_gb_per_s: Annotated[
        float | None, number_option("For --operation: of one device to the others.", is_above=True)
    ] = None
    device: Annotated[str, device_option("Which device `here` is: auto, cpu, cuda or cuda:<index>.")] = "auto"
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of tables.")] = (
        False
    )


OF_CEILINGS: Final = ("kv_budget", "page_size", "link_gb_per_s")
OF_STEPS: Final = (
    "framework", "attention", "kv_dtype", "weights", "ignore_field", "dollars_per_hour", "tokens_per_answer",
    "accuracy", "sort", "csv", "figure",
)  # fmt: skip
"""Options that one of the two ways of predicting has no use for."""


def check_meant(options: PredictOptions, useless: tuple[str, ...]) -> None:
    """Refuse an option that would change nothing.

    Raises: ValueError naming it.
    """
    defaults = PredictOptions()
    for name in useless:
        if getattr(options, name) != getattr(defaults, name):
            flag = f"--{name.replace('_', '-')}"
            kind = "a whole step" if useless is OF_CEILINGS else "a prediction by ceilings alone"
            remedy = "add --operation" if useless is OF_CEILINGS else "name devices with --on, without --operation"
            raise ValueError(f"{flag} must be left out of {kind}, got {getattr(options, name)}; {remedy}")


def read_sweep(options: PredictOptions) -> Sweep:
    """Everything asked for, read.

    Raises: ValueError naming the option that is wrong.
    """
    from kinetics.prediction.step_sweep import Sweep
    from kinetics.specs.cache_formats import find_cache_format
    from kinetics.specs.counts import parse_counts
    from kinetics.specs.hardware import find_accelerator
    from kinetics.specs.known_models import find_architecture
    from kinetics.specs.weight_formats import same_format

    architecture = find_architecture(options.model, ignored_fields=options.ignore_field or ())
    devices = [find_accelerator(name) for name in listed(options.on, "--on")]
    return Sweep(
        architecture=architecture,
        devices=list(dict.fromkeys(devices)),
        framework=options.framework,
        policies=_policies(options.attention, architecture),
        batches=parse_counts(options.batch),
        context_lens=parse_counts(options.context),
        device_counts=parse_counts(options.tp),
        cache=find_cache_format(options.kv_dtype),
        weights=same_format(options.weights) if options.weights else None,
        dollars_per_hour=_prices(options.dollars_per_hour, devices),
    )


def _policies(text: str, architecture: Architecture) -> dict[str, AttentionPolicy | None]:
    from kinetics.prediction.step_sweep import own_policies
    from kinetics.specs.policy_options import parse_policy

    if not text:
        return own_policies(architecture)
    return {label: None if label == "own" else parse_policy(label) for label in listed(text, "--attention")}


def _prices(text: str, devices: list[Accelerator]) -> dict[str, float]:
    """Dollars an hour by device: one figure for all, or one each.

    Raises: ValueError for a price that is no positive number, or of a device that is not asked for.
    """
    from kinetics.specs.hardware import find_accelerator

    if not text:
        return {}
    if "=" not in text:
        return dict.fromkeys((device.name for device in devices), _dollars(text))
    prices = {}
    for part in listed(text, "--dollars-per-hour"):
        name, _, amount = part.partition("=")
        device = find_accelerator(name)
        if device not in devices:
            raise ValueError(f"--dollars-per-hour must price devices of --on, got {name!r}; add it to --on")
        prices[device.name] = _dollars(amount)
    return prices


def _dollars(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0 < amount < 1e6:
        raise ValueError(f"--dollars-per-hour must be a number above 0, got {text!r}")
    return amount


def read_answers(options: PredictOptions) -> dict[str, float]:
    """What a right answer takes, if it is asked for.

    Raises: ValueError if only one of the two options is given, or one is out of range.
    """
    tokens, accuracy = options.tokens_per_answer, options.accuracy
    if tokens is None and accuracy is None:
        return {}
    if tokens is None or accuracy is None or not options.dollars_per_hour:
        raise ValueError(
            "--tokens-per-answer, --accuracy and --dollars-per-hour must be given together, got one without the others"
        )
    if not (0 < tokens < 1e9 and 0 < accuracy <= 1):
        raise ValueError(
            f"--tokens-per-answer must be above 0 and --accuracy in (0, 1], got {tokens:g} and {accuracy:g}"
        )
    return {"tokens_per_answer": tokens, "accuracy": accuracy}


def listed(text: str, option: str) -> list[str]:
    """Parts between commas.

    Raises: ValueError naming the option if there is none.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise ValueError(f"{option} must name something, got {text!r}")
    return parts
