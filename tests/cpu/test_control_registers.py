# SPDX-License-Identifier: GPL-2.0-or-later
"""An attached instance owns the registers that paging depends on: CR0, CR3, CR4, EFER, PKRU and
RFLAGS.AC count as Unicorn holds them, whoever wrote them: the guest, a script, a restored context.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from unicorn import UC_ARCH_X86, UC_HOOK_CODE, UC_MODE_64, UC_PROT_READ, UC_PROT_WRITE, Uc, UcError
from unicorn.x86_const import (
    UC_CPU_X86_ICELAKE_SERVER,
    UC_X86_REG_CR0,
    UC_X86_REG_CR3,
    UC_X86_REG_CR4,
    UC_X86_REG_EFLAGS,
    UC_X86_REG_MSR,
    UC_X86_REG_RAX,
    UC_X86_REG_RBX,
    UC_X86_REG_RIP,
    UC_X86_REG_RSP,
)

import cpu
from cpu._engine import lib
from cpu.attached import Attached
from mmu.errors import GeneralProtection, PageFault
from mmu.x86 import Access, Outcome
from mmu.x86.entries import X86_A, X86_ADDR_MASK, X86_P, X86_RW, X86_US
from mmu.x86.faults import PF_ID, PF_P, PF_PK, PF_RSVD, PF_WR
from mmu.x86.registers import (
    CR0_PG,
    CR4_LA57,
    CR4_PCIDE,
    CR4_PKE,
    CR4_SMAP,
    CR4_SMEP,
    EFER_LME,
    EFER_NXE,
    RFLAGS_AC,
)
from tests.cpu.assemble import assemble

CODE = 0x1000000
DATA = 0x1100000
HIGH = 0x7FFF12340000
EFER = 0xC0000080
STAR = 0xC0000081
NO_FLUSH = 1 << 63
WAYS = [(fidelity, engine) for fidelity in ("fast", "exact", "trace") for engine in ("c", "python")]
RW = UC_PROT_READ | UC_PROT_WRITE

ways = pytest.mark.parametrize(("fidelity", "engine"), WAYS)
fidelities = pytest.mark.parametrize("fidelity", ["fast", "exact", "trace"])


def attached(
    fidelity: str, engine: str = "c", *, efer: int = 0xD01, geometry: str = "golden_cove"
) -> tuple[Uc, Attached]:
    """An instance with 2 MiB of memory, 64-bit and with NXE, attached to."""
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.ctl_set_cpu_model(UC_CPU_X86_ICELAKE_SERVER)
    uc.mem_map(CODE, 2 << 20)
    uc.reg_write(UC_X86_REG_RSP, DATA + 0xF000)
    uc.reg_write(UC_X86_REG_MSR, (EFER, efer))
    return uc, cpu.attach(uc, identity=True, fidelity=fidelity, engine=engine, geometry=geometry)


def run(m: Attached, source: str) -> None:
    """Execute the program, at an address where none has run before."""
    code = assemble(source)
    at = CODE + 0x1000 * run_number(m)
    m.uc.mem_write(at, code)
    m.emu_start(at, at + len(code))


def run_number(m: Attached) -> int:
    m.runs = getattr(m, "runs", -1) + 1  # type: ignore[attr-defined]
    return int(m.runs)  # type: ignore[attr-defined]


def edit(m: Attached, va: int, change: Callable[[int], int]) -> None:
    """Change va's PTE, unannounced."""
    walk = m.walk(va)
    m.memory.write_u64(walk.entry_pa[1], change(walk.entry[1]))


def supervisor_code(m: Attached) -> None:
    """Make the code's pages supervisor pages, as SMEP needs."""
    m.unmap(CODE, 0x100000)
    m.map(CODE, 0x100000, pa=CODE, user=False)


# Written by a script.


