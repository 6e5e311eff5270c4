# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what the processor does not have, or user mode may not do, stops before it executes,
wherever it stands.

What Unicorn would do instead is said beside each case. Which exception it was is decided by the
instruction that was executed, never by the bytes before RIP.
"""

from __future__ import annotations

import itertools
import struct

import pytest
from unicorn import UC_HOOK_BLOCK
from unicorn import x86_const as uc_x86

from cpu.disasm import feature_of
from cpu.vcpu import Intercept, VmExit
from mmu.linux.mman import PROT_READ
from tests.cpu.assemble import assemble
from tests.cpu.world import ALL, DATA, FAST, FIDELITIES, RWX, TEXT, How, reg, world

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
    "bt group without an operation": "0fbac001",
    "xabort": "c6f801",
    "c7 /7 of memory": "c7382500006000",
    "3dnow": "0f0fc19e",
    "extrq": "660f78c00800",
    "extrq of registers": "660f79c1",
    "insertq": "f20f79c1",
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
        assert (exit_.reason, exit_.vector, exit_.intercept) == (
            VmExit.EXCEPTION,
            vector,
            intercept,
        )
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
            assert (exit_.reason, exit_.vector, exit_.intercept) == (
                VmExit.EXCEPTION,
                vector,
                intercept,
            )
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
        with world(
            code_of("90", unknown, "90", "c5f1fec2", AFTER), how, regs={"RAX": 0x600000}
        ) as w:
            exit_ = w.run()
            assert (exit_.vector, exit_.insn) == (UD, TEXT + 2 + len(unknown) // 2)


@pytest.mark.parametrize("how", [*FIDELITIES, How(FAST.fidelity, "python", False)], ids=str)
def test_code_that_becomes_another(how: How) -> None:
    """A watched instruction that is overwritten executes, and one that is written over others is
    found.
    """
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


@pytest.mark.parametrize("case", [*CASES])
@pytest.mark.parametrize("how", [*FIDELITIES, None], ids=str)
def test_behind_an_instruction_that_is_watched_and_executes(case: str, how: How | None) -> None:
    """RCL of memory has a hook of its own, and the block goes on: what is behind it stops all the
    same.
    """
    code, vector, _trap, intercept = CASES[case]
    rcl = "d11425 00006000"
    before = code_of("90", rcl, rcl)
    with world(before + code_of(code, AFTER), how or FAST, count=how is not None) as w:
        for _ in range(2):
            exit_ = w.run()
            assert (exit_.vector, exit_.intercept, exit_.insn) == (
                vector,
                intercept,
                TEXT + len(before),
            )
            w.vcpu.write_reg(reg("RIP"), TEXT)


def test_mmx_sums_leave_the_x87_registers_valid() -> None:
    """TOP 0 and all tags valid, as after every MMX instruction (SDM vol. 1 9.5.1)."""
    with world("fninit; fld1; fld1; phaddd mm0, mm0; fnstenv [0x600000]; syscall") as w:
        w.run()
        fsw, tags = struct.unpack("<4xH2xH", w.data(10))
        assert fsw & 0x3800 == 0
        assert [tags >> 2 * n & 3 != 3 for n in range(8)] == [True] * 8


WORDS = [1, -2, 30000, 30000, -30000, -30000, 7, -7]


def horizontal(op: str, words: list[int], bits: int) -> list[int]:
    """PHADD and PHSUB of one register with itself (SDM vol. 2), bits a lane."""
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    pairs = [
        (a + b if "add" in op else a - b) for a, b in zip(words[::2], words[1::2], strict=True)
    ]
    if op.endswith("sw"):
        pairs = [min(max(value, low), high) for value in pairs]
    return [value & (1 << bits) - 1 for value in pairs * 2]


@pytest.mark.parametrize("how", ALL, ids=str)
@pytest.mark.parametrize("op", ["phaddw", "phaddd", "phaddsw", "phsubw", "phsubd", "phsubsw"])
def test_a_horizontal_sum_of_a_register_with_itself(op: str, how: How) -> None:
    """Unicorn overwrites its operand; so it is carried out here, in XMM and MMX registers."""
    bits = 32 if op.endswith("d") else 16
    raw = struct.pack("<8h", *WORDS)
    lanes = list(struct.unpack("<4i" if bits == 32 else "<8h", raw))
    source = f"stc; {op} xmm9, xmm9; {op} mm3, mm3; {op} xmm1, xmm2; syscall"
    with world(source, how) as w:
        w.vcpu.uc.reg_write(uc_x86.UC_X86_REG_XMM9, int.from_bytes(raw, "little"))
        w.vcpu.uc.reg_write(uc_x86.UC_X86_REG_FP3, (int.from_bytes(raw[:8], "little"), 0))
        assert w.run().reason == VmExit.SYSCALL
        xmm = w.vcpu.uc.reg_read(uc_x86.UC_X86_REG_XMM9)
        mm, exponent = w.vcpu.uc.reg_read(uc_x86.UC_X86_REG_FP3)
        assert exponent == 0xFFFF
        mask = (1 << bits) - 1
        assert [xmm >> bits * n & mask for n in range(128 // bits)] == horizontal(op, lanes, bits)
        assert [mm >> bits * n & mask for n in range(64 // bits)] == horizontal(
            op, lanes[: 64 // bits], bits
        )
        assert (w.vcpu.instructions, w.vcpu.read_reg(reg("R11")) & 1) == (5, 1)
        w.check()


def test_many_of_them_in_slices() -> None:
    """A loop of 1,000, two instructions at a time: each is done once."""
    with world(
        "mov ecx, 1000; 1: paddd xmm1, xmm2; phaddd xmm1, xmm1; dec ecx; jnz 1b; syscall"
    ) as w:
        while w.run((w.vcpu.instructions or 0) + 2).reason == VmExit.LIMIT:
            pass
        assert w.vcpu.instructions == 2 + 4000


@pytest.mark.parametrize("how", ALL, ids=str)
@pytest.mark.parametrize(
    ("source", "result", "size"),
    [
        ("rcl dword ptr [rsi], 1", 1, 4),
        ("rcr qword ptr [rsi], 1", 1 << 63, 8),
        ("rcl byte ptr [rsi], 3", 4, 1),
        ("rcr word ptr [rsi + 8], cl", 1 << 15, 2),
        ("rcl dword ptr [rip + 0x200000], 2", 2, 4),
        ("rcl qword ptr [rsi + 0xffc], 1", 1, 8),
    ],
)
def test_a_rotate_through_carry_whose_store_faults(
    source: str, result: int, size: int, how: How
) -> None:
    """Unicorn changes CF before the store: the fault comes first, so that CF is still right when it
    begins anew.
    """
    at = 0x600000 + (8 if "+ 8" in source else 0xFFC if "ffc" in source else 0)
    load = "mov eax, [rsi]; mov eax, [rsi + 0x1000]"
    text = f"mov esi, 0x600000; mov ecx, 1; {load}; stc; {source}; syscall"
    with world(text, how) as w:
        exit_ = w.run()
        assert exit_.reason == VmExit.SYSCALL
        at = exit_.insn + 0x200000 if "rip" in source else at
        assert int.from_bytes(w.data(size, at), "little") == result
        assert w.vcpu.read_reg(reg("R11")) & 1 == 0
        w.check()


def test_a_rotate_through_carry_where_nothing_may_be_written() -> None:
    with world("stc; rcl dword ptr [rip], 1; syscall") as w:
        exit_ = w.run()
        assert (exit_.reason, exit_.rip, exit_.address) == (VmExit.PAGE_FAULT, TEXT + 1, TEXT + 7)
        assert exit_.error_code & 2
        assert w.vcpu.read_reg(reg("EFLAGS")) & 1


@pytest.mark.parametrize("how", ALL, ids=str)
@pytest.mark.parametrize("count", [True, False])
def test_a_jump_to_the_last_address(how: How, count: bool) -> None:
    """No address ends a run of ours: 0xffffffffffffffff is not mapped."""
    if not count and how.fidelity:
        pytest.skip("exact and trace always count")
    with world("mov rax, -1; jmp rax", how, count=count) as w:
        exit_ = w.run()
        assert (exit_.reason, exit_.address, exit_.rip) == (VmExit.PAGE_FAULT, 2**64 - 1, 2**64 - 1)


ABORTS = ("f00fabe2", "f0480fb3c0", "f0660fbbd1", "66f00fbae807", "f00fbaf800")
"""LOCK BTS, BTR and BTC of a register: Unicorn's translator calls abort() on them."""


