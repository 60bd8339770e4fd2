"""Instructions are counted exactly, on however busy a machine, and can only ever make a case slower."""

import ctypes
import json
import platform
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import cfunc, types
from typer.testing import CliRunner

from kinetics.cli.main import app
from kinetics.gate import launch, watch
from kinetics.gate.decision import Verdict
from kinetics.gate.instructions import Instructions, growth, with_instructions
from kinetics.gate.verdicts import CaseVerdict
from kinetics.gate.witness.assembly import compiled_anew
from kinetics.gate.witness.instructions import Block, assembled, basic_blocks, count_instructions, with_counters
from tests.support import single_step
from tests.support.fake_checkout import git

needs_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="instructions are counted on x86-64")


def compiled(source):
    """A compiled callback of a loop whose body is `source`; called with (result, rounds, factor)."""
    code = f"def body(a):\n    t = 0\n    for i in range(a[1]):\n{textwrap.indent(source, ' ' * 8)}\n    a[0] = t\n"
    namespace = {}
    exec(code, namespace)
    with compiled_anew():
        return cfunc(types.void(types.CPointer(types.int64)))(namespace["body"])


BRANCHY = "t ^= (i * a[2]) % (i + 3)\nif t & 4:\n    t += 7"


@pytest.fixture(scope="module")
def branchy():
    return compiled(BRANCHY)


def counted(callback, rounds):
    arguments = (ctypes.c_int64 * 3)(0, rounds, 5)
    return count_instructions(lambda: callback.ctypes(arguments))["body"], arguments[0]


@needs_x86
@pytest.mark.skipif(not single_step.IS_POSSIBLE, reason="steps singly under Linux on x86-64")
@pytest.mark.parametrize("rounds", [0, 1, 50])
def test_counts_are_those_of_single_steps(branchy, rounds):
    arguments = (ctypes.c_int64 * 3)(0, rounds, 5)
    stepped = single_step.stepped_instructions(branchy.address, ctypes.addressof(arguments))
    assert counted(branchy, rounds)[0] == stepped


@needs_x86
def test_a_counting_kernel_computes_the_same_and_the_callback_is_its_own_again(branchy):
    arguments = (ctypes.c_int64 * 3)(0, 1000, 5)
    address = branchy.address
    branchy.ctypes(arguments)
    assert counted(branchy, 1000)[1] == arguments[0]
    assert branchy.address == address


@needs_x86
def test_three_percent_more_rounds_are_three_percent_more_instructions(branchy):
    before, after = (Instructions(base={}, candidate={"body": counted(branchy, n)[0]}) for n in (10_000, 10_300))
    found = Instructions(base=before.candidate, candidate=after.candidate)
    assert growth(found) == "instructions of all kernels: +3.0 %"


@needs_x86
def test_one_more_operation_in_a_kernel_is_found(branchy):
    heavier = compiled(BRANCHY + "\nt ^= t >> a[2]")
    assert counted(heavier, 1000)[0] > 1.01 * counted(branchy, 1000)[0]


def test_a_block_begins_at_a_label_and_behind_a_jump_and_data_is_none():
    text = """
    .text
f:
    pushq %rax
    lock incq (%rax)
    jne .L1
    nop
.L1:
.L2:
    callq *%rax
    retq
    .section .rodata.cst16,"aM",@progbits,16
.LCPI0:
    .quad 8
    .section .ltext,"axl",@progbits
g:
    ud2
"""
    found = basic_blocks(text.splitlines())
    assert found == [Block(3, 3), Block(6, 1), Block(9, 2), Block(16, 1)]


FLAGS_AND_RED_ZONE = """
is_five:
    movq %rdi, -8(%rsp)
    movq %rdi, -128(%rsp)
    movl $0, %eax
    cmpq $5, %rdi
    jmp .L1
.L1:
    sete %al
    cmpq -8(%rsp), %rdi
    jne .L2
    cmpq -128(%rsp), %rdi
    je .L3
.L2:
    movl $9, %eax
.L3:
    retq
"""


@needs_x86
@pytest.mark.parametrize(("given", "answer"), [(5, 1), (4, 0)])
def test_a_counter_leaves_flags_registers_and_the_red_zone_alone(given, answer):
    lines = FLAGS_AND_RED_ZONE.splitlines()
    blocks = basic_blocks(lines)
    counts = (ctypes.c_int64 * len(blocks))()
    engine = assembled(with_counters(lines, blocks, ctypes.addressof(counts)))
    is_five = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int64)(engine.get_function_address("is_five"))
    assert is_five(given) == answer
    assert list(counts) == [1, 1, 1, 0, 1]


def test_where_nothing_can_be_counted_it_is_said_in_one_line(monkeypatch):
    with pytest.raises(ValueError, match=r"must run kernels compiled by numba .* got none"):
        count_instructions(lambda: None)
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(ValueError, match="counted on x86_64, got riscv64"):
        count_instructions(lambda: None)


