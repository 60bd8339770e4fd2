"""Is this GPU fit to be measured on? Prints device and driver; exit 3 if it is not idle or cannot be read.

python scripts/gpu_preflight.py
"""

from __future__ import annotations

import sys

from kinetics.gate.watch import Query, gpu_complaint, nvidia_smi

EXIT_INVALID = 3
MAX_USED_MIB = 64
"""What an idle device was seen to hold. In a container its processes cannot be listed, but its memory can be read."""


def preflight(query: Query) -> str | None:
    """Print what the device is; return why it is not fit, or None."""
    try:
        answer = query("--query-gpu=name,driver_version,memory.used")
        name, driver, used_mib = (part.strip() for part in answer.split(","))
        print(f"{name}, driver {driver}, {used_mib} MiB in use")
        if int(used_mib) > MAX_USED_MIB:
            return f"{used_mib} MiB of the device are in use, at most {MAX_USED_MIB} on an idle one; wait for its user"
    except (OSError, ValueError) as error:
        return f"the state of the GPU cannot be read ({error})"
    return gpu_complaint([], query=query)


def main() -> int:
    if complaint := preflight(nvidia_smi("0")):
        print(f"preflight: {complaint}", file=sys.stderr)
        return EXIT_INVALID
    return 0


if __name__ == "__main__":
    sys.exit(main())
