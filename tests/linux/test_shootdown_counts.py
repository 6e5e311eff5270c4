# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: interrupts, remote and local flushes, and loads of CR3 are as many as the rules of
arch/x86/mm/tlb.c (v6.18) say: scenarios computed by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from mmu._native import lib
from mmu.linux import engine
from mmu.linux.mm import Mm
from mmu.linux.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED
from mmu.linux.pgtable import PMD_SHIFT
from mmu.units import PAGE_SIZE
from mmu.x86 import Access
from tests.linux.cpus import BASE, RW, SECOND_NS, Counts, Cpus, Late

Scenario = Callable[[Cpus], Counts]


@dataclass(frozen=True)
class Row:
    """A scenario, and what it must count, with the rule that says so."""

    rule: str
    scenario: Scenario
    expected: Counts
    nr: int = 2
    invlpgb: bool = False


def _flush(pages: int = 1, **how: object) -> Scenario:
    def scenario(m: Cpus) -> Counts:
        with m.counted() as counts:
            m.flush(pages, **how)  # type: ignore[arg-type]
        return counts

    return scenario


def _lazy(freed: bool) -> Scenario:
    def scenario(m: Cpus) -> Counts:
        m.lazy(1)
        return _flush(freed=freed)(m)

    return scenario


def _lazy_freed_again(m: Cpus) -> Counts:
    m.lazy(1)
    m.flush(freed=True)
    with m.counted() as counts:
        m.flush(freed=True)
        m.flush(freed=True)
    return counts


def _left(freed: bool) -> Scenario:
    def scenario(m: Cpus) -> Counts:
        m.switch(1, Mm(m.kernel))
        return _flush(freed=freed)(m)

    return scenario


def _trim(m: Cpus) -> Counts:
    m.switch(1, Mm(m.kernel))
    m.now = SECOND_NS + 1_000_000
    with m.counted() as counts:
        m.flush()
        m.flush()
    return counts


def _just_a_second(m: Cpus) -> Counts:
    m.switch(1, Mm(m.kernel))
    m.now = SECOND_NS
    return _flush()(m)


def _from_outside(freed: bool) -> Scenario:
    def scenario(m: Cpus) -> Counts:
        m.switch(0, None)
        return _flush(freed=freed)(m)

    return scenario


def _loads(others: int) -> Scenario:
    def scenario(m: Cpus) -> Counts:
        for _ in range(others):
            m.switch(0, Mm(m.kernel))
        with m.counted() as counts:
            m.switch(0, m.mm)
        return counts

    return scenario


def _missed_while_away(m: Cpus) -> Counts:
    m.switch(0, Mm(m.kernel))
    m.on(1)
    m.flush()
    with m.counted() as counts:
        m.switch(0, m.mm)
    return counts


def _back_from_lazy(missed: bool) -> Scenario:
    def scenario(m: Cpus) -> Counts:
        m.lazy(1)
        if missed:
            m.flush()
        with m.counted() as counts:
            m.switch(1, m.mm)
        return counts

    return scenario


def _skew(m: Cpus) -> Counts:
    """CPU 0 flushes; before anybody handles its interrupt, CPU 2 flushes as well."""

    def meanwhile() -> None:
        with m.running_on(2):
            m.flush()

    m.kernel.scheduler = Late(meanwhile)
    return _flush()(m)


def _off_for_a_while(m: Cpus) -> Counts:
    """CPU 1 turns interrupts on again when CPU 0 already waits: it is the restore that handles."""
    cpu = m.kernel.cpus[1]
    lib.local_irq_save(cpu.c)
    m.kernel.scheduler = Late(lambda: lib.local_irq_restore(cpu.c))
    return _flush()(m)


def _broadcast(pages: int) -> Scenario:
    def scenario(m: Cpus) -> Counts:
        for _ in range(3):
            m.flush()
        assert m.mm.c.global_asid and not m.mm.c.asid_transition
        return _flush(pages)(m)

    return scenario


def _becomes_global(m: Cpus) -> Counts:
    m.flush()
    assert m.mm.c.global_asid
    return _flush()(m)


def _exit_elsewhere(m: Cpus) -> Counts:
    """The last thread ends on CPU 0; CPU 1 ran another thread, and is idle since."""
    m.touch(0)
    m.lazy(1)
    with m.counted() as counts:
        m.mm.exit_mmap()
    return counts


def _exec(m: Cpus) -> Counts:
    m.touch(0)
    new = Mm(m.kernel)
    with m.counted() as counts:
        m.switch(0, new)
        m.mm.exit_mmap()
    return counts


