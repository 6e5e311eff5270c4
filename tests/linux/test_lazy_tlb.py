# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a CPU without a user task keeps the mm loaded, is spared by flushes, and catches up when it
comes back; tables are not freed under it (enter_lazy_tlb(), arch/x86/mm/tlb.c, v6.18).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mmu.linux.tlbflush import enter_lazy_tlb, leave_mm
from mmu.units import PAGE_SIZE
from tests.linux.cpus import BASE, Cpus


@pytest.fixture(params=["c", "python"])
def m(request: pytest.FixtureRequest) -> Iterator[Cpus]:
    m = Cpus(request.param)
    yield m
    m.kernel.check()
    m.close()


def test_going_lazy_changes_no_register(m: Cpus) -> None:
    m.events()
    m.lazy(1)
    m.switch(1, m.mm)
    assert not m.events("mov_cr3", "tlb_flush")
    assert not m.kernel.cpus[1].c.is_lazy


def test_init_mm_has_no_lazy_mode(m: Cpus) -> None:
    m.switch(1, None)
    m.lazy(1)
    assert not m.kernel.cpus[1].c.is_lazy


def test_what_was_flushed_meanwhile_goes_at_the_way_back(m: Cpus) -> None:
    m.touch(1)
    m.lazy(1)
    m.flush()
    assert m.kernel.cpus[1].mmu.resident(BASE) is not None
    m.switch(1, m.mm)
    assert m.kernel.cpus[1].mmu.resident(BASE) is None


def test_freed_tables_take_the_cpu_to_init_mm(m: Cpus) -> None:
    """A lazy CPU may walk of its own accord: CR3 may not lead to what was a table."""
    cpu = m.kernel.cpus[1]
    m.touch(1)
    m.lazy(1)
    m.dontneed()
    assert cpu.loaded_mm is None and not cpu.c.is_lazy
    assert cpu.mmu.c.cr3 & -PAGE_SIZE == m.kernel.swapper_pg_dir
    m.switch(1, m.mm)
    assert cpu.mmu.resident(BASE) is None and not cpu.mmu.paging_structure_caches()


def test_a_table_that_stays_spares_it(m: Cpus) -> None:
    m.touch(0, BASE + PAGE_SIZE)
    m.touch(1)
    m.lazy(1)
    m.dontneed()
    assert m.kernel.cpus[1].loaded_mm is m.mm


def test_the_cpu_that_flushes_may_itself_be_lazy(m: Cpus) -> None:
    """A kernel thread with the mm of the task before it; also if no other CPU is in the mask."""
    for others in (True, False):
        m.switch(0, m.mm)
        if not others:
            m.switch(1, None)
            m.flush(freed=True)
            assert m.mm.cpus == [m.kernel.cpus[0]]
        enter_lazy_tlb(m.kernel)
        m.flush(freed=True)
        assert m.kernel.cpus[0].loaded_mm is None


def test_leave_mm_is_the_way_to_init_mm(m: Cpus) -> None:
    enter_lazy_tlb(m.kernel)
    leave_mm(m.kernel)
    assert m.kernel.cpus[0].loaded_mm is None
    m.events()
    leave_mm(m.kernel)
    assert not m.events()


def test_user_memory_is_out_of_reach_in_init_mm(m: Cpus) -> None:
    from mmu.x86 import Access, Outcome

    m.touch(0)
    m.switch(0, None)
    answer = m.kernel.cpus[0].mmu.translate(BASE, Access.READ)
    assert answer.result == Outcome.PAGE_FAULT
