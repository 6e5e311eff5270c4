# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios of whole address spaces: fork, mremap, munmap, the reverse mapping, and the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mmu.events import EVENT_ID
from mmu.linux import pte_ref
from mmu.linux.filemap import AddressSpace, MappedFile, ShmemOperations
from mmu.linux.i_mmap import mapped_ranges
from mmu.linux.mm_users import mmget
from mmu.linux.mman import MADV_DONTNEED, MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED
from mmu.linux.pgtable import entry_pfn, mm_find_pmd, table_entry
from mmu.linux.truncate import truncate_pagecache_range
from ucmmu.race import operations as do
from ucmmu.race.invariants import ListenedRing
from ucmmu.race.scenario import BY_RCU, COUNTED, Actors, Scenario
from ucmmu.race.watched import WatchedMemory
from ucmmu.race.world import BASE, PAGE_SIZE, SLOT, Actor, RaceWorld

OTHER: Final = BASE + PAGE_SIZE
SHARED: Final = BASE + 4 * SLOT
AWAY: Final = BASE + 6 * SLOT
FREE_SLOT: Final = BASE + 2 * SLOT
BELOW: Final = FREE_SLOT + PAGE_SIZE
PROT_READ: Final = 1


def _written(world: RaceWorld, *addrs: int) -> None:
    world.run_on(0)
    world.write(*addrs)()


def _map_shared(world: RaceWorld, pages: int = 1) -> None:
    """Pages of shared memory at SHARED, written."""
    world.run_on(0)
    world.mm.mmap(SHARED, pages * PAGE_SIZE, 3, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED)
    world.write(*range(SHARED, SHARED + pages * PAGE_SIZE, PAGE_SIZE))()


def _child(world: RaceWorld) -> None:
    """A child is there."""
    world.children.append(world.mm.dup_mm())


# Fork.


def fork_zap(world: RaceWorld) -> Actors:
    """The table that is copied loses its last entry."""
    _written(world, BASE)
    return {0: do.fork(world), 1: do.zap(world, BASE)}


def fork_fault(world: RaceWorld) -> Actors:
    """The table that is copied gets another entry."""
    _written(world, BASE)
    return {0: do.fork(world), 1: do.fault(world, OTHER)}


def fork_oom_zap(tables: int) -> Callable[[RaceWorld], Actors]:
    """fork() finds memory for so many tables, and leaves nothing of the child."""

    def prepare(world: RaceWorld) -> Actors:
        _written(world, BASE, BASE + SLOT)
        fork = do.fork(world)

        def failing() -> object:
            world.memory.c.fail_after = tables
            try:
                return fork()
            finally:
                world.starve(False)

        return {0: failing, 1: do.zap(world, BASE)}

    return prepare


def cow_writes(world: RaceWorld) -> Actors:
    """Parent and child write to the page they share."""
    _written(world, BASE)
    _child(world)

    def check() -> None:
        values = []
        for number, mm in ((0, world.mm), (1, world.children[0])):
            world.run_on(number)
            values.append(world.load(mm, BASE))
        assert values == [2, 3], f"parent and child read {values}"

    world.at_end.append(check)
    return {
        0: lambda: world.store(world.mm, BASE, 2),
        1: lambda: world.store(world.children[0], BASE, 3),
    }


def fork_zap_fault(world: RaceWorld) -> Actors:
    """The table that is copied loses an entry and gets another."""
    return {**fork_zap(world), 2: do.fault(world, OTHER)}


def exit_cow(world: RaceWorld) -> Actors:
    """The child exits while the parent writes to what they share."""
    _written(world, BASE)
    _child(world)
    return {0: lambda: world.store(world.mm, BASE, 2), 1: do.exit_mm(world, world.children[0])}


# mremap.


def mremap_visit(world: RaceWorld) -> Actors:
    """The table moves while a visitor holds it: its put is of the table it got."""
    _written(world, BASE)
    return {0: do.mremap(world, BASE, AWAY), 1: do.visit(world, BASE)}


def mremap_fault(world: RaceWorld) -> Actors:
    """A whole table moves, a fault comes to where it was, or will be."""
    _written(world, BASE)
    return {0: do.mremap(world, BASE, AWAY), 1: _may_segfault(world, OTHER)}


