# SPDX-License-Identifier: GPL-2.0-or-later
"""Free only what stays empty for a while: a range that is refilled at once keeps its tables.

The last reference of a table is not dropped but becomes the policy's own. A table on which nobody
else has had one for ``WAIT_NS`` of virtual time is freed; one that was refilled is left alone. Each
address space has at most ``MOST`` such tables: when it has, a table is freed at once.
``Impatient`` waits for nothing, so that `ucmmu race`, where no time passes, sees tables freed too.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmu.linux.free_tables import FreeTablesPolicy, Holder
from mmu.linux.mmu_gather import Gather
from mmu.linux.shared import SpinLock
from mmu.linux.state import Kernel, MmStruct
from mmu.units import PAGE_SIZE


@dataclass
class Kept:
    """A table that was empty at ``since``."""

    mm: MmStruct
    addr: int
    since: int


class Deferring(FreeTablesPolicy):
    """refcount, but the last reference waits."""

    WAIT_NS = 20_000
    """Nanoseconds of virtual time: an instruction of a guest takes one, the kernel takes none."""
    MOST = 128

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.empty: dict[int, Kept] = {}
        """By frame, under the lock."""
        self.lock = SpinLock(kernel, "the lock of empty tables")
        self.most = self.freed = self.refilled = 0

    def put_many(
        self, mm: MmStruct, tlb: Gather | None, table: int, addr: int, nr: int, holder: Holder
    ) -> None:
        """Drop references; a table on which only ours is left waits from now on."""
        super().put_many(mm, tlb, table, addr, nr, holder)
        entry = self.empty.get(table)
        if entry is not None and not self.references(table):
            entry.since = self.kernel.now_ns()

    def put_last(
        self, mm: MmStruct, tlb: Gather | None, table: int, addr: int, nr: int, holder: Holder
    ) -> None:
        """Take a reference of our own before the last is dropped, unless there are too many, or the
        address space goes.
        """
        if tlb is None or not tlb.c.fullmm:
            self.keep(mm, table, addr)
        super().put_last(mm, tlb, table, addr, nr, holder)  # the last, if ours is gone already

    def keep(self, mm: MmStruct, table: int, addr: int) -> None:
        """Have the table wait, unless there are too many. The caller holds a reference."""
        with self.lock:
            nr_kept = sum(kept.mm is mm for kept in self.empty.values())
            if table in self.empty or nr_kept >= self.MOST:
                return
            self.table_get(mm, table, 1, Holder.POLICY)
            self.empty[table] = Kept(mm, addr, self.kernel.now_ns())
            self.most = max(self.most, len(self.empty))

    def task_work(self) -> None:
        """Give up what has waited long enough. mmap_lock is taken for writing: munmap() has it for
        reading when it looks at what is kept, and would not see what is just being given up.
        """
        due = self.kernel.now_ns() - self.WAIT_NS
        for table, kept in list(self.empty.items()):
            if kept.since <= due and kept.mm.mmap_lock.write_trylock():
                if self.give_up(None, table, kept):
                    self.refilled += 1
                else:
                    self.freed += 1
                kept.mm.mmap_lock.unlock(True)

    def give_up(self, tlb: Gather | None, table: int, kept: Kept) -> bool:
        """Drop our reference of the table, whose mmap_lock is held; whether others have some."""
        with self.lock:
            if self.empty.pop(table, None) is None:
                return True
        in_use = self.references(table) > 1
        super().put_last(kept.mm, tlb, table, kept.addr, 1, Holder.POLICY)
        return in_use

    def unmapping(self, tlb: Gather, start: int, end: int) -> None:
        """Nothing may be left of these addresses."""
        for table, kept in list(self.empty.items()):
            if kept.mm is tlb.mm and start <= kept.addr < end:
                self.give_up(tlb, table, kept)

    def table_moved(self, mm: MmStruct, table: int, addr: int) -> None:
        """It is found there now."""
        if table in self.empty:
            self.empty[table].addr = addr

    def kept(self, table: int) -> int:
        """One of each that waits."""
        return int(table in self.empty)

    def memory_kept(self) -> int:
        """The tables that wait."""
        return len(self.empty) * PAGE_SIZE

    def figures(self) -> dict[str, int]:
        """What the waiting came to."""
        return {
            "empty tables kept at most": self.most,
            "freed after they waited": self.freed,
            "refilled while they waited": self.refilled,
        }


class Impatient(Deferring):
    """Free what is empty where the task goes back to user mode."""

    WAIT_NS = 0
