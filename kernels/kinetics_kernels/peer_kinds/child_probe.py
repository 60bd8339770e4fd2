"""Tries a peer once in a process of its own, because its first import or build may crash, hang or take an hour.

`python -m kinetics_kernels.peer_kinds.child_probe NAME DEVICE` decodes one tiny case on that kind of device and checks
it against float64. Whatever happens to that process, this one goes on and knows why the peer cannot be used.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING

from kinetics_kernels.unavailable import Unavailable

if TYPE_CHECKING:
    from kinetics_kernels.providers import Provider, ProviderCase

PROBE_TIMEOUT_S = 240
"""Longer than a just-in-time build of one kernel takes, shorter than a build of a whole library."""


@cache
def try_in_child(provider_name: str, device_type: str) -> Unavailable | None:
    """Why a provider cannot be used on a kind of device here; None if it decoded a tiny case correctly."""
    module = "kinetics_kernels.peer_kinds.child_probe"
    return try_command([sys.executable, "-m", module, provider_name, device_type], timeout_s=PROBE_TIMEOUT_S)


def try_command(command: list[str], *, timeout_s: float) -> Unavailable | None:
    """Run a command in a session of its own; None if it exits with 0, else its last line, signal or time limit."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    child = subprocess.Popen(  # noqa: S603 - our own interpreter
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )
    try:
        output, _ = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        # The whole group: a build leaves compilers behind that hold the pipe open.
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        return Unavailable(f"its first call did not end within {timeout_s:g} s, in a process of its own")
    if child.returncode == 0:
        return None
    if child.returncode < 0:
        return Unavailable(f"its first call died of {signal.Signals(-child.returncode).name}, in a process of its own")
    lines = output.strip().splitlines() or [f"exit code {child.returncode}"]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]  # what else speaks may speak last
    return Unavailable(f"its first call failed, in a process of its own: {(errors or lines)[-1].strip()[:300]}")


def decode_tiny_case(provider_name: str, device_type: str) -> None:
    """Decode the smallest case the provider supports, on a kind of device, and check it.

    Raises: RuntimeError if it supports none; AssertionError if its result is wrong; whatever the peer raises.
    """
    from kinetics_kernels.dtypes import MEASURED_DTYPES
    from kinetics_kernels.providers import BLOCK_TOPK, DENSE, ProviderCase, find_provider
    from kinetics_kernels.shapes import SUPPORTED_PAGE_SIZES, DecodeShape

    provider = find_provider(provider_name)
    operation = DENSE if DENSE in provider.operations else BLOCK_TOPK
    dtype, unavailable = MEASURED_DTYPES[device_type][0], None
    for page_size in SUPPORTED_PAGE_SIZES:
        shape = DecodeShape(batch=2, context_len=300, num_q_heads=8, num_kv_heads=2, head_dim=128, page_size=page_size)
        case = ProviderCase(operation=operation, shape=shape, dtype=dtype, device_type=device_type)
        unavailable = provider.unavailable_for(case)
        if unavailable is None:
            decode_and_check(provider, case)
            return
    raise RuntimeError(f"{provider_name} supports no page size: {unavailable}")


def decode_and_check(provider: Provider, case: ProviderCase) -> None:
    """Decode random values of this case on its device.

    Raises: AssertionError if the result is wrong; whatever the peer raises.
    """
    import torch

    from kinetics_kernels import api
    from kinetics_kernels.providers import DENSE, DecodeRequest
    from kinetics_kernels.shapes import PageSelection, PageSummaryKind
    from kinetics_kernels.testing import assert_dense_correct, assert_sparse_correct, make_inputs

    inputs = make_inputs(case.shape, dtype=getattr(torch, case.dtype), device=case.device_type, seed=0)
    # Some peers multiply what lies behind the last token by a weight of zero; a cache in use holds no NaN.
    inputs.k_cache.nan_to_num_()
    inputs.v_cache.nan_to_num_()
    if case.operation == DENSE:
        assert_dense_correct(provider.prepare(DecodeRequest(inputs=inputs)).run(), inputs)
        return
    summary = api.summarize_pages(inputs.cache, kind=PageSummaryKind.MEAN)
    kept = PageSelection(num_pages=min(5, case.shape.pages_per_request), num_sink_pages=1, num_local_pages=1)
    prepared = provider.prepare(DecodeRequest(inputs=inputs, page_summary=summary, selection=kept))
    out = prepared.run()
    assert prepared.page_indices is not None
    assert_sparse_correct(out, inputs, prepared.page_indices())


if __name__ == "__main__":
    decode_tiny_case(sys.argv[1], sys.argv[2])
