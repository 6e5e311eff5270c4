# SPDX-License-Identifier: GPL-2.0-or-later
"""One address at one event: every level of its walk, what the rights come to, and what is cached
where.

The entries are those that events left (mmu.trace.tables). They are put into RAM of our own, at
their own addresses, and a processor's MMU walks them there: what it would answer, and whether a
cached entry is stale, is decided by the same rules as in a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mmu.errors import MmuError
from mmu.memory import Memory
from mmu.trace.counts import allocated, count_before
from mmu.trace.spaces import Loaded, loaded_before
from mmu.trace.tables import SETS, Entry, entry_before, entry_read_before, rebuild
from mmu.trace.tlbs import Cached, cached_before
from mmu.trace.where import Where
from mmu.units import PAGE_SHIFT, PAGE_SIZE
from mmu.x86 import Access, Mmu, Walk
from mmu.x86.entries import (
    LEVEL_NAMES,
    SIZE_NAMES,
    X86_P,
    entry_flags,
    entry_offset,
    is_leaf,
    leads_to,
    level_size,
)
from mmu.x86.faults import describe_error_code
from mmu.x86.geometry import load_geometry
from mmu.x86.registers import MemoryType
from mmu.x86.tlb import TLB_DIRTY, TLB_RW, TLB_US, TLB_XD
from mmu.x86.walk import Outcome
from ucmmu.reading.moment import Moment, Space, space_of
from ucmmu.reading.names import Names, entry_text

if TYPE_CHECKING:
    from mmu.trace.reader import TraceFile
    from ucmmu.reading.symbols import History

_ACCESSES: Final = (Access.READ, Access.WRITE, Access.FETCH)
_SPARE: Final = 16 << 20
"""Bytes of RAM beside those that the entries need."""


@dataclass(frozen=True)
class Step:
    """One level of the walk: where its entry lies, and what it held; None: no event tells."""

    level: int
    pa: int
    entry: Entry | None

    @property
    def value(self) -> int | None:
        """What it held."""
        return None if self.entry is None else self.entry.value

    @property
    def next_table(self) -> int | None:
        """The table that it refers to; None: to none that is known."""
        value = self.value
        if value is None or not value & X86_P or is_leaf(value, self.level):
            return None
        return leads_to(value, self.level)


def steps(trace: TraceFile, mm: int, va: int, end: int) -> list[Step]:
    """The entries on the way to ``va`` from the PGD at ``mm`` down, before event ``end``."""
    found: list[Step] = []
    table: int | None = mm
    for level in range(int(trace.head.get("levels", 4)), 0, -1):
        if table is None:
            break
        pa = table + entry_offset(va, level)
        entry = entry_before(trace, pa, end)
        if entry is None:
            base = va & -level_size(level)
            entry = entry_read_before(trace, pa, (base, base + level_size(level)), end)
        found.append(Step(level, pa, entry))
        table = found[-1].next_table
    return found


@contextmanager
def processor(trace: TraceFile, way: list[Step], mm: int) -> Iterator[Mmu]:
    """A processor's MMU over RAM that holds these entries, and nothing else."""
    size = max(step.pa for step in way) + _SPARE & -PAGE_SIZE
    memory = Memory(max(size, int(trace.head.get("ram", 0) or 0)))
    try:
        mmu = _mmu(trace, memory)
        mmu.write_cr3(mm)
        for step in way:
            memory.write_u64(step.pa, step.value or 0)
        yield mmu
    finally:
        memory.close()


def _mmu(trace: TraceFile, memory: Memory) -> Mmu:
    levels = int(trace.head.get("levels", 4))
    width = trace.head.get("maxphyaddr")
    try:
        geometry = load_geometry(str(trace.head.get("tlb", "skylake")))
        return Mmu(memory, geometry=geometry, levels=levels, maxphyaddr=width)
    except MmuError:  # a geometry's file that is not here
        name = "icelake" if levels == 5 else "skylake"
        return Mmu(memory, geometry=name, levels=levels, maxphyaddr=width)