@pytest.mark.parametrize("code", ABORTS)
@pytest.mark.parametrize("how", [*ALL, None], ids=str)
def test_what_must_not_be_translated(code: str, how: How | None) -> None:
    """Translation ends before it, and goes on behind it."""
    before = "90535b48ffc0"
    with world(code_of(before, code, AFTER), how or FAST, count=how is not None) as w:
        exit_ = w.run()
        assert (exit_.vector, exit_.intercept, exit_.insn) == (
            UD,
            Intercept.UD,
            TEXT + len(before) // 2,
        )
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


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_a_page_full_of_what_must_not_be_translated(how: How) -> None:
    """Each of them, and on each page."""
    with world(bytes.fromhex("f00fbae2") * 0xC00, how) as w:
        for at in (0, 4, 0xFFC, 0x1000, 0x2FFC, 8):
            w.vcpu.write_reg(reg("RIP"), TEXT + at)
            exit_ = w.run()
            assert (exit_.vector, exit_.insn, w.vcpu.instructions) == (UD, TEXT + at, 0)


BY_CHANCE = f"""
    mov ecx, 500
    mov esi, 5
1:  mov rax, rsi        # 48 89 f0
    bts rax, 7          # 48 0f ba e8 07: behind that f0 it looks like LOCK BTS
    add rbx, rax
    dec ecx
    jnz 1b
    mov [{DATA}], rbx
    syscall
"""


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_what_only_looks_as_if_it_must_not_be_translated(how: How) -> None:
    """Bytes of two instructions: such code is translated, in the same blocks as any other."""
    turns, nr_blocks = 500, [0, 0]
    sources = (BY_CHANCE, BY_CHANCE.replace("mov rax, rsi", "mov rax, rdi"))
    for number, source in enumerate(sources):
        source = source.replace("esi, 5", "esi, 5; mov edi, 5")
        with world(source, how) as w:
            blocks = itertools.count()
            w.vcpu.uc.hook_add(UC_HOOK_BLOCK, lambda *args: next(args[-1]), blocks)
            assert w.run().reason == VmExit.SYSCALL
            nr_blocks[number] = next(blocks)
            assert w.data(8) == (0x85 * turns).to_bytes(8, "little")
            assert w.vcpu.instructions == 5 * turns + 5
            w.check()
    assert nr_blocks[0] == nr_blocks[1] <= 2 * turns, nr_blocks


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_code_that_takes_the_place_of_what_must_not_be_translated(how: How) -> None:
    """It executes, whether it begins a block or stands in one; and then what aborts again."""
    with world(code_of("90", "f00fabe2", AFTER), how, text_prot=RWX) as w:
        for code in ("f00fabe2", "83c00290", "f00fabe2", "9083c002"):
            w.mm.copy_to_user(TEXT + 1, bytes.fromhex(code))
            for at in (0, 1):
                w.vcpu.write_reg(reg("RIP"), TEXT + at)
                exit_ = w.run()
                if code == "f00fabe2":
                    assert (exit_.vector, exit_.insn) == (UD, TEXT + 1)
                else:
                    assert exit_.reason == VmExit.SYSCALL
                w.check()


