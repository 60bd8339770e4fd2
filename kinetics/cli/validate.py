"""The verb `validate`: how far off predictions are on measurements that they have not seen."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from kinetics.cli.errors import one_line_errors
from kinetics.cli.option_class import options_from
from kinetics.cli.option_types import count_option, number_option
from kinetics.prediction.splits import Split
from kinetics.specs.distribution import install_command

if TYPE_CHECKING:
    from kinetics.prediction.promises import Kept
    from kinetics.prediction.silicon_judging import Judged

EXIT_TOO_FAR_OFF: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidateOptions:
    """Options of `kinetics validate`."""

    file: Annotated[
        Path | None, typer.Argument(help="A latency table; docs/silicon.md describes its columns. Else the package.")
    ] = None
    operation: Annotated[
        str, typer.Option(help="attention, mla, dsa, msa, matmul, experts, all_reduce ...; separated by commas.")
    ] = ""
    split: Annotated[
        Split,
        typer.Option(
            help="What a fit has not seen: every other row, contexts beyond those it was given, another version, "
            "another device; shipped judges the fits that come with the suite."
        ),
    ] = Split.ALTERNATE
    on: Annotated[str, typer.Option(help="Devices such as H200,h100_sxm, separated by commas; all by default.")] = ""
    framework: Annotated[str, typer.Option(help="Only vllm, sglang or trtllm.")] = ""
    min_context: Annotated[int, count_option("Of a file of attention: judge rows of at least so many keys.")] = 512
    max_median: Annotated[
        float | None,
        number_option(
            "Exit with 1 if an operation's median error exceeds this, such as 0.05.", most=10.0, is_above=True
        ),
    ] = None
    all_promises: Annotated[
        bool,
        typer.Option("--all", help="Judge every promise on every table of the package; exit with 1 if one breaks."),
    ] = False
    workers: Annotated[int, count_option("Processes that fit.", least=1, most=1024)] = 2
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of tables.")] = (
        False
    )


@options_from(ValidateOptions)
def validate(options: ValidateOptions) -> None:
    """How far off predictions are on measurements that they have not seen, from a file or the installed tables."""
    with one_line_errors():
        judged = _judged(options)
        kept = _kept(judged) if options.all_promises else []
        too_far = _too_far(judged, options.max_median)
    if options.as_json:
        _print_json(judged, kept)
    else:
        _print_tables(judged, kept)
    for line in too_far:
        typer.echo(f"TOO FAR OFF: {line}", err=True)
    if too_far or any(not one.is_kept for one in kept):
        raise typer.Exit(EXIT_TOO_FAR_OFF)


def _kept(judged: list[Judged]) -> list[Kept]:
    from kinetics.prediction.promises import keep_promises

    return keep_promises(judged)


def _judged(options: ValidateOptions) -> list[Judged]:
    """Every kernel that was asked for.

    Raises: ValueError if none can be judged so.
    """
    found = _judged_file(options, options.file) if options.file is not None else _judged_package(options)
    if not found:
        raise ValueError(
            f"--split {options.split.value} must leave rows to judge, got none; no kernel of these has enough rows, or "
            "a fit of another version or device"
        )
    return found


def _judged_file(options: ValidateOptions, file: Path) -> list[Judged]:
    from kinetics.prediction.measured_files import check_enough, read_measured_file
    from kinetics.prediction.silicon_judging import judge_groups

    if options.all_promises:
        raise ValueError("--all judges the installed tables, got a file as well; leave one out")
    groups = read_measured_file(file, operation=options.operation or None, min_context=options.min_context)
    devices = _devices(options.on)
    groups = [
        group
        for group in groups
        if (not devices or _device(group.kernel.system) in devices)
        and (not options.framework or group.kernel.framework == options.framework)
    ]
    if not groups:
        raise ValueError("--on and --framework must leave rows of the file, got none")
    check_enough(groups)
    return list(judge_groups(groups, [options.split]))


def _judged_package(options: ValidateOptions) -> list[Judged]:
    from kinetics.prediction.package_judging import judge_package, known_systems
    from kinetics.prediction.silicon_package import systems_folder
    from kinetics.prediction.silicon_tables import OPERATIONS, table_columns

    operations = [name.strip() for name in options.operation.split(",") if name.strip()] or list(OPERATIONS)
    for name in operations:
        table_columns(name)
    folder = systems_folder()
    if folder is None:
        raise ValueError(
            f"validate must have a FILE or the tables of aiconfigurator-core, got neither; {install_command('silicon')}"
        )
    devices = _devices(options.on)
    systems = [name for name, device in known_systems(folder).items() if not devices or device in devices]
    if not systems:
        raise ValueError(f"--on must name a device that was measured, got {options.on!r}")
    splits = list(Split) if options.all_promises else [options.split]
    found: list[Judged] = []
    for what, judged in judge_package(
        folder, operations=operations, systems=systems, frameworks=[options.framework] if options.framework else [],
        splits=splits, workers=options.workers,
    ):  # fmt: skip
        typer.echo(f"{what}: {len(judged)} kernels judged", err=True)
        found += judged
    return found


def _devices(text: str) -> list[object]:
    return [_device(name.strip()) for name in text.split(",") if name.strip()]


def _device(name: str) -> object:
    from kinetics.prediction.silicon_fits import device_of

    return device_of(name)


def _too_far(judged: list[Judged], max_median: float | None) -> list[str]:
    """Operations whose median error is larger than it may be."""
    from kinetics.prediction.validation_tables import error_summary

    lines = []
    for operation in dict.fromkeys(one.operation for one in judged) if max_median is not None else ():
        median = error_summary([one.errors for one in judged if one.operation == operation])["median_abs_error"]
        if max_median is not None and median > max_median:
            lines.append(f"{operation}: the median error is {median:.1%}, at most {max_median:.1%} is asked for")
    return lines


def _print_tables(judged: list[Judged], kept: list[Kept]) -> None:
    from kinetics.cli.tables import print_table
    from kinetics.prediction.validation_tables import (
        ERROR_COLUMNS,
        SHARED,
        errors_table,
        promises_table,
        worst_table,
    )

    print_table(errors_table(judged), ERROR_COLUMNS, title="|predicted / measured - 1|", shared=SHARED)
    splits = {one.split for one in judged}
    if len(splits) == 1:
        fitted = dict.fromkeys(one.fitted_on for one in judged)
        typer.echo(f"Fitted on {next(iter(fitted)) if len(fitted) == 1 else f'{len(fitted)} shipped fits'}.")
    if kept:
        print_table(promises_table(kept), ERROR_COLUMNS, title="Promises")
        print_table(worst_table(kept), ERROR_COLUMNS, title="The worst kernel of each")


def _print_json(judged: list[Judged], kept: list[Kept]) -> None:
    from kinetics.files.atomic import to_strict
    from kinetics.prediction.validation_tables import validation_document

    print(json.dumps(to_strict(validation_document(judged, kept)), indent=1, allow_nan=False))
