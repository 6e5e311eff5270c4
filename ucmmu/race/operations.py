# SPDX-License-Identifier: GPL-2.0-or-later
"""What a CPU does in a scenario: the kernel's operations on the world's mm, each an actor.

An actor is a Python function that runs on the CPU it is given to: ``zap(world, BASE)`` makes the
one that does MADV_DONTNEED of the page at BASE. A system call or a page fault is one operation to
the checker of stale translations, and its end a quiescent state, for the CPU is back in user mode.
"""

from __future__ import annotations

from collections.abc import Callable

from mmu._native import lib
from mmu.errors import LinuxError
from mmu.linux import engine, mmu_gather, pte_ref, rcu
from mmu.linux import zap as _zap
from mmu.linux.fault import OomKill
from mmu.linux.folio import filemap_lock_folio, folio_unlock_put
from mmu.linux.fork import flush_tlb_mm
from mmu.linux.gup_fast import get_user_pages_fast, gup_fast_pte
from mmu.linux.handle_mm_fault import peek_pte
from mmu.linux.huge_memory import split_huge_pmds
from mmu.linux.i_mmap import i_mmap_read, mapped_ranges
from mmu.linux.mm import Mm
from mmu.linux.mm_users import mmput
from mmu.linux.mman import (
    MADV_DONTNEED,
    MADV_FREE,
    MADV_GUARD_INSTALL,
    MADV_GUARD_REMOVE,
    MADV_REMOVE,
    MREMAP_FIXED,
    MREMAP_MAYMOVE,
)
from mmu.linux.oom_kill import oom_reap_task_mm
from mmu.linux.pagemap import pagemap_read
from mmu.linux.pgtable import entry_pfn, mm_find_pmd, pmd_huge, pmd_none, pte_table
from mmu.linux.rcupdate import rcu_qs
from mmu.linux.smp import local_irqs_off
from mmu.linux.tlbflush import enter_lazy_tlb, leave_mm, ptep_clear_flush, switch_mm
from mmu.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE
from mmu.x86 import Access, Outcome
from ucmmu.race.watched import WatchedMemory
from ucmmu.race.world import SLOT, Actor, RaceWorld


def in_order(*actors: Actor) -> Actor:
    """One actor after the other, on the same CPU; returns the last one's result."""

    def act() -> object:
        result: object = None
        for actor in actors:
            result = actor()
        return result

    return act


def syscall(world: RaceWorld, name: str, call: Callable[[], object]) -> Actor:
    """A system call of that name; an error number that it ends with is its result."""

    def act() -> object:
        with world.operation(name):
            try:
                return call()
            except LinuxError as error:
                return error

    return act


# What user code does.


def fault(world: RaceWorld, *addrs: int, mm: Mm | None = None) -> Actor:
    """The user writes to each address, and each is faulted in: under the lock of the VMA, as far
    as that goes. Where memory is out, the process is killed, and no more is written.
    """

    def act() -> object:
        for addr in addrs:
            try:
                world.store(mm or world.mm, addr)
            except OomKill as killed:
                return killed
        return None

    return act


def fault_once(world: RaceWorld, addr: int) -> Actor:
    """The user's write faults, and is not tried again. Returns the signal, if there is one."""

    def act() -> object:
        mm = world.mm
        answer = world.kernel.this_cpu.mmu.translate(addr, Access.WRITE)
        if answer.result == Outcome.OK:
            return None
        with world.operation("page_fault", addr):
            return mm.handle_user_fault(addr, answer.error_code)

    return act


def load(world: RaceWorld, addr: int, mm: Mm | None = None) -> Actor:
    """The user reads a byte, which is the result."""
    return lambda: world.load(mm or world.mm, addr)


def user(world: RaceWorld) -> Actor:
    """User code that touches no memory: other CPUs may go on meanwhile."""
    return lambda: world.kernel.point("user")


# Zaps.


def zap(world: RaceWorld, addr: int, length: int = PAGE_SIZE) -> Actor:
    """madvise(MADV_DONTNEED): the gathered form."""
    mm = world.mm
    return syscall(world, "madvise", lambda: mm.madvise(addr, length, MADV_DONTNEED))


def lazyfree(world: RaceWorld, addr: int, length: int = PAGE_SIZE) -> Actor:
    """madvise(MADV_FREE): no entry goes."""
    return syscall(world, "madvise", lambda: world.mm.madvise(addr, length, MADV_FREE))


def guard_install(world: RaceWorld, addr: int, length: int = PAGE_SIZE) -> Actor:
    """madvise(MADV_GUARD_INSTALL): what is there is zapped, and markers come."""
    mm = world.mm
    return syscall(world, "madvise", lambda: mm.madvise(addr, length, MADV_GUARD_INSTALL))


