# SPDX-License-Identifier: GPL-2.0-or-later
"""What must be so after each step of a race, whatever the order.

For each counted table in an entry, from its installation to its removal; PTE tables, and PMD and
PUD tables where those are counted (``free_levels``)::

    count = visitors + entries - uncounted + kept

``visitors`` are the references that CPUs hold to look or write, ``uncounted`` what a CPU has set
and not yet counted, less what it has cleared and not yet put, ``kept`` the policy's own. The first
two are told apart by CPU, all are from the events of the kernel's own functions, and are exact: an
increment that is lost, made twice or made on another table's count breaks the equation in the step
that does it. What is not yet counted is safe only while the same CPU holds a visitor's reference
(D12), and a CPU that ends an operation has nothing of either left (D7, D8, D10).

Values that wait in store buffers are taken as stored: the equation is about what was done. A table
that is deposited for a huge page has none; that which a split withdraws must hold when a PMD entry
names it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator
from enum import Enum
from functools import partial
from types import FrameType, FunctionType
from typing import TYPE_CHECKING, Final

from mmu._native import lib
from mmu.events import EVENT_ID, EventRing
from mmu.linux.pgtable import PMD_MASK, entry_offset
from mmu.linux.policies import policy_of
from mmu.linux.state import MmStruct
from mmu.units import PAGE_SHIFT, PAGE_SIZE
from ucmmu.race.access import Watch
from ucmmu.race.objects import describe

if TYPE_CHECKING:
    from mmu._native import struct_tlb_entry
    from ucmmu.race.program import StepAccess

_NAMES: Final = ("pte", "pmd", "pud")  # of levels, from 1 on, in events
_REFERENCES: Final = ("get", "put")
_VISITOR: Final = 0  # whose the references of an event are
_POLICY: Final = 2
_LARGE: Final = 2  # the level of an entry that maps 2 MiB
_SAME_STATE: Final = 32  # times that a CPU may come to one point and find nothing new


Place = tuple[str, "frozenset[Hashable]", int]
"""Where a step came to: the point, what the step read, and the hash of the state."""


class Reason(Enum):
    """What is wrong; the value says it in words."""

    COUNT = "the count is not what is there: visitors and entries"
    UNCOUNTED = "entries are not counted yet, and no visitor's reference keeps the table"
    LEFT = "a reference is left at the end of an operation"
    FREED_TWICE = "a table that is in no PMD is taken out again"
    FREED_IN_USE = "a table is freed that still has entries or references"
    FREED_FRAME = "a free frame is used"
    STALE = "a translation is used after its flush is over"
    OLD_WAYS = "a table comes where a CPU has cached ways through the one before"
    BOTH_SIZES = "a CPU has cached of the other size what a PMD entry maps"
    UNBOUNDED = "a CPU waits without bound for another one to go on"


class RaceViolation(AssertionError):
    """Something that must always be so is not. ``reason`` says what."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(f"{reason.value}: {text}")
        self.reason = reason


class _Table:
    """What is known of one table of a level: references of visitors and what is not counted yet, by
    CPU, and those that the policy keeps.
    """

    __slots__ = ("kept", "level", "name", "uncounted", "visitors")

    def __init__(self, level: int = 1, kept: int = 0) -> None:
        self.level = level
        self.name = ("table", "PMD table", "PUD table")[level - 1]
        self.kept = kept
        self.visitors: Counter[int] = Counter()
        self.uncounted: Counter[int] = Counter()


def _is_of_size(entry: struct_tlb_entry, level: int) -> bool:
    """Whether what is cached is of a page of that size; of 4 KiB, also of the way to its PTE."""
    if entry.flags & lib.TLB_TABLE:
        return bool(level == 1 and entry.level == _LARGE)
    return bool(entry.page_level == level)


def _frame_of(what: Hashable) -> int:
    """The frame whose word, or whose struct page, an object is; -1: of none."""
    if isinstance(what, int):
        return what >> PAGE_SHIFT
    return what[1] if isinstance(what, tuple) and what[0] == "page" else -1


def _locals(frame: FrameType | None) -> Iterator[Hashable]:
    """Where the code of a CPU is, and the numbers and functions in its variables."""
    while frame is not None:
        yield frame.f_code.co_name, frame.f_lasti
        for name, value in frame.f_locals.items():
            if isinstance(value, int):
                yield name, value
            elif isinstance(value, FunctionType):
                yield name, id(value)
        frame = frame.f_back


