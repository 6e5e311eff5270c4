# SPDX-License-Identifier: GPL-2.0-or-later
"""Accesses to descriptor tables are supervisor accesses at CPL 3 too (SDM vol. 3A 4.6.1)."""

from __future__ import annotations

import pytest
from unicorn import UC_ARCH_X86, UC_MODE_64, UC_PROT_READ, Uc
from unicorn.x86_const import (
    UC_CPU_X86_ICELAKE_SERVER,
    UC_X86_REG_CR4,
    UC_X86_REG_DS,
    UC_X86_REG_GDTR,
    UC_X86_REG_MSR,
    UC_X86_REG_RBX,
    UC_X86_REG_RSP,
)

import cpu
from cpu._engine import lib
from cpu.attached import Attached
from cpu.linkage import private_parts
from mmu.errors import PageFault
from mmu.x86.entries import X86_D
from mmu.x86.faults import PF_P, PF_US, PF_WR
from mmu.x86.registers import CR4_SMAP
from tests.cpu.assemble import assemble

CODE = 0x1000000
DATA = 0x1200000
GDT = 0x1300000
WAYS = [(fidelity, engine) for fidelity in ("fast", "exact", "trace") for engine in ("c", "python")]
ways = pytest.mark.parametrize(("fidelity", "engine"), WAYS)
USER_DATA = 0x00CFF200_0000FFFF
"""A writable data segment of DPL 3 that was never loaded."""
ACCESSED = 1 << 40


def exact_address() -> int:
    """A mask: without private parts the page is known, and no more."""
    return -1 if private_parts() & lib.PRIVATE_FILL_ADDRESS else -0x1000


def at_cpl_0(fidelity: str, engine: str) -> Attached:
    """An instance with supervisor pages, and a GDT with one descriptor, which is not mapped."""
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.ctl_set_cpu_model(UC_CPU_X86_ICELAKE_SERVER)
    uc.mem_map(CODE, 0x10000)
    uc.mem_map(DATA, 0x10000)
    uc.mem_map(GDT, 0x2000)
    uc.mem_write(GDT + 8, USER_DATA.to_bytes(8, "little"))
    uc.reg_write(UC_X86_REG_RSP, DATA + 0xF000)
    uc.reg_write(UC_X86_REG_GDTR, (0, GDT, 0x1FFF, 0))
    uc.reg_write(UC_X86_REG_MSR, (0xC0000081, 0x23 << 48))
    uc.reg_write(UC_X86_REG_MSR, (0xC0000080, 0xD01))
    m = cpu.attach(uc, fidelity=fidelity, engine=engine, geometry="golden_cove")
    m.map(CODE, 0x10000, pa=CODE, user=False)
    m.map(DATA, 0x10000, pa=DATA, user=False)
    return m


def at_cpl_3(fidelity: str, engine: str) -> Attached:
    """The same at CPL 3, which has its own pages; the GDT is a supervisor's."""
    m = at_cpl_0(fidelity, engine)
    for va in (CODE, DATA):
        m.unmap(va, 0x10000)
        m.map(va, 0x10000, pa=va)
    m.map(GDT, 0x1000, pa=GDT, user=False)
    run(m, f"mov rcx, {CODE + 0x8020:#x}; mov r11d, 2; sysretq; .org 0x20; nop", CODE + 0x8000)
    assert m.cpl == 3
    return m


def run(m: Attached, source: str, at: int = CODE) -> None:
    code = assemble(source)
    m.uc.mem_write(at, code)
    m.drop_code(at)
    m.emu_start(at, at + len(code))


@ways
def test_a_segment_is_loaded(fidelity: str, engine: str) -> None:
    """The descriptor is read, and marked as accessed, by a supervisor; the table stays closed."""
    m = at_cpl_3(fidelity, engine)
    run(m, "mov eax, 0xb; mov ds, ax; mov es, ax; verr ax; lsl rbx, rax; mov ds, ax")
    assert m.uc.reg_read(UC_X86_REG_DS) == 0xB and m.uc.reg_read(UC_X86_REG_RBX) == 0xFFFFFFFF
    assert int.from_bytes(m.uc.mem_read(GDT + 8, 8), "little") == USER_DATA | ACCESSED
    assert m.memory.read_u64(m.walk(GDT).entry_pa[1]) & X86_D
    assert m.shared.broken == m.shared.repairs == 0
    if fidelity != "fast":
        assert m.counters()["page_faults_hw"] == 0
        assert m.counters()["dTLB-loads"] > 0 and m.counters()["dTLB-stores"] == 1


