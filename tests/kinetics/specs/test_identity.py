"""Devices that one brand hides are told apart; what a file does not tell is said, and never counts as a difference."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics.specs.identity import DeviceIdentity, identity_of
from kinetics.specs.microarchitectures import microarchitecture
from tests.support.paths import ROOT

ZEN3 = {
    "vendor": "AuthenticAMD", "family": 25, "model": 1, "stepping": 1, "microarchitecture": "zen3", "l2_bytes": 2**19,
    "l3_bytes": 2**25, "num_cpus": 2, "num_cores": 2, "cpu_quota": 2.0, "num_numa_nodes": 1,
    "total_memory_bytes": 24 * 2**30, "is_virtual": True, "num_threads": 2,
}  # fmt: skip
H100 = {
    "uuid_class": "GPU",
    "device_memory_bytes": 80 * 2**30,
    "power_limit_w": 700.0,
    "max_sm_clock_hz": 1.98e9,
    "max_memory_clock_hz": 2.619e9,
    "driver_version": "570.86",
}


def cpu(**changes: object) -> DeviceIdentity:
    return DeviceIdentity(kind="cpu", name="AMD EPYC", facts={**ZEN3, **changes})


def gpu(**changes: object) -> DeviceIdentity:
    return DeviceIdentity(kind="cuda", name="NVIDIA H100 80GB HBM3", facts={**H100, **changes})


CPU_CHANGES = {
    "vendor": "GenuineIntel", "family": 26, "model": 2, "stepping": 2, "microarchitecture": "zen5", "l2_bytes": 2**20,
    "l3_bytes": 2**26, "num_cpus": 4, "num_cores": 1, "cpu_quota": 1.5, "num_numa_nodes": 2,
    "total_memory_bytes": 48 * 2**30, "is_virtual": False, "num_threads": 1,
}  # fmt: skip
GPU_CHANGES = {
    "uuid_class": "MIG",
    "device_memory_bytes": 40 * 2**30,
    "power_limit_w": 500.0,
    "max_sm_clock_hz": 1.5e9,
    "max_memory_clock_hz": 1.6e9,
    "driver_version": "580.1",
}


@pytest.mark.parametrize(
    ("make", "change"),
    [*((cpu, item) for item in CPU_CHANGES.items()), *((gpu, item) for item in GPU_CHANGES.items())],
)
def test_a_change_of_any_one_fact_is_another_device_and_is_named(make, change):
    here, there = make(), make(**dict([change]))
    (said,) = here.differences(there)
    (mirrored,) = there.differences(here)
    words, values = said.split(": ")
    assert mirrored == f"{words}: {', '.join(reversed(values.split(', ')))}"
    assert here.differences(here) == ()


@pytest.mark.parametrize("make", [cpu, gpu])
def test_a_complete_identity_lacks_nothing_and_each_fact_that_goes_is_missed(make):
    whole = make()
    assert whole.missing == ()
    for name in set(whole.facts) - {"microarchitecture"}:
        rest = {key: value for key, value in whole.facts.items() if key != name}
        partial = DeviceIdentity(kind=whole.kind, name=whole.name, facts=rest)
        assert len(partial.missing) == 1
        assert partial.differences(whole) == whole.differences(partial) == ()
        assert partial.untold(whole) == whole.untold(partial) == partial.missing


def test_the_memory_that_a_kernel_keeps_for_itself_is_no_other_machine():
    assert cpu().differences(cpu(total_memory_bytes=24 * 2**30 - 40 * 2**20)) == ()


@pytest.mark.parametrize(
    ("identity", "slug"),
    [
        (cpu(), "cpu-amd-epyc-zen3-2c"),
        (cpu(microarchitecture="zen5"), "cpu-amd-epyc-zen5-2c"),
        (cpu(num_cores=1), "cpu-amd-epyc-zen3-1c2t"),
        (cpu(cpu_quota=1.5), "cpu-amd-epyc-zen3-2c-1500m"),
        (gpu(), "nvidia-h100-80gb-hbm3"),
        (
            DeviceIdentity(kind="cpu", name="Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", facts={"num_cpus": 8}),
            "cpu-intel-xeon-platinum-8481c-8c",
        ),
        (DeviceIdentity(kind="cpu", name="AMD EPYC 7B13 64-Core Processor", facts={}), "cpu-amd-epyc-7b13"),
        (DeviceIdentity(kind="cpu", name="", facts={}), "cpu-unknown"),
    ],
)
def test_a_slug_is_the_brand_and_what_it_leaves_out(identity, slug):
    assert identity.slug == slug


@pytest.mark.parametrize("identity", [cpu(), gpu(), cpu(cpu_quota=0.5)])
def test_a_file_gives_back_what_was_written(identity):
    stored = json.loads(json.dumps({"identity": identity.as_dict(), "device_kind": "else", "torch_threads": 7}))
    assert identity_of(stored) == identity if identity.kind == "cpu" else identity_of(stored).facts == identity.facts


def test_threads_stand_beside_the_identity_in_a_file():
    facts = {name: value for name, value in ZEN3.items() if name != "num_threads"}
    stated = {"kind": "cpu", "name": "AMD EPYC", **facts}
    one, two = (identity_of({"identity": stated, "torch_threads": threads}) for threads in (1, 2))
    assert one.differences(two) == ("threads: 1, 2",)


def test_published_files_from_before_identities_are_read_and_told_apart():
    (path, *_) = sorted((ROOT / "results" / "cpu-amd-epyc-2c").glob("*.json"))
    found = identity_of(json.loads(path.read_text())["machine_info"])
    assert (found.title, found.slug) == ("AMD EPYC (zen3, 2 CPUs)", "cpu-amd-epyc-zen3-2c")
    assert "L3" in found.missing
    assert cpu(microarchitecture="zen5", family=26).differences(found) == (
        "family: 26, 25",
        "microarchitecture: zen5, zen3",
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)
FACTS = st.dictionaries(st.sampled_from([*ZEN3, *H100, "kind", "name"]), JSON, max_size=6)
KEYS = st.sampled_from(["device", "device_kind", "device_slug", "num_cpus", "torch_threads", "nvidia_smi.power.limit"])


@given(st.dictionaries(KEYS, JSON | st.just("cpu")), FACTS | JSON, st.dictionaries(st.text(max_size=9), JSON) | JSON)
def test_a_machine_description_of_any_content_is_read(machine, identity, cpu_block):
    found = identity_of({**machine, "identity": identity, "cpu": cpu_block})
    assert found.differences(found) == found.untold(found) == ()
    assert found.slug
    assert isinstance(found.title + "".join(found.differences(cpu())), str)


@pytest.mark.parametrize(
    ("vendor", "family", "model", "stepping", "name"),
    [
        ("AuthenticAMD", 25, 1, 1, "zen3"), ("AuthenticAMD", 25, 17, 1, "zen4"), ("AuthenticAMD", 26, 2, 1, "zen5"),
        ("AuthenticAMD", 23, 49, 0, "zen2"), ("GenuineIntel", 6, 85, 4, "skylake-sp"),
        ("GenuineIntel", 6, 85, 7, "cascadelake"), ("GenuineIntel", 6, 85, 11, "cooperlake"),
        ("GenuineIntel", 6, 143, 8, "sapphirerapids"), ("GenuineIntel", 15, 143, 8, None),
        ("0x41", 8, 0xD40, 1, "neoverse-v1"), ("AuthenticAMD", 99, 1, 1, None), ("HygonGenuine", 24, 1, 1, None),
    ],
)  # fmt: skip
def test_a_design_is_known_by_the_numbers_of_the_cpu(vendor, family, model, stepping, name):
    assert microarchitecture(vendor=vendor, family=family, model=model, stepping=stepping) == name