def mremap_gup(world: RaceWorld) -> Actors:
    """A whole table moves under a walker without a lock."""
    _written(world, BASE)
    return {0: do.mremap(world, BASE, AWAY), 1: do.lockless_walk(world, BASE)}


def mremap_pages_gup(world: RaceWorld) -> Actors:
    """Entries move one by one, under a walker without a lock."""
    _written(world, BASE)
    return {
        0: do.mremap(world, BASE, AWAY + PAGE_SIZE, 2 * PAGE_SIZE),
        1: do.lockless_walk(world, BASE),
    }


def mremap_rmap(world: RaceWorld) -> Actors:
    """The only entry moves, to where reclaim, which comes to it by the reverse mapping, looks
    first.
    """
    _map_shared(world)
    return {
        0: do.mremap(world, SHARED, BELOW, PAGE_SIZE),
        1: do.try_to_unmap(world, SHARED),
    }


def mremap_table_rmap(world: RaceWorld) -> Actors:
    """The same, and the whole table moves."""
    world.run_on(0)
    world.mm.mmap(SHARED, SLOT, 3, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED)
    world.write(SHARED)()
    return {0: do.mremap(world, SHARED, FREE_SLOT), 1: do.try_to_unmap(world, SHARED)}


def move_visit(world: RaceWorld) -> Actors:
    """A table moves to an empty slot and another is made in its place, under a visitor."""
    _written(world, BASE)
    move = world.move_table(BASE, BASE + SLOT)
    return {0: do.in_order(move, do.fault(world, OTHER)), 1: do.visit(world, BASE)}


def move_lookup(world: RaceWorld) -> Actors:
    """A table moves, and another comes in its place, between a look at the PMD and the reference
    that is taken on what it named.
    """
    _written(world, BASE)
    move = world.move_table(BASE, BASE + SLOT)
    pmd = world.pmd(BASE)

    def look() -> int:
        result, table = pte_ref.pte_try_get(world.mm, pmd)
        if result != pte_ref.TryGet.SUCCEEDED:
            return 0
        pte_ref.pte_put(world.mm, table, BASE)
        return table

    world.at_end.append(lambda: _check_lookup(world, pmd))
    _hear_gets(world, pmd)
    return {0: do.in_order(move, do.fault(world, OTHER)), 1: do.syscall(world, "read", look)}


def _hear_gets(world: RaceWorld, pmd: int) -> None:
    """What _check_lookup() finds hangs on what is in the PMD when CPU 1 takes its reference."""
    ring, memory, get = world.kernel.ring, world.memory, EVENT_ID["pte_get"]
    if ring is None or not isinstance(memory, WatchedMemory):
        return

    def hear(event: int, *_values: int) -> None:
        if event == get and world.kernel.this_cpu.id == 1 and memory.watch is not None:
            memory.watch.looks_at(pmd)

    world.kernel.ring = ListenedRing(ring, hear)


def _check_lookup(world: RaceWorld, pmd: int) -> None:
    """What CPU 1's lookup got stood in the PMD while it held it."""
    records = world.records()
    ids = {name: EVENT_ID[name] for name in ("set_pmd", "pte_get", "pte_tryget")}
    named, held, seen = 0, -1, False
    for record in records:
        kind, cpu = int(record["id"]), int(record["cpu"])
        if kind == ids["set_pmd"] and int(record["d"]) == pmd:
            named = entry_pfn(int(record["c"]))
        if kind == ids["pte_get"] and cpu == 1:
            held, seen = int(record["a"]), False
        seen = seen or named == held
        if kind == ids["pte_tryget"] and cpu == 1 and record["b"] == pte_ref.TryGet.SUCCEEDED:
            assert seen, "the reference is on a table that the PMD had not named since (ABA)"


# The reverse mapping.


def rmap_fault(world: RaceWorld) -> Actors:
    """Reclaim takes the only entry, a fault brings it back."""
    _map_shared(world)
    return {0: do.try_to_unmap(world, SHARED), 1: do.fault(world, SHARED)}


def rmap_zap(world: RaceWorld) -> Actors:
    """Reclaim and a zap come to the only entry."""
    _map_shared(world)
    return {0: do.try_to_unmap(world, SHARED), 1: do.zap(world, SHARED)}


def rmap_munmap(world: RaceWorld) -> Actors:
    """Reclaim comes to an entry whose VMA goes."""
    _map_shared(world)
    return {0: do.try_to_unmap(world, SHARED), 1: do.munmap(world, SHARED)}