@ways
def test_cr3_of_a_script_counts_for_the_next_look(fidelity: str, engine: str) -> None:
    uc, m = attached(fidelity, engine)
    m.map(HIGH, 0x1000, pa=DATA)
    uc.mem_write(DATA, b"first")
    assert m.read(HIGH, 5) == b"first"
    root = m.memory.alloc_pages() << 12
    other = m.memory.read_u64(m.tables.root), m.memory.read_u64(m.tables.root + 8 * 255)
    m.memory.write_u64(root, other[0])
    uc.reg_write(UC_X86_REG_CR3, root)
    assert m.walk(HIGH).result == Outcome.PAGE_FAULT
    assert m.translate(HIGH).result == Outcome.PAGE_FAULT
    uc.reg_write(UC_X86_REG_CR3, m.tables.root)
    assert m.walk(HIGH).pa == DATA
    assert m.read(HIGH, 5) == b"first"


@ways
def test_a_restored_context_brings_its_registers(fidelity: str, engine: str) -> None:
    """All at once: a PCID and CR4.PCIDE, which MOV could not set in this order."""
    uc, m = attached(fidelity, engine)
    plain = uc.context_save()
    uc.reg_write(UC_X86_REG_CR4, uc.reg_read(UC_X86_REG_CR4) | CR4_PCIDE | CR4_SMEP)
    uc.reg_write(UC_X86_REG_CR3, m.tables.root | 5)
    m.walk(CODE)
    assert m.mmu.c.cr3 == m.tables.root | 5
    with_pcid = uc.context_save()
    uc.context_restore(plain)
    m.walk(CODE)
    assert m.mmu.c.cr3 == m.tables.root and not m.mmu.c.cr4 & (CR4_PCIDE | CR4_SMEP)
    uc.context_restore(with_pcid)
    m.walk(CODE)
    assert m.mmu.c.cr3 == m.tables.root | 5
    assert m.mmu.c.cr4 & CR4_PCIDE and m.mmu.c.cr4 & CR4_SMEP
    assert uc.reg_read(UC_X86_REG_CR3) == m.tables.root | 5


@ways
def test_what_no_processor_holds_is_put_back(fidelity: str, engine: str) -> None:
    uc, m = attached(fidelity, engine)
    cr0, cr4 = uc.reg_read(UC_X86_REG_CR0), uc.reg_read(UC_X86_REG_CR4)
    uc.reg_write(UC_X86_REG_CR3, 1 << 62)
    uc.reg_write(UC_X86_REG_CR4, cr4 | 1 << 15 | CR4_SMEP)
    uc.reg_write(UC_X86_REG_CR0, cr0 | 1 << 29)  # NW without CD
    m.walk(CODE)
    assert uc.reg_read(UC_X86_REG_CR3) == m.tables.root == m.mmu.c.cr3
    assert uc.reg_read(UC_X86_REG_CR4) == cr4 == m.mmu.c.cr4
    assert uc.reg_read(UC_X86_REG_CR0) == cr0


@ways
def test_paging_off_and_five_levels_of_a_script(fidelity: str, engine: str) -> None:
    """LA57 may change only where paging is off (SDM 4.1.1): before PG a script sets it, and PG."""
    uc, m = attached(fidelity, engine, geometry="tiny")
    top = m.memory.alloc_pages() << 12
    m.memory.write_u64(top, m.tables.root | X86_P | X86_RW | X86_US)
    uc.reg_write(UC_X86_REG_CR0, uc.reg_read(UC_X86_REG_CR0) & ~CR0_PG)
    m.walk(CODE)
    assert not m.mmu.c.cr0 & CR0_PG
    assert m.translate(0x123456).pa == 0x123456
    uc.reg_write(UC_X86_REG_CR4, uc.reg_read(UC_X86_REG_CR4) | CR4_LA57)
    uc.reg_write(UC_X86_REG_CR3, top)
    uc.reg_write(UC_X86_REG_CR0, uc.reg_read(UC_X86_REG_CR0) | CR0_PG)
    uc.reg_write(UC_X86_REG_MSR, (EFER, 0xD01))
    walk = m.walk(CODE)
    assert walk.pa == CODE and walk.top_level == 5
    assert m.memory.read_u64(top) & X86_ADDR_MASK == m.tables.root


