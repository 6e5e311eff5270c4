# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel of several CPUs that run one mm, for races: the Python engine, the checker of stale
translations and lockdep on.

An actor is a function of a CPU (ucmmu.race.interleaving): ``world.write(addr)`` and its like make
one. ``world.settle()`` says what must be so when all have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from cpu.syscalls.numbers import SYSCALL_NUMBERS
from mmu._native import lib
from mmu.events import EVENTS, MM_COUNTER_ID, EventRing
from mmu.linux import engine, mmu_gather, pte_ref, zap
from mmu.linux.locks import pte_lock, pte_unlock
from mmu.linux.mm import Mm
from mmu.linux.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE
from mmu.linux.move_page_tables import move_normal_pmd
from mmu.linux.pgtable import (
    entry_pfn,
    mm_find_pmd,
    pmd_huge,
    pmd_none,
    pte_table,
    set_pte_at,
    table_entry,
)
from mmu.linux.policy import FreeLevels, FreeTables
from mmu.linux.rcu import rcu_gp_kthread
from mmu.linux.rcupdate import rcu_qs
from mmu.linux.sched import Interruptible
from mmu.linux.smp import local_irqs_off
from mmu.linux.state import Kernel, TablePolicy
from mmu.linux.tlb_check import Operation, begin_operation, end_operation, tables_change_for
from mmu.linux.tlbflush import flush_tlb_mm_range, switch_mm
from mmu.memory import Memory
from mmu.trace.chains import broken_chains
from mmu.trace.reader import Batch
from mmu.twin import EntryPa
from mmu.units import PAGE_SHIFT, PAGE_SIZE
from mmu.x86 import Access, Mmu, Outcome
from mmu.x86.check import NOWHERE, ChangedBy
from ucmmu.race.interleaving import Interleaving, Step
from ucmmu.race.watched import WatchedMemory, WatchedMmu
from ucmmu.testing.rings import batch_of

BASE = 0x10_0000_0000
SLOT = 2 << 20

Actor = Callable[[], object]


class AtOnce(Interleaving):
    """An interrupt is no step of its own: a CPU takes it where it stands, if it has them on."""

    def kick(self, cpu: Interruptible) -> None:
        """See Scheduler."""
        number = next(c.id for c in self.kernel.cpus if c is cpu)
        if self._interrupts_on(self.kernel.cpus[number]):
            self._interrupt(self.kernel.cpus[number])
        else:
            self._kicked.add(number)


