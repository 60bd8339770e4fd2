"""The identity of a CPU is read from made /proc and /sys trees: cpusets, quotas, threads on one core, silence."""

import os
from pathlib import Path

import pytest

from kinetics.machine import identity as module
from kinetics.machine.device import num_cpus, resolve_device
from kinetics.machine.identity import allowed_cpus, cpu_identity, gpu_identity, query_nvidia_smi, read_cpu_identity

X86 = """processor\t: {cpu}
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: {model}
model name\t: AMD EPYC
stepping\t: 1
flags\t\t: fpu vme{hypervisor}
"""
ARM = "processor\t: {cpu}\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd40\nCPU revision\t: 1\n"


def write(root, **files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def machine(root, *, cpus=4, threads_per_core=1, model=1, hypervisor=" hypervisor", info=X86):
    blocks = [info.format(cpu=cpu, model=model if cpu else 240, hypervisor=hypervisor) for cpu in range(cpus)]
    write(root, **{"proc/cpuinfo": "\n".join(blocks), "proc/meminfo": "MemTotal:       25000000 kB\n"})
    for cpu in range(cpus):
        folder = f"sys/devices/system/cpu/cpu{cpu}"
        write(root, **{
            f"{folder}/topology/core_id": str(cpu // threads_per_core), f"{folder}/topology/physical_package_id": "0",
            f"{folder}/cache/index0/level": "1", f"{folder}/cache/index0/type": "Data",
            f"{folder}/cache/index0/size": "32K", f"{folder}/cache/index1/level": "2",
            f"{folder}/cache/index1/type": "Unified", f"{folder}/cache/index1/size": "512K",
            f"{folder}/cache/index2/level": "3", f"{folder}/cache/index2/type": "Unified",
            f"{folder}/cache/index2/size": "32768K",
        })  # fmt: skip
    write(
        root,
        **{
            "sys/devices/system/node/node0/cpulist": f"0-{cpus // 2 - 1}",
            "sys/devices/system/node/node1/cpulist": f"{cpus // 2}-{cpus - 1}",
        },
    )
    return root


def test_the_facts_are_those_of_the_cpus_allowed_not_of_the_machine(tmp_path):
    found = read_cpu_identity(machine(tmp_path), allowed=(2, 3))
    assert (found.name, found.slug) == ("AMD EPYC", "cpu-amd-epyc-zen3-2c")
    assert found.facts == {
        "vendor": "AuthenticAMD", "family": 25, "model": 1, "stepping": 1, "microarchitecture": "zen3",
        "l2_bytes": 512 * 1024, "l3_bytes": 32 * 2**20, "num_cpus": 2, "num_cores": 2, "cpu_quota": 2.0,
        "num_numa_nodes": 1, "total_memory_bytes": 25000000 * 1024, "is_virtual": True,
    }  # fmt: skip
    assert found.missing == ("threads",)  # torch's, which a file states beside it


def test_two_threads_of_one_core_are_one_core(tmp_path):
    root = machine(tmp_path, threads_per_core=2, hypervisor="")
    found = read_cpu_identity(root, allowed=(0, 1))
    assert (found.facts["num_cores"], found.facts["is_virtual"]) == (1, False)
    assert found.slug == "cpu-amd-epyc-1c2t"  # the first CPU of this machine is of a design that nobody knows
    assert read_cpu_identity(root, allowed=(1, 2)).facts["num_cores"] == 2
    assert read_cpu_identity(root, allowed=(1, 2)).facts["num_numa_nodes"] == 2


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 4.0),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "50000 100000\n"}, 0.5),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/b/cpu.max": "50000 100000\n"}, 4.0),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "800000 100000\n"}, 4.0),
        (
            {
                "proc/self/cgroup": "5:memory:/\n4:cpu,cpuacct:/job\n",
                "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "250000",
                "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000",
            },
            2.5,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            4.0,
        ),
        ({"proc/self/cgroup": "0::/\nnonsense\n", "sys/fs/cgroup/cpu.max": "a b\n"}, 4.0),
    ],
)
def test_a_quota_of_either_control_group_is_cpus_worth_of_time(tmp_path, files, quota):
    write(machine(tmp_path), **files)
    assert read_cpu_identity(tmp_path, allowed=(0, 1, 2, 3)).facts["cpu_quota"] == quota


def test_an_arm_cpu_is_known_by_its_part(tmp_path):
    found = read_cpu_identity(machine(tmp_path, info=ARM), allowed=(1,))
    assert found.slug == f"cpu-{os.uname().machine.replace('_', '-')}-neoverse-v1-1c"


def test_a_container_that_tells_nothing_has_an_incomplete_identity(tmp_path):
    found = read_cpu_identity(tmp_path, allowed=(0, 1))
    assert found.facts == {"num_cpus": 2, "cpu_quota": 2.0}
    assert {"family", "L3", "cores allowed", "virtual machine"} <= set(found.missing)
    assert found.slug.startswith("cpu-")


def test_this_machine_is_described(monkeypatch):
    device = resolve_device("cpu")
    assert device.identity == cpu_identity()
    assert device.identity.facts["num_cpus"] == len(allowed_cpus()) == num_cpus()
    assert device.slug == device.identity.slug


@pytest.mark.parametrize(("uuid", "kind"), [("GPU-1234", "GPU"), ("MIG-1234", "MIG")])
def test_a_gpu_is_what_torch_and_nvidia_smi_say(uuid, kind):
    texts = {"power.limit": "700.00 W", "clocks.max.sm": "1980 MHz", "clocks.max.mem": "2619 MHz"}
    texts["driver_version"] = "570.86.15"
    found = gpu_identity("NVIDIA H100 80GB HBM3", uuid=uuid, memory_bytes=85 * 10**9, texts=texts)
    assert found.facts == {
        "uuid_class": kind,
        "device_memory_bytes": 85 * 10**9,
        "power_limit_w": 700.0,
        "max_sm_clock_hz": 1.98e9,
        "max_memory_clock_hz": 2.619e9,
        "driver_version": "570.86.15",
    }
    assert gpu_identity("NVIDIA H100", uuid=uuid, memory_bytes=1, texts={}).missing == (
        "power limit",
        "highest SM clock",
        "highest memory clock",
        "driver",
    )


def fake_smi(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An nvidia-smi that knows some fields and, like the real one, refuses a query that names an unknown one."""
    tool = folder / "nvidia-smi"
    tool.write_text(
        "#!/usr/bin/env python3\n"
        "import sys\n"
        "known = {'driver_version': '570.1', 'power.limit': '700.00 W', 'clocks.max.sm': '[N/A]'}\n"
        "fields = next(a for a in sys.argv if a.startswith('--query-gpu=')).split('=')[1].split(',')\n"
        "sys.exit(2) if set(fields) - set(known) else print(', '.join(known[f] for f in fields))\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_a_field_that_this_driver_does_not_know_costs_no_other_one(tmp_path, monkeypatch):
    fake_smi(tmp_path, monkeypatch)
    fields = ("driver_version", "power.limit", "clocks.max.sm", "clocks.renamed")
    assert query_nvidia_smi("GPU-1", fields) == {"driver_version": "570.1", "power.limit": "700.00 W"}


def test_without_nvidia_smi_nothing_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert query_nvidia_smi("GPU-1", ("driver_version",)) == {}
    assert module.query_nvidia_smi("GPU-1", ("driver_version", "power.limit")) == {}