@fidelities
def test_the_instances_registers_are_taken_as_they_are(fidelity: str) -> None:
    """What an instance with tables of its own brings along: every register, or none."""
    uc, m = attached(fidelity)
    root = m.tables.root
    uc.reg_write(UC_X86_REG_MSR, (EFER, 0x501))
    uc.reg_write(UC_X86_REG_CR4, 0x20 | CR4_PCIDE | CR4_PKE)
    uc.reg_write(UC_X86_REG_CR3, root | 7)
    assert lib.vcpu_take_controls(m.c) == 0
    assert (m.mmu.c.cr3, m.mmu.c.cr4) == (root | 7, 0x20 | CR4_PCIDE | CR4_PKE)
    assert not m.mmu.c.efer & EFER_NXE and m.mmu.c.efer & EFER_LME
    uc.reg_write(UC_X86_REG_CR4, 0x20 | 1 << 15)
    assert lib.vcpu_take_controls(m.c) == Outcome.GENERAL_PROTECTION
    assert m.mmu.c.cr4 == 0x20 | CR4_PCIDE | CR4_PKE
    assert uc.reg_read(UC_X86_REG_CR4) == 0x20 | 1 << 15


@ways
def test_a_register_written_in_a_hook(fidelity: str, engine: str) -> None:
    """CR3 of a CODE hook counts for the next translation that Unicorn asks for."""
    uc, m = attached(fidelity, engine)
    root = m.memory.alloc_pages() << 12
    for slot in range(0, 4096, 8):
        m.memory.write_u64(root + slot, m.memory.read_u64(m.tables.root + slot))
    m.map(HIGH, 0x1000, pa=DATA)
    code = assemble(f"mov rdi, {HIGH:#x}; nop; jmp 1f; 1: mov rbx, [rdi]")
    uc.mem_write(CODE, code)

    def switch(uc: Uc, _address: int, _size: int, _data: Any) -> None:
        uc.reg_write(UC_X86_REG_CR3, root)

    m.hook_add(UC_HOOK_CODE, switch, None, CODE + 10, CODE + 10)
    with pytest.raises(PageFault) as fault:
        m.emu_start(CODE, CODE + len(code))
    assert fault.value.address == HIGH and m.mmu.c.cr3 == root


# Written by the guest.


@ways
def test_bit_63_of_cr3_is_read_as_0(fidelity: str, engine: str) -> None:
    uc, m = attached(fidelity, engine)
    uc.reg_write(UC_X86_REG_CR4, uc.reg_read(UC_X86_REG_CR4) | CR4_PCIDE)
    run(m, "mov rcx, cr3; bts rcx, 63; mov cr3, rcx; mov rax, cr3; mov rbx, cr3")
    assert uc.reg_read(UC_X86_REG_RBX) == m.tables.root == uc.reg_read(UC_X86_REG_CR3)
    run(m, "mov rcx, cr3; bts rcx, 63; mov cr3, rcx")  # where the run ends with it
    assert uc.reg_read(UC_X86_REG_CR3) == m.tables.root == m.mmu.c.cr3
    uc.reg_write(UC_X86_REG_CR3, m.tables.root | NO_FLUSH | 3)
    m.walk(CODE)
    assert uc.reg_read(UC_X86_REG_CR3) == m.tables.root | 3 == m.mmu.c.cr3


@pytest.mark.parametrize("fidelity", ["exact", "trace"])
@pytest.mark.parametrize("engine", ["c", "python"])
@pytest.mark.parametrize(("back", "misses"), [("bts rcx, 63", 2), ("nop", 3)])
def test_pcids_of_the_model_count(fidelity: str, engine: str, back: str, misses: int) -> None:
    """Unicorn has no PCIDs and forgets everything at MOV to CR3; the model keeps what it must."""
    uc, m = attached(fidelity, engine)
    uc.reg_write(UC_X86_REG_CR4, uc.reg_read(UC_X86_REG_CR4) | CR4_PCIDE)
    m.map(HIGH, 0x1000)
    run(
        m,
        f"""
        mov rdi, {HIGH:#x}; mov rbx, [rdi]; mov rcx, cr3; or rcx, 1; mov cr3, rcx; mov rbx, [rdi]
        and rcx, -4096; {back}; mov cr3, rcx; mov rbx, [rdi]
        """,
    )
    assert m.counters()["dtlb_load_misses.miss_causes_a_walk"] == misses
    assert m.shared.broken == 0


