# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a CPU keeps what its TLB holds of six mms, each under a PCID; the seventh takes the next
ASID in turn and begins with nothing (choose_new_asid(), arch/x86/mm/tlb.c, v6.18).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mmu._native import lib
from mmu.linux.mm import Mm
from mmu.linux.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE
from mmu.linux.state import Kernel
from mmu.memory import Memory
from mmu.units import PAGE_SIZE
from mmu.x86 import Mmu
from mmu.x86.registers import CR4_PCIDE
from tests.linux.cpus import BASE, RW, Cpus, pcid


@pytest.fixture(params=["c", "python"])
def m(request: pytest.FixtureRequest) -> Iterator[Cpus]:
    m = Cpus(request.param, nr=1, load=False)
    yield m
    m.kernel.check()
    m.close()


def asids(m: Cpus) -> list[int]:
    """ctx_id by ASID of CPU 0."""
    return [int(ctx.ctx_id) for ctx in m.kernel.cpus[0].c.ctxs]


def test_a_cpu_begins_with_init_mm_as_asid_0(m: Cpus) -> None:
    cpu = m.kernel.cpus[0]
    assert asids(m) == [lib.INIT_MM_CTX_ID, 0, 0, 0, 0, 0]
    assert cpu.mmu.c.cr4 & CR4_PCIDE
    assert cpu.mmu.c.cr3 == m.kernel.swapper_pg_dir | 1


def test_pcid_is_asid_and_one(m: Cpus) -> None:
    """So that PCID 0, which others may use, is nobody's."""
    mms = [m.mm, *(Mm(m.kernel) for _ in range(5))]
    used = []
    for mm in mms:
        m.switch(0, mm)
        used.append(pcid(m.kernel.cpus[0]))
    assert used == [2, 3, 4, 5, 6, 1]
    assert asids(m) == [int(mm.c.ctx_id) for mm in (mms[5], *mms[:5])]


def test_the_seventh_takes_the_next_in_turn(m: Cpus) -> None:
    mms = [m.mm, *(Mm(m.kernel) for _ in range(6))]
    for mm in mms:
        m.switch(0, mm)
    assert asids(m)[1] == mms[6].c.ctx_id
    m.switch(0, mms[3])
    m.switch(0, mms[0])
    assert asids(m)[2] == mms[0].c.ctx_id
    assert asids(m)[1] == mms[6].c.ctx_id


def test_translations_outlive_another_mm(m: Cpus) -> None:
    cpu, other = m.kernel.cpus[0], Mm(m.kernel)
    m.switch(0, m.mm)
    m.touch(0)
    m.switch(0, other)
    assert cpu.mmu.resident(BASE) is None
    m.switch(0, m.mm)
    assert cpu.mmu.resident(BASE) is not None


def test_the_same_address_in_two_mms(m: Cpus) -> None:
    cpu, other = m.kernel.cpus[0], Mm(m.kernel)
    other.mmap(BASE, PAGE_SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
    seen = []
    for _ in range(2):
        for mm in (m.mm, other):
            m.switch(0, mm)
            before, m.mm = m.mm, mm
            m.touch(0)
            m.mm = before
            entry = cpu.mmu.resident(BASE)
            assert entry is not None
            seen.append(entry.pa)
    assert seen[0] == seen[2] != seen[1] == seen[3]
    m.switch(0, None)
    other.exit_mmap()


def test_a_new_mm_inherits_nothing_from_the_asid(m: Cpus) -> None:
    """The frame of a PGD may be another mm's before; ctx_id is never used again."""
    cpu = m.kernel.cpus[0]
    m.switch(0, m.mm)
    m.touch(0)
    m.mm.exit_mmap()
    m.switch(0, None)
    m.mm = Mm(m.kernel)
    m.switch(0, m.mm)
    assert cpu.mmu.resident(BASE) is None
    for _ in range(6):
        other = Mm(m.kernel)
        m.switch(0, other)
        assert cpu.mmu.resident(BASE) is None
        m.switch(0, None)
        other.exit_mmap()


@pytest.mark.parametrize("geometry", ["zen2"])
def test_a_processor_without_pcids_flushes_at_each_load(geometry: str) -> None:
    m = Cpus(nr=1, geometry=geometry, load=False)
    cpu, other = m.kernel.cpus[0], Mm(m.kernel)
    assert not cpu.mmu.c.cr4 & CR4_PCIDE and cpu.mmu.c.cr3 == m.kernel.swapper_pg_dir
    m.switch(0, m.mm)
    m.touch(0)
    m.switch(0, other)
    m.switch(0, m.mm)
    assert cpu.mmu.c.cr3 == m.mm.c.pgd and cpu.c.loaded_mm_asid == 0
    assert cpu.mmu.resident(BASE) is None
    m.close()


def test_pcids_are_turned_on_where_they_were_off() -> None:
    memory = Memory(1 << 20)
    mmu = Mmu(memory, geometry="tiny")
    mmu.write_cr4(mmu.c.cr4 & ~CR4_PCIDE)
    mmu.write_cr3(0x5000)
    Kernel(memory).add_cpu(mmu)
    assert mmu.c.cr4 & CR4_PCIDE and mmu.c.cr3 & lib.CR3_PCID_MASK == 1
    memory.close()
