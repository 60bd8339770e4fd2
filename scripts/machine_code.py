"""Write or check kernels/machine_code.csv: what the compilers make of every GPU kernel, target by target.

    python scripts/machine_code.py --write    after a change to a kernel or its configuration
    python scripts/machine_code.py            exit 1 and say what changed, if anything did

Needs no GPU. The counts belong to one version of Triton, which the table names.
"""

from __future__ import annotations

import argparse
import sys

import triton

from kinetics_kernels.machine_code.cases import watched_launches
from kinetics_kernels.machine_code.compile import TARGETS, compile_launch
from kinetics_kernels.machine_code.table import TABLE, Row, differences, read_table, write_table


def measured_rows() -> list[Row]:
    """Compile everything that is watched."""
    return [
        Row(triton=triton.__version__, target=target, case=case, code=compile_launch(launch, target))
        for target in TARGETS
        for case, launch in watched_launches(target).items()
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="replace the table by what is compiled now")
    write = parser.parse_args().write
    rows = measured_rows()
    changes = differences(read_table(), rows) if TABLE.exists() else []
    if write:
        write_table(rows)
    print("\n".join(changes) or "no machine code changed", file=sys.stderr)
    return 0 if write or not changes else 1


if __name__ == "__main__":
    sys.exit(main())
