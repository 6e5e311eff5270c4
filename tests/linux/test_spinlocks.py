# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a page-table lock that another CPU holds is waited for, on both engines alike, and the
wait is told and counted.
"""

from __future__ import annotations

import pytest

from mmu._native import ffi
from mmu.errors import LinuxError
from mmu.events import EventRing
from mmu.linux import engine
from mmu.linux.bug import Bug, MmBug
from mmu.linux.contention import LOCK_PAGE_TABLE, LOCK_PMD, LOCK_PTE
from mmu.linux.mm import Mm
from mmu.linux.pgtable import entry_pfn
from mmu.linux.state import Kernel
from mmu.linux.tlbflush import switch_mm
from mmu.memory import Memory
from mmu.twin import EntryPa
from mmu.x86 import Mmu
from ucmmu.race.interleaving import Deadlock, Interleaving

BASE = 0x10_0000_0000
KINDS = {"pte": LOCK_PTE, "pmd": LOCK_PMD}


@pytest.fixture(params=["c", "python"])
def mm(request: pytest.FixtureRequest) -> Mm:
    """An mm on two CPUs, one page of it touched."""
    memory, ring = Memory(16 << 20), EventRing(1 << 12)
    kernel = Kernel(memory, engine=request.param, ring=ring, lockdep=True)
    for _ in range(2):
        kernel.add_cpu(Mmu(memory, geometry="tiny", engine=request.param, exact=True))
    mm = Mm(kernel)
    for cpu in reversed(kernel.cpus):
        kernel.this_cpu = cpu
        switch_mm(kernel, mm)
    mm.mmap(BASE, 512 << 12, 3, 0x32)
    assert mm.handle_user_fault(BASE, 6) is None
    ring.enable()
    return mm


def pmd_of(mm: Mm) -> EntryPa:
    pmd = engine.mm_find_pmd(mm, BASE)
    assert pmd is not None
    return pmd


def table_of(mm: Mm) -> int:
    """The frame of BASE's PTE table."""
    return entry_pfn(mm.memory.read_u64(pmd_of(mm)))


def lock_words(mm: Mm) -> dict[str, int]:
    return {
        "pte": mm.memory.page(table_of(mm)).ptl,
        "pmd": mm.memory.page(pmd_of(mm) >> 12).ptl,
    }


@pytest.mark.parametrize("level", ["pte", "pmd"])
def test_who_comes_second_waits(mm: Mm, level: str) -> None:
    kernel, what = mm.kernel, table_of(mm) if level == "pte" else pmd_of(mm)
    lock, unlock = getattr(engine, f"{level}_lock"), getattr(engine, f"{level}_unlock")
    order: list[str] = []

    def first() -> None:
        lock(mm, what)
        order.append("first has it")
        kernel.scheduler.spin_until(lambda: "second wants it" in order, "the second")
        assert lock_words(mm)[level] == kernel.this_cpu.id + 1 == 1
        order.append("first drops it")
        unlock(mm, what)

    def second() -> None:
        order.append("second wants it")
        lock(mm, what)
        order.append("second has it")
        assert lock_words(mm)[level] == 2
        unlock(mm, what)

    ring = kernel.ring
    assert ring is not None
    Interleaving(kernel, {0: first, 1: second}, points=()).run()
    assert order == ["first has it", "second wants it", "first drops it", "second has it"]
    assert lock_words(mm)[level] == 0
    told = [event for event in ring.read() if event.name.startswith("contention")]
    assert [(event.name, event.cpu, event["kind"]) for event in told] == [
        ("contention_begin", 1, KINDS[level]),
        ("contention_end", 1, KINDS[level]),
    ]
    assert (told[0]["flags"], told[1]["ret"]) == (1, 0)
    assert {event["lock"] for event in told} == {what if level == "pte" else what >> 12}
    assert kernel.counters()[f"{level}_lock_contended"] == 1


def test_a_fault_waits_for_the_lock_of_its_table(mm: Mm) -> None:
    kernel, table, done = mm.kernel, table_of(mm), []

    def holder() -> None:
        engine.pte_lock(mm, table)
        kernel.scheduler.spin_until(lambda: bool(kernel.counters()["pte_lock_contended"]), "them")
        assert done == []
        engine.pte_unlock(mm, table)

    def fault() -> None:
        assert mm.handle_user_fault(BASE + 0x1000, 6) is None
        done.append(True)

    Interleaving(kernel, {0: holder, 1: fault}, points=()).run()
    assert done == [True]
    assert mm.check_tables().ok


