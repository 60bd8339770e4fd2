"""Every gpu kernel compiles for every target, into the machine code that the design asks for and the table records."""

from __future__ import annotations

import dataclasses
from functools import cache

import pytest

triton = pytest.importorskip("triton")

from kinetics_kernels.machine_code.cases import watched_launches  # noqa: E402 - after the skip: triton may be missing
from kinetics_kernels.machine_code.compile import (  # noqa: E402
    TARGETS,
    MachineCode,
    assembly_of,
    compile_launch,
    count_amdgcn,
    count_sass,
)
from kinetics_kernels.machine_code.table import Row, differences, read_table  # noqa: E402

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

THREADS_PER_WARP = {target: gpu.warp_size for target, gpu in TARGETS.items()}
REGISTERS_PER_MULTIPROCESSOR = 65536
VGPRS_PER_SIMD_LANE = 512
SHARED_BYTES = {
    "sm_80": 164 * 1024,
    "sm_90": 228 * 1024,
    "sm_100": 228 * 1024,
    "sm_120": 100 * 1024,
    "gfx942": 64 * 1024,
}
RESERVED_SHARED_BYTES_PER_BLOCK = 1024
TARGET_NAMES = pytest.mark.parametrize("target", TARGETS)


@cache
def compiled(target: str) -> dict[str, MachineCode]:
    return {case: compile_launch(launch, target) for case, launch in watched_launches(target).items()}


def attention(target: str) -> dict[str, MachineCode]:
    codes = {
        case: code for case, code in compiled(target).items() if case.endswith(("/split_decode", "/merged_decode"))
    }
    assert len(codes) >= 14
    return codes


@TARGET_NAMES
def test_no_kernel_uses_local_memory_or_spills(target: str) -> None:
    assert {case: code.local_bytes for case, code in compiled(target).items() if code.local_bytes} == {}


@TARGET_NAMES
def test_attention_runs_on_tensor_cores(target: str) -> None:
    assert all(code.tensor_core_instructions for code in attention(target).values())


@pytest.mark.parametrize("target", [target for target in TARGETS if target.startswith("sm_")])
def test_the_main_loop_copies_16_bytes_at_a_time_asynchronously(target: str) -> None:
    from kinetics_kernels.gpu_runtime.configs import decode_config, gpu_config

    for case, code in attention(target).items():
        is_narrow = case.startswith("e4m3")
        config = decode_config(gpu_config(target), is_page_list="sparse" in case, is_narrow=is_narrow)
        head_dim = 64 if "head_dim_64" in case else 128
        # All of one tile of keys and values, and nothing in narrower pieces; of 8 bits the keys alone, because values
        # are laid out for a product over tokens, which takes them in pieces of 8 bytes.
        tile_bytes = config.tile_tokens * head_dim * (1 if is_narrow else 4)
        assert code.loop_async_copies * 16 * config.num_warps * 32 == tile_bytes, case


def test_amd_attention_loads_16_bytes_at_a_time() -> None:
    assert all(code.wide_loads for code in attention("gfx942").values())


@pytest.mark.parametrize("target", ["sm_80", "sm_90", "sm_100", "sm_120"])
def test_partials_are_published_before_they_are_counted_and_read_where_all_meet(target: str) -> None:
    code = assembly_of(watched_launches(target)["fast/sparse/merged_decode"], target)
    count = next(at for at, text in enumerate(code) if "ATOMG" in text)
    last_partial = max(at for at, text in enumerate(code[:count]) if "STG" in text)
    between, after = code[last_partial:count], code[count:]
    barrier = next(at for at, text in enumerate(between) if "BAR.SYNC" in text)
    assert any("MEMBAR" in text and "GPU" in text for text in between[barrier:])
    assert "STRONG.GPU" in code[count]
    loads = [text for text in after if "LDG" in text]
    assert loads
    assert all("STRONG.GPU" in text for text in loads)


