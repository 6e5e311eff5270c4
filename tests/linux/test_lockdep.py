# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: with lockdep on, an order of locks that can deadlock, a sleep where none is allowed, and
what is kept on the way to user mode are told when they are first met (kernel/locking/lockdep.c).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mmu.linux import engine
from mmu.linux.bug import Bug, MmBug
from mmu.linux.contention import LOCK_MMAP
from mmu.linux.pgtable import entry_pfn
from mmu.linux.rcupdate import rcu_qs, synchronize_rcu
from mmu.linux.rwsem import RwSemaphore
from mmu.linux.shared import SpinLock
from mmu.linux.smp import local_irqs_off
from mmu.twin import EntryPa
from tests.linux.cpus import BASE, Cpus


@pytest.fixture(params=["c", "python"])
def cpus(request: pytest.FixtureRequest) -> Cpus:
    cpus = Cpus(request.param, nr=2)
    assert cpus.mm.handle_user_fault(BASE, 6) is None
    return cpus


def locks(cpus: Cpus) -> tuple[EntryPa, int]:
    """BASE's PMD entry and the frame of its PTE table."""
    pmd = engine.mm_find_pmd(cpus.mm, BASE)
    assert pmd is not None
    return pmd, entry_pfn(cpus.mm.memory.read_u64(pmd))


def told(bug: Bug, act: Callable[[], object]) -> str:
    with pytest.raises(MmBug) as caught:
        act()
    assert caught.value.bug == bug
    return str(caught.value)


def test_a_circle_of_two_classes_is_told_at_once(cpus: Cpus) -> None:
    """Nothing deadlocks: one CPU takes both orders, one after the other."""
    mm, (pmd, table) = cpus.mm, locks(cpus)
    engine.pmd_lock(mm, pmd)
    engine.pte_lock(mm, table)
    engine.pte_unlock(mm, table)
    engine.pmd_unlock(mm, pmd)
    engine.pte_lock(mm, table)
    text = told(Bug.LOCK_ORDER, lambda: engine.pmd_lock(mm, pmd))
    assert "the circle PTE lock -> PMD lock -> PTE lock" in text
    assert "PTE lock was taken inside PMD lock by CPU 0" in text


def test_a_circle_through_a_third_class(cpus: Cpus) -> None:
    """mmap_lock, then a semaphore, then another: the first inside the last closes the circle."""
    a, b, c = (RwSemaphore(cpus.kernel, name, LOCK_MMAP) for name in "abc")
    for outer, inner in ((a, b), (b, c)):
        outer.down_write(subclass=ord(outer.name))
        inner.down_write(subclass=ord(inner.name))
        inner.up_write()
        outer.up_write()
    c.down_write(subclass=ord("c"))
    text = told(Bug.LOCK_ORDER, lambda: a.down_write(subclass=ord("a")))
    assert "mmap_lock/99 -> mmap_lock/97 -> mmap_lock/98 -> mmap_lock/99" in text


def test_a_trylock_teaches_no_order(cpus: Cpus) -> None:
    """The PMD lock inside the PTE lock, as the scan takes it."""
    from mmu.linux import locks as python

    mm, (pmd, table) = cpus.mm, locks(cpus)
    engine.pmd_lock(mm, pmd)
    engine.pte_lock(mm, table)
    engine.pte_unlock(mm, table)
    engine.pmd_unlock(mm, pmd)
    engine.pte_lock(mm, table)
    assert python.pmd_trylock(mm, pmd)
    engine.pmd_unlock(mm, pmd)
    engine.pte_unlock(mm, table)
    mm.check()


def test_sleeping_with_a_spinlock_held(cpus: Cpus) -> None:
    mm, (_, table) = cpus.mm, locks(cpus)
    engine.pte_lock(mm, table)
    text = told(Bug.SLEEP_IN_ATOMIC, lambda: mm.mmap_lock.lock(write=False))
    assert f"the PTE lock {table:#x}" in text and "mmap_lock" in text
    engine.pte_unlock(mm, table)


def test_sleeping_in_a_read_section(cpus: Cpus) -> None:
    engine.rcu_read_lock(cpus.kernel)
    assert "RCU read section" in told(Bug.SLEEP_IN_ATOMIC, lambda: synchronize_rcu(cpus.kernel))
    engine.rcu_read_unlock(cpus.kernel)


