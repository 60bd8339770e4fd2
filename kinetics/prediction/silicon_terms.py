"""What each operation's time is made of, in terms with a meaning: bytes, FLOP, chains of keys, launches, requests.

Pure arithmetic over columns of shapes. Every term is in seconds at the data sheet's rates, or counts something that
costs a fixed time (`fixed`, `merge`, `request`); its parameter says how many times as long it takes. Two settings are
chosen rather than solved for: `cache_share`, the share of the L2 cache that data may fill and still be read from it,
and `max_splits`, into how many a request's keys are split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from kinetics.prediction.silicon_fit import Array, Terms
from kinetics.specs.hardware import Accelerator

Columns = Mapping[str, Array]
_NANO, _MICRO = 1e-9, 1e-6
_SPLIT_KEYS = 256
"""Fewer keys than this are not split further."""
_LEAST_BYTES = 0.97
"""Memory is read no faster than the data sheet says, give or take its rounding."""
_SHARP, _SMOOTH = 24, 8
"""How suddenly data stop fitting the L2 cache: keys at once, weights that several kernels share by and by."""
_L2_BYTES, _PROCESSORS, _LINK = 50e6, 132, 64e9
"""Where no source states a device's figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is chosen rather than solved for."""

    cache_share: float = 0.95
    max_splits: int = 128


def attention_terms(shape: Columns, device: Accelerator, settings: Settings) -> Terms:
    """Dense decode attention of one layer. Columns: batch, keys, q_heads, kv_heads, head_dim, element_bytes."""
    group = shape["q_heads"] / shape["kv_heads"]
    kv_bytes = shape["batch"] * 2 * shape["keys"] * shape["kv_heads"] * shape["head_dim"] * shape["element_bytes"]
    num_bytes = kv_bytes + 4 * shape["batch"] * shape["q_heads"] * shape["head_dim"]
    flop = 4 * shape["batch"] * shape["keys"] * shape["q_heads"] * shape["head_dim"]
    splits, waves = _splits(shape["batch"] * shape["kv_heads"], shape["keys"], device, settings.max_splits)
    key_bytes = 2 * shape["head_dim"] * shape["element_bytes"]
    per_processor = device.memory_bytes_per_s / _processors(device)
    missed, hit = _through_cache(num_bytes, device, settings.cache_share, _SHARP)
    columns = {
        "fixed": np.ones_like(group),
        "merge": splits * (splits > 1) * _NANO,
        "group": (group - 1) * _NANO,
        "read": missed,
        "cached": hit,
        "multiply": np.where(group > 1, flop / device.bf16_flop_per_s, 0.0),
        "walk": waves * shape["keys"] / splits * key_bytes / per_processor,
    }
    parts = ((("read", "cached", "multiply"), ("walk",)),)
    return Terms(columns=columns, parts=parts, least={"read": _LEAST_BYTES, "cached": 0.1})


def module_terms(shape: Columns, device: Accelerator, settings: Settings) -> Terms:
    """An attention module of latents or blocks, its projections included.

    Columns: batch, keys (attended), context_len, heads, programs (heads that one program serves apart), weights,
    weight_bytes (of one), key_bytes (of one key, all heads), key_flop (likewise), index_bytes (of one token, 0 without
    an index), searches (1 where the index is used).
    """
    batch, keys = shape["batch"], shape["keys"]
    splits, waves = _splits(batch * shape["programs"], keys, device, settings.max_splits)
    attended = batch * keys * shape["key_bytes"]
    missed, hit = _through_cache(attended, device, settings.cache_share, _SHARP)
    columns = {
        "fixed": np.ones_like(batch),
        "request": batch * _NANO,
        "heads": batch * shape["heads"] * _NANO,
        "merge": splits * (splits > 1) * _NANO,
        "doublings": np.log2(batch) * _MICRO,
        "weights": shape["weights"] * shape["weight_bytes"] / device.memory_bytes_per_s,
        "project": batch * shape["weights"] * 2 / device.bf16_flop_per_s,
        "read": missed,
        "cached": hit,
        "attend": batch * keys * shape["key_flop"] / device.bf16_flop_per_s,
        "walk": waves * keys / splits * _NANO,
    }
    if np.any(shape["index_bytes"] > 0):
        columns["search"] = shape["searches"] * _MICRO
        columns["index"] = (
            shape["searches"] * batch * shape["context_len"] * shape["index_bytes"] / device.memory_bytes_per_s
        )
    parts = ((("weights",), ("project",)), (("read", "cached"), ("attend",), ("walk",)))
    return Terms(columns=columns, parts=parts, least={"index": 1.0})


