# SPDX-License-Identifier: GPL-2.0-or-later
"""INVPCID in an attached instance (SDM vol. 2A INVPCID), which Unicorn itself does not know."""

from __future__ import annotations

import pytest
from unicorn import UC_ARCH_X86, UC_ERR_INSN_INVALID, UC_MODE_64, Uc, UcError
from unicorn.x86_const import (
    UC_X86_REG_CR4,
    UC_X86_REG_MSR,
    UC_X86_REG_RBX,
    UC_X86_REG_RIP,
    UC_X86_REG_RSP,
)

import cpu
from cpu.attached import Attached
from mmu.errors import GeneralProtection, PageFault, StackFault
from mmu.events import EventRing
from mmu.x86.entries import X86_A
from mmu.x86.registers import CR4_PCIDE
from tests.cpu.assemble import assemble

CODE = 0x1000000
DATA = 0x1200000
HIGH = 0x7FFF12340000
OTHER = 0x7FFF12341000
WAYS = [(fidelity, engine) for fidelity in ("fast", "exact", "trace") for engine in ("c", "python")]
ways = pytest.mark.parametrize(("fidelity", "engine"), WAYS)
modelled = pytest.mark.parametrize(
    ("fidelity", "engine"), [way for way in WAYS if way[0] != "fast"]
)
WALKS = "dtlb_load_misses.miss_causes_a_walk"


def attached(
    fidelity: str, engine: str = "c", *, geometry: str = "skylake", ring: EventRing | None = None
) -> Attached:
    """An instance with code, data and two pages far up; CR4.PCIDE is set."""
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(CODE, 0x10000)
    uc.mem_map(DATA, 0x10000)
    uc.reg_write(UC_X86_REG_RSP, DATA + 0xF000)
    uc.reg_write(UC_X86_REG_MSR, (0xC0000080, 0xD01))
    m = cpu.attach(
        uc, identity=True, fidelity=fidelity, engine=engine, geometry=geometry, ring=ring
    )
    m.map(HIGH, 0x2000)
    if geometry != "zen2":
        uc.reg_write(UC_X86_REG_CR4, uc.reg_read(UC_X86_REG_CR4) | CR4_PCIDE)
    return m


def run(m: Attached, source: str, at: int = CODE) -> int:
    """Execute the program; where it ended."""
    code = assemble(source)
    m.uc.mem_write(at, code)
    m.drop_code(at)
    m.emu_start(at, at + len(code))
    return at + len(code)


def invpcid(kind: int, pcid: int = 0, va: int = 0, *, at: int = DATA) -> str:
    """The instruction, with its descriptor written by the guest itself."""
    return f"""
        mov rdx, {at:#x}; mov rax, {pcid:#x}; mov [rdx], rax; mov rax, {va:#x}; mov [rdx + 8], rax
        mov rax, {kind:#x}; invpcid rax, [rdx]
    """


def misses(m: Attached, source: str, at: int) -> int:
    """Walks for loads of HIGH and OTHER after the program; both were loaded before."""
    loads = f"mov rdi, {HIGH:#x}; mov rbx, [rdi]; mov rbx, [rdi + 0x1000]"
    run(m, f"{loads}; {source}", at)
    before = m.counters()[WALKS]
    run(m, loads, at + 0x1000)
    return m.counters()[WALKS] - before


@modelled
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("nop", 0),
        (invpcid(0, 0, HIGH), 1),
        (invpcid(0, 0, HIGH + 0x2000), 0),
        (invpcid(0, 1, HIGH), 0),
        (invpcid(1, 0), 2),
        (invpcid(1, 7), 0),
        (invpcid(2), 2),
        (invpcid(3), 2),
    ],
)
def test_each_type_drops_what_it_must(
    fidelity: str, engine: str, source: str, expected: int
) -> None:
    m = attached(fidelity, engine)
    run(m, f"mov rdi, {DATA:#x}; mov rbx, [rdi]", CODE + 0x8000)
    assert misses(m, source, CODE) == expected
    assert m.shared.broken == m.shared.miscounts == 0


@modelled
@pytest.mark.parametrize(("kind", "expected"), [(1, 0), (2, 2), (3, 0)])
def test_global_pages(fidelity: str, engine: str, kind: int, expected: int) -> None:
    """Only type 2 takes global translations with it."""
    m = attached(fidelity, engine)
    for va in (HIGH, OTHER):
        walk = m.walk(va)
        m.memory.write_u64(walk.entry_pa[1], walk.entry[1] | 1 << 8)
    m.mmu.flush_all()
    assert misses(m, invpcid(kind), CODE) == expected


@ways
@pytest.mark.parametrize("kind", [0, 1, 2, 3])
def test_a_changed_entry_counts_behind_it(fidelity: str, engine: str, kind: int) -> None:
    """Unicorn's soft TLB forgets too."""
    m = attached(fidelity, engine)
    m.uc.mem_write(DATA + 0x2000, b"\x22")
    run(m, f"mov rdi, {HIGH:#x}; mov bl, [rdi]")
    entry_pa = m.walk(HIGH).entry_pa[1]
    m.memory.write_u64(entry_pa, (m.memory.read_u64(entry_pa) & 0xFFF) | DATA + 0x2000)
    run(m, f"{invpcid(kind, 0, HIGH)}; mov bl, [rdi]", CODE + 0x1000)
    assert m.uc.reg_read(UC_X86_REG_RBX) & 0xFF == 0x22


