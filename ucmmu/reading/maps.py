# SPDX-License-Identifier: GPL-2.0-or-later
"""An address space at an event: what the tables map, where, with which rights, and how full the
tables are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mmu.trace.tables import Tables
from mmu.units import PAGE_SHIFT, PAGE_SIZE
from mmu.x86.entries import X86_ADDR_MASK, X86_P, X86_PS, X86_XD, level_size
from mmu.x86.tlb import TLB_RW, TLB_US
from ucmmu.reading.palette import Paint, plain
from ucmmu.sizes import format_size
from ucmmu.text import printable

if TYPE_CHECKING:
    from ucmmu.reading.symbols import Mapping

_SPARSE: Final = 64
"""A table with fewer entries set is called sparse."""
_RIGHTS: Final = X86_P | TLB_RW | TLB_US | X86_XD


@dataclass
class Range:
    """Addresses [start, end) that are mapped with the same rights, in pages of one level, and lie
    in one run of frames, or in ``runs`` of them.
    """

    start: int
    end: int
    rights: str
    level: int
    pa: int
    runs: int = 1
    entries: int = 1


@dataclass
class Table:
    """A table that was met: its frame, level (1: PTE), the first address of its reach, and how many
    of its entries are set.
    """

    pfn: int
    level: int
    address: int
    entries: int


@dataclass
class Space:
    """What the tables of an address space hold."""

    ranges: list[Range] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    edges: frozenset[int] = frozenset()
    """Where VMAs begin and end: no range goes on over one."""
    not_present: int = 0
    """PTEs that are set but not present: swap, PROT_NONE, guard markers."""


def survey(tables: Tables, pgd: int, levels: int, edges: Iterable[int] = ()) -> Space:
    """Go through all tables from the PGD down. ``edges``: where VMAs begin and end."""
    space = Space(edges=frozenset(edges))
    _table(tables, pgd >> 12, levels, 0, ~0, levels, space)
    return space


def _table(
    tables: Tables, pfn: int, level: int, base: int, upper: int, levels: int, space: Space
) -> None:
    words = tables.table(pfn)
    used = np.flatnonzero(words)
    space.tables.append(Table(pfn, level, base, len(used)))
    if level == 1:
        _leaves(words, used, base, upper, space)
        return
    for index in used.tolist():
        value = int(words[index])
        va = (
            _sign(base + index * level_size(level), levels)
            if level == levels
            else (base + index * level_size(level))
        )
        if not value & X86_P:
            space.not_present += 1
        elif level <= 3 and value & X86_PS:
            rights = _rights(value, upper)
            _add(space, va, level, rights, value & X86_ADDR_MASK & -level_size(level), 1)
        else:
            _table(
                tables, (value & X86_ADDR_MASK) >> 12, level - 1, va, _both(value, upper), levels,
                space,
            )  # fmt: skip


def _sign(va: int, levels: int) -> int:
    bits = 57 if levels == 5 else 48
    return va | (1 << 64) - (1 << bits) if va >> bits - 1 else va


def _both(value: int, upper: int) -> int:
    """Rights of the entries so far and this one: bits as in an entry, XD inverted."""
    return upper & (value ^ X86_XD)


def _rights(value: int, upper: int) -> str:
    both = _both(value, upper)
    return "".join(
        (
            "r",
            "w" if both & TLB_RW else "-",
            "x" if both & X86_XD else "-",
            "u" if both & TLB_US else "s",
        )
    )


def _leaves(
    words: npt.NDArray[np.uint64], used: npt.NDArray[np.intp], base: int, upper: int, space: Space
) -> None:
    """The pages of a PTE table, in runs of neighbours with the same rights and following frames."""
    values = words[used]
    present = (values & np.uint64(X86_P)) != 0
    space.not_present += int((~present).sum())
    used, values = used[present], values[present]
    if not len(used):
        return
    frames = values & np.uint64(X86_ADDR_MASK)
    rights = values & np.uint64(_RIGHTS)
    breaks = np.ones(len(used), dtype=bool)
    breaks[1:] = (
        (np.diff(used) != 1)
        | (rights[1:] != rights[:-1])
        | (frames[1:] != frames[:-1] + np.uint64(PAGE_SIZE))
    )
    reach = level_size(2)
    inside = [edge - base >> PAGE_SHIFT for edge in space.edges if base < edge < base + reach]
    breaks |= np.isin(used, inside)
    starts = np.flatnonzero(breaks)
    lengths = np.diff(np.append(starts, len(used)))
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        va = base + int(used[start]) * PAGE_SIZE
        _add(space, va, 1, _rights(int(values[start]), upper), int(frames[start]), length)


def _add(space: Space, va: int, level: int, rights: str, pa: int, count: int) -> None:
    """Some more pages: they go on with the last range, or begin one."""
    size = level_size(level) * count
    last = space.ranges[-1] if space.ranges else None
    joins = last is not None and last.end == va and va not in space.edges
    if last is None or not joins or last.rights != rights or last.level != level:
        space.ranges.append(Range(va, va + size, rights, level, pa, entries=count))
        return
    if last.runs > 1 or last.pa + (last.end - last.start) != pa:
        last.runs += 1
    last.end += size
    last.entries += count


def maps_report(space: Space, mappings: Sequence[Mapping], about: dict[str, Any]) -> dict[str, Any]:
    """The address space as JSON: docs/looking.md names each part."""
    pte = [table for table in space.tables if table.level == 1]
    return {
        **about,
        "ranges": [_range(one) for one in space.ranges],
        "vmas": [_vma(one, space.ranges, pte) for one in mappings],
        "tables": {
            "PTE": len(pte),
            "PMD": sum(table.level == 2 for table in space.tables),
            "PUD": sum(table.level == 3 for table in space.tables),
            "P4D": sum(table.level == 4 for table in space.tables) if _five(space) else 0,
            "empty": sum(table.entries == 0 for table in pte),
            "sparse": sum(0 < table.entries < _SPARSE for table in pte),
            "full": sum(table.entries == 512 for table in pte),
        },
        "pages": sum(one.entries for one in space.ranges),
        "not_present": space.not_present,
        "entries": sum(table.entries for table in pte),
        "VmPTE": 4 * sum(table.level < _top(space) for table in space.tables),
    }


def _top(space: Space) -> int:
    return space.tables[0].level if space.tables else 4


def _five(space: Space) -> bool:
    return _top(space) == 5


def _range(one: Range) -> dict[str, Any]:
    return {
        "start": one.start,
        "end": one.end,
        "rights": one.rights,
        "page_size": level_size(one.level),
        "pages": one.entries,
        "pa": one.pa if one.runs == 1 else None,
        "runs": one.runs,
    }


def _vma(vma: Mapping, ranges: Sequence[Range], tables: Sequence[Table]) -> dict[str, Any]:
    """How much of a VMA is mapped, and by how many tables. A table that VMAs share counts for
    each.
    """
    inside = [one for one in ranges if one.start < vma.end and vma.start < one.end]
    mapped = sum(min(one.end, vma.end) - max(one.start, vma.start) for one in inside)
    reach = level_size(2)
    own = [t for t in tables if t.address < vma.end and vma.start < t.address + reach]
    return {
        "start": vma.start,
        "end": vma.end,
        "prot": vma.prot,
        "name": vma.file or vma.name,
        "mapped": mapped,
        "pages": sum(
            (min(one.end, vma.end) - max(one.start, vma.start)) // level_size(one.level)
            for one in inside
        ),
        "tables": len(own),
    }


def maps_text(report: dict[str, Any], *, paint: Paint = plain) -> Iterator[str]:
    """The report as lines of text."""
    task = f"{printable(report['comm'])}-{report['task']}, " if report["task"] else ""
    when = "" if report["event"] is None else f", after event {report['event']:,}"
    yield f"{task}mm {report['mm']:#x}{when}"
    vmas = report["vmas"]
    done = 0
    for vma in vmas:
        while done < len(report["ranges"]) and report["ranges"][done]["end"] <= vma["start"]:
            yield _range_line(report["ranges"][done])
            done += 1
        name = f" {printable(vma['name'])}" if vma["name"] else ""
        yield (
            f"{paint('label', _extent(vma))} {vma['prot']}{name}:"
            f" {format_size(vma['mapped'])} of {format_size(vma['end'] - vma['start'])} mapped,"
            f" {_many(vma['pages'], 'page')}, {_many(vma['tables'], 'PTE table')}"
        )
        while done < len(report["ranges"]) and report["ranges"][done]["start"] < vma["end"]:
            yield _range_line(report["ranges"][done])
            done += 1
    for one in report["ranges"][done:]:
        yield _range_line(one)
    yield from _totals(report, paint)


def _extent(one: dict[str, Any]) -> str:
    return f"{one['start']:x}-{one['end']:x}"


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _range_line(one: dict[str, Any]) -> str:
    size = one["end"] - one["start"]
    if one["runs"] == 1:
        where = f"{one['pa']:#x}-{one['pa'] + size:#x}"
    else:
        where = f"scattered, {one['runs']} runs"
    large = "" if one["page_size"] == PAGE_SIZE else f" in pages of {format_size(one['page_size'])}"
    return f"    {_extent(one)} {one['rights']} {format_size(size):>6}{large} -> {where}"


def _totals(report: dict[str, Any], paint: Paint) -> Iterator[str]:
    tables = report["tables"]
    uppers = [f"{tables[name]} {name}" for name in ("PMD", "PUD", "P4D") if tables[name]]
    yield ""
    yield (
        f"{_many(report['pages'], 'page')} mapped, {_many(report['entries'], 'PTE')}"
        f" set in {_many(tables['PTE'], 'PTE table')}: {tables['empty']} empty, {tables['sparse']}"
        f" sparse (fewer than {_SPARSE} of 512), {tables['full']} full"
    )
    levels = ", ".join([f"{tables['PTE']} PTE", *uppers])
    yield f"tables: {levels}; VmPTE {report['VmPTE']:,} kB"
    told = report["tables_by_events"]
    if told == tables["PTE"]:
        yield "pte_alloc and pte_free events say the same number of PTE tables"
    else:
        yield paint("fault", f"DISAGREES: by pte_alloc and pte_free there are {told} PTE tables")