def walk_report(
    trace: TraceFile, history: History, when: Moment, who: Space, va: int
) -> dict[str, Any]:
    """What is to be told of an address, as JSON: docs/looking.md names each part."""
    way = steps(trace, who.mm, va, when.end)
    known = way[-1].value is not None
    cached = cached_before(trace, va, when.end)
    with processor(trace, way, who.mm) as mmu:
        rights = _rights(way) if known else None
        probe = mmu.walk(va, Access.READ, user=rights is None or rights["user"])
        answers = {access.label: _answer(mmu, va, access) for access in _ACCESSES}
        report: dict[str, Any] = {
            "address": va,
            **_moment(when),
            "task": who.pid or None,
            "comm": who.comm or None,
            "mm": who.mm,
            **_place(history, who, va, when),
            "entries": [_step(step, va) for step in way],
            "rights": rights,
            "page": _page(mmu, probe, way[-1]) if known and probe.ok else None,
            "answers": answers if known else None,
        }
    report["cached"] = [
        _cached(trace, history, when, who, one, way, probe if known else None) for one in cached
    ]
    report["table"] = _table(trace, way, when.end)
    report["frame"] = _frame(trace, report["page"], when.end)
    return report


def _moment(when: Moment) -> dict[str, Any]:
    last = when.last
    return {
        "event": None if last is None else last.number,
        "cpu": None if last is None else last.event.cpu,
        "instruction": None if last is None else last.event.instruction,
        "time": None if last is None else last.event.time,
    }


def _place(history: History, who: Space, va: int, when: Moment) -> dict[str, Any]:
    """The mapping and the function that the address lies in."""
    mapping = history.mapping(who.mm, va, when.at)
    symbol = history.symbol(who.mm, va, when.at)
    return {
        "symbol": str(symbol) if symbol is not None and symbol.function else None,
        "mapping": None
        if mapping is None
        else {
            "start": mapping.start,
            "end": mapping.end,
            "prot": mapping.prot,
            "name": mapping.file or mapping.name,
        },
    }


def _step(step: Step, va: int) -> dict[str, Any]:
    value = step.value
    present = value is not None and bool(value & X86_P)
    return {
        "level": step.level,
        "name": LEVEL_NAMES[step.level],
        "index": entry_offset(va, step.level) // 8,
        "address": step.pa,
        "value": value,
        "bits": entry_flags(value, step.level) if value is not None and present else [],
        "text": None if value is None else entry_text(value, step.level),
        "since": None
        if step.entry is None
        else {"event": step.entry.number, "kind": step.entry.event},
    }


def _rights(way: list[Step]) -> dict[str, bool] | None:
    """The rights of all levels together (SDM 4.6); None where the walk does not come to a page."""
    values = [step.value or 0 for step in way]
    if not all(value & X86_P for value in values) or not is_leaf(values[-1], way[-1].level):
        return None
    return {
        "user": all(value & TLB_US for value in values),
        "writable": all(value & TLB_RW for value in values),
        "executable": not any(value >> 63 for value in values),
    }


def _page(mmu: Mmu, probe: Walk, leaf: Step) -> dict[str, Any]:
    pat = int(mmu.c.pat) >> 8 * probe.pat_index & 7
    return {
        "size": SIZE_NAMES[leaf.level],
        "frame": probe.pa & -level_size(leaf.level),
        "pa": probe.pa,
        "memory_type": MemoryType(pat).name,
        "pat_index": probe.pat_index,
        "pkey": probe.pkey,
    }


def _answer(mmu: Mmu, va: int, access: Access) -> dict[str, Any]:
    """What the walk would answer to a user access."""
    walk = mmu.walk(va, access)
    if walk.ok:
        return {"result": "ok", "pa": walk.pa}
    if walk.result == Outcome.PAGE_FAULT:
        return {
            "result": "page_fault",
            "error_code": walk.error_code,
            "meaning": describe_error_code(walk.error_code),
            "level": walk.level,
        }
    return {"result": walk.result.name.lower()}


