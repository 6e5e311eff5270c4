# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: every flush is a generation of its mm; a CPU is up to date when it has flushed up to it,
page by page only if it has missed nothing else (flush_tlb_func(), arch/x86/mm/tlb.c, v6.18).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mmu.errors import MmuError
from mmu.linux import engine
from mmu.linux.mm import Mm
from mmu.linux.pgtable import TLB_FLUSH_ALL
from mmu.linux.state import Cpu
from mmu.linux.tlbflush import (
    TLB_LOCAL_MM_SHOOTDOWN,
    TLB_REMOTE_SEND_IPI,
    TLB_REMOTE_SHOOTDOWN,
    TLB_REMOTE_WRONG_CPU,
    switch_mm,
)
from mmu.units import PAGE_SIZE
from tests.linux.cpus import BASE, SECOND_NS, Cpus, Late


@pytest.fixture(params=["c", "python"])
def m(request: pytest.FixtureRequest) -> Iterator[Cpus]:
    m = Cpus(request.param, nr=3)
    yield m
    m.kernel.check()
    m.close()


def gen(cpu: Cpu) -> int:
    """The generation up to which the CPU has flushed what it uses."""
    return int(cpu.c.ctxs[cpu.c.loaded_mm_asid].tlb_gen)


def test_each_flush_is_one_more(m: Cpus) -> None:
    assert m.mm.c.tlb_gen == 0
    m.flush()
    m.flush(100)
    assert m.mm.c.tlb_gen == 2
    assert [gen(cpu) for cpu in m.kernel.cpus] == [2, 2, 2]


def test_a_flush_of_no_cpu_is_one_too(m: Cpus) -> None:
    """Who loads the mm later has to know."""
    for number in range(3):
        m.switch(number, None)
    m.flush()
    assert m.mm.c.tlb_gen == 1


def test_only_the_pages_named_go(m: Cpus) -> None:
    for number in range(3):
        for page in range(3):
            m.touch(number, BASE + page * PAGE_SIZE)
    m.flush(2)
    for cpu in m.kernel.cpus:
        kept = [cpu.mmu.resident(BASE + page * PAGE_SIZE) is not None for page in range(3)]
        assert kept == [False, False, True]


def test_who_missed_one_drops_everything(m: Cpus) -> None:
    """CPU 1's interrupt for the first flush comes when the second has begun."""
    for page in range(3):
        m.touch(1, BASE + page * PAGE_SIZE)

    def meanwhile() -> None:
        with m.running_on(2):
            m.flush()

    m.kernel.scheduler = Late(meanwhile)
    m.events()
    m.flush()
    assert gen(m.kernel.cpus[1]) == m.mm.c.tlb_gen == 2
    assert m.kernel.cpus[1].mmu.resident(BASE + 2 * PAGE_SIZE) is None
    flushes = [e["pages"] for e in m.events("tlb_flush") if e.cpu == 1]
    assert flushes == [TLB_FLUSH_ALL]


def test_the_events_say_who_asked_and_why(m: Cpus) -> None:
    m.switch(2, Mm(m.kernel))
    m.events()
    m.flush(5, freed=True)
    assert [(e.cpu, *e.values[:2]) for e in m.events("tlb_flush")] == [
        (0, TLB_REMOTE_SEND_IPI, 5),
        (1, TLB_REMOTE_SHOOTDOWN, 5),
        (2, TLB_REMOTE_WRONG_CPU, 0),
        (0, TLB_LOCAL_MM_SHOOTDOWN, 5),
    ]


def test_a_flush_of_everything_says_so(m: Cpus) -> None:
    m.events()
    m.flush(34)
    assert [(e.cpu, *e.values[:2]) for e in m.events("tlb_flush")] == [
        (0, TLB_REMOTE_SEND_IPI, TLB_FLUSH_ALL),
        (1, TLB_REMOTE_SHOOTDOWN, TLB_FLUSH_ALL),
        (2, TLB_REMOTE_SHOOTDOWN, TLB_FLUSH_ALL),
        (0, TLB_LOCAL_MM_SHOOTDOWN, TLB_FLUSH_ALL),
    ]


