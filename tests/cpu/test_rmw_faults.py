# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: an instruction that reads, changes and writes its operand loads it as one that a store
follows.

So it faults at the load, with W/R = 1, where it may not write; and one walk sets A and D.
"""

from __future__ import annotations

import signal

import pytest

from cpu.vcpu import VmExit
from mmu.linux.mman import PROT_NONE, PROT_READ
from mmu.x86.entries import X86_A, X86_D
from mmu.x86.faults import PF_P, PF_US, PF_WR
from tests.cpu.assemble import assemble
from tests.cpu.native_faults import run_natively
from tests.cpu.test_exact import MODELLED
from tests.cpu.world import ALL, DATA, RW, TEXT, How, map_fixed, reg, world

RMW = (
    *(
        f"{op} [rdi], eax"
        for op in ("add", "or", "adc", "sbb", "and", "sub", "xor", "xchg", "xadd")
    ),
    *(
        f"{op} byte ptr [rdi], 3"
        for op in ("add", "or", "adc", "sbb", "and", "sub", "xor", "rol", "sar")
    ),
    *(f"{op} qword ptr [rdi]" for op in ("inc", "dec", "not", "neg", "shl")),
    *(f"{op} word ptr [rdi], cl" for op in ("ror", "rcl", "rcr", "shl", "shr")),
    *(f"{op} [rdi], rax" for op in ("bts", "btr", "btc")),
    *(f"{op} dword ptr [rdi], 3" for op in ("bts", "btr", "btc")),
    "shld [rdi], rax, 3",
    "shrd [rdi], eax, cl",
    "cmpxchg [rdi], rcx",
    "cmpxchg [rdi], cl",
    "cmpxchg8b [rdi]",
    "lock cmpxchg16b [rdi]",
    "lock inc dword ptr [rdi]",
    "lock add qword ptr [rdi], 1",
    "lock cmpxchg [rdi], ecx",
    "lock xadd [rdi], rax",
    "add gs:[rdi], eax",
    "add word ptr [rdi + rcx*8], 0x1234",
)
NOT_RMW = (
    "mov [rdi], eax",
    "sete byte ptr [rdi]",
    "pop qword ptr [rdi]",
    "movups [rdi], xmm0",
    "fistp dword ptr [rdi]",
    "stosb",
    "add eax, [rdi]",
    "cmp [rdi], eax",
    "cmp byte ptr [rdi], 3",
    "test [rdi], rax",
    "test byte ptr [rdi], 3",
    "bt [rdi], rax",
    "bt dword ptr [rdi], 3",
    "mul qword ptr [rdi]",
    "cmovz eax, [rdi]",
    "paddd xmm0, [rdi]",
    "fild dword ptr [rdi]",
    "imul eax, [rdi]",
    "lodsb",
)
ABSENT, READ_ONLY = DATA + 0x2000, DATA + 0x3000


@pytest.mark.parametrize("how", ALL, ids=str)
def test_error_codes_are_those_of_this_host(how: How) -> None:
    natively = run_natively(RMW + NOT_RMW)
    starts, code = {}, b""
    for source in natively:
        starts[source] = TEXT + len(code)
        code += assemble(f"{source}; syscall")
    with world(code, how) as w:
        map_fixed(w.mm, READ_ONLY, 0x1000, RW)
        w.mm.copy_to_user(READ_ONLY, b"x")
        w.mm.mprotect(READ_ONLY, 0x1000, PROT_READ)
        map_fixed(w.mm, ABSENT, 0x1000, PROT_NONE)
        for source, host in natively.items():
            for page, fault in ((ABSENT, host.absent), (READ_ONLY, host.read_only)):
                for name, value in (
                    ("RIP", starts[source]),
                    ("RDI", page + 64),
                    ("RSI", page + 64),
                    ("RCX", 0),
                ):
                    w.vcpu.write_reg(reg(name), value)
                exit_ = w.run()
                if not fault.signo:
                    assert exit_.reason == VmExit.SYSCALL, source
                    continue
                assert fault.signo == signal.SIGSEGV
                assert (exit_.reason, exit_.rip) == (VmExit.PAGE_FAULT, starts[source]), source
                assert (exit_.address, exit_.error_code) == (page + 64, fault.error_code), source
                assert exit_.access == (fault.error_code & PF_WR) >> 1, source
        w.check()


def test_the_hosts_are_as_the_rule_says() -> None:
    """Else the test above would compare nothing of interest."""
    natively = run_natively(RMW + NOT_RMW)
    for source in RMW:
        assert natively[source].absent.error_code == PF_US | PF_WR
        assert natively[source].read_only.error_code == PF_US | PF_WR | PF_P
    assert {natively[source].absent.error_code for source in NOT_RMW} == {PF_US, PF_US | PF_WR}


@pytest.mark.parametrize("how", MODELLED, ids=str)
def test_one_walk_sets_a_and_d(how: How) -> None:
    """On a page that was only read; in a block of its own and among other loads."""
    source = """
        mov al, [0x600000]; mov bl, [0x601000]; jmp 1f
    1:  mov cl, [0x600008]; inc qword ptr [0x600000]; mov cl, [0x601008]
        lock xadd [0x601010], rax; syscall
    """
    with world(source, how) as w:
        for page in (DATA, DATA + 0x1000):
            w.mm.copy_to_user(page, b"x")
            w.memory.write_u64(w.mmu.walk(page).entry_pa[1], w.mmu.walk(page).entry[1] & ~X86_D)
        w.mmu.flush_all()
        w.mmu.tables_changed()
        before = w.mmu.counters()
        w.run()
        seen = {name: value - before[name] for name, value in w.mmu.counters().items()}
        assert (seen["dTLB-loads"], seen["dTLB-stores"]) == (6, 2)
        assert seen["dtlb_load_misses.walk_completed"] == 2 + 2
        assert seen["dtlb_store_misses.miss_causes_a_walk"] == 0
        for page in (DATA, DATA + 0x1000):
            assert w.mmu.walk(page).entry[1] & (X86_A | X86_D) == X86_A | X86_D
        w.check()


@pytest.mark.parametrize("how", MODELLED, ids=str)
@pytest.mark.parametrize(
    "address",
    [READ_ONLY, READ_ONLY - 4, READ_ONLY + 0xFFC],
    ids=["inside", "crossing", "into an absent page"],
)
def test_a_fault_for_want_of_the_right_to_write_comes_first(how: How, address: int) -> None:
    """One look-up, of the load, in the first page that faults, and nothing before it, although a
    load would do.
    """
    with world("nop; add [rdi], rax; syscall", how, regs={"RDI": address}) as w:
        map_fixed(w.mm, READ_ONLY, 0x1000, RW)
        for page in (READ_ONLY - 0x1000, READ_ONLY):
            w.mm.copy_to_user(page, b"x")
        w.mm.mprotect(READ_ONLY, 0x1000, PROT_READ)
        before = w.mmu.counters()
        exit_ = w.run()
        assert (exit_.reason, exit_.address) == (VmExit.PAGE_FAULT, max(address, READ_ONLY))
        assert exit_.error_code == PF_US | PF_WR | PF_P
        seen = {name: value - before[name] for name, value in w.mmu.counters().items()}
        assert (seen["dTLB-loads"], seen["dTLB-stores"], seen["page_faults_hw"]) == (1, 0, 1)
        w.check()


@pytest.mark.parametrize("how", MODELLED, ids=str)
def test_both_pages_of_a_crossing_one_are_loaded_for_the_store(how: How) -> None:
    source = "lock xadd [0x600ffc], rax; syscall"
    with world(source, how) as w:
        for page in (DATA, DATA + 0x1000):
            w.mm.copy_to_user(page, b"x")
            w.memory.write_u64(w.mmu.walk(page).entry_pa[1], w.mmu.walk(page).entry[1] & ~X86_D)
        w.mmu.flush_all()
        w.mmu.tables_changed()
        before = w.mmu.counters()
        w.run()
        seen = {name: value - before[name] for name, value in w.mmu.counters().items()}
        assert (seen["dTLB-loads"], seen["dTLB-stores"]) == (2, 2)
        assert seen["dtlb_load_misses.walk_completed"] == 2
        assert seen["dtlb_store_misses.miss_causes_a_walk"] == 0
        w.check()


@pytest.mark.parametrize("how", MODELLED, ids=str)
def test_faults_of_both_pages_are_resolved_one_by_one(how: How) -> None:
    """The zero page, to be copied, then a page that was never touched; and the sum is in both."""
    source = "mov al, [0x600000]; mov ecx, 0x10001; add [0x600ffe], ecx; syscall"
    with world(source, how) as w:
        before = w.mmu.counters()
        assert w.run().reason == VmExit.SYSCALL
        seen = {name: value - before[name] for name, value in w.mmu.counters().items()}
        assert w.mm.copy_from_user(DATA + 0xFFE, 4) == b"\1\0\1\0"
        assert seen["page_faults_hw"] == 3
        w.check()
