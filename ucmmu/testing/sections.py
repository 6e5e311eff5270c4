# SPDX-License-Identifier: GPL-2.0-or-later
"""What the report of a failed test shows of its machine: the walk, the tables, the TLBs, the last
events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from mmu.linux.pt_reclaim import pte_ref_is_enabled
from mmu.memory import Memory
from mmu.x86 import Mmu
from mmu.x86.entries import X86_ADDR_MASK, X86_P, describe_entry, is_leaf
from ucmmu.testing.refcounts import pte_tables
from ucmmu.testing.scene import Scene

LAST_EVENTS = 30
MOST_LINES = 60
"""Of tables and of TLB entries that a section shows."""
_ENTRIES = 512
_ACCESSES = frozenset({"access", "tlb_hit", "tlb_miss", "walk_done", "page_fault", "invlpg"})


def sections(scene: Scene) -> list[tuple[str, str]]:
    """Title and text of each section; what cannot be shown says why."""
    made: list[tuple[str, str]] = []

    def add(title: str, make: Callable[[], list[str]]) -> None:
        try:
            lines = make()
        except Exception as error:  # a broken machine must not hide why the test failed
            lines = [f"cannot be shown: {type(error).__name__}: {error}"]
        if lines:
            made.append((f"ucmmu: {title}", "\n".join(lines)))

    for name, mmu in _mmus(scene):
        add(f"walk, {name}", lambda mmu=mmu: _walk(scene, mmu))  # type: ignore[misc]
    add("tables", lambda: _tables(scene))
    for name, mmu in _mmus(scene):
        add(f"TLB of {name}", lambda mmu=mmu: _tlb(mmu))  # type: ignore[misc]
    add(f"last {LAST_EVENTS} events", lambda: _events(scene))
    return made


def _mmus(scene: Scene) -> Iterator[tuple[str, Mmu]]:
    if scene.kernel is not None:
        yield from ((f"CPU {cpu.id}", cpu.mmu) for cpu in scene.kernel.cpus)
    elif scene.mmu is not None:
        yield "CPU 0", scene.mmu


def _address(scene: Scene) -> int | None:
    """The address that was asked about last, else that of the last access."""
    if scene.address is not None:
        return scene.address
    for event in reversed(scene.recorder.events()):
        if event.name in _ACCESSES:
            return event["address"]
    return None


def _walk(scene: Scene, mmu: Mmu) -> list[str]:
    address = _address(scene)
    if address is None:
        return []
    lines = str(mmu.walk(address)).splitlines()
    resident = mmu.resident(address)
    return [*lines, f"  in the TLB: {'nothing' if resident is None else resident}"]


def _tables(scene: Scene) -> list[str]:
    mm = scene.mm
    if mm is None or not mm.c.pgd:
        return [] if scene.mmu is None or not scene.mmu.c.cr3 else _hand_made(scene.mmu)
    counted = "" if pte_ref_is_enabled(mm) else " (this policy counts no references)"
    lines = [f"{mm!r}{counted}", *str(mm.check_tables()).splitlines()]
    return [*lines, *_at_most([str(table) for table in pte_tables(mm)], "tables")]


def _hand_made(mmu: Mmu) -> list[str]:
    lines = _entries(mmu.memory, mmu.c.cr3 & X86_ADDR_MASK, mmu.top_level, 0, mmu.top_level)
    head = f"CR3 {int(mmu.c.cr3):#x}, {mmu.top_level} levels"
    shown = list(islice(lines, MOST_LINES))
    return [head, *shown, *(["and more"] if next(lines, None) else [])]


def _entries(memory: Memory, table: int, level: int, base: int, top: int) -> Iterator[str]:
    if not memory.holds(table, 4096):
        yield f"{'  ' * (top - level)}table {table:#x} lies outside guest RAM"
        return
    for index in range(_ENTRIES):
        entry = memory.read_u64(table + 8 * index)
        if not entry:
            continue
        va = base | index << (12 + 9 * (level - 1))
        if va >> (12 + 9 * top - 1) & 1:
            va |= -(1 << (12 + 9 * top)) & (1 << 64) - 1
        yield f"{'  ' * (top - level)}{va:#018x} level {level}: {describe_entry(entry, level)}"
        if entry & X86_P and not is_leaf(entry, level):
            yield from _entries(memory, entry & X86_ADDR_MASK, level - 1, va, top)


def _tlb(mmu: Mmu) -> list[str]:
    entries = [*mmu.entries(), *mmu.paging_structure_caches()]
    return _at_most(_aligned([str(entry).split(": ", 1) for entry in entries]), "entries")


def _events(scene: Scene) -> list[str]:
    events = scene.recorder.events()[-LAST_EVENTS:]
    rows = [
        [f"cpu {event.cpu}", event.name, str(event).removeprefix(event.name).strip(), event.site]
        for event in events
    ]
    return _aligned(rows)


def _aligned(rows: list[list[str]]) -> list[str]:
    if not rows:
        return []
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return [
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _at_most(lines: list[str], what: str) -> list[str]:
    if len(lines) <= MOST_LINES:
        return lines
    return [*lines[:MOST_LINES], f"and {len(lines) - MOST_LINES} more {what}"]