def part_terms(shape: Columns, device: Accelerator, settings: Settings) -> Terms:
    """A part of DSA alone. Columns: batch, context_len, keys (walked by a program), key_bytes, programs."""
    keys = shape["keys"]
    waves, twice = (np.ceil(n * shape["programs"] / _processors(device)) for n in (1, 2))
    missed, hit = _through_cache(shape["programs"] * keys * shape["key_bytes"], device, settings.cache_share, _SHARP)
    columns = {
        "fixed": np.ones_like(keys),
        "waves": (waves - 1) * _MICRO,
        "pairs": (twice - 1) * _MICRO,  # where two processors serve a program
        "doublings": np.log2(np.maximum(shape["context_len"], _SPLIT_KEYS) / _SPLIT_KEYS) * _MICRO,
        "read": missed,
        "cached": hit,
        "walk": waves * keys * _NANO,
    }
    return Terms(columns=columns, parts=((("read", "cached"), ("walk",)),))


def matmul_terms(shape: Columns, device: Accelerator, settings: Settings) -> Terms:
    """A matrix product of decoding. Columns: rows, inputs, outputs, weight_bytes, activation_bytes, flop_rate."""
    rows, inputs, outputs = shape["rows"], shape["inputs"], shape["outputs"]
    num_bytes = inputs * outputs * shape["weight_bytes"] + rows * (inputs * shape["activation_bytes"] + 2 * outputs)
    missed, hit = _through_cache(num_bytes, device, settings.cache_share, _SMOOTH)
    columns = {
        "fixed": np.ones_like(rows),
        "rows": rows * _NANO,
        "inputs": inputs * _NANO,
        "weights": missed,
        "cached": hit,
        "tiles": _best_tiling(shape, device),
    }
    return Terms(columns=columns, parts=((("weights", "cached"), ("tiles",)),), least={"weights": _LEAST_BYTES})


def experts_terms(shape: Columns, device: Accelerator, settings: Settings) -> Terms:
    """Routed experts of one layer on one device.

    Columns: rows (tokens), hidden, width (on the device), experts (on the device), pairs (of token and expert, on the
    device), visited (distinct experts), weight_bytes, flop_rate, matrices (3 with a gate, 2 without).
    """
    one_expert = shape["matrices"] * shape["hidden"] * shape["width"]
    num_bytes = shape["visited"] * one_expert * shape["weight_bytes"]
    missed, hit = _through_cache(num_bytes, device, settings.cache_share, _SMOOTH)
    flop_per_s = device.bf16_flop_per_s * shape["flop_rate"]
    activations = shape["pairs"] * (2 * shape["hidden"] + 6 * shape["width"]) + 4 * shape["rows"] * shape["hidden"]
    tile_rows = np.maximum(shape["pairs"] / np.maximum(shape["visited"], 1e-9), 1)
    tiles = shape["visited"] * np.ceil(tile_rows / 64) * (2 * shape["width"] / 128)
    columns = {
        "fixed": np.ones_like(shape["rows"]),
        "rows": shape["rows"] * _NANO,
        "sizes": (shape["hidden"] + shape["width"]) * _NANO,
        "experts": shape["experts"] * _NANO,
        "visited": shape["visited"] * _NANO,
        "activations": activations / device.memory_bytes_per_s,
        "weights": missed,
        "cached": hit,
        "multiply": np.maximum(shape["pairs"], 16 * shape["visited"]) * one_expert * 2 / flop_per_s,
        "tiles": np.ceil(tiles / _processors(device)) * shape["hidden"] * _NANO,
    }
    parts = ((("weights", "cached"), ("multiply",), ("tiles",)),)
    return Terms(columns=columns, parts=parts, least={"weights": 0.9})