def test_the_fast_fault_never_waits(mm: Mm) -> None:
    """It runs under the fill hook: a lock that is held means no."""
    for level, what in (("pte", table_of(mm)), ("pmd", pmd_of(mm))):
        getattr(engine, f"{level}_lock")(mm, what)
        assert not engine.mm_fast_fault(mm, BASE + 0x1000, 6)
        getattr(engine, f"{level}_unlock")(mm, what)
    mm.mmap(BASE << 4, 4096, 3, 0x32)
    mm.c.page_table_lock = 2
    assert not engine.mm_fast_fault(mm, BASE << 4, 4)
    mm.c.page_table_lock = 0
    assert engine.mm_fast_fault(mm, BASE << 4, 4)
    assert engine.mm_fast_fault(mm, BASE + 0x1000, 6)


def test_two_cpus_make_one_upper_table(mm: Mm) -> None:
    """Who loses the race for page_table_lock frees its own."""
    kernel, results = mm.kernel, []
    addr = mm.mmap(BASE << 4, 4096, 3, 0x32)

    def make() -> None:
        results.append(engine.pmd_alloc(mm, addr))

    def holder() -> None:
        mm.c.page_table_lock = kernel.this_cpu.id + 1
        contended = lambda: kernel.counters()["page_table_lock_contended"] == 1  # noqa: E731
        kernel.scheduler.spin_until(contended, "the other")
        mm.c.page_table_lock = 0
        make()

    before = mm.c.pgtables_bytes
    Interleaving(kernel, {0: holder, 1: make}, points=()).run()
    assert results[0] == results[1] is not None
    assert mm.c.pgtables_bytes == before + (2 << 12)
    assert [e["kind"] for e in kernel.ring.read() if e.name == "contention_begin"] == [
        LOCK_PAGE_TABLE
    ]
    mm.exit_mmap()


def test_a_lock_that_nobody_can_drop_is_a_bug(mm: Mm) -> None:
    """Without a scheduler a wait that is not over is never over; and a lock is its CPU's."""
    kernel, pmd, table = mm.kernel, pmd_of(mm), table_of(mm)
    engine.pte_lock(mm, table)
    kernel.this_cpu = kernel.cpus[1]
    with pytest.raises(MmBug) as caught:
        engine.pte_unlock(mm, table)
    assert caught.value.bug == Bug.LOCK_NOT_HELD
    mm.memory.page(pmd >> 12).ptl = 1
    with pytest.raises(MmBug) as caught:
        engine.pmd_lock(mm, pmd)
    assert caught.value.bug == Bug.LOCK_HELD


def test_a_deadlock_of_two_cpus_is_told(mm: Mm, capsys: pytest.CaptureFixture[str]) -> None:
    kernel, pmd, table = mm.kernel, pmd_of(mm), table_of(mm)
    kernel.lockdep, kernel.c.lockdep = None, ffi.NULL

    def one() -> None:
        engine.pte_lock(mm, table)
        kernel.scheduler.spin_until(lambda: bool(lock_words(mm)["pmd"]), "the other")
        engine.pmd_lock(mm, pmd)

    def other() -> None:
        engine.pmd_lock(mm, pmd)
        engine.pte_lock(mm, table)

    with pytest.raises(Deadlock, match=r"PMD lock that CPU 1 holds.*PTE lock that CPU 0 holds"):
        Interleaving(kernel, {0: one, 1: other}, points=()).run()


def test_an_error_in_a_wait_comes_out_of_the_call(mm: Mm) -> None:
    """The wait is in Python, inside C: what it raises is kept until C has returned."""

    class Broken:
        def spin_until(self, ready: object, what: str) -> bool:
            raise LinuxError(5)

    kernel, pmd = mm.kernel, pmd_of(mm)
    mm.memory.page(pmd >> 12).ptl = 2
    kernel.scheduler = Broken()  # type: ignore[assignment]
    with pytest.raises(LinuxError):
        engine.pmd_lock(mm, pmd)