def rmap_zap_fault(world: RaceWorld) -> Actors:
    """Reclaim, a zap and a fault."""
    return {**rmap_zap(world), 2: do.fault(world, SHARED)}


def punch_fault(world: RaceWorld) -> Actors:
    """Another process punches a hole into shared memory; its own table has a page left."""
    _map_shared(world, 2)
    world.mm.madvise(SHARED + PAGE_SIZE, PAGE_SIZE, MADV_DONTNEED)
    _child(world)
    world.run_on(1)
    for addr in (SHARED, SHARED + PAGE_SIZE):
        world.store(world.children[0], addr)
    _maps_the_files_pages(world)
    return {0: do.fault_once(world, SHARED), 1: do.punch(world, SHARED, world.children[0])}


def punch_munmap(world: RaceWorld) -> Actors:
    """A hole is punched into what is unmapped."""
    _map_shared(world)
    _child(world)
    _maps_the_files_pages(world)
    return {0: do.munmap(world, SHARED), 1: do.punch(world, SHARED, world.children[0])}


def punch_fault_around(world: RaceWorld) -> Actors:
    """A hole is punched into a page that a read fault of its neighbour maps as well."""
    _map_shared(world, 2)
    world.mm.madvise(SHARED, 2 * PAGE_SIZE, MADV_DONTNEED)
    _child(world)
    _maps_the_files_pages(world)
    return {
        0: do.load(world, SHARED + PAGE_SIZE),
        1: do.punch(world, SHARED, world.children[0]),
    }


def punch_mremap(world: RaceWorld) -> Actors:
    """A hole is punched into a page whose entry moves."""
    _map_shared(world)
    _child(world)
    _maps_the_files_pages(world)
    return {
        0: do.mremap(world, SHARED, BELOW, PAGE_SIZE),
        1: do.punch(world, SHARED, world.children[0]),
    }


def truncate_cow(world: RaceWorld) -> Actors:
    """A file is cut while a private copy of its page is made: no copy is left beyond its end."""
    world.run_on(0)
    ops = ShmemOperations(PAGE_SIZE)
    file = MappedFile(AddressSpace(ops, shmem=True), writable=True)
    world.mm.mmap(SHARED, PAGE_SIZE, 3, MAP_PRIVATE | MAP_FIXED, file)
    world.load(world.mm, SHARED)
    world.mm.madvise(SHARED, PAGE_SIZE, MADV_DONTNEED)

    def cut() -> None:
        ops.size = 0
        truncate_pagecache_range(world.kernel, file.mapping, 0, 1, even_cows=True)

    def check() -> None:
        assert not world.pte(SHARED), "a private copy is left beyond the end of the file"

    world.at_end.append(check)
    return {0: _may_fail(world, SHARED, "SIGBUS"), 1: do.syscall(world, "ftruncate", cut)}


def _maps_the_files_pages(world: RaceWorld) -> None:
    """At the end no entry of the mms maps a page that has left the file at SHARED."""
    mapping = world.mm.file(world.vma(SHARED).vm_file).mapping

    def check() -> None:
        for mm in (world.mm, *world.children):
            for addr, _, _ in mapped_ranges(mm, mapping, 0, 1):
                pmd = mm_find_pmd(mm, addr)
                table = 0 if pmd is None else entry_pfn(world.memory.read_u64(pmd))
                value = world.memory.read_u64(table_entry(table, addr)) if table else 0
                assert not value or entry_pfn(value) == mapping.cached(0), (
                    f"{addr:#x} maps a page that has left its file"
                )

    world.at_end.append(check)


# munmap, mprotect, the end.


def _may_segfault(world: RaceWorld, addr: int) -> Actor:
    """A user's write that may find nothing mapped."""
    return _may_fail(world, addr, "SIGSEGV")


def _may_fail(world: RaceWorld, addr: int, signal: str) -> Actor:
    """A user's write that may end in that signal."""

    def act() -> object:
        try:
            return do.fault(world, addr)()
        except AssertionError as error:
            if signal not in str(error):
                raise
            return signal

    return act


def munmap_fault(world: RaceWorld) -> Actors:
    """The VMA of a fault goes: one waits for the other at the VMA's lock."""
    _written(world, BASE)
    return {0: do.munmap(world, BASE, 2 * SLOT), 1: _may_segfault(world, OTHER)}


