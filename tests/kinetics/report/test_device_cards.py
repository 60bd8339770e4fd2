"""Cards: two machines of one brand are told apart, and a reader sees whether a run was disturbed."""

import pytest

from kinetics.report.device_cards import device_cards
from kinetics.report.sources import read_sources

CPU = {
    "kind": "cpu", "name": "AMD EPYC", "vendor": "AuthenticAMD", "family": 25, "microarchitecture": "zen3",
    "num_cpus": 4, "num_cores": 2, "cpu_quota": 3.5, "num_threads": 4, "total_memory_bytes": 32 * 2**30,
    "l3_bytes": 2**25, "is_virtual": True,
}  # fmt: skip


@pytest.fixture
def cards(result):
    def made(*documents):
        paths = [result(f"{index}.json", rows, **fields) for index, (rows, fields) in enumerate(documents)]
        files = read_sources(paths, baseline=None).files
        return device_cards(files, ["#000000"] * len(files))

    return made


def test_a_card_tells_family_cores_threads_and_memory(cards, row):
    (card,) = cards(([row()], {"identity": CPU}))
    assert dict(card.identity) == {
        "family": "zen3", "cores": "2", "CPUs": "4, quota 3.5", "threads": "4", "memory": "32 GiB", "L3": "32 MiB",
        "virtual machine": "yes",
    }  # fmt: skip


def test_namesakes_say_in_what_they_differ(cards, row):
    newer = CPU | {"microarchitecture": "zen5", "family": 26, "total_memory_bytes": 64 * 2**30}
    first, second = cards(([row()], {"identity": CPU}), ([row()], {"identity": newer}))
    assert first.unlike == ()
    (text,) = second.unlike
    assert text.startswith("unlike A: ")
    assert "microarchitecture: zen3, zen5" in text
    assert "memory: 32 GiB, 64 GiB" in text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "does not tell whether anything disturbed"),
        ({"others_cpu_share": 0.01, "disturbed": None}, "Nothing disturbed the rows"),
        ({"disturbed": "a neighbour"}, "1 of 1 rows were disturbed, such as dense Qwen3-8B b1 c1k: a neighbour."),
    ],
)
def test_a_card_says_whether_the_run_was_disturbed(cards, row, fields, said):
    (card,) = cards(([row(**fields)], {}))
    assert said in card.company
    assert card.is_disturbed == ("rows were disturbed" in card.company)


def test_a_file_that_tells_nothing_has_a_card_all_the_same(cards, row):
    (card,) = cards(([row()], {"machine_info": {}, "commit_info": {}, "started_utc": None}))
    assert card.identity == ()
    assert card.ceilings == ()
