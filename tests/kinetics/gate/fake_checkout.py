"""A git repository that looks enough like this suite for a worker to run it, and does as a file in it says.

Its `torch` and `kinetics` answer from the repository itself, so that a worker starts in a blink and a call takes
exactly as long as planted.
"""

import json
import subprocess

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
    "kinetics/environment.py": """
        from types import SimpleNamespace
        def resolve_device(name):
            if name != "cpu":
                raise ValueError(f"--device must be cpu, got {name}")
            return SimpleNamespace(kind="cpu", torch_name="cpu")
        def last_level_cache_bytes(device): return 4096
        def machine_facts(device):
            return {"device": "a fake", "device_kind": "cpu", "device_slug": "cpu-fake", "num_cpus": 2,
                    "torch_threads": 2}
        """,
    "kinetics/probe.py": """
        from dataclasses import dataclass
        from types import SimpleNamespace
        @dataclass
        class Ceilings:
            read_bytes_per_s: float = 1e9
            cached_read_bytes_per_s: float = 1e9
            copy_bytes_per_s: float = 1e9
            matmul_flop_per_s: float = 1e12
            launch_s: float = 1e-6
            cache_bytes: int = 4096
        def probe(device, dtype): return SimpleNamespace(ceilings=Ceilings())
        """,
    "kinetics/model_specs.py": "def find_model(name): return name\n",
    "kinetics/grid.py": """
        from enum import Enum
        from types import SimpleNamespace
        class CacheState(Enum):
            COLD = "cold"
        class Operation(Enum):
            DENSE = "dense"
            BLOCK_TOPK = "block_topk"
        def Cell(**fields): return SimpleNamespace(**fields)
        def Case(**fields): return SimpleNamespace(**fields)
        """,
    "kinetics/workloads.py": """
        import json, os, time
        from collections import defaultdict
        from dataclasses import dataclass
        from pathlib import Path
        from types import SimpleNamespace
        DOES = json.loads((Path(__file__).parents[1] / "behaviour.json").read_text())
        NUM_LAUNCHES = defaultdict(lambda: 1)
        @dataclass
        class Work:
            flop: int
            num_bytes: int
        def work_of(case): return Work(flop=1, num_bytes=DOES["num_bytes"])
        def make_cell_inputs(cell, *, device, seed): return None
        def prepare(case, inputs):
            if case.operation.value in DOES["unable"]:
                raise ValueError("no such kernel")
            if case.operation.value in DOES["breaks_device"]:
                raise RuntimeError("CUDA error: device-side assert triggered")
            def prove():
                assert case.operation.value not in DOES["wrong"], "output is wrong by 0.5\\nin many lines"
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
            return SimpleNamespace(call=call, prove=prove)
        """,
}
CALM = {"seconds": 1e-3, "num_bytes": 1, "unable": [], "wrong": [], "breaks_device": []}
CALM |= {"die_at": -1, "hang_at": -1, "raise_at": -1}


def dedent(text):
    lines = text.strip("\n").split("\n")
    indent = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(line[indent:] for line in lines).rstrip() + "\n"


def git(root, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def behave(root, **behaviour):
    (root / "behaviour.json").write_text(json.dumps(CALM | behaviour))


def make_repository(root, **behaviour):
    """One commit that behaves like this."""
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text) if text else "")
    behave(root, **behaviour)
    (root / ".gitignore").write_text("__pycache__/\nresults/\n")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "base")
    return root