def munmap_fault_neighbour(world: RaceWorld) -> Actors:
    """The table's other VMA takes a fault, while the first goes and its entries with it."""
    _written(world, BASE)
    return {0: do.munmap(world, BASE, PAGE_SIZE), 1: do.fault(world, OTHER)}


def munmap_zap(world: RaceWorld) -> Actors:
    """One VMA goes, the last entry of the other is zapped: the table they share is freed."""
    _written(world, BASE, OTHER)
    return {0: do.munmap(world, BASE, PAGE_SIZE), 1: do.zap(world, OTHER)}


def mprotect_zap(world: RaceWorld) -> Actors:
    """Rights change while the entry goes."""
    _written(world, BASE)
    return {0: do.mprotect(world, BASE, PROT_READ), 1: do.zap(world, BASE)}


def mprotect_fault(world: RaceWorld) -> Actors:
    """A VMA is split and its rights change while another page of it is faulted in."""
    _written(world, BASE)
    return {0: do.mprotect(world, BASE, PROT_READ), 1: do.fault(world, OTHER)}


def oom_reap_fault(world: RaceWorld) -> Actors:
    """The OOM reaper empties what a dying thread still faults in."""
    _written(world, BASE)
    return {0: do.oom_reap(world), 1: do.fault(world, OTHER)}


def oom_reap_exit(world: RaceWorld) -> Actors:
    """The OOM reaper and the end of the process empty the same tables."""
    _written(world, BASE)
    mmget(world.mm)
    return {
        0: do.in_order(do.oom_reap(world), do.exit_mm(world)),
        1: do.in_order(do.leave(world), do.exit_mm(world)),
    }


def exit_rcu_reader(world: RaceWorld) -> Actors:
    """The mm ends; a reader on another CPU has an old value of its PMD."""
    _written(world, BASE)
    return {0: do.exit_mm(world), 1: do.rcu_reader(world, BASE)}


def exit_lazy(world: RaceWorld) -> Actors:
    """The mm ends while another CPU has it loaded, lazily."""
    _written(world, BASE)
    world.run_on(1)
    world.write(OTHER)()
    return {0: do.exit_mm(world), 1: do.lazy(world)}


