# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what the processor does not have, or user mode may not do, stops before it executes, wherever it stands.

What Unicorn would do instead is said beside each case. Which exception it was is decided by the instruction that
was executed, never by the bytes before RIP.
"""

from __future__ import annotations

import pytest

from cpu.disasm import feature_of
from cpu.vcpu import Intercept, VmExit
from tests.cpu.assemble import assemble
from tests.cpu.world import ALL, FAST, FIDELITIES, RWX, TEXT, How, reg, world

DB, BP, OF, UD, GP = 1, 3, 4, 6, 13

MISSING = {
    # Unicorn executes VEX instructions as their two-operand SSE forms
    "vex2": "c5f1fec2",  # vpaddd xmm0, xmm1, xmm2
    "vex3": "c4e271fec2",
    "vex3 of 0f38": "c4e27918c1",
    "vex 256": "c5f5fec2",
    "vex store": "c5f97f0425 00006000",
    "vzeroupper": "c5f877",
    "vex bmi": "c4e278f2c1",  # andn
    "evex": "62f1750868c2",
    # ... and XOP as POP
    "xop": "8fe878c2c101",
    "xop tbm": "8fe97801c8",
    # ... and LOCK before what cannot be locked, without a word
    "lock nop": "f090",
    "lock mov": "f0488904 2500006000",
    "lock add reg": "f04801c8",
    "lock cmp": "f0483904 2500006000",
    "lock shl": "f048d12425 00006000",
    "lock shld": "f00fa40425 0000600001",
    "sysenter": "0f34",
}
CASES: dict[str, tuple[str, int, bool, int]] = {
    # name: code, vector, whether RIP is after it, INTERCEPT_*
    **{name: (code, UD, False, Intercept.UD) for name, code in MISSING.items()},
    "int1": ("f1", DB, True, Intercept.INT1),
    "int 1": ("cd01", GP, False, Intercept.GP),
    "int3": ("cc", BP, True, Intercept.INT3),
    "int3 with a prefix": ("66cc", BP, True, Intercept.INT3),
    "int 3": ("cd03", BP, True, Intercept.INT3),
    "int 4": ("cd04", OF, True, Intercept.INTO),
    "int 6": ("cd06", GP, False, Intercept.GP),
    "int 13": ("cd0d", GP, False, Intercept.GP),
    "int 0x80": ("cd80", GP, False, Intercept.GP),
    "int 14 with a prefix": ("48cd0e", GP, False, Intercept.GP),
    "rdtsc": ("0f31", GP, False, Intercept.RDTSC),
    "rdtsc with 48": ("480f31", GP, False, Intercept.RDTSC),
    "rdtsc with 66": ("660f31", GP, False, Intercept.RDTSC),
    "rdtsc with f3 2e": ("f32e0f31", GP, False, Intercept.RDTSC),
    "rdtscp": ("0f01f9", GP, False, Intercept.RDTSCP),
    "rdtscp with f2 48": ("f2480f01f9", GP, False, Intercept.RDTSCP),
    "in": ("e460", GP, False, Intercept.GP),
    "out with a prefix": ("66ef", GP, False, Intercept.GP),
    "rep insb": ("f36c", GP, False, Intercept.GP),
}
BEFORE = "48c7c000000000 c70425 00006000 05000000 31db"
"""mov rax, 0; mov dword ptr [0x600000], 5; xor ebx, ebx: 3 instructions of the same block."""
AFTER = "c70425 04006000 07000000 0f05"
"""mov dword ptr [0x600004], 7; syscall."""


def code_of(*parts: str) -> bytes:
    return bytes.fromhex("".join(parts).replace(" ", ""))


@pytest.mark.parametrize("where", ["middle", "begin"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_it_stops_before_it_executes(case: str, how: How, where: str) -> None:
    code, vector, trap, intercept = CASES[case]
    before = BEFORE if where == "middle" else ""
    length = len(code_of(code))
    with world(code_of(before, code, AFTER), how, regs={"RSI": 0x600000, "RDI": 0x600000}) as w:
        exit_ = w.run()
        at = TEXT + len(code_of(before))
        assert (exit_.reason, exit_.vector, exit_.intercept) == (VmExit.EXCEPTION, vector, intercept)
        assert exit_.insn == at
        assert vector == UD or exit_.length == length
        assert exit_.rip == w.vcpu.rip == at + (length if trap else 0)
        assert w.vcpu.instructions == (3 if before else 0) + trap
        assert w.data(8) == (b"\5" if before else b"\0") + bytes(7)
        assert w.vcpu.cpl == 3
        w.check()


@pytest.mark.parametrize("case", ["vex2", "int 13", "rdtsc with 48", "lock nop"])
@pytest.mark.parametrize("how", ALL, ids=str)
@pytest.mark.parametrize("sliced", [False, True])
def test_however_it_is_run(case: str, how: How, sliced: bool) -> None:
    """Also instruction by instruction, and a second time: the answer is the same."""
    code, vector, *_ = CASES[case]
    with world(code_of(BEFORE, code, AFTER), how) as w:
        for _ in range(2):
            if sliced:
                while w.run((w.vcpu.instructions or 0) + 1).reason == VmExit.LIMIT:
                    pass
            exit_ = w.run()
            assert (exit_.reason, exit_.vector, exit_.insn) == (VmExit.EXCEPTION, vector, TEXT + 20)
            assert w.vcpu.instructions == 3
        assert w.data(8) == b"\5" + bytes(7)
        w.check()


@pytest.mark.parametrize("case", CASES)
def test_without_counting(case: str) -> None:
    code, vector, _trap, intercept = CASES[case]
    with world(code_of(BEFORE, code, AFTER), FAST, count=False) as w:
        for _ in range(2):
            exit_ = w.run()
            assert (exit_.reason, exit_.vector, exit_.intercept) == (VmExit.EXCEPTION, vector, intercept)
            assert exit_.insn == TEXT + 20
            w.vcpu.write_reg(reg("RIP"), TEXT)


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_bytes_before_rip_decide_nothing(how: How) -> None:
    """An immediate that ends in the bytes of INT n, and then an exception of that vector."""
    with world("mov eax, 0x06cd1234; ud2", how) as w:
        exit_ = w.run()
        assert (exit_.vector, exit_.insn, exit_.rip, exit_.intercept) == (UD, TEXT + 5, TEXT + 5, 0)
    with world("mov eax, 0x0dcd1234; rdtsc; syscall", how) as w:
        exit_ = w.run()
        assert (exit_.intercept, exit_.insn) == (Intercept.RDTSC, TEXT + 5)
    with world("xor ecx, ecx; mov eax, 0x00cd1234; div ecx", how) as w:
        exit_ = w.run()
        assert (exit_.vector, exit_.insn) == (0, TEXT + 7)


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_flags_survive(how: How) -> None:
    """Unicorn computes flags lazily: at the stop they are those of the instruction before."""
    with world(code_of("48c7c0ffffffff 4883c001", "c5f1fec2", AFTER), how) as w:
        w.run()
        assert w.vcpu.read_reg(reg("EFLAGS")) & 0x8D5 == 0x55  # CF, PF, AF, ZF
        assert w.vcpu.read_reg(reg("RAX")) == 0


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_after_bytes_that_capstone_does_not_know(how: How) -> None:
    """Unicorn decodes on where capstone cannot: all of the rest of such a block is watched."""
    for unknown in ("0f0d18", "0f1ae0", "660f1cc0", "0f1dc0"):  # reserved NOPs
        with world(code_of("90", unknown, "90", "c5f1fec2", AFTER), how, regs={"RAX": 0x600000}) as w:
            exit_ = w.run()
            assert (exit_.vector, exit_.insn) == (UD, TEXT + 2 + len(unknown) // 2)


@pytest.mark.parametrize("how", [*FIDELITIES, How(FAST.fidelity, "python", False)], ids=str)
def test_code_that_becomes_another(how: How) -> None:
    """A watched instruction that is overwritten executes, and one that is written over others is found."""
    # A loop: executes what stands at `here`, then overwrites it.
    source = """
        mov ecx, 3
        lea rdx, here[rip]
    1:  mov dword ptr [0x600000], 1
    here: nop; nop; nop; nop
        mov dword ptr [rdx], {new}
        dec ecx
        jnz 1b
        syscall
    """
    vpaddd, nops = 0xC2FEF1C5, 0x90909090
    with world(source.format(new=hex(vpaddd)), how, text_prot=RWX) as w:
        exit_ = w.run()
        here = exit_.insn
        assert (exit_.vector, w.data(4, here)) == (UD, vpaddd.to_bytes(4, "little"))
        assert w.vcpu.read_reg(reg("RCX")) == 2
        w.mm.copy_to_user(here, nops.to_bytes(4, "little"))
        w.vcpu.drop_code(w.mmu.walk(here).pa)
        assert (w.run().vector, w.vcpu.read_reg(reg("RCX"))) == (UD, 1)


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
@pytest.mark.parametrize("count", [True, False])
def test_more_of_them_than_are_watched_at_once(how: How, count: bool) -> None:
    """100 different places, twice: each stops the run, each time."""
    if not count and how is not FAST:
        pytest.skip("exact and trace always count")
    with world(b"\x90\x0f\x31" * 100 + b"\x0f\x05", how, count=count) as w:
        for turn in range(2):
            for n in range(100):
                exit_ = w.run()
                assert (exit_.intercept, exit_.insn) == (Intercept.RDTSC, TEXT + 3 * n + 1), turn
                w.vcpu.skip(exit_.length)
            assert w.run().reason == VmExit.SYSCALL
            w.vcpu.write_reg(reg("RIP"), TEXT)
        if count:
            assert w.vcpu.instructions == 2 * 201


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_across_a_page_boundary(how: How) -> None:
    """The instruction's first byte ends a page."""
    before = b"\x90" * 0xFFF
    with world(before + code_of("c5f1fec2", AFTER), how) as w:
        exit_ = w.run()
        assert (exit_.vector, exit_.insn, w.vcpu.instructions) == (UD, TEXT + 0xFFF, 0xFFF)
        w.check()


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_exceptions_one_after_the_other(how: How) -> None:
    """None of them is taken for a double fault (SDM vol. 3A table 6-5): each was delivered."""
    with world("xor ecx, ecx; 1: div ecx; hlt", how) as w:
        for _ in range(3):
            assert w.run().vector == 0
        w.vcpu.skip(2)
        for _ in range(3):
            assert w.run().vector == GP


