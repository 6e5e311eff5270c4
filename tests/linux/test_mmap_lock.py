# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: mmap_lock has one writer or several readers, in the order of coming; a waiting writer stops
new readers (kernel/locking/rwsem.c, v6.18).
"""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from mmu.errors import LinuxError
from mmu.linux.bug import Bug, MmBug
from mmu.linux.contention import LOCK_MMAP
from mmu.linux.mm import Mm
from mmu.linux.sched import Sleep, WaitQueue
from tests.linux.cpus import BASE, Cpus
from ucmmu.race.interleaving import Interleaving


@pytest.fixture
def cpus() -> Cpus:
    return Cpus("python", nr=4)


def turns(mm: Mm, kinds: str) -> list[str]:
    """CPU 0 holds the lock for writing while each CPU after it asks for it, "r" or "w", in this
    order; returns the order in which they had it, those who had it together as one.
    """
    kernel, asked, inside, order = mm.kernel, [], set[str](), []

    def ask(number: int, kind: str) -> Callable[[], None]:
        def body() -> None:
            kernel.scheduler.spin_until(lambda: len(asked) == number, "my turn to ask")
            asked.append(number)
            with mm.mmap_write_lock() if kind == "w" else mm.mmap_read_lock():
                inside.add(f"{kind}{number}")
                order.append("".join(sorted(inside)))
                kernel.point("inside")
                inside.discard(f"{kind}{number}")

        return body

    def holder() -> None:
        with mm.mmap_write_lock():
            asked.append(0)
            waiting = lambda: len(asked) == len(kinds) + 1  # noqa: E731
            kernel.scheduler.spin_until(waiting, "all to ask")
            assert not order

    actors = {0: holder} | {n: ask(n, kind) for n, kind in enumerate(kinds, 1)}
    Interleaving(kernel, actors, seed=1, points={"inside"}).run()
    return order


@pytest.mark.parametrize("kinds", ["www", "rww", "wrr", "rrr", "rwr"])
def test_the_order_of_coming(cpus: Cpus, kinds: str) -> None:
    """Writers one by one; when a reader is next, all readers that wait come in with it."""
    order = turns(cpus.mm, kinds)
    assert all("w" not in together or len(together) == 2 for together in order)
    firsts = [name for together in order for name in together[-2:].split()]
    writers = [name for name in firsts if name[0] == "w"]
    assert writers == sorted(writers)
    if kinds[0] == "r":
        assert all("r" in together for together in order[: kinds.count("r")])
    else:
        assert order[0] == "w1"


def test_a_waiting_writer_stops_new_readers(cpus: Cpus) -> None:
    mm, kernel, order = cpus.mm, cpus.kernel, []

    def reader() -> None:
        with mm.mmap_read_lock():
            kernel.scheduler.spin_until(lambda: "late asks" in order, "the late reader")
            order.append("reader leaves")

    def writer() -> None:
        kernel.scheduler.spin_until(lambda: mm.mmap_lock.locked, "the reader")
        order.append("writer asks")
        with mm.mmap_write_lock():
            order.append("writer in")

    def late() -> None:
        kernel.scheduler.spin_until(lambda: "writer asks" in order, "the writer")
        assert not mm.mmap_lock.read_trylock()
        order.append("late asks")
        with mm.mmap_read_lock():
            order.append("late in")

    Interleaving(kernel, {0: reader, 1: writer, 2: late}, points=()).run()
    assert order == ["writer asks", "late asks", "reader leaves", "writer in", "late in"]
    assert kernel.counters()["mmap_lock_contended"] == 2
    kinds = [(e["kind"], e["flags"]) for e in cpus.ring.read() if e.name == "contention_begin"]
    assert kinds == [(LOCK_MMAP, 4), (LOCK_MMAP, 2)]


def test_readers_share(cpus: Cpus) -> None:
    with cpus.mm.mmap_read_lock():
        assert cpus.mm.mmap_lock.read_trylock()
        assert not cpus.mm.mmap_lock.write_trylock()
        cpus.mm.mmap_lock.unlock(write=False)
    assert not cpus.mm.mmap_lock.locked


def test_a_writer_that_does_not_wait(cpus: Cpus) -> None:
    """mmap_write_trylock(): VMAs can be write-locked under it, as under mmap_write_lock()."""
    lock, c = cpus.mm.mmap_lock, cpus.mm.c
    assert lock.write_trylock()
    assert c.mm_lock_seq & 1 and not lock.read_trylock()
    lock.unlock(write=True)
    assert not c.mm_lock_seq & 1 and not lock.locked
    assert [(e["write"], e["success"]) for e in cpus.ring.read() if "returned" in e.name] == [
        (1, 1),
        (0, 0),
    ]


def test_a_downgraded_writer_lets_readers_in_and_no_writer(cpus: Cpus) -> None:
    mm, kernel, order = cpus.mm, cpus.kernel, []

    def writer() -> None:
        with mm.mmap_write_lock() as lock:
            waits = lambda: kernel.counters()["mmap_lock_contended"] == 2  # noqa: E731
            kernel.scheduler.spin_until(waits, "both")
            lock.downgrade()
            kernel.scheduler.spin_until(lambda: bool(order), "the reader")
            assert order == ["reader in"]

    def other(number: int) -> Callable[[], None]:
        def body() -> None:
            kernel.scheduler.spin_until(lambda: mm.mmap_lock.locked, "the writer")
            with mm.mmap_read_lock() if number == 1 else mm.mmap_write_lock():
                order.append("reader in" if number == 1 else "writer in")

        return body

    Interleaving(kernel, {0: writer, 1: other(1), 2: other(2)}, points=()).run()
    assert order == ["reader in", "writer in"]


def test_events_are_those_of_ftrace(cpus: Cpus) -> None:
    cpus.ring.read()
    with cpus.mm.mmap_write_lock() as lock:
        lock.downgrade()
    pgd = cpus.mm.c.pgd
    assert [(e.name, *e.values) for e in cpus.ring.read()] == [
        ("mmap_lock_start_locking", pgd, 1),
        ("mmap_lock_acquire_returned", pgd, 1, 1),
        ("mmap_lock_acquire_returned", pgd, 0, 1),
        ("mmap_lock_released", pgd, 0),
    ]


class Killed:
    """A scheduler under which each killable sleep ends at once, for the process is to end."""

    def wait_event(
        self,
        queue: WaitQueue,
        ready: Callable[[], bool],
        what: str,
        *,
        sleep: Sleep = Sleep.UNINTERRUPTIBLE,
        timeout_ns: int | None = None,
    ) -> int:
        assert sleep is Sleep.KILLABLE
        return -512

    def wake_up(self, queue: WaitQueue, nr: int | None = None) -> int:
        return 0


@pytest.mark.parametrize("call", ["mmap", "munmap", "mprotect", "brk", "mlock", "madvise"])
def test_who_is_killed_while_waiting_gets_eintr(cpus: Cpus, call: str) -> None:
    """What waits for mmap_lock to change a VMA does so killably, and leaves no waiter."""
    mm = cpus.mm
    mm.c.start_brk = mm.c.brk = BASE >> 2
    arguments = {
        "mmap": (0, 4096, 3, 0x22),
        "brk": (mm.c.brk + 4096,),
        "mprotect": (BASE, 4096, 1),
        "madvise": (BASE, 4096, 1),
    }
    mm.mmap_lock.lock(write=False)
    assert cpus.kernel.lockdep is not None
    held = cpus.kernel.lockdep.sleep("another task's")
    cpus.kernel.scheduler = Killed()  # type: ignore[assignment]
    with pytest.raises(LinuxError) as caught:
        getattr(mm, call)(*arguments.get(call, (BASE, 4096)))
    assert caught.value.errno == errno.EINTR
    cpus.kernel.lockdep.wake(held)
    mm.mmap_lock.unlock(write=False)
    assert mm.mmap_lock.c.count == 0


def test_what_is_not_held_cannot_be_dropped(cpus: Cpus) -> None:
    lock = cpus.mm.mmap_lock
    for drop in (lock.up_read, lock.up_write, lock.downgrade_write):
        with pytest.raises(MmBug) as caught:
            drop()
        assert caught.value.bug == Bug.LOCK_NOT_HELD


def test_taking_it_twice_is_told(cpus: Cpus) -> None:
    with cpus.mm.mmap_write_lock():
        with pytest.raises(MmBug) as caught:
            cpus.mm.mmap_lock.lock(write=False)
        assert caught.value.bug == Bug.LOCK_HELD
