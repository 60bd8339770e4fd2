"""The fields of a result row, each declared once: kind, unit, meaning, what it says of the case, and who shows it.

Reader, closing summary, `compare`, `report` and CSV take their columns from `FIELDS`, in this order. Adding a field
means a line here and the line that computes it. A row may carry fields that are not declared: they are kept and
neither checked nor shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import msgspec

from kinetics.files.checked import BrokenValueError, checked, shown
from kinetics.results.field import Field, Form, Role, Rows, View, found, manner, work
from kinetics.tables.quantity import Quantity

_Q, _R, _V = Quantity, Rows, View
_ALL = Rows.KERNEL | Rows.STEP | Rows.AIME | Rows.LAW

FIELDS: Final = (
    found("case", _Q.TEXT, "", _R.TIMED, _V.NOWHERE, "id of the case in its grid"),
    # What was computed.
    work("operation", _Q.TEXT, "", _ALL, _V.PAGES,
          "`dense`; `block_topk` (score, select and attend, all timed); `append`, `score`, `select`; `search` (the "
          "three together); `step_<policy>`; `aime_*`, `law_*`, `grade_*`"),
    work("model", _Q.TEXT, "", _R.TIMED | _R.AIME, _V.PAGES, "whose head shapes, or whose step"),
    work("num_layers", _Q.COUNT, "layers", _R.STEP, _V.REPORT,
          "layers that ran; a few of them for models too large to hold"),
    work("num_q_heads", _Q.COUNT, "query heads", _R.TIMED, _V.NOWHERE, "of one layer"),
    work("num_kv_heads", _Q.COUNT, "KV heads", _R.TIMED, _V.NOWHERE, "of one layer"),
    work("head_dim", _Q.COUNT, "head dim", _R.TIMED, _V.NOWHERE, "elements of a head"),
    work("batch", _Q.COUNT, "", _R.TIMED | _R.AIME, _V.PAGES, "requests decoded together"),
    work("context_len", _Q.TOKENS, "context", _R.TIMED, _V.PAGES, "keys attended"),
    work("kv_budget", _Q.TOKENS, "budget", _R.TIMED | _R.AIME, _V.PAGES, "tokens kept per KV head; null if dense"),
    work("attention", _Q.TEXT, "", _R.AIME, _V.NOWHERE, "policy of a generated log"),
    work("task", _Q.TEXT, "", _R.AIME, _V.NOWHERE, "way of spending: `long_cot` or `best_of_n`"),
    work("axis", _Q.TEXT, "", _R.AIME, _V.NOWHERE, "what is spent"),
    work("family", _Q.TEXT, "", _R.AIME, _V.NOWHERE, "attention family held against dense"),
    work("questions", _Q.COUNT, "", _R.AIME | _R.LAW, _V.NOWHERE, "problems asked"),
    work("trials", _Q.COUNT, "", _R.AIME | _R.LAW, _V.NOWHERE, "answers to each"),
    work("claims", _Q.COUNT, "", _R.AIME | _R.LAW, _V.NOWHERE, "claims held against the data"),
    work("models", _Q.COUNT, "", _R.LAW, _V.NOWHERE, "models of a frontier"),
    work("kv_budgets", _Q.COUNT, "budgets", _R.LAW, _V.NOWHERE, "budgets of a frontier"),
    work("costs", _Q.COUNT, "", _R.LAW, _V.NOWHERE, "points of a frontier"),
    work("answers", _Q.COUNT, "", _R.LAW, _V.NOWHERE, "answers graded"),
    work("chars", _Q.COUNT, "characters", _R.LAW, _V.NOWHERE, "of one answer"),
    # How it was computed.
    manner("provider", _Q.TEXT, "", _R.TIMED, _V.PAGES,
           "whose code ran; of steps `engine`, or `engine_fused` with fewer launches"),
    manner("page_size", _Q.COUNT, "page", _R.TIMED | _R.AIME, _V.PAGES, "tokens per page"),
    manner("kv_layout", _Q.TEXT, "layout", _R.KERNEL, _V.NOWHERE, "`hnd` or `nhd`"),
    manner("dtype", _Q.TEXT, "", _R.TIMED, _V.PAGES, "element type; of the weights for steps"),
    manner("kv_dtype", _Q.TEXT, "KV dtype", _R.STEP, _V.NOWHERE, "element type of the cache where it is not `dtype`"),
    manner("tp", _Q.COUNT, "TP", _R.STEP, _V.NOWHERE, "ranks that shared the model, a device each; one if not stated"),
    manner("cache_state", _Q.TEXT, "cache", _R.TIMED, _V.REPORT, "`cold` or `warm`"),
    manner("graph", _Q.FLAG, "CUDA graph", _R.TIMED, _V.NOWHERE, "replayed from a CUDA graph"),
    found("provider_version", _Q.TEXT, "version", _R.TIMED, _V.NOWHERE, "of the provider"),
    # What came out.
    found("median_s", _Q.SECONDS, "median", _R.TIMED, _V.EVERYWHERE, "median of the samples"),
    found("iqr_fraction", _Q.SHARE, "IQR", _R.NONE, _V.EVERYWHERE,
          "interquartile range of the samples over their median; made of `stats`, not stored"),
    found("predicted_s", _Q.SECONDS, "predicted", _R.TIMED, _V.EVERYWHERE,
          "launches and roof; no measured kernel time enters"),
    found("calibrated_s", _Q.SECONDS, "calibrated", _R.TIMED, _V.EVERYWHERE,
          "after fitting two numbers per provider and operation on the rows of role `fit`, at the bandwidth seen "
          "between the samples; null where nothing could be fitted"),
    found("calibration_role", _Q.TEXT, "role", _R.TIMED, _V.REPORT,
          "`fit` or `held_out`: whether the row was fitted or judges the fit"),
    found("measured_over_predicted", _Q.RATIO, "meas/pred", _R.TIMED, _V.EVERYWHERE, "median over `predicted_s`"),
    found("achieved_bytes_per_s", _Q.BYTES_PER_S, "GB/s", _R.TIMED, _V.EVERYWHERE, "minimum bytes over the median"),
    found("fraction_of_ceiling", _Q.SHARE, "of ceiling", _R.TIMED, _V.EVERYWHERE,
          "that over the measured read bandwidth that applies"),
    found("ceiling_bytes_per_s", _Q.BYTES_PER_S, "ceiling GB/s", _R.TIMED, _V.NOWHERE,
          "the measured read bandwidth that applies"),
    found("canary_bytes_per_s", _Q.BYTES_PER_S, "seen GB/s", _R.TIMED, _V.NOWHERE,
          "read bandwidth seen between the samples (CPU, cold): how the machine felt at that moment"),
    found("minimum_bytes", _Q.BYTES, "bytes", _R.TIMED, _V.NOWHERE,
          "what the operation cannot avoid: keys, values and summaries once, queries, output"),
    found("flop", _Q.FLOP, "GFLOP", _R.TIMED, _V.NOWHERE, "arithmetic it cannot avoid"),
    found("predicted_roof_s", _Q.SECONDS, "roof", _R.TIMED, _V.NOWHERE, "the scarcest resource alone"),
    found("predicted_bound", _Q.TEXT, "bound", _R.TIMED, _V.NOWHERE,
          "whether launches, memory or arithmetic set the prediction"),
    found("predicted_part_s", _Q.SECONDS, "parts", _R.STEP, _V.NOWHERE,
          "the roof of each part: weights, attention, activations; of ranks their sums too", form=Form.BY_NAME),
    found("num_launches", _Q.COUNT, "launches", _R.STEP, _V.NOWHERE, "of the plain algorithm"),
    found("full_model_s", _Q.SECONDS, "full model", _R.STEP, _V.STEPS,
          "the step of all layers, measured or extrapolated from two numbers of layers"),
    found("full_model_is_extrapolated", _Q.FLAG, "extrapolated", _R.STEP, _V.NOWHERE, "whether it was extrapolated"),
    found("tokens_per_s", _Q.TOKENS_PER_S, "tokens/s", _R.STEP | _R.AIME, _V.STEPS | _V.REPORT,
          "batch over the step of all layers; of a log, tokens over wall time"),
    found("extrapolation_error", _Q.SHARE, "", _R.STEP, _V.NOWHERE,
          "where all layers were measured too: extrapolated over measured, minus 1", least=None),
    found("attention_share", _Q.SHARE, "attention", _R.STEP, _V.STEPS,
          "1 - (step without attention) / (step), interleaved medians", least=None),
    found("predicted_attention_share", _Q.SHARE, "predicted", _R.STEP, _V.STEPS,
          "attention's part of the predicted roofs"),
    found("required_bytes", _Q.BYTES, "needs", _R.STEP, _V.STEPS, "what the cell holds at once"),
    found("available_bytes", _Q.BYTES, "free", _R.STEP, _V.STEPS, "memory free before it"),
    found("plan_s", _Q.SECONDS, "plan", _R.KERNEL, _V.NOWHERE,
          "what a provider plans once per batch before its calls, not in `median_s`; null where there is nothing"),
    found("joules_per_call", _Q.JOULES, "mJ/call", _R.KERNEL, _V.NOWHERE,
          "of the whole device while the call was repeated for three seconds, one layer; null where nothing counts "
          "them"),
    found("joules_per_token", _Q.JOULES, "mJ/token", _R.KERNEL, _V.PAGES, "that over the batch"),
    found("max_abs_error", _Q.ERROR, "max error", _R.TIMED, _V.REPORT,
          "largest error found by the proof, against float64"),
    found("selection_overlap", _Q.SHARE, "overlap", _R.KERNEL, _V.NOWHERE,
          "share of a KV head's kept pages that another head of its request keeps too, mean over pairs of heads; null "
          "where nothing is selected"),
    # Under which conditions, and in what company.
    found("torch_threads", _Q.COUNT, "threads", _R.TIMED, _V.NOWHERE, "CPU threads of torch and of our kernels"),
    found("num_cpus", _Q.COUNT, "CPUs", _R.TIMED, _V.NOWHERE, "CPUs that the process could run on"),
    found("governor", _Q.TEXT, "", _R.TIMED, _V.NOWHERE,
          "of the clocks of these CPUs; null where it cannot be read"),
    found("disturbed", _Q.TEXT, "", _R.TIMED, _V.NOWHERE,
          "what disturbed the measurement so that its time is worthless; null if nothing did"),
    found("others_cpu_share", _Q.SHARE, "others", _R.TIMED, _V.NOWHERE,
          "of the time of these CPUs, taken by other programs while the case was timed"),
    found("steal_share", _Q.SHARE, "steal", _R.TIMED, _V.NOWHERE, "of the same, taken by the hypervisor"),
    found("involuntary_switches_per_s", _Q.NUMBER, "switches/s", _R.TIMED, _V.NOWHERE,
          "how often the process was taken off a CPU"),
    found("load_per_cpu", _Q.NUMBER, "load", _R.TIMED, _V.NOWHERE,
          "programs that ran or wanted to, per CPU, on a minute's average"),
    found("temperature_c", _Q.NUMBER, "degrees C", _R.TIMED, _V.NOWHERE, "of the hottest sensor; null without one"),
    found("device_complaint", _Q.TEXT, "", _R.TIMED, _V.NOWHERE,
          "what was wrong with a GPU while it worked: a neighbour on it, or clocks held down"),
    # Generated logs and the law.
    found("pass_at_1", _Q.SHARE, "pass@1", _R.AIME, _V.NOWHERE, "share of answers that are right"),
    found("pass_at_1_low", _Q.SHARE, "95 % from", _R.AIME, _V.NOWHERE, "of pass@1, bootstrap over questions"),
    found("pass_at_1_high", _Q.SHARE, "to", _R.AIME, _V.NOWHERE, "of pass@1, bootstrap over questions"),
    found("pass_at_all", _Q.SHARE, "pass@all", _R.AIME, _V.NOWHERE, "share of questions that any trial solves"),
    found("generated_tokens", _Q.COUNT, "tokens", _R.AIME, _V.NOWHERE, "of all answers"),
    found("generation_s", _Q.SECONDS, "generation", _R.AIME, _V.NOWHERE, "wall time"),
    found("finishes", _Q.COUNT, "", _R.AIME, _V.NOWHERE, "answers by why they ended", form=Form.BY_NAME),
    found("logs", _Q.NUMBER, "", _R.AIME, _V.NOWHERE, "logs priced"),
    found("folder", _Q.TEXT, "", _R.AIME, _V.NOWHERE, "where tables and figures went"),
    found("changed", _Q.TEXT, "", _R.AIME, _V.NOWHERE, "claims whose verdict is not the recorded one", form=Form.LIST),
    found("costs_compared", _Q.COUNT, "costs", _R.AIME, _V.NOWHERE,
          "costs where dense lies between 20 and 90 % of its maximum"),
    found("costs_below", _Q.COUNT, "below", _R.AIME, _V.NOWHERE, "of these, where sparse is less accurate"),
    found("costs_clearly_below", _Q.COUNT, "clearly below", _R.AIME, _V.NOWHERE, "of these, with intervals apart"),
    found("smallest_gain_points", _Q.NUMBER, "smallest gain", _R.AIME, _V.NOWHERE, "percentage points", least=None),
    found("largest_gain_points", _Q.NUMBER, "largest gain", _R.AIME, _V.NOWHERE, "percentage points", least=None),
    found("cost_ratio_at_dense_maximum", _Q.RATIO, "cost ratio", _R.AIME, _V.NOWHERE,
          "dense over sparse where sparse reaches dense's maximum; absent (0 in older files): never"),
    found("target_s", _Q.SECONDS, "target", _R.LAW, _V.NOWHERE, "what the arithmetic should take at most"),
)  # fmt: skip
"""Every field, in the order in which tables show them."""

BY_NAME: Final = {field.name: field for field in FIELDS}
COLUMNS: Final = {field.name: field.column for field in FIELDS}
CASE_FIELDS: Final = tuple(field.name for field in FIELDS if field.role is not Role.MEASUREMENT)
"""What makes two rows the same case. Names do not: they leave out what a grid happens to hold constant."""


def fields_of(rows: Rows) -> tuple[str, ...]:
    """Names of the fields that such rows carry."""
    return tuple(field.name for field in FIELDS if rows in field.rows)


def with_role(role: Role) -> tuple[str, ...]:
    """Names of the fields with this role."""
    return tuple(field.name for field in FIELDS if field.role is role)


def shown_in(view: View) -> tuple[Field, ...]:
    """The fields that a view shows, in order."""
    return tuple(field for field in FIELDS if view in field.view)


def check_fields(row: Mapping[str, Any]) -> None:
    """Every declared field that a row carries is what it should be; null says that nothing is known.

    Raises: ValueError naming the first field that is not, its rule and its value.
    """
    try:
        checked(row, _row_type())
    except BrokenValueError as broken:
        name = broken.where.split("[")[0].split(".")[0]
        raise ValueError(f"{name} must be {BY_NAME[name].rule}, got {shown(row.get(name))}") from None


@cache
def _row_type() -> type[msgspec.Struct]:
    """All fields as one type; the operation alone must be there."""
    members: list[Any] = [("operation", str)]
    members += [(field.name, field.checked_type | None, None) for field in FIELDS if field.name != "operation"]
    return msgspec.defstruct("RowFields", members)