@ways
@pytest.mark.parametrize(
    "source",
    [
        "mov rax, cr4; bts rax, 15; mov cr4, rax; nop",
        "mov rax, cr3; bts rax, 62; mov cr3, rax; nop",
        "mov rax, cr3; bts rax, 63; mov cr3, rax; nop",  # without PCIDE
        "mov rax, cr0; bts rax, 29; mov cr0, rax; nop",
        "mov rax, cr0; btr rax, 31; mov cr0, rax; nop",  # in 64-bit mode
        "mov rax, cr4; bts rax, 12; mov cr4, rax; nop",  # LA57 in long mode
        "mov rax, cr4; btr rax, 5; mov cr4, rax",  # PAE, and the run ends behind it
        "mov rax, cr3; or rax, 5; mov cr3, rax; mov rax, cr4; bts rax, 17; mov cr4, rax; nop",
    ],
)
def test_mov_of_an_illegal_value_is_gp(fidelity: str, engine: str, source: str) -> None:
    uc, m = attached(fidelity, engine)
    before = [uc.reg_read(reg) for reg in (UC_X86_REG_CR0, UC_X86_REG_CR4)]
    code = assemble(source.removesuffix("; nop"))
    with pytest.raises(GeneralProtection) as fault:
        run(m, source)
    assert fault.value.rip == CODE + len(code) - 3
    assert [uc.reg_read(reg) for reg in (UC_X86_REG_CR0, UC_X86_REG_CR4)] == before
    assert uc.reg_read(UC_X86_REG_CR3) & ~0xFFF == m.tables.root == m.mmu.c.cr3 & ~0xFFF
    run(m, f"mov rax, 0x1122334455667788; mov rbx, [{DATA:#x}]")  # 64-bit code goes on
    assert uc.reg_read(UC_X86_REG_RAX) == 0x1122334455667788


@ways
def test_protection_keys(fidelity: str, engine: str) -> None:
    uc, m = attached(fidelity, engine)
    uc.reg_write(UC_X86_REG_CR4, uc.reg_read(UC_X86_REG_CR4) | CR4_PKE)
    m.map(HIGH, 0x1000)
    edit(m, HIGH, lambda pte: pte | 1 << 59)  # key 1
    m.mmu.flush_all()
    head = f"mov rdi, {HIGH:#x}; xor ecx, ecx; xor edx, edx; mov rbx, [rdi]; mov [rdi], rbx"
    run(m, f"{head}; mov eax, 8; wrpkru; mov rbx, [rdi]; rdpkru")
    assert uc.reg_read(UC_X86_REG_RAX) == 8 == m.mmu.c.pkru
    with pytest.raises(PageFault) as fault:
        run(m, "mov [rdi], rbx")
    assert fault.value.error_code == PF_P | PF_WR | PF_PK
    with pytest.raises(PageFault) as fault:  # it counts at once, in the block that writes it
        run(m, f"xor eax, eax; wrpkru; {head}; mov eax, 4; wrpkru; mov rbx, [rdi]")
    assert fault.value.error_code == PF_P | PF_PK
    run(m, "xor eax, eax; wrpkru; mov [rdi], rbx")


@ways
def test_pkru_of_a_restored_context(fidelity: str, engine: str) -> None:
    uc, m = attached(fidelity, engine)
    uc.reg_write(UC_X86_REG_CR4, uc.reg_read(UC_X86_REG_CR4) | CR4_PKE)
    m.map(HIGH, 0x1000)
    edit(m, HIGH, lambda pte: pte | 1 << 59)
    run(m, "mov eax, 4; xor ecx, ecx; xor edx, edx; wrpkru")
    denied = uc.context_save()
    run(m, f"xor eax, eax; wrpkru; mov rdi, {HIGH:#x}; mov rbx, [rdi]")
    uc.context_restore(denied)
    assert m.translate(HIGH).error_code == PF_P | PF_PK
    with pytest.raises(PageFault):
        run(m, f"mov rdi, {HIGH:#x}; mov rbx, [rdi]")