class RaceWorld:
    """``cpus`` CPUs, each with the same mm loaded; two slots of 2 MiB are mapped from BASE on.

    With ``invlpgb`` flushes are broadcast; there are at least four CPUs then. ``free_levels`` says
    which empty tables are freed. Events go to ``ring``, if it is given. A ``watched`` one has a
    memory and MMUs that tell of every access (ucmmu.race.watched).
    """

    def __init__(
        self,
        policy: FreeTables | type[TablePolicy] = FreeTables.REFCOUNT,
        cpus: int = 2,
        *,
        invlpgb: bool = False,
        free_levels: FreeLevels = FreeLevels.PTE,
        ring: EventRing | None = None,
        watched: bool = False,
    ) -> None:
        self.memory = WatchedMemory() if watched else Memory(2 << 20)
        self._own_ring = ring is None
        self._batches: list[Batch] = []
        self.ring = EventRing(1 << 14) if ring is None else ring
        self.ring.enable()
        self.memory.record(self.ring)
        self.kernel = Kernel(
            self.memory,
            policy=policy,
            free_levels=free_levels,
            engine="python",
            ring=self.ring,
            lockdep=True,
        )
        for _ in range(cpus):
            kind = WatchedMmu if watched else Mmu
            self.kernel.add_cpu(
                kind(self.memory, geometry="tiny", engine="python", exact=True, check=True)
            )
        self.gather_max = lib.MMU_GATHER_BUNDLE
        self.children: list[Mm] = []
        """What fork() made."""
        self.at_end: list[Callable[[], None]] = []
        """Checks of a scenario's own, when all its operations are done."""
        self.at_end_of_operation: Callable[[int], object] | None = None
        """Hears of each CPU that goes back to user mode."""
        self._operation: dict[int, Operation] = {}
        self.mm = Mm(self.kernel)
        for number in reversed(range(cpus)):
            self.run_on(number)
            switch_mm(self.kernel, self.mm)
        flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
        self.mm.mmap(BASE, 2 * SLOT, 3, flags)
        self.kernel.c.invlpgb = invlpgb
        for _ in range(3 if invlpgb else 0):  # it gets its global ASID, and every CPU takes it up
            flush_tlb_mm_range(self.mm, BASE, BASE + PAGE_SIZE, PAGE_SHIFT, 0)
        assert bool(self.mm.c.global_asid) == invlpgb and not self.mm.c.asid_transition

    def run_on(self, number: int) -> None:
        """Kernel code runs on that CPU from now on."""
        self.kernel.this_cpu = self.kernel.cpus[number]

    def race(self, actors: Mapping[int, Actor], schedule: Sequence[Step] = (), **how: Any) -> Any:
        """Run the actors, interrupts taken at once, and return the Interleaving; a broken invariant
        raises MmBug.
        """
        race = AtOnce(self.kernel, actors, schedule=schedule, **how).run()
        self.kernel.check()
        return race

    # What a CPU does.

    def write(self, *addrs: int) -> Actor:
        """A user's writes, each faulted in."""

        def act() -> None:
            for addr in addrs:
                self._access(addr, Access.WRITE)

        return act

    def read(self, addr: int) -> Actor:
        """A user's read, faulted in."""
        return lambda: self._access(addr, Access.READ)

    def _access(self, addr: int, access: Access) -> None:
        self.translate(self.mm, addr, access)

    def translate(self, mm: Mm, addr: int, access: Access) -> int:
        """The guest-physical address by which a user of the mm comes to addr on this CPU; faults
        are handled.
        """
        cpu = self.kernel.this_cpu
        if cpu.loaded_mm is not mm:
            switch_mm(self.kernel, mm)
        for _ in range(8):
            answer = cpu.mmu.translate(addr, access)
            if answer.result == Outcome.OK:
                return answer.pa
            with self.operation("page_fault", addr):
                segv = mm.handle_user_fault(addr, answer.error_code)
            assert segv is None, f"a signal: {segv}"
        raise AssertionError(f"{addr:#x} still faults on CPU {cpu.id}")

    def store(self, mm: Mm, addr: int, byte: int = 1) -> None:
        """A user's write of a byte."""
        self.memory.write(self.translate(mm, addr, Access.WRITE), bytes([byte]))

    def load(self, mm: Mm, addr: int) -> int:
        """A user's read of a byte."""
        return self.memory.read(self.translate(mm, addr, Access.READ), 1)[0]

    @contextmanager
    def operation(self, name: str, detail: int = 0) -> Iterator[None]:
        """This CPU is in the kernel, in the system call of that name or for a fault of address
        ``detail``: what it changes is flushed by the end. User mode is a quiescent state, which a
        grace-period thread need not be told of (ct_user_enter()).
        """
        by = ChangedBy.FAULT if name == "page_fault" else ChangedBy.HOST
        if name in SYSCALL_NUMBERS:
            by, detail = ChangedBy.SYSCALL, SYSCALL_NUMBERS[name]
        cpu = self.kernel.this_cpu
        if self.kernel.gp_kthread and not cpu.c.rcu_watching:
            rcu_qs(self.kernel, cpu)
        self.kernel.instrument_write(cpu, "operation_begin")
        self._operation[cpu.id] = begin_operation(self.kernel, by, detail, NOWHERE, None)
        try:
            yield
            if self.kernel.task_work is not None:
                self.kernel.task_work()
        finally:
            self.kernel.instrument_write(cpu, "operation_end")
            end_operation(self.kernel, self._operation.pop(cpu.id))
        self.kernel.check()
        if self.at_end_of_operation is not None:
            self.at_end_of_operation(cpu.id)
        rcu_qs(self.kernel, cpu, idle=self.kernel.gp_kthread)

    def resumed(self, number: int) -> None:
        """That CPU goes on: from here on tables change for its operation."""
        tables_change_for(self.kernel, self._operation.get(number))

    def dontneed(self, start: int = BASE, length: int = PAGE_SIZE) -> Actor:
        """What MADV_DONTNEED does, with mmap_lock held for reading: the gathered form."""

        def act() -> None:
            mm = self.mm
            with mm.mmap_read_lock():
                tlb = mmu_gather.tlb_gather_mmu(mm)
                tlb.c.max = self.gather_max
                zap.unmap_page_range(tlb, start, start + length, lib.ZAP_RECLAIM_PT)
                mmu_gather.tlb_finish_mmu(tlb)
            self.kernel.check()

        return act

    def clear(self, addr: int, form: str) -> Actor:
        """Clear one PTE as a zap does ("gathered") or as a guard region's removal ("direct")."""

        def act() -> None:
            mm, kernel = self.mm, self.kernel
            with mm.mmap_read_lock():
                pmd = mm_find_pmd(mm, addr)
                assert pmd is not None
                tlb = mmu_gather.tlb_gather_mmu(mm) if form == "gathered" else None
                pte = pte_ref.pte_tryget_map_lock(mm, pmd, addr)
                if pte is not None:
                    self._clear_locked(tlb, addr, pte)
                if tlb is not None:
                    mmu_gather.tlb_finish_mmu(tlb)
            kernel.check()

        return act

    def _clear_locked(self, tlb: Any, addr: int, pte: EntryPa) -> None:
        mm, table = self.mm, pte_table(pte)
        old = self.memory.read_u64(pte)
        if old:
            set_pte_at(mm, addr, pte, 0)
            engine.add_mm_counter(mm, lib.MM_ANONPAGES, -1)
            self.memory.page(entry_pfn(old))._mapcount -= 1
            if tlb is not None:
                mmu_gather.tlb_remove_tlb_entry(tlb, addr)
                mmu_gather.tlb_remove_page(tlb, entry_pfn(old))
        pte_unlock(mm, table)
        nr = 1 + bool(old)
        if tlb is not None:
            pte_ref.pte_put_many_tlb(tlb, table, addr, nr)
            return
        if old:
            flush_tlb_mm_range(mm, addr, addr + PAGE_SIZE, PAGE_SHIFT, 0)
            self.memory.put_page(entry_pfn(old))
        pte_ref.pte_put_many(mm, table, addr, nr)

    def visit(self, addr: int) -> Actor:
        """A visitor of addr's table, who stays until after the point "visiting"."""

        def act() -> None:
            result, table = pte_ref.pte_alloc_get(self.mm, self.pmd(addr), addr)
            assert result == pte_ref.PteAlloc.OK
            self.kernel.point("visiting")
            pte_ref.pte_put(self.mm, table, addr)

        return act

    def lockless_walk(self, addr: int) -> Actor:
        """gup_fast(): interrupts off, no lock, no reference; True if it found a page (mm/gup.c)."""

        def act() -> bool:
            memory = self.memory
            with local_irqs_off(self.kernel):
                pmdval = memory.read_u64(self.pmd(addr))
                if pmd_none(pmdval):
                    return False
                self.kernel.point("walking")
                page = memory.page(entry_pfn(pmdval))
                assert page.flags & lib.PG_table and page._refcount, (
                    "it walks through a freed frame"
                )
                return bool(memory.read_u64(table_entry(entry_pfn(pmdval), addr)))

        return act

    def move_table(self, old: int, new: int) -> Actor:
        """mremap() of a whole table: from one slot to another, empty one."""
        return lambda: move_normal_pmd(self.mm, self.pmd(old), old, self.pmd(new), new)

    def starve(self, on: bool) -> None:
        """No memory is left for any allocation, or there is again. A gather then takes three frames
        only.
        """
        self.gather_max = 3
        self.memory.c.fail_after = 0 if on else (1 << 64) - 1

    # What is so.

    def pmd(self, addr: int = BASE) -> EntryPa:
        """The PMD entry of addr, upper tables made."""
        pmd = engine.pmd_alloc(self.mm, addr)
        assert pmd is not None
        return pmd

    def frame(self, addr: int = BASE) -> int:
        """The frame of addr's PTE table; 0 without one."""
        pmd = mm_find_pmd(self.mm, addr)
        pmdval = 0 if pmd is None else self.memory.read_u64(pmd)
        return 0 if pmd_huge(pmdval) else entry_pfn(pmdval)

    def count(self, addr: int = BASE) -> int:
        """The reference count of addr's PTE table."""
        return int(self.memory.page(self.frame(addr)).pte_refcount)

    def pte(self, addr: int) -> int:
        """The PTE of addr; 0 without a table."""
        table = self.frame(addr)
        return self.memory.read_u64(table_entry(table, addr)) if table else 0

    def vma(self, addr: int) -> Any:
        """The VMA of addr."""
        return lib.find_vma(self.mm.c, addr)

    def counter(self, name: str) -> int:
        """One of the mm's counters."""
        return int(self.mm.c.counter[MM_COUNTER_ID[name]])

    def cached(self, number: int, table: int) -> int:
        """How many entries of that CPU's paging-structure caches, of the address space that CR3
        names, lead to the table's frame.
        """
        unit = self.kernel.cpus[number].mmu.c
        tlb, frame = unit.tlb, table << PAGE_SHIFT
        return sum(
            entry.flags & (lib.TLB_VALID | lib.TLB_TABLE) == lib.TLB_VALID | lib.TLB_TABLE
            and entry.frame == frame
            and entry.pcid == unit.cr3 & 0xFFF
            for entry in tlb.entry[0 : tlb.nr_entries]
        )

    def new_records(self) -> Any:
        """The events since the last look, as an array of records (mmu.trace.format.RECORD); none if
        they go to somebody else's ring.
        """
        first = sum(len(batch.records) for batch in self._batches)
        self._batches.append(batch_of(self.ring if self._own_ring else None, first))
        return self._batches[-1].records

    def records(self) -> Any:
        """All events so far, as new_records()."""
        self.new_records()
        return np.concatenate([batch.records for batch in self._batches])

    def quiesce(self) -> None:
        """Every CPU passes a quiescent state."""
        for _ in range(4):
            for cpu in self.kernel.cpus:
                rcu_qs(self.kernel, cpu, idle=True)
            rcu_gp_kthread(self.kernel)
        self.kernel.check()

    def _check_no_table_is_left(self, mm: Mm, references: Mapping[int, int]) -> None:
        """Who drops the last reference of a table frees it, then and not at the next chance."""
        policy = self.kernel.free_tables
        for addr, nr in references.items() if policy.counts else ():
            pmd = mm_find_pmd(mm, addr)
            assert pmd is not None
            table = entry_pfn(self.memory.read_u64(pmd))
            assert nr or policy.kept(table), (
                f"the PTE table of {addr:#x}, frame {table:#x}, is left: nobody freed it who"
                " dropped the last reference"
            )

    def settle(self) -> None:
        """What must be so at rest: counts are entries, nothing stale was used, nothing is left; and
        what the events say of each count is one chain.
        """
        self.quiesce()
        self.kernel.check()
        for check in self.at_end:
            check()
        for mm in (self.mm, *self.children):
            if mm.mm_users:
                report = mm.check_tables(references=True)
                assert report.ok, str(report)
                self._check_no_table_is_left(mm, report.references)
        for cpu in self.kernel.cpus:
            assert cpu.mmu.check is not None
            uses = cpu.mmu.check.uses()
            assert uses == [], f"CPU {cpu.id} used what was flushed: {uses[0]}"
            assert (cpu.c.rcu_nesting, bool(cpu.c.gather)) == (0, False), f"CPU {cpu.id}"
        self.run_on(0)
        for mm in (*self.children, self.mm):
            mm.exit_mmap()
            self.quiesce()
            allocated, freed = (
                mm.c.counter[MM_COUNTER_ID[f"pte_tables_{what}"]] for what in ("allocated", "freed")
            )
            assert allocated == freed, f"{allocated} tables allocated, {freed} freed"
            assert mm.c.pgtables_bytes == 0, f"{mm.c.pgtables_bytes} bytes of tables are left"
        assert self.kernel.c.rcu.nr_pending == 0
        if self._own_ring:
            self.records()
            broken = broken_chains(EVENTS, self._batches)
            assert not broken, f"counts are no chain: {broken[0]}"


__all__ = ["BASE", "PAGE_SIZE", "SLOT", "Actor", "RaceWorld", "pte_lock"]
