"""Equal fingerprints mean equal code: whatever changes a call breaks them, and words about it do not."""

from contextlib import nullcontext
from types import ModuleType, SimpleNamespace

import pytest
import torch

from kinetics.gate.identity import same_code
from kinetics.gate.witness.assembly import normalised, triton_assembly
from kinetics.gate.witness.canonical import is_of
from kinetics.gate.witness.fingerprint import LAUNCH, SETTINGS, kernels_noted, machine_code, recorded, source_digest
from tests.support.tiny_suite import fingerprint_of

WHOLE = {LAUNCH: "a", "python kinetics_kernels.api": "b", "version torch": "c", "machine code attend": "d"}


@pytest.mark.parametrize("part", WHOLE)
def test_any_part_that_differs_or_is_lacking_breaks_identity_and_is_named(part):
    assert same_code(WHOLE, WHOLE) == (True, ())
    assert same_code(WHOLE, WHOLE | {part: "other"}) == (False, (part,))
    assert same_code(WHOLE, WHOLE | {part + " more": "new"}) == (False, (part + " more",))
    assert not same_code(WHOLE, {name: value for name, value in WHOLE.items() if name != part}).is_same


@pytest.mark.parametrize("part", [part for part in WHOLE if not part.startswith("machine")])
def test_two_fingerprints_that_lack_the_same_part_are_the_same_as_nothing(part):
    lacking = {name: value for name, value in WHOLE.items() if name != part}
    assert same_code(lacking, lacking) == (False, ())


SOURCE = '"""A module."""\nSIZE = 4\n\n\ndef twice(x):\n    """Two of it."""\n    return 2 * x  # doubled\n'


def test_words_do_not_change_a_source():
    assert source_digest(SOURCE) == source_digest("SIZE = 4\ndef twice(x):\n\n    return (2 *\n        x)\n")


@pytest.mark.parametrize("change", [("4", "5"), ("2 *", "3 *"), ("SIZE", "SIZES"), ("return", "yield")])
def test_code_changes_a_source(change):
    assert source_digest(SOURCE) != source_digest(SOURCE.replace(*change))


ASSEMBLY = """
	.file	"<string>"
	.globl	_ZN4bodyB2v1B4c8tJTI
	.type	_ZN4bodyB2v1B4c8tJTI,@function
_ZN4bodyB2v1B4c8tJTI:
	.cfi_startproc
	movabsq	$_ZN5innerB2v2B4c8tJTI, %rax   # a remark
	callq	*%rax
	movabsq	$expf, %rax
	movabsq	$.const.picklebuf.331b8563, %rdx
	retq
_ZN5innerB2v2B4c8tJTI:
	vmulps	%ymm0, %ymm1, %ymm2
	retq
	.type	.const.pickledata.331b8563,@object
.const.pickledata.331b8563:
	.ascii	"page_attention.py line 7"
	.section	.lrodata,"al",@progbits
"""


@pytest.mark.parametrize(
    "change",
    [("B2v1", "B3v17"), ("331b8563", "77aa"), ("line 7", "line 9"), ("a remark", "another"), ("c8tJTI", "c8pFwM")],
)
def test_names_and_places_do_not_change_assembly(change):
    assert normalised(ASSEMBLY) == normalised(ASSEMBLY.replace(*change))


@pytest.mark.parametrize(
    "change",
    [("expf", "exp2f"), ("%ymm1", "%ymm3"), ("vmulps", "vaddps"), ("$_ZN5inner", "$_ZN4body"), (".lro", ".ro")],
)
def test_instructions_operands_and_callees_change_assembly(change):
    assert normalised(ASSEMBLY) != normalised(ASSEMBLY.replace(*change))


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory):
    return fingerprint_of(tmp_path_factory.mktemp("unchanged"))


@pytest.mark.parametrize(
    ("plant", "differs"),
    [
        (("kernel", "* 3", "* 5"), "machine code body"),
        (("launcher", "0, length", "1, length"), "python tiny_suite.launcher"),
        (("launcher", "0)", "7)"), "python tiny_suite.launcher"),
        (("split_rule", "max(", "min("), LAUNCH),
        (("table", "64: 4", "64: 8"), LAUNCH),
        (("table", "8: 2", "8: 3"), "python tiny_suite.split_rule"),
        (("table", "float32(2)", "float32(3)"), "python tiny_suite.split_rule"),
        (("table", "b'ab'", "b'ac'"), "python tiny_suite.split_rule"),
        (("provider", "launch, length)", "launch, length + 1)"), LAUNCH),
        (("__init__", "", "import gc\ngc.freeze()\n"), "python tiny_suite"),
    ],
    ids=str,
)
def test_a_change_anywhere_in_the_call_breaks_identity(plant, differs, unchanged, tmp_path):
    found = same_code(unchanged, fingerprint_of(tmp_path, plant=plant))
    assert not found.is_same
    assert differs in found.differing


