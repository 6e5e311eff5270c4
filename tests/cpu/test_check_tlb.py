# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the checker tells where a guest used what memory no longer says: instruction, filling,
change, missing flush.

A guest of its own tables that forgets a flush is told on; with the flush nothing is; and programs
on our kernel never are, under any policy.
"""

from __future__ import annotations

import pytest
from unicorn import UC_ARCH_X86, UC_MODE_64, UC_PROT_ALL, Uc

import cpu
from cpu.attached import Attached
from cpu.vcpu import Fidelity, VCpu, VmExit
from mmu.errors import MmuError
from mmu.linux import mmu_gather
from mmu.linux.mm import boot
from mmu.linux.mman import MADV_DONTNEED
from mmu.memory import Memory
from mmu.x86 import Mmu
from mmu.x86.check import ChangedBy
from tests.cpu.assemble import assemble
from tests.cpu.world import DATA, RW, RWX, SIZE, STACK_TOP, TEXT, map_fixed

CODE = 0x10000
VIRTUAL = 0x7F0000000000
TABLE = 0x200000000

FIDELITIES = ["exact", "trace"]


def guest(
    flush: str, fidelity: str, *, engine: str = "c", store: str = "mov [rsi], rdx"
) -> tuple[Attached, int]:
    """Run a guest that reads a page, stores to its PTE, perhaps flushes, and reads again; its
    code's length too.
    """
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(CODE, 0x10000, UC_PROT_ALL)
    machine = cpu.attach(uc, identity=True, fidelity=fidelity, engine=engine, check_tlb=True)
    machine.map(VIRTUAL, 0x2000)
    old, new = machine.walk(VIRTUAL), machine.walk(VIRTUAL + 0x1000)
    machine.map(TABLE, 0x1000, pa=old.entry_pa[1] & ~0xFFF)
    pte = TABLE | (old.entry_pa[1] & 0xFFF)
    code = assemble(
        f"""
        mov rdi, {VIRTUAL:#x}; mov rsi, {pte:#x}; mov rdx, {new.entry[1]:#x}
        mov bl, [rdi]; {store}; {flush}; jmp 1f
    1:  mov bh, [rdi]
        """
    )
    uc.mem_write(CODE, code)
    machine.emu_start(CODE, CODE + len(code))
    assert machine.shared.broken == 0
    return machine, len(code)


@pytest.mark.parametrize("engine", ["c", "python"])
@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("store", ["mov [rsi], rdx", "mov [rsi+1], dh"])
def test_a_guest_that_forgets_invlpg(store: str, fidelity: str, engine: str) -> None:
    """Also if it stores but the part of the entry in which the two differ."""
    machine, length = guest("nop", fidelity, engine=engine, store=store)
    (use,) = machine.stale_translations()
    assert use.used and use.va == VIRTUAL and use.level == 1
    assert use.at and use.filled and use.changed
    assert use.at.rip == CODE + length - 2
    assert use.filled.rip is not None and use.changed.rip is not None
    assert CODE < use.filled.rip < use.changed.rip < use.at.rip
    assert use.changed.by is ChangedBy.STORE
    assert use.changed.rip == use.filled.rip + 2
    assert (use.filled.instruction, use.changed.instruction, use.at.instruction) == (3, 4, 7)
    assert "changed by a store of the guest's" in str(use)
    machine.detach()


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize(
    "flush",
    ["invlpg [rdi]", "mov rax, cr3; mov cr3, rax", "mov rax, cr4; xor rax, 0x80; mov cr4, rax"],
)
def test_a_guest_that_flushes(fidelity: str, flush: str) -> None:
    machine, _ = guest(flush, fidelity)
    assert machine.stale_translations() == []
    machine.detach()


def test_a_flush_of_another_page_is_none() -> None:
    machine, _ = guest("invlpg [rdi + 0x1000]", "exact")
    assert len(machine.stale_translations()) == 1
    machine.detach()


def test_fast_has_nothing_to_check() -> None:
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    with pytest.raises(MmuError, match="check_tlb needs fidelity exact or trace"):
        cpu.attach(uc, check_tlb=True)


@pytest.mark.parametrize("forgets", [True, False])
def test_a_kernel_that_forgets(monkeypatch: pytest.MonkeyPatch, forgets: bool) -> None:
    """madvise(MADV_DONTNEED) as a system call, whose flush is not made: the guest's next store is
    use after free.
    """
    if forgets:
        monkeypatch.setattr(mmu_gather, "flush_tlb_mm_range", lambda *_: None)
    memory = Memory(64 << 20)
    mmu = Mmu(memory, engine="python", geometry="tiny", exact=True, check=True)
    mm = boot(memory, mmu, engine="python")
    assert mmu.check is not None
    map_fixed(mm, TEXT, SIZE, RWX)
    mm.copy_to_user(
        TEXT, assemble(f"mov edi, {DATA:#x}; mov [rdi], al; syscall; mov [rdi], al; syscall")
    )
    map_fixed(mm, DATA, SIZE, RW)
    map_fixed(mm, STACK_TOP - SIZE, SIZE, RW)
    with VCpu(memory, mmu, mm, fidelity=Fidelity.EXACT) as vcpu:
        vcpu.enter_user(TEXT, STACK_TOP - 64)
        for _ in range(2):
            while (exit_ := vcpu.run()).reason == VmExit.PAGE_FAULT:
                mmu.check.enter(ChangedBy.FAULT, exit_.address, exit_.rip, vcpu.instructions)
                assert mm.handle_user_fault(exit_.address, exit_.error_code) is None
            mmu.check.enter(ChangedBy.SYSCALL, 28, exit_.rip - 2, vcpu.instructions)
            mm.madvise(DATA, 4096, MADV_DONTNEED)
    found = mmu.check.uses()
    if not forgets:
        assert found == []
        return
    use = found[0]
    assert use.used and use.freed and use.va == DATA
    assert use.at and use.at.rip == TEXT + 9
    assert (
        use.changed and use.changed.who() == f"by system call 28 (ip {TEXT + 7:#x}, instruction 3)"
    )