def test_a_thread_switch_leaves_the_flush_to_its_interrupt(m: Cpus) -> None:
    """A CPU that is not lazy is asked, so it need not compare generations: the interrupt comes when
    the switch turns interrupts on again, and is for one page.
    """
    seen = []

    def meanwhile() -> None:
        m.switch(1, m.mm)
        seen.extend(e for e in m.events("mov_cr3", "tlb_flush") if e.cpu == 1)

    m.kernel.scheduler = Late(meanwhile)
    m.events()
    m.flush()
    assert [(e.name, *e.values[:2]) for e in seen] == [("tlb_flush", TLB_REMOTE_SHOOTDOWN, 1)]
    assert gen(m.kernel.cpus[1]) == 1


def test_a_flush_is_local_if_no_other_cpu_may_be_asked(m: Cpus) -> None:
    """What mm_fast_fault() asks before it does what it could not wait for."""
    alone = Mm(m.kernel)
    assert engine.flush_tlb_is_local(alone)
    m.switch(0, alone)
    assert engine.flush_tlb_is_local(alone)
    assert not engine.flush_tlb_is_local(m.mm)
    m.lazy(0)
    assert not engine.flush_tlb_is_local(alone)
    m.switch(0, alone)
    alone.c.global_asid = 6
    assert not engine.flush_tlb_is_local(alone)
    alone.c.global_asid = 0
    m.switch(1, alone)
    assert not engine.flush_tlb_is_local(alone)


def test_a_range_shorter_than_its_stride_counts_no_page(m: Cpus) -> None:
    """A table alone: one INVLPG is executed, and Linux counts 4096 >> 21."""
    for number in (1, 2):
        m.switch(number, None)
        m.mm.c.cpu_bitmap &= ~(1 << number)
    m.events()
    engine.flush_tlb_mm_range(m.mm, BASE, BASE + PAGE_SIZE, 21, 1)
    assert m.counter("nr_tlb_local_flush_one") == 0
    assert [e.name for e in m.events("invlpg", "mov_cr3")] == ["invlpg"]


def test_a_cpu_that_left_leaves_the_mask_when_it_is_asked(m: Cpus) -> None:
    other = Mm(m.kernel)
    m.switch(1, other)
    assert m.mm.cpus == m.kernel.cpus
    m.flush()
    assert m.mm.cpus == m.kernel.cpus
    m.flush(freed=True)
    assert m.mm.cpus == [m.kernel.cpus[0], m.kernel.cpus[2]]
    assert other.cpus == [m.kernel.cpus[1]]


def test_the_mask_is_trimmed_once_a_second(m: Cpus) -> None:
    m.now = SECOND_NS
    late = Mm(m.kernel)
    assert m.mm.c.next_trim_cpumask == 1000 and late.c.next_trim_cpumask == 2000
    m.switch(1, late)
    m.now += 1_000_000
    m.flush()
    assert m.mm.cpus == [m.kernel.cpus[0], m.kernel.cpus[2]]
    assert m.mm.c.next_trim_cpumask == 2001
    m.switch(2, late)
    m.now += SECOND_NS
    m.flush()
    assert m.mm.cpus == [m.kernel.cpus[0], m.kernel.cpus[2]]


def test_an_mm_that_has_exited_cannot_be_loaded(m: Cpus) -> None:
    other = Mm(m.kernel)
    other.exit_mmap()
    with pytest.raises(MmuError, match=r"CPU 0 cannot load .*: it has exited"):
        switch_mm(m.kernel, other)


def test_the_pgd_stays_while_a_cpu_has_it_loaded(m: Cpus) -> None:
    """Nothing was mapped, so no flush took CPU 1 off it; the next load there frees it."""
    memory = m.kernel.memory
    other = Mm(m.kernel)
    m.switch(1, other)
    m.lazy(1)
    in_use = memory.frames_in_use
    other.exit_mmap()
    assert memory.frames_in_use == in_use and other.c.pgd
    assert m.kernel.cpus[1].mmu.c.cr3 & -PAGE_SIZE == other.c.pgd
    m.switch(1, m.mm)
    assert memory.frames_in_use == in_use - 1 and not other.c.pgd