@ways
def test_nxe(fidelity: str, engine: str) -> None:
    """Without NXE, XD is a reserved bit for whatever is walked from then on (SDM 4.5)."""
    _uc, m = attached(fidelity, engine)
    m.map(HIGH, 0x2000, RW)
    clear = "mov ecx, 0xc0000080; rdmsr; btr eax, 11; wrmsr"
    with pytest.raises(PageFault) as fault:
        run(m, f"mov rdi, {HIGH:#x}; {clear}; mov rbx, [rdi]")
    assert fault.value.error_code == PF_P | PF_RSVD
    assert not m.mmu.c.efer & EFER_NXE
    run(m, f"mov ecx, 0xc0000080; rdmsr; bts eax, 11; wrmsr; mov rdi, {HIGH:#x}; mov rbx, [rdi]")
    with pytest.raises(PageFault) as fault:
        run(m, f"mov rdi, {HIGH:#x}; call rdi")
    assert fault.value.error_code == PF_P | PF_ID


@ways
def test_nxe_set_where_a_page_was_executed(fidelity: str, engine: str) -> None:
    """Neither Unicorn's soft TLB nor what the model remembers outlives the change."""
    _uc, m = attached(fidelity, engine, efer=0x501)
    lib.vcpu_take_controls(m.c)
    m.map(HIGH, 0x1000)
    m.write(HIGH, b"\xc3")
    run(m, f"mov rdi, {HIGH:#x}; call rdi; call rdi")
    edit(m, HIGH, lambda pte: pte | 1 << 63)
    m.mmu.flush_all()
    with pytest.raises(PageFault) as fault:
        run(m, "mov ecx, 0xc0000080; rdmsr; bts eax, 11; wrmsr; call rdi")
    assert fault.value.error_code == PF_P | PF_ID and fault.value.address == HIGH


@ways
def test_lme_stays_while_paging_is_on(fidelity: str, engine: str) -> None:
    """WRMSR of it is #GP on a processor; Unicorn executes it, and the bit is put back."""
    uc, m = attached(fidelity, engine)
    run(m, f"mov ecx, 0xc0000080; rdmsr; btr eax, 8; wrmsr; jmp 1f; 1: mov rbx, [{DATA:#x}]")
    assert uc.reg_read(UC_X86_REG_MSR, EFER) == 0xD01
    assert m.mmu.c.efer & EFER_LME
    run(m, "mov ecx, 0xc0000080; rdmsr")
    assert uc.reg_read(UC_X86_REG_RAX) == 0xD01


@ways
def test_ac_of_smap(fidelity: str, engine: str) -> None:
    uc, m = attached(fidelity, engine)
    m.map(HIGH, 0x1000)
    supervisor_code(m)
    uc.reg_write(UC_X86_REG_CR4, uc.reg_read(UC_X86_REG_CR4) | CR4_SMAP)
    with pytest.raises(PageFault) as fault:
        run(m, f"mov rdi, {HIGH:#x}; mov rbx, [rdi]")
    assert fault.value.error_code == PF_P
    run(m, "stac; mov rbx, [rdi]; mov [rdi], rbx; clac")
    with pytest.raises(PageFault):
        run(m, "stac; mov rbx, [rdi]; clac; mov rbx, [rdi]")
    assert m.translate(HIGH).error_code == PF_P
    uc.reg_write(UC_X86_REG_EFLAGS, uc.reg_read(UC_X86_REG_EFLAGS) | RFLAGS_AC)
    assert m.translate(HIGH).ok
    run(m, "mov rbx, [rdi]; pushfq; btr qword ptr [rsp], 18; popfq")
    with pytest.raises(PageFault):
        run(m, "mov rbx, [rdi]")
    assert m.shared.broken == 0