def state_terms(shape: Columns, device: Accelerator, settings: Settings) -> Terms:
    """A recurrent step or a short convolution. Columns: batch, heads, state_bytes (read and written, of a request)."""
    num_bytes = shape["batch"] * shape["state_bytes"]
    missed, hit = _through_cache(num_bytes, device, settings.cache_share, _SMOOTH)
    columns = {
        "fixed": np.ones_like(num_bytes),
        "heads": shape["batch"] * shape["heads"] * _NANO,
        "waves": np.ceil(shape["batch"] * shape["heads"] / _processors(device)) * _MICRO,
        "read": missed,
        "cached": hit,
    }
    return Terms(columns=columns)


def all_reduce_terms(shape: Columns, device: Accelerator, settings: Settings) -> Terms:
    """A sum over devices. Columns: message_bytes, devices."""
    del settings  # nothing is cached and no keys are split
    size, count = shape["message_bytes"], shape["devices"]
    columns = {
        "fixed": np.ones_like(size),
        "hops": (count - 1) * _MICRO,
        "doublings": np.log2(np.maximum(size, 2048) / 2048) * _MICRO,
        "sent": 2 * size * (count - 1) / count / (device.link_bytes_per_s or _LINK),
        # without a switch, more than two devices send over one bus
        "shared": np.where(count > 2, size * (count - 1), 0.0) / (device.link_bytes_per_s or _LINK),
        "synchronised": np.ones_like(size),
    }
    return Terms(columns=columns, parts=((("sent", "shared"), ("synchronised",)),))


TERMS: Final[dict[str, Callable[[Columns, Accelerator, Settings], Terms]]] = {
    "attention": attention_terms,
    "mla": module_terms,
    "dsa": module_terms,
    "msa": module_terms,
    "dsa_index": part_terms,
    "dsa_choice": part_terms,
    "dsa_attention": part_terms,
    "matmul": matmul_terms,
    "experts": experts_terms,
    "gated_delta_net": state_terms,
    "kda": state_terms,
    "mamba2": state_terms,
    "all_reduce": all_reduce_terms,
}
"""The terms of every operation, by its name."""


def _processors(device: Accelerator) -> int:
    return device.num_processors or _PROCESSORS


def _through_cache(num_bytes: Array, device: Accelerator, share: float, steepness: int) -> tuple[Array, Array]:
    """Seconds of bytes that miss the L2 cache, and of those that hit it, both at the memory's rate."""
    capacity = share * (device.l2_bytes or _L2_BYTES)
    with np.errstate(over="ignore"):
        missed = 1.0 / (1.0 + (capacity / np.maximum(num_bytes, 1.0)) ** steepness)
    seconds = num_bytes / device.memory_bytes_per_s
    return seconds * missed, seconds * (1.0 - missed)


def _splits(programs: Array, keys: Array, device: Accelerator, max_splits: int) -> tuple[Array, Array]:
    """Into how many a request's keys are split, and in how many waves the programs run."""
    processors = _processors(device)
    most = np.minimum(max_splits, np.ceil(keys / _SPLIT_KEYS))
    splits = np.clip(np.floor(processors / programs), 1, np.maximum(most, 1))
    return splits, np.ceil(programs * splits / processors)


def _best_tiling(shape: Columns, device: Accelerator) -> Array:
    """Seconds of the quickest way to cut a product into tiles, whole waves of processors at a time.

    A tile of 2 x rows x columns FLOP a step of the inner dimension loads (rows + columns) elements, at 2.5 times the
    memory's rate; cutting the inner dimension costs a microsecond for the sum.
    """
    processors = _processors(device)
    flop_per_s = device.bf16_flop_per_s * shape["flop_rate"] / processors
    load_s = 0.3 * shape["weight_bytes"] / (2.5 * device.memory_bytes_per_s / processors)
    best = np.full_like(shape["rows"], np.inf)
    for tile_rows in (16, 32, 64, 96, 128, 192, 256):
        for tile_columns in (32, 64, 128, 256):
            tiles = np.ceil(shape["rows"] / tile_rows) * np.ceil(shape["outputs"] / tile_columns)
            step_s = 2 * tile_rows * tile_columns / flop_per_s + load_s * (tile_rows + tile_columns)
            for cuts in (1, 2, 4, 8):
                waves = np.ceil(tiles * cuts / processors)
                best = np.minimum(best, waves * shape["inputs"] / cuts * step_s + (cuts > 1) * _MICRO)
    return best