@pytest.mark.parametrize(
    "plant",
    [
        None,
        ("kernel", "Add up.", "Add all up."),
        ("kernel", '"""A kernel."""', "\n\n# A kernel.\n"),
        ("kernel", "total", "whole"),
        ("launcher", "# Of one split.", ""),
        ("provider", '"""Bind."""', '"""Bind the length.\n\n    Now."""'),
        ("table", "\nUNUSED", "  # by length\nUNUSED"),
        ("table", "UNUSED = 1", "UNUSED = 2"),
        ("unrelated", "return 1", "return 2"),
    ],
    ids=str,
)
def test_words_names_in_a_kernel_and_code_elsewhere_do_not(plant, unchanged, tmp_path):
    assert same_code(unchanged, fingerprint_of(tmp_path, plant=plant)) == (True, ())


def test_another_shape_another_version_and_another_environment_break_identity(unchanged, tmp_path, monkeypatch):
    assert not same_code(unchanged, fingerprint_of(tmp_path / "longer", length=65)).is_same
    monkeypatch.setenv("OMP_PROC_BIND", "true")
    assert same_code(unchanged, fingerprint_of(tmp_path / "bound")).differing == (SETTINGS,)
    monkeypatch.delenv("OMP_PROC_BIND")
    monkeypatch.setattr(torch, "__version__", "9.9")
    assert same_code(unchanged, fingerprint_of(tmp_path / "newer")).differing == ("version torch",)
    monkeypatch.undo()
    (tmp_path / "pinned").mkdir()
    (tmp_path / "pinned" / "constraints.txt").write_text("torch==9.9\n")
    assert same_code(unchanged, fingerprint_of(tmp_path / "pinned")).differing == ("version torch",)


def test_another_microarchitecture_breaks_identity(unchanged, tmp_path, monkeypatch):
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_name", lambda: "another")
    assert same_code(unchanged, fingerprint_of(tmp_path)).differing == (SETTINGS,)


def test_code_from_a_cache_has_no_fingerprint(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.support.tiny_suite.compiled_anew", nullcontext)
    with pytest.raises(ValueError, match="body must be compiled here, got it from a cache"):
        fingerprint_of(tmp_path)


PTX = "// generated\n.visible .entry kernel(\n\t.loc\t1 20 30\n\tadd.f32 %f1, %f2, %f3; // kernel.py:20\n\tret;\n"


def test_debug_lines_do_not_change_what_triton_compiled():
    moved = PTX.replace("20", "44") + "\t.section\t.debug_info\n\t{\n.b8 7\n\t}\n"
    assert triton_assembly({"ptx": PTX}, "kernel") == triton_assembly({"ptx": moved, "cubin": b"x"}, "kernel")
    assert triton_assembly({"ptx": PTX}, "kernel") != triton_assembly({"ptx": PTX.replace("add", "sub")}, "kernel")
    with pytest.raises(ValueError, match="PTX or AMDGCN, got neither"):
        triton_assembly({}, "kernel")


def test_a_launch_of_triton_is_noted_with_its_grid_and_its_code(tmp_path, monkeypatch):
    jit = pytest.importorskip("triton.runtime.jit")
    monkeypatch.setattr(jit.JITFunction, "run", lambda *_arguments, **_options: SimpleNamespace(asm={"ptx": PTX}))

    def launched(**options):
        with recorded(tmp_path) as seen, kernels_noted(seen):
            jit.JITFunction.run(SimpleNamespace(__name__="kernel"), 1, **options)
        return seen.launches.hexdigest(), list(machine_code(seen).values())

    assert launched(grid=(4,), num_warps=4) == launched(grid=(4,), num_warps=4)
    assert launched(grid=(4,), num_warps=4)[0] != launched(grid=(8,), num_warps=4)[0]
    assert launched(grid=(4,), num_warps=4)[0] != launched(grid=(4,), num_warps=8)[0]
    assert launched(grid=(4,))[1] == [triton_assembly({"ptx": PTX}, "kernel")]


@pytest.mark.parametrize(("folder", "is_own"), [("kernels", True), (".venv/lib/python3.12/site-packages", False)])
def test_what_is_installed_in_an_environment_within_the_checkout_is_not_its_code(tmp_path, folder, is_own):
    module = ModuleType("some_library")
    module.__file__ = str(tmp_path / folder / "some_library.py")
    assert is_of(module, tmp_path) is is_own
    assert not is_of(module, tmp_path / "elsewhere")