def _write_right_comes_back(m: Cpus) -> Counts:
    """wp_page_reuse(): rights are given; who holds the old ones faults, and finds the new."""
    for number in (0, 1):
        m.touch(number)
    m.mm.mprotect(BASE, PAGE_SIZE, 1)
    m.mm.mprotect(BASE, PAGE_SIZE, RW)
    with m.counted() as counts:
        m.touch(0)
        m.touch(1)
    return counts


def _copy_of_the_zero_page(m: Cpus) -> Counts:
    for number in (0, 1):
        m.touch(number, access=Access.READ)
    with m.counted() as counts:
        m.touch(0)
    return counts


def _two_gathers(m: Cpus) -> Counts:
    """Another thread unmaps at the same time: what it cleared this one cannot know."""
    with m.running_on(1):
        other = engine.tlb_gather_mmu(m.mm)
    tlb = engine.tlb_gather_mmu(m.mm)
    with m.counted() as counts:
        engine.tlb_finish_mmu(tlb)
    with m.running_on(1):
        engine.tlb_finish_mmu(other)
    return counts


def _dontneed(m: Cpus) -> Counts:
    """The page and its table, which the count frees, go in one flush of one page."""
    m.touch(0)
    m.touch(1)
    with m.counted() as counts:
        m.dontneed()
    return counts


def _dontneed_of_nothing(m: Cpus) -> Counts:
    with m.counted() as counts:
        m.dontneed(512)
    return counts


def _written_shared_memory(m: Cpus) -> Counts:
    flags = MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED
    m.mm.mmap(BASE, 1024 * PAGE_SIZE, RW, flags)
    m.touch(0)
    m.touch(0, BASE + 512 * PAGE_SIZE)
    with m.counted() as counts:
        m.dontneed(1024)
    return counts