@pytest.mark.parametrize("how", ALL, ids=str)
def test_the_page_of_what_must_not_be_translated_is_another_one_now(how: How) -> None:
    """Unicorn looks it up at the end of each run: no fault of the guest's, which runs elsewhere."""
    elsewhere = TEXT + 0x2000
    stepped = code_of(AFTER[:-5], "8b1c25 00006000") * 8 + code_of("0f05")
    with world(code_of("f00fabe2", "90" * 4), how, text_prot=RWX) as w:
        assert w.run().vector == UD
        w.mm.copy_to_user(elsewhere, stepped)
        for prot in (PROT_READ, 0):
            w.mm.mprotect(TEXT, 0x1000, prot)
            for limit in (1, 2, 3, None):
                w.vcpu.write_reg(reg("RIP"), elsewhere)
                started, faults = w.vcpu.instructions, w.faults
                exit_ = w.run(None if limit is None else started + limit)
                expected = VmExit.SYSCALL if limit is None else VmExit.LIMIT
                assert exit_.reason == expected
                assert w.vcpu.instructions - started == (17 if limit is None else limit)
                assert w.faults - faults <= 3
            w.check()


WRONG = {
    "lahf with rex": "419f",
    "66 before f3": "f3660f51da",
    "iretd": "cf",
    "ret imm16 of 32 KiB and more": "c20090",
    "f2 and f3": "f2f3aa",
    "fs, then ds": "643e8b03",
    "mmx with rex.r": "450f3804c1",
    "palignr with rex.b": "490f3a0fc101",
    "shld by an immediate, rip-relative": "0fa40500 00200001",
    "lock neg": "f0f61c2500006000",
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_what_unicorn_gets_wrong_does_not_execute(case: str, how: How) -> None:
    with world(code_of(BEFORE, WRONG[case], AFTER), how) as w:
        exit_ = w.run()
        assert (exit_.vector, exit_.intercept, exit_.insn) == (UD, Intercept.WRONG, TEXT + 20)
        assert w.vcpu.instructions == 3


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