def guard_remove(world: RaceWorld, addr: int, length: int = PAGE_SIZE) -> Actor:
    """madvise(MADV_GUARD_REMOVE): markers go, without a gather: the direct form."""
    mm = world.mm
    return syscall(world, "madvise", lambda: mm.madvise(addr, length, MADV_GUARD_REMOVE))


def zap_with_little_room(world: RaceWorld, addr: int, length: int, room: int = 3) -> Actor:
    """MADV_DONTNEED that finds no memory for its gather, which has room for so few pages: it drops
    the PTE lock midway.
    """

    def call() -> None:
        mm = world.mm
        with mm.mmap_read_lock():
            tlb = mmu_gather.tlb_gather_mmu(mm)
            tlb.c.max = room
            if isinstance(world.memory, WatchedMemory):
                world.memory.c.nr_free = 0  # nor does it get a batch for more
            _zap.unmap_page_range(tlb, addr, addr + length, lib.ZAP_RECLAIM_PT)
            mmu_gather.tlb_finish_mmu(tlb)

    return syscall(world, "madvise", call)


def munmap(world: RaceWorld, addr: int, length: int = PAGE_SIZE) -> Actor:
    """munmap()."""
    return syscall(world, "munmap", lambda: world.mm.munmap(addr, length))


def oom_reap(world: RaceWorld) -> Actor:
    """What the OOM reaper does to the mm."""
    return syscall(world, "process_mrelease", lambda: oom_reap_task_mm(world.mm))


def punch(world: RaceWorld, addr: int, mm: Mm | None = None) -> Actor:
    """madvise(MADV_REMOVE) of a shared page: it is found by its file and unmapped from each mm."""
    return syscall(world, "madvise", lambda: (mm or world.mm).madvise(addr, PAGE_SIZE, MADV_REMOVE))


def try_to_unmap(world: RaceWorld, addr: int) -> Actor:
    """try_to_unmap_one(), as reclaim comes to the PTE of a shared page by the reverse mapping. The
    page stays in its cache. The folio is locked, i_mmap_rwsem held for reading.
    """
    mm, kernel = world.mm, world.kernel
    vma = lib.find_vma(mm.c, addr)
    mapping, pgoff = (
        mm.file(vma.vm_file).mapping,
        vma.vm_pgoff + (addr - vma.vm_start >> PAGE_SHIFT),
    )

    def call() -> bool:
        pfn = filemap_lock_folio(kernel, mapping, pgoff)
        if pfn is None:
            return False
        with i_mmap_read(kernel, mapping):
            unmapped = [
                _unmap_one(world, low) for low, _, _ in mapped_ranges(mm, mapping, pgoff, pgoff + 1)
            ]
        assert not world.memory.page(pfn)._mapcount, "it missed an entry that maps the page"
        folio_unlock_put(kernel, pfn)
        return any(unmapped)

    return syscall(world, "reclaim", call)


def _unmap_one(world: RaceWorld, addr: int) -> bool:
    mm, memory = world.mm, world.memory
    pmd = mm_find_pmd(mm, addr)
    pte = None if pmd is None else pte_ref.pte_tryget_map_lock(mm, pmd, addr)
    if pte is None:
        return False
    table, old = pte_table(pte), ptep_clear_flush(mm, addr, pte)
    if old:
        page = memory.page(entry_pfn(old))
        engine.add_mm_counter(mm, lib.MM_SHMEMPAGES, -1)
        page._mapcount -= 1
        page.flags |= lib.PG_dirty
    engine.pte_unlock(mm, table)
    pte_ref.pte_put_many(mm, table, addr, int(bool(old)))
    pte_ref.pte_put(mm, table, addr)
    if old:
        memory.put_page(entry_pfn(old))
    return bool(old)


# What else changes entries.


def mprotect(world: RaceWorld, addr: int, prot: int, length: int = PAGE_SIZE) -> Actor:
    """mprotect()."""
    return syscall(world, "mprotect", lambda: world.mm.mprotect(addr, length, prot))


def mremap(world: RaceWorld, addr: int, new: int, length: int = SLOT) -> Actor:
    """mremap() to another place: whole tables, if addresses and length are multiples of 2 MiB."""
    flags = MREMAP_MAYMOVE | MREMAP_FIXED
    return syscall(world, "mremap", lambda: world.mm.mremap(addr, length, length, flags, new))


def fork(world: RaceWorld) -> Actor:
    """fork(): the child, or ENOMEM with nothing left of it."""

    def call() -> Mm:
        child = world.mm.dup_mm()
        world.children.append(child)
        return child

    return syscall(world, "fork", call)