def _munmap_of_34(m: Cpus) -> Counts:
    for page in range(34):
        m.touch(0, BASE + page * PAGE_SIZE)
    m.mm.mmap(BASE + 512 * PAGE_SIZE, PAGE_SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
    with m.counted() as counts:
        m.mm.munmap(BASE, 512 * PAGE_SIZE)
    return counts


ROWS = [
    Row("one CPU: no interrupt, the page by INVLPG", _flush(), Counts(one=1), nr=1),
    Row(
        "every CPU that uses the mm is interrupted once; local counters count this CPU only",
        _flush(),
        Counts(ipis=3, remote=1, received=3, one=1),
        nr=4,
    ),
    Row("33 pages: one by one", _flush(33), Counts(ipis=1, remote=1, received=1, one=33)),
    Row(
        "34 pages: everything; that of the CPUs that were asked is not counted as local",
        _flush(34),
        Counts(ipis=2, remote=1, received=2, all=1),
        nr=3,
    ),
    Row(
        "33 pages of 2 MiB: the ceiling counts steps of the stride",
        _flush(33, shift=PMD_SHIFT),
        Counts(ipis=1, remote=1, received=1, one=33),
    ),
    Row(
        "34 pages of 2 MiB: everything",
        _flush(34, shift=PMD_SHIFT),
        Counts(ipis=1, remote=1, received=1, all=1),
    ),
    Row(
        "a lazy CPU is spared, though the flush counts as a remote one",
        _lazy(freed=False),
        Counts(remote=1, one=1),
    ),
    Row(
        "a lazy CPU is not spared when tables were freed, and goes to init_mm",
        _lazy(freed=True),
        Counts(ipis=1, remote=1, received=1, one=1, switched_kept=1),
    ),
    Row(
        "it is in mm_cpumask still: once more it is interrupted, then it is out of it",
        _lazy_freed_again,
        Counts(ipis=1, remote=1, received=1, one=2),
    ),
    Row("a CPU that left is not asked", _left(freed=False), Counts(remote=1, one=1)),
    Row(
        "a CPU that left is asked when tables were freed",
        _left(freed=True),
        Counts(ipis=1, remote=1, received=1, one=1),
    ),
    Row(
        "more than a second after the mm was made, a CPU that left is asked once, and so leaves"
        " mm_cpumask",
        _trim,
        Counts(ipis=1, remote=1, received=1, one=2),
    ),
    Row("exactly a second after is too early", _just_a_second, Counts(remote=1, one=1)),
    Row(
        "a flush from a CPU that does not use the mm: the others only",
        _from_outside(freed=False),
        Counts(ipis=1, remote=1, received=1),
    ),
    Row(
        "the same with freed tables: this CPU takes itself out of mm_cpumask",
        _from_outside(freed=True),
        Counts(ipis=1, remote=1, received=1),
    ),
    Row("six mms fit the six ASIDs: nothing is dropped", _loads(5), Counts(switched_kept=1)),
    Row("the seventh took the ASID: everything is dropped", _loads(6), Counts(switched_all=1)),
    Row(
        "what a CPU missed while it ran another mm it drops when it loads the mm",
        _missed_while_away,
        Counts(switched_all=1),
    ),
    Row(
        "back from lazy mode, nothing missed: CR3 is not written", _back_from_lazy(False), Counts()
    ),
    Row(
        "back from lazy mode, a flush missed: everything is dropped",
        _back_from_lazy(True),
        Counts(switched_all=1),
    ),
    Row(
        "two flushes at once: who missed the first one flushes everything for the second, and the"
        " first then needs nothing; a CPU with a call waiting gets no second interrupt",
        _skew,
        Counts(ipis=3, remote=2, received=4, one=1, all=1),
        nr=3,
    ),
    Row(
        "a CPU with interrupts off handles it when it turns them on",
        _off_for_a_while,
        Counts(ipis=1, remote=1, received=1, one=1),
    ),
    Row(
        "without INVLPGB four CPUs are interrupted for ever",
        lambda m: (m.flush(), _flush()(m))[1],
        Counts(ipis=3, remote=1, received=3, one=1),
        nr=4,
    ),
    Row(
        "with INVLPGB three CPUs are too few for a global ASID",
        lambda m: (m.flush(), _flush()(m))[1],
        Counts(ipis=2, remote=1, received=2, one=1),
        nr=3,
        invlpgb=True,
    ),
    Row(
        "the flush after a global ASID was given: a broadcast, and interrupts by which the CPUs,"
        " this one too, take it up",
        _becomes_global,
        Counts(ipis=3, remote=1, received=3, switched_kept=4, invlpgb=1),
        nr=4,
        invlpgb=True,
    ),
    Row("afterwards a broadcast alone", _broadcast(8), Counts(invlpgb=1), nr=4, invlpgb=True),
    Row("INVLPGB names eight pages at most", _broadcast(9), Counts(invlpgb=2), nr=4, invlpgb=True),
    Row(
        "34 pages: one broadcast of the whole PCID",
        _broadcast(34),
        Counts(invlpgb=1),
        nr=4,
        invlpgb=True,
    ),
    Row(
        "exit: both CPUs are lazy then, and the flush that frees the tables sends them to init_mm",
        _exit_elsewhere,
        Counts(ipis=1, remote=1, received=1, switched_kept=2),
    ),
    Row(
        "execve: the CPU uses the new mm, and nobody the old one: its end flushes nothing",
        _exec,
        Counts(switched_all=1),
        nr=1,
    ),
    Row(
        "a right that is given needs no flush: the other CPU faults for nothing, once",
        _write_right_comes_back,
        Counts(),
    ),
    Row(
        "a copy takes the zero page's place: no CPU may read the old one any more",
        _copy_of_the_zero_page,
        Counts(ipis=1, remote=1, received=1, one=1),
    ),
    Row(
        "two gathers at once: each flushes everything",
        _two_gathers,
        Counts(ipis=1, remote=1, received=1, all=1),
    ),
    Row(
        "MADV_DONTNEED of a table's only page: one page stands for both",
        _dontneed,
        Counts(ipis=1, remote=1, received=1, one=1),
    ),
    Row(
        "a page of shared memory that was written is flushed before its PTE lock is dropped, so"
        " once for each table; the first one's table goes with the second one's page, 513 pages in"
        " all; the second table is alone, and counts no page",
        _written_shared_memory,
        Counts(ipis=3, remote=3, received=3, one=1, all=1),
    ),
    Row("nothing was mapped: nothing is flushed", _dontneed_of_nothing, Counts()),
    Row(
        "munmap of 34 touched pages: everything",
        _munmap_of_34,
        Counts(ipis=1, remote=1, received=1, all=1),
    ),
]


@pytest.mark.parametrize("name", ["c", "python"])
@pytest.mark.parametrize("row", ROWS, ids=[row.rule for row in ROWS])
def test_counts_are_those_of_the_rule(row: Row, name: str) -> None:
    m = Cpus(name, row.nr, invlpgb=row.invlpgb)
    assert row.scenario(m) == row.expected
    m.kernel.check()
    m.close()


def test_there_are_twenty_scenarios_and_more() -> None:
    assert len({row.rule for row in ROWS}) >= 20