@pytest.mark.parametrize("target", ["sm_90", "sm_100", "sm_120"])
@pytest.mark.parametrize("case", ["append/append", "score/score", "select_2048/select", "sparse/merged_decode"])
def test_an_overlapped_kernel_waits_before_it_touches_memory(target: str, case: str) -> None:
    code = assembly_of(watched_launches(target)[f"fast/{case}"], target)
    wait = next(at for at, text in enumerate(code) if "ACQBULK" in text)
    assert not any(name in text for text in code[:wait] for name in ("LDG", "STG", "ATOM", "LDGSTS"))
    assert any("PREEXIT" in text for text in code[wait:])


@TARGET_NAMES
def test_two_programs_of_attention_fit_a_multiprocessor(target: str) -> None:
    launches = watched_launches(target)
    for case, code in attention(target).items():
        threads = launches[case].options["num_warps"] * THREADS_PER_WARP[target]
        if target == "gfx942":
            # A program of 4 wavefronts puts one on each SIMD.
            assert launches[case].options["num_warps"] == 4
            assert 2 * code.registers <= VGPRS_PER_SIMD_LANE, case
        else:
            assert 2 * threads * code.registers <= REGISTERS_PER_MULTIPROCESSOR, case
        assert 2 * (code.shared_bytes + RESERVED_SHARED_BYTES_PER_BLOCK) <= SHARED_BYTES[target], case


def test_the_committed_table_is_what_the_compilers_make() -> None:
    committed = read_table()
    version = committed[0].triton
    if triton.__version__ != version:
        pytest.skip(f"the table records triton {version}, installed is {triton.__version__}")
    made = [
        Row(triton=version, target=target, case=case, code=code)
        for target in TARGETS
        for case, code in compiled(target).items()
    ]
    changes = "\n".join(differences(committed, made))
    assert not changes, f"machine code changed:\n{changes}\nIf it should: python scripts/machine_code.py --write"


def test_a_changed_count_a_lost_and_a_new_row_are_each_named() -> None:
    row = read_table()[0]
    slower = dataclasses.replace(row, code=dataclasses.replace(row.code, registers=row.code.registers + 8))
    other = dataclasses.replace(row, case="other")
    assert differences([row], [slower]) == [
        f"{row.target} {row.case}: registers {row.code.registers} -> {row.code.registers + 8}"
    ]
    assert differences([row], [other]) == [
        f"{row.target} {row.case}: no longer compiled",
        f"{row.target} other: not in the table",
    ]
    assert differences([row], [row]) == []


def test_the_counters_of_assembly_see_spills_loops_and_narrow_copies() -> None:
    sass = """
        /*0000*/ LDG.E.128 R4, desc[UR4][R2.64] ;
        /*0010*/ LDGSTS.E.BYPASS.128 [R1], desc[UR4][R2.64] ;
        /*0020*/ HMMA.16816.F32 R4, R8, R12, R4 ;
        /*0030*/ LDGSTS.E.BYPASS.LTC128B.128 [R1], desc[UR4][R2.64] ;
        /*0040*/ LDGSTS.E.64 [R1], desc[UR4][R2.64] ;
        /*0050*/ NOP ;
        /*0060*/ @P0 BRA 0x20 ;
    """
    code = count_sass(sass, "REG:40 STACK:8 SHARED:0 LOCAL:16", shared_bytes=1)
    assert code == MachineCode(
        registers=40,
        shared_bytes=1,
        local_bytes=24,
        instructions=6,
        tensor_core_instructions=1,
        loop_async_copies=1,
        wide_loads=1,
    )
    amdgcn = (
        "\tglobal_load_dwordx4 v[0:3], v4\n\tv_mfma_f32_16x16x16_bf16 a, b\n\ts_endpgm\n"
        ".vgpr_count:     32\n.vgpr_spill_count: 2\n.private_segment_fixed_size: 4\n"
    )
    code = count_amdgcn(amdgcn, shared_bytes=0)
    assert (code.registers, code.local_bytes, code.instructions, code.wide_loads) == (32, 12, 3, 1)
