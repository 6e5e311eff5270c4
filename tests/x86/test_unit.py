# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a unit comes out of reset with paging on, its registers as documented, and refuses what
cannot be.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mmu._native import lib
from mmu.errors import MmuError
from mmu.events import EventRing
from mmu.memory import Memory
from mmu.x86 import Access, Mmu, Outcome, Privilege, WalkMode, entries, faults, registers, tlb, walk
from mmu.x86.faults import PF_RSVD
from tests import c_constants
from ucmmu.testing.tables import VA, Tables


def test_reset(memory: Memory) -> None:
    c = Mmu(memory).c
    assert c.cr0 == registers.RESET_CR0 == 0x80050033, "CR0_STATE of Linux"
    assert c.cr4 == lib.CR4_PAE | lib.CR4_PGE | lib.CR4_PCIDE | lib.CR4_SMEP | lib.CR4_TSD
    assert c.efer == lib.EFER_SCE | lib.EFER_LME | lib.EFER_LMA | lib.EFER_NXE
    assert (c.cr2, c.cr3, c.rflags, c.maxphyaddr, c.exact, c.cpu) == (0, 0, 0, 39, 0, 0)
    assert not any(Mmu(memory).counters().values())


def test_physical_addresses_are_as_wide_as_ram_needs() -> None:
    wide = Memory(16 << 12, base=(1 << 50) - (16 << 12))
    assert Mmu(wide).c.maxphyaddr == 50
    with pytest.raises(MmuError, match=r"50 \(what guest RAM needs\) to 52 bits, not 49"):
        Mmu(wide, maxphyaddr=49)
    with pytest.raises(MmuError, match="not 53"):
        Mmu(wide, maxphyaddr=53)
    wide.close()


def test_an_unknown_engine(memory: Memory) -> None:
    with pytest.raises(MmuError, match="no MMU engine 'rust': known are c, python"):
        Mmu(memory, engine="rust")


@pytest.mark.parametrize("engine", ["c", "python"])
def test_the_ring_of_events_can_be_asked_for(memory: Memory, ring: EventRing, engine: str) -> None:
    mmu = Mmu(memory, engine=engine)
    assert mmu.ring is None
    mmu.ring = ring
    assert mmu.ring is ring
    mmu.ring = None
    assert mmu.ring is None and not mmu.c.ring


@pytest.mark.parametrize("engine", ["c", "python"])
def test_after_reset_there_are_no_tables(memory: Memory, engine: str) -> None:
    """CR3 is 0: the frame there holds no entry, so everything faults."""
    mmu = Mmu(memory, engine=engine, exact=True)
    assert mmu.translate(0, Access.FETCH).result == Outcome.PAGE_FAULT
    assert engine in repr(mmu)


@pytest.mark.parametrize("module", [entries, faults, registers, walk, tlb])
def test_constants_are_those_of_c(module: object) -> None:
    """Python writes them out to be read; they must not drift from the headers."""
    shared = [name for name in vars(module) if name.isupper() and hasattr(lib, name)]
    assert len(shared) >= 4
    for name in shared:
        assert getattr(module, name) == getattr(lib, name), name


def test_enumerations_are_those_of_c() -> None:
    shadow_stack = lib.ACCESS_SHSTK_READ, lib.ACCESS_SHSTK_WRITE
    assert [*Access] == [
        lib.ACCESS_READ,
        lib.ACCESS_WRITE,
        lib.ACCESS_FETCH,
        *shadow_stack,
        lib.ACCESS_RMW,
    ]
    assert [*Privilege] == [lib.PRIVILEGE_SUPERVISOR, lib.PRIVILEGE_USER, lib.PRIVILEGE_IMPLICIT]
    assert [*WalkMode] == [lib.WALK_PROBE, lib.WALK_QUIET, lib.WALK_HARDWARE]
    architectural = lib.XLATE_OK, lib.XLATE_UD, lib.XLATE_GP, lib.XLATE_PF
    assert [*Outcome] == [*architectural, lib.XLATE_BAD_TABLE, lib.XLATE_LEGACY]


@pytest.mark.parametrize("ask", ["walk", "translate", "refill"])
def test_no_such_access(memory: Memory, ask: str) -> None:
    """C would look them up in its tables."""
    mmu = Mmu(memory)
    for access in (-1, 6, 99):
        with pytest.raises(MmuError, match=f"no access {access}: known are 0 to 5"):
            getattr(mmu, ask)(0, access)
    with pytest.raises(MmuError, match="no privilege 3"):
        getattr(mmu, ask)(0, Access.READ, user=3)


def test_register_bits_are_where_linux_has_them(tmp_path: Path) -> None:
    ours = {}
    for name, value in vars(registers).items():
        register, _, bit = name.partition("_")
        if register in ("CR0", "CR4", "RFLAGS"):
            ours[f"X86_{register.replace('RFLAGS', 'EFLAGS')}_{bit}"] = value
    headers = c_constants.values(tmp_path, ["asm/processor-flags.h"], ours)
    assert len(ours) > 20 and set(ours) - set(headers) <= {"X86_CR4_CET", "X86_CR4_PKS"}
    assert {name: ours[name] for name in headers} == headers


def test_register_bits_that_only_linuxs_own_headers_have() -> None:
    """SDM 2.5 for CR4, table 2-2 for IA32_EFER; APM vol. 2 3.1.7 for EFER.TCE."""
    assert (registers.CR4_CET, registers.CR4_PKS) == (1 << 23, 1 << 24)
    efer = registers.EFER_SCE, registers.EFER_LME, registers.EFER_LMA, registers.EFER_NXE
    assert efer == (1 << 0, 1 << 8, 1 << 10, 1 << 11)
    assert registers.EFER_TCE == 1 << 15


def test_the_width_of_physical_addresses_can_grow(mmu: Mmu, tables: Tables) -> None:
    """For whoever has memory above the processor's usual width; entries are legal up to the new
    one.
    """
    assert mmu.maxphyaddr == 46
    tables.map(VA, 1 << 46)
    assert mmu.walk(VA).error_code & PF_RSVD
    mmu.maxphyaddr = 47
    assert (mmu.maxphyaddr, mmu.walk(VA).pa) == (47, 1 << 46)
    assert mmu.refill(VA, Access.READ).pa == 1 << 46
    for bits in (53, 10, -1):
        with pytest.raises(MmuError, match=f"MAXPHYADDR must be 26 .* not {bits}"):
            mmu.maxphyaddr = bits
    assert mmu.maxphyaddr == 47
