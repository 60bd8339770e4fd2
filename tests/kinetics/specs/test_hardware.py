"""Accelerators are found by what people type and by what drivers report."""

import re

import pytest

from kinetics.specs.hardware import ACCELERATORS, Precision, find_accelerator, match_device


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("H200", "H200 SXM 141GB"),
        ("h20", "H20 96GB"),
        ("b200", "B200 SXM (HGX)"),
        ("a100 80gb pcie", "A100-80GB PCIe"),
        ("H100", "H100 SXM5 80GB"),
        ("h100_sxm", "H100 SXM5 80GB"),
        ("h100_pcie", "H100 PCIe 80GB"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM5 80GB"),
        ("a100_sxm", "A100-80GB SXM"),
        ("A100", "A100-80GB SXM"),
        ("rtx_pro_6000_server", "RTX PRO 6000 Server"),
    ],
)
def test_the_first_words_of_a_name_find_its_row(typed, name):
    assert find_accelerator(typed).name == name


@pytest.mark.parametrize(
    ("typed", "rest"),
    [
        ("RTX", "choose from RTX 4090, RTX 5090, RTX PRO 6000 Server"),
        ("", "choose from A100-40GB SXM, "),
        ("H2000", "did you mean H20"),
        ("quantum", "choose from A100-40GB SXM, "),
    ],
)
def test_an_ambiguous_or_unknown_name_lists_the_choices(typed, rest):
    with pytest.raises(ValueError, match=rf"got '{typed}'; {rest}"):
        find_accelerator(typed)


@pytest.mark.parametrize("row", ACCELERATORS, ids=lambda row: row.name)
def test_every_row_is_found_under_its_own_name(row):
    assert find_accelerator(row.name) is row


@pytest.mark.parametrize(
    ("reported", "name"),
    [
        ("NVIDIA H200", "H200 SXM 141GB"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM5 80GB"),
        ("NVIDIA H100 PCIe", "H100 PCIe 80GB"),
        ("NVIDIA H20", "H20 96GB"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB SXM"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("AMD Instinct MI300X OAM", "MI300X"),
    ],
)
def test_a_reported_device_matches_its_row(reported, name):
    row = match_device(reported)
    assert row is not None
    assert row.name == name


@pytest.mark.parametrize("reported", ["NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA H100 NVL", "llvmpipe", ""])
def test_a_variant_or_stranger_matches_nothing(reported):
    assert match_device(reported) is None


def test_intensity_is_flop_per_byte():
    assert find_accelerator("B200").intensity(Precision.BF16) == pytest.approx(292.2, abs=0.05)
    assert find_accelerator("B200").intensity(Precision.FP8) == pytest.approx(584.4, abs=0.05)
    assert find_accelerator("H200").intensity(Precision.BF16) == pytest.approx(206.1, abs=0.05)


def test_a_missing_rate_is_an_error():
    with pytest.raises(ValueError, match="A100-80GB SXM must have a fp8 rate, got none in the table; use bf16"):
        find_accelerator("A100-80GB SXM").flop_per_s(Precision.FP8)


def test_every_row_states_a_source_and_plausible_base_units():
    for row in ACCELERATORS:
        assert row.source
        assert 9e13 < row.bf16_flop_per_s < 1e16
        assert 1e10 <= row.memory_bytes < 1e12
        assert 4e11 < row.memory_bytes_per_s < 1e13
        assert re.compile(row.device_pattern)


@pytest.mark.parametrize(
    "name", ["NVIDIA H100 80GB HBM3", "H100 80GB HBM3", "H100-80GB-HBM3", "nvidia-h100-80gb-hbm3", "h100_sxm", "H100"]
)
def test_a_drivers_name_is_known_without_its_maker_and_with_hyphens(name):
    assert find_accelerator(name).name == "H100 SXM5 80GB"