class ListenedRing(EventRing):
    """An event ring that tells ``hear(event, a, b, c, d)`` of each event before it is written."""

    def __init__(self, ring: EventRing, hear: Callable[[int, int, int, int, int], None]) -> None:
        self.__dict__.update(ring.__dict__)  # the same ring, not another
        self._hear = hear
        self._emit = ring.emit  # of one that others listen to, perhaps

    def emit(
        self, event_id: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0, *, site: str = ""
    ) -> None:
        """See EventRing."""
        self._hear(event_id, a, b, c, d)
        self._emit(event_id, a, b, c, d, site=site)


class Invariants:
    """Looks after each step of the kernel that ``watch`` watches; RaceViolation if something broke.

    The kernel has an event ring, which is on. Tables that are installed already are taken as they
    are, at rest.
    """

    def __init__(self, watch: Watch) -> None:
        kernel = watch.kernel
        if kernel.ring is None:
            raise TypeError("what the kernel does is heard from its event ring: it has none")
        self.watch = watch
        self.kernel = kernel
        self.memory = watch.memory
        self.policy = policy_of(kernel)
        self.counted = self.policy.counts
        self.tables: dict[int, _Table] = {}
        self._before: dict[int, int] = {}  # the table that stood in an entry last
        self._deposited: set[int] = set()  # tables for a split, until a PMD entry names them
        self._touched: set[int] = set()
        self._visits: defaultdict[int, Counter[Hashable]] = defaultdict(Counter)
        self._hears: dict[int, Callable[[int, int, int, int], None]] = {
            **{EVENT_ID[f"{name}_{what}"]: self._refer for name in _NAMES for what in _REFERENCES},
            **{EVENT_ID[f"set_{name}"]: self._set_entry for name in _NAMES},
            EVENT_ID["set_pmd"]: self._set_pmd,
            **{
                EVENT_ID[f"{name}_alloc"]: partial(self._table_alloc, level)
                for level, name in enumerate(_NAMES, 1)
            },
            **{EVENT_ID[f"{name}_free"]: self._table_free for name in _NAMES},
        }
        for mm in kernel.all_mms:
            self._meet(mm)
        self._ring = kernel.ring
        kernel.ring = ListenedRing(kernel.ring, self._hear)
        watch.on_freed = self._freed_frame_used

    def close(self) -> None:
        """Look no more."""
        self.kernel.ring = self._ring
        self.watch.on_freed = None

    def _meet(self, mm: MmStruct) -> None:
        """Find the counted tables of an mm that is at rest, and where it has huge PMDs."""
        self._deposited.update(mm.pmd_huge_pte.values())
        if not self.counted:
            return
        tables = [int(mm.c.pgd) >> PAGE_SHIFT]
        for level in (3, 2, 1):
            tables = [below for table in tables for below in self._tables_below(table)]
            if self._is_counted(level):
                self.tables.update((table, self._met(level, table)) for table in tables)
        self.tables.update((table, _Table()) for table in mm.pmd_huge_pte.values())

    def _met(self, level: int, table: int) -> _Table:
        """A table at rest, which the policy may keep already."""
        return _Table(level, self.policy.kept(table) if level == 1 else 0)

    def _tables_below(self, table: int) -> list[int]:
        start = table << PAGE_SHIFT
        return [
            (entry & lib.X86_ADDR_MASK) >> PAGE_SHIFT
            for entry in self.memory.words[start >> 3 : start + PAGE_SIZE >> 3].tolist()
            if entry & lib.X86_P and not entry & lib.X86_PS
        ]

    def _is_counted(self, level: int) -> bool:
        return self.counted and (level == 1 or self.kernel.free_levels.number >= level)

    # What the kernel says it does.

    def _hear(self, event: int, a: int, b: int, c: int, d: int) -> None:
        hears = self._hears.get(event)
        if hears is not None:
            hears(a, b, c, d)

    def _refer(self, table: int, old: int, new: int, holder: int) -> None:
        found = self.tables.get(table)
        if found is None:
            return
        cpu, nr = self.watch.this_cpu(), new - old
        self._touched.add(table)
        if holder == _VISITOR:
            found.visitors[cpu] += nr
        elif holder == _POLICY:
            found.kept += nr
        else:
            found.uncounted[cpu] -= nr

    def _set_entry(self, _addr: int, old: int, new: int, entry: int) -> None:
        table = entry >> PAGE_SHIFT
        found = self.tables.get(table)
        if found is not None and bool(old) != bool(new):
            found.uncounted[self.watch.this_cpu()] += 1 if new else -1
            self._touched.add(table)

    def _set_pmd(self, addr: int, old: int, new: int, entry: int) -> None:
        mm = self._huge_mm(entry, addr)
        if mm is not None:
            self._deposited.update(mm.pmd_huge_pte.values())
            self._deposited.discard((new & lib.X86_ADDR_MASK) >> PAGE_SHIFT)
            if new & lib.X86_P and (old or new & lib.X86_PS or self.counted):
                self._check_sizes(mm, addr, 1 if new & lib.X86_PS else _LARGE)
        self._set_entry(addr, old, new, entry)

    def _huge_mm(self, entry: int, addr: int) -> MmStruct | None:
        """The mm whose PMD entry of addr it is, if it has had huge pages."""
        for mm in self.kernel.all_mms:
            table = int(mm.c.pgd) if mm.vm_hugepage else 0
            for level in (4, 3):
                value = self.memory.words[table + entry_offset(addr, level) >> 3] if table else 0
                table = value & lib.X86_ADDR_MASK if value & lib.X86_P else 0
            if table and table == entry & -PAGE_SIZE:
                return mm
        return None

    def _check_sizes(self, mm: MmStruct, addr: int, level: int) -> None:
        """No CPU has a translation of that size (level 1: 4 KiB, 2: 2 MiB) cached of what a PMD
        entry maps by the other one, nor a way through a PTE table that is none any more.

        Where nobody counts, a table may be installed before the flush of a zap, as in Linux.
        """
        for cpu in self.kernel.cpus:
            self.watch.looks_at(("tlb", cpu.id))
            unit = cpu.mmu.c
            if unit.cr3 & lib.X86_ADDR_MASK != mm.c.pgd:
                continue
            for entry in unit.tlb.entry[0 : unit.tlb.nr_entries]:
                if (
                    entry.flags & lib.TLB_VALID
                    and _is_of_size(entry, level)
                    and (entry.vpn << PAGE_SHIFT) & PMD_MASK == addr
                    and entry.pcid == unit.cr3 & lib.CR3_PCID_MASK
                ):
                    raise RaceViolation(Reason.BOTH_SIZES, f"CPU {cpu.id}, of {addr:#x}")

    def _table_alloc(self, level: int, addr: int, table: int, _pgd: int, entry: int) -> None:
        if self.counted and entry in self._before:
            self._check_old_ways(addr, self._before.pop(entry))
        self._before = {place: old for place, old in self._before.items() if old != table}
        found = self.tables[table] = _Table(level)
        if self.counted:
            found.visitors[self.watch.this_cpu()] = 1
        self._touched.add(table)

    def _check_old_ways(self, addr: int, old: int) -> None:
        """No CPU has anything cached that came through the table before (D4)."""
        for cpu in self.kernel.cpus:
            self.watch.looks_at(("tlb", cpu.id))
            unit, wanted = cpu.mmu.c, lib.TLB_VALID | lib.TLB_TABLE
            for entry in unit.tlb.entry[0 : unit.tlb.nr_entries]:
                if (
                    entry.flags & wanted == wanted
                    and entry.frame == old << PAGE_SHIFT
                    and entry.pcid == unit.cr3 & lib.CR3_PCID_MASK
                ):
                    text = f"CPU {cpu.id}, to the old table of {addr:#x}, frame {old:#x}"
                    raise RaceViolation(Reason.OLD_WAYS, text)

    def _table_free(self, addr: int, table: int, _pgd: int, entry: int) -> None:
        self._before[entry] = table
        found = self.tables.pop(table, None)
        self._deposited.discard(table)
        if found is None and self.counted:
            raise RaceViolation(Reason.FREED_TWICE, f"frame {table:#x}, of {addr:#x}")
        entries, count = self._entries(table), self._count(table, found)
        if entries or (count and self.counted):
            what = f"frame {table:#x}, of {addr:#x}: {entries} entries, a count of {count}"
            raise RaceViolation(Reason.FREED_IN_USE, what)

    def _freed_frame_used(self, pfn: int, what: Hashable) -> None:
        text = f"CPU {self.watch.this_cpu()} comes to {describe(what)}, in frame {pfn:#x}"
        raise RaceViolation(Reason.FREED_FRAME, text)

    # What is so.

    def _stored(self, what: Hashable, value: int) -> int:
        """A word or field as it will be once the store buffers are empty."""
        for buffer in self.watch.buffers:
            waiting = buffer.load(what)
            value = value if waiting is None else waiting
        return value

    def _count(self, table: int, found: _Table | None) -> int:
        """All references, the policy's own among them, which counts PTE tables alone."""
        what = ("page", table, "pte_refcount")
        known = memory = self.memory.raw_load(what)
        if found is None or found.level == 1:
            known = self.policy.references(table) + self.policy.kept(table)
        return known + self._stored(what, memory) - memory

    def _entries(self, table: int) -> int:
        start = table << PAGE_SHIFT
        words = self.memory.words[start >> 3 : start + PAGE_SIZE >> 3].tolist()
        for buffer in self.watch.buffers:
            for what, value in buffer:
                if isinstance(what, int) and what >> PAGE_SHIFT == table:
                    words[(what & PAGE_SIZE - 1) >> 3] = value
        return len(words) - words.count(0)

    def after_step(
        self, cpu: int, label: str, access: StepAccess, frame: FrameType | None = None
    ) -> Place:
        """CPU ``cpu`` stopped at the point ``label``; the step before it touched ``access``.
        ``frame`` is where its code goes on. Returns what after_step_again() is to know.
        """
        self.kernel.check()
        if self.counted:
            self._touched.update(map(_frame_of, access.writes))
            for table in self._touched.intersection(self.tables) - self._deposited:
                self._check_count(table)
        self._touched.clear()
        self._check_translations()
        here = (label, access.reads, self.watch.state_hash)
        if frame is not None:
            self._check_progress(cpu, here, frame)
        return here

    def after_step_again(self, cpu: int, here: Place, frame: FrameType | None) -> None:
        """As after_step(), which returned ``here``, of a step that passed its checks before: only
        what those of later steps need is noted.
        """
        self._touched.clear()
        if frame is not None:
            self._check_progress(cpu, here, frame)

    def _check_count(self, table: int) -> None:
        found = self.tables[table]
        visitors, uncounted = found.visitors.total(), found.uncounted.total()
        entries, count = self._entries(table), self._count(table, found)
        what = f"the {found.name} in frame {table:#x}"
        if count != visitors + entries - uncounted + found.kept:
            raise RaceViolation(
                Reason.COUNT,
                f"{what} counts {count}; it has {entries} entries,"
                f" {uncounted} of them not counted yet, and {visitors} visitors"
                + (f"; the policy keeps {found.kept}" if found.kept else ""),
            )
        for cpu, nr in found.uncounted.items():
            if nr > 0 and found.visitors[cpu] < 1:
                text = f"{nr} of {what}, by CPU {cpu}"
                raise RaceViolation(Reason.UNCOUNTED, text)

    def _check_translations(self) -> None:
        for cpu in self.kernel.cpus:
            check = cpu.mmu.check
            if check is not None and (check.nr_used or check.nr_may):
                raise RaceViolation(Reason.STALE, f"on CPU {cpu.id}: {check.uses()[0]}")

    def _check_progress(self, cpu: int, here: Place, frame: FrameType) -> None:
        """Coming to one point again and again, by the same reads, with nothing changed in between,
        neither what CPUs share nor the code's own numbers, is a wait that only another CPU can end.
        """
        visits = self._visits[cpu]
        visits[here] += 1
        if visits[here] <= _SAME_STATE:
            return
        code = (here, tuple(_locals(frame)))
        visits[code] += 1
        if visits[code] > _SAME_STATE:
            raise RaceViolation(Reason.UNBOUNDED, f"CPU {cpu} comes to {here[0]} again and again")

    def end_of_operation(self, cpu: int) -> None:
        """CPU ``cpu`` goes back to user mode."""
        if not self.counted:
            return
        for table, found in self.tables.items():
            left = found.visitors[cpu] - found.uncounted[cpu]
            if left:
                text = f"CPU {cpu} holds {left} of the {found.name} in frame {table:#x}"
                raise RaceViolation(Reason.LEFT, text)
