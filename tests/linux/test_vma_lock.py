# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a fault runs under the lock of its VMA alone, and a VMA changes when its readers have left
(mm/mmap_lock.c, v6.18).
"""

from __future__ import annotations

import pytest

from mmu._native import lib
from mmu.linux import engine
from mmu.linux.bug import Bug, MmBug
from mmu.linux.contention import LOCK_VMA
from mmu.linux.vma_lock import lock_vma_under_rcu, vma_end_read, vma_start_read, vma_start_write
from mmu.units import PAGE_SIZE
from tests.linux.cpus import BASE, Cpus
from ucmmu.race.interleaving import Interleaving

OTHER = BASE + (1 << 30)


@pytest.fixture(params=["c", "python"])
def cpus(request: pytest.FixtureRequest) -> Cpus:
    return Cpus(request.param, nr=3)


def count(cpus: Cpus, what: str) -> int:
    return cpus.kernel.counters()[f"vma_lock_{what}"]


def test_faults_in_one_vma_go_on_while_another_is_changed(cpus: Cpus) -> None:
    mm, kernel, done = cpus.mm, cpus.kernel, []
    mm.mmap(OTHER, PAGE_SIZE, 3, 0x32)
    assert mm.handle_user_fault(OTHER, 6) is None  # its anon_vma
    assert mm.handle_user_fault(BASE, 6) is None

    def writer() -> None:
        with mm.mmap_write_lock():
            vma_start_write(mm, lib.find_vma(mm.c, BASE))
            done.append("write-locked")
            kernel.scheduler.spin_until(lambda: "read" in done, "the fault elsewhere")
            assert "blocked" not in done

    def elsewhere() -> None:
        kernel.scheduler.spin_until(lambda: bool(done), "the writer")
        before = count(cpus, "success")
        assert mm.handle_user_fault(OTHER, 4) is None
        assert count(cpus, "success") == before + 1
        assert engine.mm_fast_fault(mm, OTHER + 0x10, 6) in (True, False)
        done.append("read")

    def here() -> None:
        kernel.scheduler.spin_until(lambda: bool(done), "the writer")
        assert not engine.mm_fast_fault(mm, BASE + PAGE_SIZE, 6), "it never waits"
        before = count(cpus, "abort")
        assert mm.handle_user_fault(BASE + PAGE_SIZE, 6) is None
        assert count(cpus, "abort") == before + 1
        done.append("blocked")

    Interleaving(kernel, {0: writer, 1: here, 2: elsewhere}, points=()).run()
    assert done == ["write-locked", "read", "blocked"]


def test_a_writer_waits_for_the_readers_and_stops_new_ones(cpus: Cpus) -> None:
    mm, kernel, order = cpus.mm, cpus.kernel, []

    def reader() -> None:
        vma = lock_vma_under_rcu(mm, BASE)
        assert vma is not None
        kernel.scheduler.spin_until(lambda: bool(count(cpus, "contended")), "the writer")
        assert lock_vma_under_rcu(mm, BASE) is None, "a writer waits"
        order.append("reader leaves")
        vma_end_read(mm, vma)

    def writer() -> None:
        kernel.scheduler.spin_until(lambda: lib.find_vma(mm.c, BASE).vm_refcnt == 2, "the reader")
        mm.munmap(BASE, 512 * PAGE_SIZE)
        order.append("unmapped")

    Interleaving(kernel, {0: reader, 1: writer}, points=()).run()
    assert order == ["reader leaves", "unmapped"]
    told = [(e["kind"], e["flags"]) for e in cpus.ring.read() if e.name == "contention_begin"]
    assert told == [(LOCK_VMA, 4)]


def test_all_are_unlocked_when_mmap_lock_is_dropped_or_downgraded(cpus: Cpus) -> None:
    mm = cpus.mm
    vma = lib.find_vma(mm.c, BASE)
    with mm.mmap_write_lock() as lock:
        vma_start_write(mm, vma)
        assert not vma_start_read(mm, vma)
        lock.downgrade()
        assert vma_start_read(mm, vma)
        vma_end_read(mm, vma)
    with mm.mmap_write_lock():
        vma_start_write(mm, vma)
    assert vma_start_read(mm, vma)
    vma_end_read(mm, vma)


def test_only_the_holder_of_mmap_lock_for_writing_locks_a_vma(cpus: Cpus) -> None:
    vma = lib.find_vma(cpus.mm.c, BASE)
    with pytest.raises(MmBug) as caught, cpus.mm.mmap_read_lock():
        vma_start_write(cpus.mm, vma)
    assert caught.value.bug == Bug.LOCK_NOT_HELD
    with pytest.raises(MmBug) as caught:
        vma_end_read(cpus.mm, vma)
    assert caught.value.bug == Bug.LOCK_NOT_HELD


def test_the_first_write_needs_mmap_lock_for_the_anon_vma(cpus: Cpus) -> None:
    """vmf_anon_prepare(): a trylock; where it fails the fault begins anew under mmap_lock."""
    mm, kernel, done = cpus.mm, cpus.kernel, []

    def writer() -> None:
        with mm.mmap_write_lock():
            done.append("locked")
            retried = lambda: bool(count(cpus, "retry"))  # noqa: E731
            kernel.scheduler.spin_until(retried, "the fault")
            assert lib.find_vma(mm.c, BASE).anon_vma == 0

    def fault() -> None:
        kernel.scheduler.spin_until(lambda: bool(done), "the writer")
        assert not engine.mm_fast_fault(mm, BASE, 6)
        assert mm.handle_user_fault(BASE, 4) is None, "a read needs none"
        assert count(cpus, "retry") == 0
        assert mm.handle_user_fault(BASE, 6) is None
        assert lib.find_vma(mm.c, BASE).anon_vma

    Interleaving(kernel, {0: writer, 1: fault}, points=()).run()
    assert count(cpus, "retry") == 1
    assert mm.counters()["pgfault"] == 2, "what is begun anew counts once"


def test_no_vma_is_asked_again_under_mmap_lock(cpus: Cpus) -> None:
    assert cpus.mm.handle_user_fault(OTHER, 4) is not None
    assert count(cpus, "miss") == 1


def test_a_new_vma_is_locked_until_it_is_whole(cpus: Cpus) -> None:
    mm = cpus.mm
    with mm.mmap_write_lock():
        mm_vma = lib.find_vma(mm.c, BASE)
        assert lib.vma_insert(mm.c, _vma(OTHER)) == 0
        assert not vma_start_read(mm, lib.find_vma(mm.c, OTHER))
        assert vma_start_read(mm, mm_vma)
        vma_end_read(mm, mm_vma)
    assert vma_start_read(mm, lib.find_vma(mm.c, OTHER))
    vma_end_read(mm, lib.find_vma(mm.c, OTHER))


def _vma(start: int):  # type: ignore[no-untyped-def]
    from mmu.linux.vma import VM_STACK_FLAGS, new_vma

    return new_vma(start, start + PAGE_SIZE, VM_STACK_FLAGS, start >> 12)