def test_sleeping_with_interrupts_off(cpus: Cpus) -> None:
    with local_irqs_off(cpus.kernel):
        text = told(Bug.SLEEP_IN_ATOMIC, lambda: cpus.mm.mmap_lock.lock(write=True))
    assert "interrupts off" in text


def test_nothing_is_kept_to_user_mode(cpus: Cpus) -> None:
    mm, kernel, cpu, (_, table) = cpus.mm, cpus.kernel, cpus.kernel.this_cpu, locks(cpus)
    rcu_qs(kernel, cpu)
    mm.mmap_lock.lock(write=False)
    assert "the mmap_lock" in told(Bug.LOCK_KEPT, lambda: rcu_qs(kernel, cpu))
    engine.pte_lock(mm, table)
    assert "the PTE lock" in told(Bug.LOCK_KEPT, lambda: rcu_qs(kernel, cpu))
    engine.rcu_read_lock(kernel)
    assert "RCU read section" in told(Bug.LOCK_KEPT, lambda: rcu_qs(kernel, cpu))
    engine.rcu_read_unlock(kernel)
    rcu_qs(kernel, cpu)


def test_what_a_sleeper_holds_moves_with_it(cpus: Cpus) -> None:
    """It may go on on another CPU; the one it left may go to user mode."""
    kernel, mm = cpus.kernel, cpus.mm
    lockdep = kernel.lockdep
    assert lockdep is not None
    mm.mmap_lock.lock(write=True)
    held = lockdep.sleep("a page")
    rcu_qs(kernel, kernel.cpus[0])
    cpus.on(1)
    lockdep.wake(held)
    assert [lock.kind for lock in lockdep.held(1)] == [LOCK_MMAP]
    mm.mmap_lock.unlock(write=True)
    rcu_qs(kernel, kernel.cpus[1])


def test_two_locks_of_one_class(cpus: Cpus) -> None:
    """One inside the other needs another subclass, for who takes them the other way round?"""
    kernel = cpus.kernel
    one, two = (RwSemaphore(kernel, name, LOCK_MMAP) for name in ("one", "two"))
    one.down_read()
    assert "takes two (write) inside one (read)" in told(Bug.LOCK_ORDER, two.down_write)
    assert two.down_write(subclass=1) == 0
    two.up_write()
    one.up_read()


def test_a_lock_is_not_read_twice(cpus: Cpus) -> None:
    """A writer who came in between would keep the second read off, and wait for the first."""
    lock = RwSemaphore(cpus.kernel, "one", LOCK_MMAP)
    lock.down_read()
    assert "takes one (read), which it holds" in told(Bug.LOCK_HELD, lock.down_read)
    lock.up_read()


def test_it_is_off_where_it_is_not_asked_for() -> None:
    from mmu.linux.state import Kernel
    from mmu.memory import Memory

    assert Kernel(Memory(1 << 20)).lockdep is None


def own_locks(cpus: Cpus) -> tuple[SpinLock, SpinLock]:
    return SpinLock(cpus.kernel, "the lock of a"), SpinLock(cpus.kernel, "the lock of b")


def inside(cpus: Cpus, outer: SpinLock, inner: SpinLock) -> None:
    with outer, inner:
        pass
    cpus.kernel.check()


def test_a_policys_own_spinlocks_have_an_order(cpus: Cpus) -> None:
    """A class for each name: two locks of one name are not taken inside each other either."""
    a, b = own_locks(cpus)
    inside(cpus, a, b)
    inside(cpus, a, b)
    text = told(Bug.LOCK_ORDER, lambda: inside(cpus, b, a))
    assert "the circle the lock of b -> the lock of a -> the lock of b" in text
    told(Bug.LOCK_ORDER, lambda: inside(cpus, a, SpinLock(cpus.kernel, a.name)))


def test_nobody_sleeps_with_a_policys_own_spinlock(cpus: Cpus) -> None:
    with own_locks(cpus)[0]:
        text = told(Bug.SLEEP_IN_ATOMIC, lambda: cpus.mm.mmap_lock.lock(write=True))
    assert "in atomic context: the lock of a" in text


def test_a_policys_own_spinlock_that_is_kept_is_told(cpus: Cpus) -> None:
    own_locks(cpus)[0].__enter__()
    text = told(Bug.LOCK_KEPT, lambda: rcu_qs(cpus.kernel, cpus.kernel.this_cpu))
    assert "CPU 0 has the lock of a" in text
