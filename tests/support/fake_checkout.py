"""A git repository that looks enough like this suite for a worker to run it, and does as a file in it says.

Its `torch` and `kinetics` answer from the repository itself, so that a worker starts in a blink and a call takes
exactly as long as planted.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

FILES = {
    "torch.py": """
        import time
        from contextlib import nullcontext as inference_mode
        class ones:
            def __init__(self, count): self.nbytes = 4 * count
            def sum(self):  # takes long enough to be timed: what memory reads is a unit of stored baselines
                end = time.perf_counter() + 3e-4
                while time.perf_counter() < end:
                    pass
        """,
    "kinetics/__init__.py": "",
    "kinetics/gate/__init__.py": "",
    "kinetics/measure/__init__.py": "",
    "kinetics/measure/prepared_case.py": """
        import json, os, time
        from pathlib import Path
        from types import SimpleNamespace
        DOES = json.loads((Path(__file__).parents[2] / "behaviour.json").read_text())
        VERSION = DOES["version"]
        def describe(device):
            if device != "cpu":
                raise ValueError(f"--device must be cpu, got {device}")
            return {"device": "a fake", "device_kind": "cpu", "device_slug": "cpu-fake", "num_cpus": 2,
                    "torch_threads": 2, "torch_name": "cpu", "last_level_cache_bytes": 4096}
        def measure_ceilings(device, dtype):
            rates = ("read_bytes_per_s", "cached_read_bytes_per_s", "copy_bytes_per_s")
            return dict.fromkeys(rates, 1e9) | {"matmul_flop_per_s": 1e12, "launch_s": 1e-6, "cache_bytes": 4096}
        def prepare(spec, device, seed):
            operation = spec["operation"]
            if operation in DOES["unable"]:
                raise ValueError("no such kernel")
            if operation in DOES["breaks_device"]:
                raise RuntimeError("CUDA error: device-side assert triggered")
            if operation in DOES["out_of_memory"]:
                raise MemoryError("no room")
            def prove():
                assert operation not in DOES["wrong"], "output is wrong by 0.5\\nin many lines"
                return 1e-7
            calls = iter(range(10**9))
            def call():
                number = next(calls)
                if number == DOES["die_at"]:
                    os._exit(7)
                if number == DOES["raise_at"]:
                    raise RuntimeError("CUDA error: an illegal memory access was encountered\\nand so on")
                if number == DOES["hang_at"]:
                    time.sleep(60)
                end = time.perf_counter() + DOES["seconds"]
                while time.perf_counter() < end:
                    pass
            print("a library that talks on stdout")
            work = {"flop": 1, "num_bytes": DOES["num_bytes"], "num_launches": 1}
            return SimpleNamespace(call=call, prove=prove, work=work)
        """,
}
CALM: dict[str, Any] = {
    "seconds": 1e-3,
    "num_bytes": 1,
    "unable": [],
    "wrong": [],
    "breaks_device": [],
    "out_of_memory": [],
}
CALM |= {"version": 1, "die_at": -1, "hang_at": -1, "raise_at": -1}


def dedent(text: str) -> str:
    """The text without its common indent."""
    lines = text.strip("\n").split("\n")
    indent = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(line[indent:] for line in lines).rstrip() + "\n"


def git(root: Path, *arguments: str) -> str:
    """What git says, as somebody who can commit."""
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def behave(root: Path, **behaviour: Any) -> None:
    """Tell the pretend code how to behave from now on."""
    (root / "behaviour.json").write_text(json.dumps(CALM | behaviour))


def make_repository(root: Path, **behaviour: Any) -> Path:
    """One commit that behaves like this."""
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text) if text else "")
    behave(root, **behaviour)
    (root / ".gitignore").write_text("__pycache__/\nruns/\n")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "base")
    return root