def exit_mm(world: RaceWorld, mm: Mm | None = None) -> Actor:
    """The last user of an mm, the world's or a child's, goes."""
    return syscall(world, "exit_group", lambda: mmput(mm or world.mm))


def collapse(world: RaceWorld, addr: int) -> Actor:
    """collapse_huge_page(), as MADV_COLLAPSE does it; its ScanResult."""
    return syscall(world, "madvise", lambda: world.mm.collapse_huge_page(addr))


def split(world: RaceWorld, addr: int) -> Actor:
    """split_huge_pmd_address(), for who wants single pages and changes nothing else."""

    def call() -> None:
        with world.mm.mmap_read_lock():
            split_huge_pmds(world.mm, addr, addr + PAGE_SIZE)

    return syscall(world, "move_pages", call)


# Who looks.


def walk(world: RaceWorld, addr: int, pages: int = 1) -> Actor:
    """A read of /proc/self/pagemap: a visitor that changes nothing."""
    position = (addr & PAGE_MASK) >> PAGE_SHIFT - 3
    return syscall(world, "read", lambda: pagemap_read(world.mm, 8 * pages, position))


def visit(world: RaceWorld, addr: int) -> Actor:
    """A visitor of addr's table, under mmap_lock for reading; it stays a while at the point
    "visiting".
    """

    def call() -> None:
        with world.mm.mmap_read_lock():
            result, table = pte_ref.pte_alloc_get(world.mm, world.pmd(addr), addr)
            if result == pte_ref.PteAlloc.OK:
                world.kernel.point("visiting")
                pte_ref.pte_put(world.mm, table, addr)

    return syscall(world, "visit", call)


def rcu_reader(world: RaceWorld, addr: int) -> Actor:
    """Whoever reads the PMD in an RCU read section: the frame it names stays a table to its end."""
    pmd = world.pmd(addr)

    def call() -> None:
        world.kernel.point("rcu_reader")
        rcu.rcu_read_lock(world.kernel)
        pmdval = world.memory.read_u64(pmd) if world.mm.mm_users else 0
        if not pmd_none(pmdval) and not pmd_huge(pmdval):
            page = world.memory.page(entry_pfn(pmdval))
            engine.pte_lock(world.mm, entry_pfn(pmdval))
            assert page.flags & lib.PG_table and page._refcount, "it locks a freed table"
            engine.pte_unlock(world.mm, entry_pfn(pmdval))
        rcu.rcu_read_unlock(world.kernel)

    return syscall(world, "read", call)


def gup_fast(world: RaceWorld, addr: int, *, write: bool = True) -> Actor:
    """get_user_pages_fast(): interrupts off, no lock, no reference of the table; the page it gets
    is let go at once.
    """

    def call() -> int:
        frames = get_user_pages_fast(world.mm, addr, 1, write=write)
        assert all(world.memory.page(pfn)._refcount for pfn in frames), "it has a freed page"
        world.kernel.point("gup_fast_done")
        for pfn in frames:
            world.memory.put_page(pfn)
        return len(frames)

    return syscall(world, "vmsplice", call)


def lockless_walk(world: RaceWorld, addr: int) -> Actor:
    """gup_fast() without the slow way: whether it found the page. No freed frame is come to."""

    def call() -> bool:
        with local_irqs_off(world.kernel):
            pfn = gup_fast_pte(world.mm, addr, False)
        if pfn is not None:
            mapped = world.memory.page(pfn)._refcount > 1
            assert mapped or not peek_pte(world.mm, addr), "a freed page"
            world.memory.put_page(pfn)
        return pfn is not None

    return syscall(world, "vmsplice", call)


# Loading, leaving, flushing.


def lazy(world: RaceWorld) -> Actor:
    """The CPU is idle for a while, the mm stays loaded, and it comes back to it."""

    def act() -> None:
        kernel, cpu = world.kernel, world.kernel.this_cpu
        enter_lazy_tlb(kernel)
        rcu_qs(kernel, cpu, idle=True)
        kernel.point("lazy")
        rcu_qs(kernel, cpu)
        if world.mm.mm_users:
            switch_mm(kernel, world.mm)
        if kernel.gp_kthread:
            rcu_qs(kernel, cpu, idle=True)  # in user mode

    return act


def leave(world: RaceWorld) -> Actor:
    """The CPU goes on without any mm."""
    return lambda: leave_mm(world.kernel)


def switch_to(world: RaceWorld, mm: Mm) -> Actor:
    """The CPU runs a task of that mm."""
    return lambda: switch_mm(world.kernel, mm)


def flush(world: RaceWorld) -> Actor:
    """A flush of all that the mm has in any TLB."""
    return syscall(world, "mprotect", lambda: flush_tlb_mm(world.mm))