@ways
def test_it_counts_as_one_instruction_and_goes_on(fidelity: str, engine: str) -> None:
    m = attached(fidelity, engine)
    before = m.instructions
    end = run(m, f"{invpcid(2)}; nop; invpcid rax, [rdx]; invpcid rax, [rdx]; mov ebx, 5")
    assert before is not None
    assert m.instructions == before + 11
    assert m.uc.reg_read(UC_X86_REG_RIP) == end and m.uc.reg_read(UC_X86_REG_RBX) == 5
    if fidelity != "fast":
        assert m.counters()["dTLB-loads"] == 3
        assert m.counters()["iTLB-loads"] == 1
    assert m.shared.miscounts == 0


@ways
def test_a_count_ends_behind_it(fidelity: str, engine: str) -> None:
    m = attached(fidelity, engine)
    code = assemble(f"{invpcid(2)}; mov ebx, 5; nop")
    m.uc.mem_write(CODE, code)
    m.emu_start(CODE, CODE + len(code), count=7)
    assert m.uc.reg_read(UC_X86_REG_RIP) == CODE + len(code) - 6


def test_its_events_are_those_of_an_instruction() -> None:
    ring = EventRing(1 << 12)
    m = attached("trace", ring=ring)
    ring.enable()
    run(m, invpcid(1, 3))
    names = [event.name for event in ring.read()]
    assert names.count("insn") == 7
    assert names.count("invpcid") == 1
    last = len(names) - 1 - names[::-1].index("insn")
    assert "invpcid" in names[last:]


@ways
@pytest.mark.parametrize(
    "source",
    [
        invpcid(4),
        invpcid(1 << 32),
        invpcid(0, 0x1000),
        invpcid(2, 1 << 63),
        invpcid(0, 0, 0x8000_0000_0000),
        f"mov rax, cr4; btr rax, 17; mov cr4, rax; {invpcid(1, 1)}",  # without PCIDE
        "mov rdx, 0x800000000000; mov eax, 2; invpcid rax, [rdx]",
    ],
)
def test_general_protection(fidelity: str, engine: str, source: str) -> None:
    m = attached(fidelity, engine)
    length = len(assemble("invpcid rax, [rdx]"))
    with pytest.raises(GeneralProtection) as fault:
        run(m, source)
    assert fault.value.rip == CODE + len(assemble(source)) - length
    assert m.uc.reg_read(UC_X86_REG_RIP) == fault.value.rip


@ways
def test_a_stack_address_is_a_stack_fault(fidelity: str, engine: str) -> None:
    m = attached(fidelity, engine)
    with pytest.raises(StackFault):
        run(m, "mov rbp, 0x800000000000; mov eax, 2; invpcid rax, [rbp]")


@ways
def test_what_is_legal_without_pcide(fidelity: str, engine: str) -> None:
    m = attached(fidelity, engine)
    run(m, f"mov rax, cr4; btr rax, 17; mov cr4, rax; {invpcid(0, 0, HIGH)}; {invpcid(3, 1)}")


@ways
def test_the_descriptor_is_read_through_the_mmu(fidelity: str, engine: str) -> None:
    m = attached(fidelity, engine)
    run(m, f"mov rdx, {OTHER + 0xFF0:#x}; mov eax, 2; invpcid rax, [rdx]")
    assert m.memory.read_u64(m.walk(OTHER).entry_pa[1]) & X86_A
    for at, address in ((OTHER + 0x1000, OTHER + 0x1000), (OTHER + 0xFF8, OTHER + 0x1000)):
        faults = m.counters()["page_faults_hw"]
        with pytest.raises(PageFault) as fault:
            run(m, f"mov rdx, {at:#x}; mov eax, 2; invpcid rax, [rdx]", CODE + (at & 0xF000))
        assert (fault.value.address, fault.value.error_code) == (address, 0)
        assert m.mmu.c.cr2 == address
        assert m.counters()["page_faults_hw"] == faults + 1


@ways
def test_a_fault_of_the_descriptor_that_is_resolved(fidelity: str, engine: str) -> None:
    m = attached(fidelity, engine)

    def demand(_fault: object) -> bool:
        m.map(OTHER + 0x1000, 0x1000)
        return True

    m.handler = demand
    before = m.instructions
    end = run(m, f"mov rdx, {OTHER + 0xFF8:#x}; mov eax, 2; invpcid rax, [rdx]")
    assert before is not None and m.instructions == before + 3
    assert m.uc.reg_read(UC_X86_REG_RIP) == end


@ways
def test_user_mode_may_not(fidelity: str, engine: str) -> None:
    m = attached(fidelity, engine)
    m.uc.reg_write(UC_X86_REG_MSR, (0xC0000081, 0x23 << 48))
    m.uc.mem_write(CODE + 0x100, assemble(invpcid(2)))
    end = CODE + 0x100 + len(assemble(invpcid(2)))
    with pytest.raises(GeneralProtection):
        run(m, f"mov rcx, {CODE + 0x100:#x}; mov r11d, 2; sysretq")
        m.emu_start(CODE + 0x100, end)
    assert m.cpl == 3


@ways
@pytest.mark.parametrize(
    ("geometry", "source"),
    [
        ("zen2", "invpcid rax, [rdx]"),  # a processor without it
        ("skylake", ".byte 0xf0; invpcid rax, [rdx]"),  # LOCK
        ("skylake", ".byte 0x66, 0x0f, 0x38, 0x82, 0xc2"),  # of registers
        ("skylake", ".byte 0x0f, 0x38, 0x82, 0x02"),  # without 66
        ("skylake", "ud2"),
    ],
)
def test_invalid_opcode(fidelity: str, engine: str, geometry: str, source: str) -> None:
    m = attached(fidelity, engine, geometry=geometry)
    with pytest.raises(UcError) as error:
        run(m, f"mov rdx, {DATA:#x}; mov eax, 2; {source}")
    assert error.value.errno == UC_ERR_INSN_INVALID