ABORTS = ("f00fabe2", "f0480fb3c0", "f0660fbbd1", "66f00fbae807", "f00fbaf800")
"""LOCK BTS, BTR and BTC of a register: Unicorn's translator calls abort() on them."""


@pytest.mark.parametrize("code", ABORTS)
@pytest.mark.parametrize("how", [*ALL, None], ids=str)
def test_what_must_not_be_translated(code: str, how: How | None) -> None:
    """Nothing of the page is translated but instruction by instruction."""
    before = "90535b48ffc0"
    with world(code_of(before, code, AFTER), how or FAST, count=how is not None) as w:
        exit_ = w.run()
        assert (exit_.vector, exit_.intercept, exit_.insn) == (UD, Intercept.UD, TEXT + len(before) // 2)
        if how is not None:
            assert w.vcpu.instructions == 4
            w.check()
        w.vcpu.write_reg(reg("RIP"), TEXT + len(code_of(before, code)))
        assert w.run().reason == VmExit.SYSCALL
        assert w.data(8) == bytes(4) + b"\7" + bytes(3)


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_what_must_not_be_translated_across_pages(how: How) -> None:
    with world(b"\x90" * 0xFFE + code_of("f00fabe2", AFTER), how) as w:
        exit_ = w.run()
        assert (exit_.vector, exit_.insn, w.vcpu.instructions) == (UD, TEXT + 0xFFE, 0xFFE)
        w.check()


FEATURES = {
    "vpaddd xmm0, xmm1, xmm2": "AVX",
    "vpaddd ymm0, ymm1, ymm2": "AVX2",
    "vpaddd zmm0, zmm1, zmm2": "AVX-512",
    "vfmadd213ps xmm0, xmm1, xmm2": "FMA",
    "vcvtph2ps xmm0, xmm1": "F16C",
    "andn eax, ebx, ecx": "BMI1",
    "shlx eax, ebx, ecx": "BMI2",
    "movbe eax, [rsi]": "MOVBE",
    "rdrand eax": "RDRAND",
    "adcx eax, ebx": "ADX",
    "sha1nexte xmm0, xmm1": "SHA",
    "rdfsbase rax": "FSGSBASE",
    "xsave [rax]": "XSAVE",
    "pfadd mm0, mm1": "3DNow!",
    "vpcmov xmm0, xmm1, xmm2, xmm3": "XOP",
    "ud2": None,
    "mov eax, ebx": None,
    "addps xmm0, xmm1": None,
}


@pytest.mark.parametrize("source", FEATURES)
def test_the_feature_has_a_name(source: str) -> None:
    assert feature_of(assemble(source)) == FEATURES[source]
