"""Build what FlashInfer would build on a GPU's first call, on any machine with nvcc and ninja; put it in place there.

    python scripts/build_flashinfer.py --arch 9.0a --out flashinfer_aot        here, with flashinfer-python and nvcc
    python scripts/build_flashinfer.py --install flashinfer_aot                there, before the first call

Both machines must have the same flashinfer-python, Python and torch; the modules load from its folder data/aot.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

HEAD_DIMS: Final = (64, 128)
NO_POSITIONS: Final = 0


def specs(arch: str) -> Iterator[Any]:
    """What the providers `flashinfer` and `flashinfer_sparse` call, in bfloat16 with int32 indices."""
    import torch
    from flashinfer.jit.attention.modules import gen_batch_decode_module, gen_batch_prefill_module
    from flashinfer.jit.topk import gen_topk_module

    yield gen_topk_module()
    dtypes = (torch.bfloat16, torch.bfloat16, torch.bfloat16, torch.int32)
    for head_dim in HEAD_DIMS:
        shape = (head_dim, head_dim, NO_POSITIONS, False, False)
        yield gen_batch_decode_module(*dtypes, *shape)
        for backend in ("fa2", "fa3") if arch.startswith("9.0") else ("fa2",):  # decode on tensor cores
            yield gen_batch_prefill_module(backend, *dtypes, *shape, False)


def build(arch: str, out: Path) -> list[Path]:
    """Build every module and copy it to OUT/NAME/NAME.so; returns the copies."""
    os.environ["FLASHINFER_CUDA_ARCH_LIST"] = arch  # read on import
    made = []
    for spec in specs(arch):
        print(f"building {spec.name}", file=sys.stderr, flush=True)
        spec.build(verbose=False)
        made.append(_copy(spec.jit_library_path, out / spec.name))
    return made


def install(source: Path, target: Path) -> list[Path]:
    """Copy what was built into the folder that FlashInfer loads modules from; returns the copies.

    Raises: ValueError if there is nothing to install.
    """
    libraries = sorted(source.glob("*/*.so"))
    if not libraries:
        raise ValueError(f"--install must be a folder with NAME/NAME.so in it, got {source}; build one with --out")
    return [_copy(library, target / library.stem) for library in libraries]


def _copy(library: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy2(library, folder / library.name))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="9.0a", help="compute capability, as FLASHINFER_CUDA_ARCH_LIST spells it")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, help="build into this folder")
    what.add_argument("--install", type=Path, help="copy from this folder into the installed package")
    arguments = parser.parse_args()
    try:
        if arguments.out:
            made = build(arguments.arch, arguments.out)
        else:
            from flashinfer.jit.env import FLASHINFER_AOT_DIR

            made = install(arguments.install, FLASHINFER_AOT_DIR)
    except (ImportError, ValueError) as error:
        print(f"build_flashinfer: {error}", file=sys.stderr)
        return 2
    print("\n".join(map(str, made)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