@ways
def test_an_own_access_to_the_table_is_the_users(fidelity: str, engine: str) -> None:
    m = at_cpl_3(fidelity, engine)
    for source in (f"mov rbx, [{GDT + 8:#x}]", f"mov ebx, 0xb; mov ds, ebx; mov rbx, [{GDT:#x}]"):
        with pytest.raises(PageFault) as fault:
            run(m, source)
        assert fault.value.error_code == PF_P | PF_US


@ways
def test_a_fault_is_a_supervisors(fidelity: str, engine: str) -> None:
    m = at_cpl_3(fidelity, engine)
    with pytest.raises(PageFault) as fault:
        run(m, "mov eax, 0x100b; mov ds, ax")  # on the second page, which is absent
    assert fault.value.address == GDT + 0x1008 & exact_address()
    assert fault.value.error_code == 0
    m.unmap(GDT, 0x1000)
    m.map(GDT, 0x1000, UC_PROT_READ, pa=GDT, user=False)
    with pytest.raises(PageFault) as fault:
        run(m, "mov eax, 0xb; mov ds, ax")
    assert fault.value.error_code == PF_P | PF_WR
    assert m.uc.reg_read(UC_X86_REG_DS) == 0
    if fidelity != "fast":
        assert m.counters()["page_faults_hw"] == 2


@ways
def test_a_table_across_pages(fidelity: str, engine: str) -> None:
    """A descriptor whose halves lie on two supervisor pages."""
    m = at_cpl_3(fidelity, engine)
    m.map(GDT + 0x1000, 0x1000, pa=GDT + 0x1000, user=False)
    m.uc.reg_write(UC_X86_REG_GDTR, (0, GDT + 4, 0x1FF0, 0))
    m.uc.mem_write(GDT + 0xFFC, (USER_DATA | ACCESSED).to_bytes(8, "little"))
    run(m, f"mov eax, {0xFF8 | 3}; mov ds, ax; mov es, ax")
    assert m.uc.reg_read(UC_X86_REG_DS) == 0xFFB
    assert m.shared.broken == 0


@ways
def test_smap(fidelity: str, engine: str) -> None:
    """A table in a user page is closed to implicit accesses, whatever AC says."""
    m = at_cpl_3(fidelity, engine)
    m.unmap(GDT, 0x1000)
    m.map(GDT, 0x1000, pa=GDT)
    run(m, "mov eax, 0xb; mov ds, ax; xor ecx, ecx; mov ds, cx")
    m.uc.reg_write(UC_X86_REG_CR4, m.uc.reg_read(UC_X86_REG_CR4) | CR4_SMAP)
    for flag in ("btr", "bts"):
        with pytest.raises(PageFault) as fault:
            run(m, f"pushfq; {flag} qword ptr [rsp], 18; popfq; mov rbx, [{GDT:#x}]; mov ds, ax")
        assert fault.value.error_code == PF_P
        assert m.uc.reg_read(UC_X86_REG_DS) == 0
    assert m.shared.broken == 0


@ways
def test_smap_heeds_no_ac_of_the_kernels(fidelity: str, engine: str) -> None:
    """At CPL 0 with AC set the kernel may read a user page; its segment loads may not."""
    m = at_cpl_0(fidelity, engine)
    m.map(GDT, 0x1000, pa=GDT)
    m.uc.reg_write(UC_X86_REG_CR4, m.uc.reg_read(UC_X86_REG_CR4) | CR4_SMAP)
    with pytest.raises(PageFault) as fault:
        run(m, "stac; mov eax, 8; mov ds, ax")
    assert fault.value.error_code == PF_P and fault.value.address & ~7 == GDT + 8 & exact_address()
    run(m, f"mov rbx, [{GDT:#x}]")
