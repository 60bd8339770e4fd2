"""Which rows of several result files belong together, and how their times compare.

On one device two rows match if every field of their case does. Across devices nobody measures quite the same thing:
there rows match by shape, and what else differs (provider, dtype, layout, ...) is named beside each ratio. Pure
arithmetic over `kinetics.results.reader`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kinetics.compare.median_ratio import MedianRatio, median_ratio
from kinetics.files.lines import DataFileError
from kinetics.results.field import Role
from kinetics.results.fields import CASE_FIELDS, with_role
from kinetics.results.reader import ResultFile, UnusedKind, UnusedRow
from kinetics.results.row import ResultRow

_SHAPE_FIELDS: Final = tuple(name for name in with_role(Role.WORK) if name != "model")
FASTEST: Final = "fastest of each"
Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file's row of a matched case. `ratio` is its time over the base's, None for the base itself.

    `differs_in` names fields that differ from the base's row, with both values.
    """

    file: ResultFile
    row: ResultRow
    ratio: MedianRatio | None
    differs_in: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedCase:
    """Rows of two or more files that did the same work, the base first. `pairing` says how they were chosen."""

    label: str
    pairing: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything that several files say together, and what takes no part in it."""

    files: tuple[ResultFile, ...]
    cases: tuple[MatchedCase, ...]
    left_out: tuple[UnusedRow, ...]

    @property
    def is_of_one_device(self) -> bool:
        """Whether all files come from the same device, so that every ratio compares like with like."""
        return is_one_device(self.files)


def is_one_device(files: Sequence[ResultFile]) -> bool:
    """Whether all files are of one device, as far as they tell, and all measured or all published."""
    pairs = [(one, other) for index, one in enumerate(files) for other in files[index + 1 :]]
    return all(one.origin is other.origin and not one.identity.differences(other.identity) for one, other in pairs)


def compare_files(files: Sequence[ResultFile]) -> Comparison:
    """Match the rows of two or more files; the first file that has a case is its base.

    Raises: ValueError with fewer than two files; DataFileError if no case stands in two of them.
    """
    if len(files) < 2:
        raise ValueError(f"compare needs at least two result files, got {len(files)}; name a second one")
    cases = _match_exactly(files) if is_one_device(files) else _match_shapes(files)
    if not cases:
        raise DataFileError(_no_common_rows(files))
    cases.sort(key=_reading_order)
    return Comparison(files=tuple(files), cases=tuple(cases), left_out=tuple(_left_out(files, cases)))


def _reading_order(case: MatchedCase) -> tuple[Any, ...]:
    """Operations together, then heads, batch, context: the order of the rows in the files does not matter."""
    fields = case.entries[0].row.fields
    names = ("num_q_heads", "num_kv_heads", "num_layers", "batch", "context_len", "kv_budget", "page_size")
    sizes = [fields.get(name) or 0 for name in names]
    return (fields["operation"], *sizes, case.label, case.pairing, case.entries[0].row.name)


def _match_exactly(files: Sequence[ResultFile]) -> list[MatchedCase]:
    return [
        _matched(members, pairing=str(members[0][1].fields.get("provider") or "-"))
        for members in _grouped(files, lambda row: row.case_key).values()
        if len(members) > 1
    ]


def _match_shapes(files: Sequence[ResultFile]) -> list[MatchedCase]:
    """Per shape: each provider that two files share, then the fastest of each file where that says more."""
    cases = []
    for members in _grouped(files, _shape_key).values():
        by_provider = defaultdict(list)
        for file, row in members:
            by_provider[row.fields.get("provider")].append((file, row))
        found = [_fastest(group) for group in by_provider.values()]
        made = [_matched(group, pairing=str(group[0][1].fields.get("provider"))) for group in found if len(group) > 1]
        best = _fastest(members)
        if len(best) > 1 and not any(_same_rows(best, case) for case in made):
            made.append(_matched(best, pairing=FASTEST))
        cases += made
    return cases


Member = tuple[ResultFile, ResultRow]


def _grouped(files: Sequence[ResultFile], key: Any) -> Mapping[Key, list[Member]]:
    groups: dict[Key, list[Member]] = defaultdict(list)
    for file in files:
        for row in file.rows:
            if key(row) is not None:
                groups[key(row)].append((file, row))
    return groups


def _shape_key(row: ResultRow) -> Key | None:
    """What was computed, whoever did it on whatever device; None for rows that belong to a host, not a device.

    A step reads its model's weights, one layer of attention knows nothing but head shapes.
    """
    if not row.is_kernel_or_step:
        return None
    model = row.fields.get("model") if row.fields.get("num_layers") is not None else None
    is_warm = row.fields.get("cache_state") == "warm"
    return (model, is_warm, *(row.fields.get(name) for name in _SHAPE_FIELDS))


def _fastest(members: Iterable[Member]) -> list[Member]:
    """The fastest row of each file, files in order."""
    best: dict[str, Member] = {}
    for file, row in members:
        if file.label not in best or row.median_s < best[file.label][1].median_s:
            best[file.label] = (file, row)
    return list(best.values())


def _same_rows(members: Sequence[Member], case: MatchedCase) -> bool:
    return [id(row) for _, row in members] == [id(entry.row) for entry in case.entries]


def _matched(members: Sequence[Member], *, pairing: str) -> MatchedCase:
    base_file, base = members[0]
    entries = [Entry(file=base_file, row=base, ratio=None, differs_in=())]
    for file, row in members[1:]:
        entries.append(Entry(file=file, row=row, ratio=ratio_of(base, row), differs_in=differences(base, row)))
    return MatchedCase(label=base.label, pairing=pairing, entries=tuple(entries))


def ratio_of(base: ResultRow, candidate: ResultRow) -> MedianRatio:
    """Candidate's time over base's: of the samples where both kept them, else of the stated medians."""
    return median_ratio(base.samples_s or (base.median_s,), candidate.samples_s or (candidate.median_s,))


def differences(base: ResultRow, candidate: ResultRow) -> tuple[str, ...]:
    """How two rows computed the same work, where that differs: `dtype float32 / bfloat16`."""
    pairs = [(name, base.fields.get(name), candidate.fields.get(name)) for name in with_role(Role.MANNER)]
    return tuple(f"{name} {_said(one)} / {_said(other)}" for name, one, other in pairs if one != other)


def _said(value: Any) -> str:
    return "not stated" if value is None else str(value)


def _left_out(files: Sequence[ResultFile], cases: Sequence[MatchedCase]) -> list[UnusedRow]:
    used = {id(entry.row) for case in cases for entry in case.entries}
    left_out: list[UnusedRow] = []
    for file in files:
        left_out += file.left_out
        left_out += [
            UnusedRow(
                file=file.label, kind=UnusedKind.ONLY_HERE, name=row.name, reason=_why_unmatched(file, row, files)
            )
            for row in file.rows
            if id(row) not in used
        ]
    return left_out


def _why_unmatched(file: ResultFile, row: ResultRow, files: Sequence[ResultFile]) -> str:
    for other in files:
        twin = next((one for one in other.rows if other is not file and one.name == row.name), None)
        if twin is not None and (odd := _odd_fields(row, twin)):
            return f"{other.label} has another case under this name: {odd}"
    if not is_one_device(files) and not row.is_kernel_or_step:
        return "times arithmetic on a host, not work on the device"
    if not is_one_device(files) and any(_shape_key(row) == _shape_key(one) for one in _rows_of_others(file, files)):
        return "no other file has this provider, and another one of this file was faster on the shape"
    return "no counterpart in another file"


def _rows_of_others(file: ResultFile, files: Sequence[ResultFile]) -> Iterable[ResultRow]:
    return (row for other in files if other is not file for row in other.rows)


def _odd_fields(row: ResultRow, twin: ResultRow) -> str:
    pairs = [(name, row.fields.get(name), twin.fields.get(name)) for name in CASE_FIELDS]
    return ", ".join(f"{name} {_said(one)} here, {_said(other)} there" for name, one, other in pairs if one != other)


def _no_common_rows(files: Sequence[ResultFile]) -> str:
    paths = " and ".join(str(file.path) for file in files)
    first = files[0]
    for row in first.rows:
        reason = _why_unmatched(first, row, files)
        if "under this name" in reason:
            return f"{paths}: files must share a case, got none; of {row.name}, {reason}; measure both alike"
    return f"{paths}: files must share a case, got none; measure the same --model, --batch and --context on both"