def _cached(
    trace: TraceFile,
    history: History,
    when: Moment,
    who: Space,
    one: Cached,
    way: list[Step],
    probe: Walk | None,
) -> dict[str, Any]:
    owner = _owner(trace, one, when)
    ours = one.is_global or (owner is not None and owner.mm == who.mm)
    stale = None
    if ours and probe is not None:
        stale = _stale_table(one, way) if one.table else _stale_page(one, probe)
    elif ours and one.table:
        stale = _stale_table(one, way)
    whose = None if owner is None else str(space_of(trace, history, owner.mm, when.at))
    return {
        "cpu": one.cpu,
        **_slot(trace, one),
        "va": one.va,
        "pa": one.pa,
        "level": one.level,
        "name": LEVEL_NAMES[one.level] if one.table else _size(one),
        "paging_structure": one.table,
        "rights": one.rights,
        "pcid": one.pcid,
        "mm": None if owner is None else owner.mm,
        "whose": whose,
        "ours": ours,
        "stale": stale,
        "since": one.event,
    }


def _size(one: Cached) -> str:
    size = SIZE_NAMES.get(one.level, f"level {one.level}")
    return f"{size} of {SIZE_NAMES[one.page_level]}" if one.page_level > one.level else size


def _owner(trace: TraceFile, one: Cached, when: Moment) -> Loaded | None:
    """What CR3 was when its CPU last had that PCID."""
    return loaded_before(trace, one.cpu, when.end, pcid=one.pcid)


def _slot(trace: TraceFile, one: Cached) -> dict[str, Any]:
    """The array's name, set and way."""
    names = Names(trace.head)
    known = one.array < len(names.arrays)
    place, way = names.set_and_way(one.array, one.slot) or (None, None)
    name = names.arrays[one.array] if known else f"array {one.array}"
    return {"array": name, "set": place, "way": way, "slot": one.slot}


def _stale_page(one: Cached, walk: Walk) -> str | None:
    """In what a page's entry disagrees with the tables; None: in nothing."""
    if not walk.ok:
        return "the tables map no page there"
    inside = walk.va & level_size(one.level) - 1
    if walk.pa != one.pa + inside:
        return f"the tables say {walk.pa:#x}"
    if walk.level != max(one.page_level, one.level):
        return f"the tables have a {SIZE_NAMES[walk.level]} page"
    wrong = [
        name
        for name, cached, told in (
            ("R/W", bool(one.flags & TLB_RW), bool(walk.rights & TLB_RW)),
            ("U/S", bool(one.flags & TLB_US), bool(walk.rights & TLB_US)),
            ("XD", bool(one.flags & TLB_XD), walk.xd),
            ("D", bool(one.flags & TLB_DIRTY) and not walk.dirty, False),
            ("protection key", one.pkey != walk.pkey, False),
        )
        if cached != told
    ]
    return f"the tables differ in {', '.join(wrong)}" if wrong else None


def _stale_table(one: Cached, way: list[Step]) -> str | None:
    """The same of a paging-structure cache's entry."""
    step = next((step for step in way if step.level == one.level), None)
    if step is None or step.next_table is None:
        return "the tables refer to no table there"
    if step.next_table != one.pa:
        return f"the tables refer to {step.next_table:#x}"
    return None


def _table(trace: TraceFile, way: list[Step], end: int) -> dict[str, Any] | None:
    """The PTE table that the walk comes to: its count, who holds it, its entries."""
    if way[-1].level != 1:
        return None
    pfn = way[-1].pa >> PAGE_SHIFT
    count = count_before(trace, pfn, end)
    begin = allocated(trace, pfn, end) or 0
    names = frozenset((*SETS, "walk_set_ad"))
    where = Where(events=names, frames=frozenset((pfn,)), begin=begin, end=end)
    entries = rebuild(trace, end, trace.batches(where)).table(pfn)
    return {
        "pfn": pfn,
        "allocated": begin or None,
        "entries": int((entries != 0).sum()),
        "count": None if count is None else count.count,
        "references_of_entries": None if count is None else count.entries,
        "visitors": []
        if count is None
        else [
            {"task": one.task, "cpu": one.cpu, "site": one.site, "since": one.event}
            for one in count.visitors
        ],
    }


def _frame(trace: TraceFile, page: dict[str, Any] | None, end: int) -> dict[str, Any] | None:
    """The frame of the page: who took it when."""
    if page is None:
        return None
    pfn = page["pa"] >> PAGE_SHIFT
    number = allocated(trace, pfn, end)
    if number is None:
        return {"pfn": pfn, "allocated": None, "task": None, "site": None}
    event = next(trace.events(Where(begin=number, end=number + 1))).event
    return {"pfn": pfn, "allocated": number, "task": event.task, "site": event.site or None}