def test_a_call_that_never_executes_the_same_twice_is_not_counted(branchy):
    rounds = iter((1, 1000, 2000))

    def call():
        branchy.ctypes((ctypes.c_int64 * 3)(0, next(rounds), 5))

    with pytest.raises(ValueError, match=r"the same instructions to 0\.1 %"):
        count_instructions(call)


@pytest.mark.parametrize(
    ("base", "candidate", "why"),
    [
        ({"a": 1000}, {"a": 1010}, None),
        ({"a": 1000}, {"a": 1011}, "all kernels: +1.1 %"),
        ({"a": 1000}, {"a": 500}, None),
        ({"a": 100, "b": 10_000}, {"a": 103, "b": 10_000}, "a: +3.0 %"),
        ({"a": 100, "b": 10_000}, {"a": 103, "b": 9_990}, None),
        ({"a": 100}, {"b": 200}, "all kernels: +100.0 %"),
        ({"a": 100}, {"b": 50, "c": 50}, None),
        ({"a": 0}, {"a": 1}, None),
    ],
)
def test_growth_is_of_the_case_or_of_a_kernel_that_no_other_makes_up_for(base, candidate, why):
    found = growth(Instructions(base=base, candidate=candidate))
    assert found == (why and f"instructions of {why}")


COUNTS = st.dictionaries(st.sampled_from("abc"), st.integers(0, 10**9), min_size=1)


@given(base=COUNTS, candidate=COUNTS, clock=st.sampled_from(list(Verdict)))
def test_instructions_only_ever_make_a_case_slow_and_never_outvote_a_fast_clock(base, candidate, clock):
    before = CaseVerdict(case="x", verdict=clock)
    after = with_instructions(before, Instructions(base=base, candidate=candidate))
    assert after.verdict in (clock, Verdict.SLOW)
    if sum(candidate.values()) <= sum(base.values()) and set(base) == set(candidate):
        assert after == before
    if clock in (Verdict.FAST, Verdict.NEW, Verdict.MISSING):
        assert after == before


def test_counts_that_are_not_there_change_nothing():
    verdict = CaseVerdict(case="x", verdict=Verdict.AMBIGUOUS)
    assert with_instructions(verdict, None) == verdict
    assert with_instructions(verdict, Instructions(reason="no")) == verdict
    slow = with_instructions(verdict, Instructions(base={"a": 100}, candidate={"a": 103}))
    assert (slow.verdict, slow.reason) == (Verdict.SLOW, "instructions of all kernels: +3.0 %; the clock: AMBIGUOUS")


KERNEL = '''
"""A kernel that is compiled."""
from numba import cfunc, types
@cfunc(types.void(types.CPointer(types.int64)), cache=True)
def body(a):
    t = 0
    for i in range(a[1]):
        t ^= (i * a[2]) % (i + 3)
    a[0] = t
'''


@needs_x86
def test_the_gate_is_green_on_an_unchanged_commit_and_red_on_a_planted_one(repository, monkeypatch):
    """As a job of CI runs it, where neighbours disturb every launch."""
    monkeypatch.setattr(watch, "MAX_OTHERS_CPU_SHARE", -1.0)
    monkeypatch.setattr(launch, "NUM_ALLOCATIONS", 1)
    monkeypatch.chdir(repository)
    door = repository / "kinetics" / "measure" / "prepared_case.py"
    kernel = repository / "kinetics" / "kernel.py"
    kernel.write_text(KERNEL)
    uses = "import ctypes\nfrom kinetics.kernel import body\nDATA = (ctypes.c_int64 * 3)(0, 10_000, 5)\n"
    door.write_text(uses + door.read_text().replace("        end =", "        body.ctypes(DATA)\n        end =", 1))
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "compile a kernel")

    def gate():
        options = ["--base", "HEAD", "--device", "cpu", "--grid", "smoke", "--launches", "4", "--json"]
        done = CliRunner().invoke(app, ["gate", *options])
        assert done.stdout, done
        return done.exit_code, json.loads(done.stdout)

    kernel.write_text(KERNEL.replace("A kernel that", "What"))
    code, document = gate()
    assert (code, document["runs"]) == (0, [])
    assert {row["verdict"] for row in document["verdicts"]} == {"SAME"}
    kernel.write_text(KERNEL.replace("range(a[1])", "range(a[1] + a[1] // 33)"))
    code, document = gate()
    assert code == 1
    assert {row["verdict"] for row in document["verdicts"]} == {"SLOW"}
    reasons = {row["reason"].partition("; the clock: INVALID")[0] for row in document["verdicts"]}
    assert reasons == {"instructions of all kernels: +3.0 %"}