@ways
def test_invlpg_and_toggles_of_cr4_drop_what_they_must(fidelity: str, engine: str) -> None:
    """A page is taken away in its table; it goes with INVLPG, and with PGE's change."""
    for drop in (
        "invlpg [rdi]",
        "mov rax, cr4; btc rax, 7; mov cr4, rax; btc rax, 7; mov cr4, rax",
    ):
        _uc, m = attached(fidelity, engine)
        m.map(HIGH, 0x1000)
        m.map(0x500000000000, 0x1000, pa=m.walk(HIGH).entry_pa[1] & ~0xFFF)
        pte = 0x500000000000 + (m.walk(HIGH).entry_pa[1] & 0xFFF)
        run(m, f"mov rdi, {HIGH:#x}; mov rsi, {pte:#x}; mov rbx, [rdi]; mov qword ptr [rsi], 0")
        with pytest.raises(PageFault) as fault:
            run(m, f"{drop}; mov rbx, [rdi]")
        assert fault.value.address == HIGH


@ways
def test_smep(fidelity: str, engine: str) -> None:
    _uc, m = attached(fidelity, engine)
    m.map(HIGH, 0x1000)
    m.write(HIGH, b"\xc3")
    supervisor_code(m)
    run(m, f"mov rdi, {HIGH:#x}; call rdi")
    with pytest.raises(PageFault) as fault:
        run(m, "mov rax, cr4; bts rax, 20; mov cr4, rax; call rdi")
    assert fault.value.error_code == PF_P | PF_ID


@ways
def test_write_protect(fidelity: str, engine: str) -> None:
    """CR0.WP (SDM 4.6.1), written by the guest."""
    _uc, m = attached(fidelity, engine)
    m.map(HIGH, 0x1000, UC_PROT_READ)
    off = "mov rax, cr0; btr rax, 16; mov cr0, rax"
    run(m, f"mov rdi, {HIGH:#x}; mov rbx, [rdi]; {off}; mov [rdi], rbx")
    with pytest.raises(PageFault) as fault:
        run(m, "bts rax, 16; mov cr0, rax; mov [rdi], rbx")
    assert fault.value.error_code == PF_P | PF_WR


@ways
@pytest.mark.parametrize("source", ["cli", "hlt", "mov rax, cr3", "mov cr3, rax", "invlpg [rax]"])
def test_user_mode_may_not(fidelity: str, engine: str, source: str) -> None:
    """#GP at CPL 3, which plain Unicorn reports as UC_ERR_EXCEPTION; nothing happens to the MMU."""
    uc, m = attached(fidelity, engine)
    uc.reg_write(UC_X86_REG_MSR, (STAR, 0x23 << 48))
    run(m, f"mov rcx, {CODE + 0x5000:#x}; mov r11d, 2; nop")
    uc.mem_write(CODE + 0x5000, assemble(f"nop; {source}; nop"))
    uc.mem_write(CODE + 0x4000, assemble("sysretq"))
    invalidations = m.counters()["tlb_invalidations"]
    with pytest.raises(UcError) as error:
        m.emu_start(CODE + 0x4000, CODE + 0x5010)
    assert error.value.errno == 21
    assert m.cpl == 3 and uc.reg_read(UC_X86_REG_RIP) == CODE + 0x5001
    assert m.counters()["tlb_invalidations"] == invalidations
    assert m.mmu.c.cr3 == m.tables.root


@ways
def test_a_and_d_after_a_switch_of_tables(fidelity: str, engine: str) -> None:
    """The walk is made with the tables of now."""
    _uc, m = attached(fidelity, engine)
    root = m.memory.alloc_pages() << 12
    for slot in range(0, 4096, 8):
        m.memory.write_u64(root + slot, m.memory.read_u64(m.tables.root + slot) & ~X86_A)
    run(m, f"mov rax, {root:#x}; mov cr3, rax; mov rbx, [{DATA:#x}]")
    assert m.memory.read_u64(root) & X86_A
    assert m.walk(DATA, Access.READ).entry_pa[4] == root
