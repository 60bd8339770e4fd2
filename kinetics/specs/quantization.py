"""What a config's `quantization_config` says weights are kept in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from kinetics.specs.weight_formats import BF16, WeightFormat, WeightFormats, find_weight_format

_SPARED_ATTENTION: Final = re.compile(r"(self_attn|linear_attn)(\.?\*)?$|^re:.*self_attn")
"""An entry that leaves whole attention layers alone, not just a norm or an index of theirs."""
_SPARED_LISTS: Final = ("ignore", "modules_to_not_convert", "exclude_modules")


def published_formats(config: Mapping[str, Any], *, name: str) -> WeightFormats:
    """Formats of routed experts and of the rest; bf16 where the config says nothing.

    Raises: ValueError naming a method that is not known.
    """
    stated = config.get("quantization_config") or (config.get("text_config") or {}).get("quantization_config")
    if not stated:
        return WeightFormats(dense=BF16, experts=BF16)
    if not isinstance(stated, Mapping):
        raise ValueError(f"quantization_config of {name} must be an object, got {type(stated).__name__}")
    method = stated.get("quant_method")
    if method == "fp8":
        found = find_weight_format("fp8_block" if stated.get("weight_block_size") else "fp8")
    elif method == "mxfp4":
        return WeightFormats(dense=BF16, experts=find_weight_format("mxfp4"))
    elif method in ("modelopt", "compressed-tensors") or "quant_algo" in stated:
        found = _grouped_format(stated, name)
    else:
        raise ValueError(
            f"quant_method in the config of {name} must be fp8, mxfp4, modelopt or compressed-tensors, got {method!r}; "
            "--weights FORMAT counts in a format of yours"
        )
    listed = {key: stated.get(key) or () for key in _SPARED_LISTS}
    if strange := [key for key, entries in listed.items() if not isinstance(entries, list | tuple)]:
        raise ValueError(f"{strange[0]} in the quantization_config of {name} must be a list, got another value")
    spared = [str(entry) for entries in listed.values() for entry in entries]
    spares_dense = any(_SPARED_ATTENTION.search(entry) for entry in spared)
    return WeightFormats(dense=BF16 if spares_dense else found, experts=found)


def _grouped_format(stated: Mapping[str, Any], name: str) -> WeightFormat:
    """The format that bits and groups of the first group of weights spell."""
    algorithm = str(stated.get("quant_algo") or "").upper()
    if algorithm in ("FP8", "NVFP4"):
        return find_weight_format(algorithm)
    groups = stated.get("config_groups")
    first = next(iter(groups.values()), None) if isinstance(groups, Mapping) else None
    weights = first.get("weights") if isinstance(first, Mapping) else None
    if not isinstance(weights, Mapping):
        raise ValueError(
            f"quantization_config of {name} must have config_groups with weights, got none; --weights FORMAT counts in "
            "a format of yours"
        )
    if weights.get("num_bits") == 8:
        return find_weight_format("fp8")
    if weights.get("num_bits") == 4:
        is_float = weights.get("type") == "float"
        return find_weight_format(("mxfp4" if weights.get("group_size") == 32 else "nvfp4") if is_float else "int4")
    raise ValueError(f"num_bits in the quantization_config of {name} must be 4 or 8, got {weights.get('num_bits')!r}")
