"""Equal fingerprints mean equal code: whatever changes a call breaks them, and words about it do not."""

import pytest

from kinetics.gate.identity import same_code
from kinetics.gate.witness.assembly import normalised
from kinetics.gate.witness.fingerprint import LAUNCH, source_digest

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