SCENARIOS: Final = (
    Scenario(
        "fork-zap",
        ("fork", "zap"),
        "the table that fork() copies loses its last entry",
        "F4, F8",
        fork_zap,
    ),
    Scenario(
        "fork-fault",
        ("fork", "fault"),
        "the table that fork() copies gets an entry",
        "F2, D12",
        fork_fault,
    ),
    Scenario(
        "fork-oom-zap",
        ("fork", "zap"),
        "fork() fails midway and drops what it got",
        "F7, D10",
        fork_oom_zap(4),  # PGD, PUD, PMD and one PTE table
    ),
    Scenario(
        "fork-oom-first-zap",
        ("fork", "zap"),
        "fork() fails at the child's first PTE table, while it visits the parent's",
        "F7, D10",
        fork_oom_zap(3),
    ),
    Scenario(
        "fork-zap-fault",
        ("fork", "zap", "fault"),
        "the table that fork() copies loses an entry and gets another",
        "F4, F8",
        fork_zap_fault,
    ),
    Scenario(
        "cow-writes",
        ("fault", "fault"),
        "parent and child write to the page they share: an entry changes, no count",
        "F2, D8",
        cow_writes,
    ),
    Scenario(
        "cow-exit",
        ("fault", "process exit"),
        "the child exits while the parent writes to the page they share",
        "F7, F8",
        exit_cow,
    ),
    Scenario(
        "mremap-visit",
        ("mremap 2 MiB", "visit"),
        "a visitor's put is of the table it got, wherever that stands by then",
        "F9, D11",
        mremap_visit,
        COUNTED,
    ),
    Scenario(
        "mremap-fault",
        ("mremap 2 MiB", "fault"),
        "a fault comes to where the table was",
        "F9, ABA",
        mremap_fault,
    ),
    Scenario(
        "mremap-gup",
        ("mremap 2 MiB", "fast GUP"),
        "a walker without a lock is in the table that moves",
        "F9, F14",
        mremap_gup,
    ),
    Scenario(
        "mremap-pages-gup",
        ("mremap", "fast GUP"),
        "entries move to another table under a walker without a lock",
        "F9, F14",
        mremap_pages_gup,
    ),
    Scenario(
        "mremap-rmap",
        ("mremap", "reclaim"),
        "the entry that moves is unmapped by the reverse mapping",
        "F9, D11",
        mremap_rmap,
    ),
    Scenario(
        "mremap-table-rmap",
        ("mremap", "reclaim"),
        "a whole table moves, with the entry that the reverse mapping comes to",
        "F9, D11",
        mremap_table_rmap,
    ),
    Scenario(
        "move-visit",
        ("move table, fault", "visit"),
        "another table comes where the visited one was",
        "D11",
        move_visit,
        COUNTED,
    ),
    Scenario(
        "move-lookup",
        ("move table, fault", "lookup"),
        "the table moves between a look at the PMD and the increment: ABA",
        "ABA, D11",
        move_lookup,
        COUNTED,
    ),
    Scenario(
        "rmap-fault",
        ("reclaim", "fault"),
        "the entry that reclaim took comes back",
        "F9, F2",
        rmap_fault,
    ),
    Scenario(
        "rmap-zap",
        ("reclaim", "zap"),
        "reclaim and a zap come to the only entry",
        "F8, F9",
        rmap_zap,
    ),
    Scenario(
        "rmap-munmap",
        ("reclaim", "munmap"),
        "reclaim comes to an entry whose VMA goes",
        "F9",
        rmap_munmap,
    ),
    Scenario(
        "rmap-zap-fault",
        ("reclaim", "zap", "fault"),
        "reclaim, a zap and a fault on one entry",
        "F8, F9",
        rmap_zap_fault,
    ),
    Scenario(
        "punch-fault",
        ("fault", "punch hole"),
        "a page of shared memory goes in every process, and is faulted in",
        "F9",
        punch_fault,
    ),
    Scenario(
        "punch-munmap",
        ("munmap", "punch hole"),
        "a page of shared memory goes while its VMA does",
        "F9",
        punch_munmap,
    ),
    Scenario(
        "punch-fault-around",
        ("fault", "punch hole"),
        "a page goes that a fault of its neighbour maps as well",
        "F9",
        punch_fault_around,
    ),
    Scenario(
        "punch-mremap",
        ("mremap", "punch hole"),
        "a page goes while its entry moves",
        "F9, D11",
        punch_mremap,
    ),
    Scenario(
        "truncate-cow",
        ("fault", "truncate"),
        "a private copy is made of a page that is beyond the end of its file by then",
        "F9",
        truncate_cow,
    ),
    Scenario(
        "munmap-fault",
        ("munmap", "fault"),
        "a fault under the lock of a VMA that goes",
        "F9, VMA lock",
        munmap_fault,
    ),
    Scenario(
        "munmap-fault-neighbour",
        ("munmap", "fault"),
        "a fault in the other VMA of the table",
        "F10, VMA lock",
        munmap_fault_neighbour,
    ),
    Scenario(
        "munmap-zap",
        ("munmap", "zap"),
        "two VMAs of one table are emptied, one is unmapped",
        "F8, F10",
        munmap_zap,
    ),
    Scenario(
        "mprotect-zap",
        ("mprotect", "zap"),
        "the entry whose rights change goes",
        "F2, F8",
        mprotect_zap,
    ),
    Scenario(
        "mprotect-fault",
        ("mprotect", "fault"),
        "a VMA is split under a fault",
        "F2, VMA lock",
        mprotect_fault,
    ),
    Scenario(
        "oom-reap-fault",
        ("OOM reaper", "fault"),
        "the reaper empties what is still faulted in",
        "F8, OOM",
        oom_reap_fault,
    ),
    Scenario(
        "oom-reap-exit",
        ("OOM reaper, exit", "process exit"),
        "the reaper and the end of the process empty the same tables",
        "F7, F8, OOM",
        oom_reap_exit,
    ),
    Scenario(
        "exit-rcu-reader",
        ("process exit", "RCU reader"),
        "the mm is gone, its tables' frames are not while a reader has them",
        "F7, F14",
        exit_rcu_reader,
        BY_RCU,
    ),
    Scenario(
        "exit-lazy",
        ("process exit", "lazy"),
        "a lazy CPU has the mm loaded that ends",
        "F7, F13",
        exit_lazy,
    ),
)
