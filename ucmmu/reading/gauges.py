# SPDX-License-Identifier: GPL-2.0-or-later
"""Values over time: VmPTE, VmRSS and VmSize of each process, tables, RCU, rates of TLB misses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from ucmmu.reading.attribution import NO_KIND, Kinds
from ucmmu.reading.packets import Packets
from ucmmu.reading.timeline import Timeline

if TYPE_CHECKING:
    from mmu.events import Event, EventDesc
    from mmu.trace.reader import Batch

WINDOW_NS: Final = 10_000
"""Virtual nanoseconds of which one rate of TLB misses is told."""
PAGE_KB: Final = 4
_PRESENT, _PS = 1, 1 << 7
_FRAME = 0x000F_FFFF_FFFF_F000
_LEVELS = ("set_p4d", "set_pud", "set_pmd")
_SWAP_ENTRIES = 2


class TableCount:
    """VmPTE of each mm, kB, from the kernel's writes to upper levels of its page tables.

    What Linux counts: PTE, PMD and PUD tables, each when it is installed (mm_inc_nr_ptes() and
    kin).  The owner of a table is that of the table whose entry it was installed in; a PGD's is the
    mm itself, which its address names.
    """

    def __init__(self) -> None:
        self.kb: dict[int, int] = {}
        self._owner: dict[int, int] = {}

    def take(self, event: Event) -> int | None:
        """Follow one event; return the mm whose VmPTE it changed."""
        if event.name not in _LEVELS:
            return None
        page = event["entry_pa"] & _FRAME
        mm = self._owner.get(page, page)
        changed = 0
        for entry, step in ((event["old"], -1), (event["new"], 1)):
            if not entry & _PRESENT or entry & _PS:
                continue
            table = entry & _FRAME
            changed += step
            if step > 0:
                self._owner[table] = mm
            else:
                self._owner.pop(table, None)
        if not changed:
            return None
        self.kb[mm] = self.kb.get(mm, 0) + changed * PAGE_KB
        return mm


class Gauges:
    """Counter tracks that follow the kernel's events."""

    def __init__(self, packets: Packets, timeline: Timeline) -> None:
        self._packets = packets
        self._timeline = timeline
        self._tracks: dict[tuple[str, int], int] = {}
        self._table_count = TableCount()
        self._rss: dict[int, dict[int, int]] = {}
        self._tables = 0
        self._pending = 0

    def take(self, event: Event) -> None:
        """Follow one event."""
        name = event.name
        mm = self._table_count.take(event)
        if mm is not None:
            self._of_mm("VmPTE", mm, event.time, self._table_count.kb[mm])
        elif name == "rss_stat":
            members = self._rss.setdefault(event["mm"], {})
            members[event["member"]] = event["pages"]
            pages = sum(n for member, n in members.items() if member != _SWAP_ENTRIES)
            self._of_mm("VmRSS", event["mm"], event.time, pages * PAGE_KB)
        elif name == "total_vm":
            self._of_mm("VmSize", event["mm"], event.time, event["pages"] * PAGE_KB)
        elif name == "mm_page_free":
            self._timeline.frame_freed(event["pfn"])
        elif name in ("pte_alloc", "pte_free"):
            self._tables += 1 if name == "pte_alloc" else -1
            self._of_all("PTE tables", "tables", event.time, self._tables)
        elif name == "rcu_callback":
            self._pending = event["qlen"]
            self._of_all("RCU pending", "tables", event.time, self._pending)
        elif name == "rcu_invoke_callback":
            self._pending = max(0, self._pending - 1)
            self._of_all("RCU pending", "tables", event.time, self._pending)

    def _of_mm(self, name: str, mm: int, time: int, kb: int) -> None:
        process = self._timeline.process_of(mm)
        key = name, process or -mm
        if key not in self._tracks:
            label = name if process else f"{name} of mm {mm:#x}"
            self._tracks[key] = self._timeline.counter(label, "kB", process)
        self._packets.counter(self._tracks[key], time, kb)

    def _of_all(self, name: str, unit: str, time: int, value: int) -> None:
        key = name, 0
        if key not in self._tracks:
            self._tracks[key] = self._timeline.counter(name, unit)
        self._packets.counter(self._tracks[key], time, value)


class LookUps:
    """The rate of TLB look-ups that missed, per cent, of each CPU in each window of time."""

    def __init__(self, packets: Packets, timeline: Timeline, descs: Sequence[EventDesc]) -> None:
        self._packets = packets
        self._timeline = timeline
        self._kinds = Kinds(descs)
        self._tracks: dict[int, int] = {}
        self._open: dict[int, tuple[int, int, int]] = {}

    def take(self, batch: Batch) -> None:
        """Count a batch's look-ups."""
        records = batch.records
        asked = self._kinds.are(records, "tlb_hit", "tlb_miss", "tlb_deny")
        if self._kinds.number("tlb_miss") == NO_KIND or not asked.any():
            return
        records = records[asked]
        missed = self._kinds.are(records, "tlb_miss")
        for cpu in np.unique(records["cpu"]).tolist():
            own = records["cpu"] == cpu
            windows, at = np.unique(records["time"][own] // WINDOW_NS, return_inverse=True)
            asked_in = np.bincount(at)
            missed_in = np.bincount(at, weights=missed[own]).astype(np.int64)
            for window, nr, misses in zip(
                windows.tolist(), asked_in.tolist(), missed_in.tolist(), strict=True
            ):
                self._add(cpu, window, nr, misses)

    def _add(self, cpu: int, window: int, nr: int, misses: int) -> None:
        last, asked, missed = self._open.get(cpu, (window, 0, 0))
        if last != window:
            self._tell(cpu)
            asked = missed = 0
        self._open[cpu] = window, asked + nr, missed + misses

    def _tell(self, cpu: int) -> None:
        window, asked, missed = self._open.pop(cpu)
        if cpu not in self._tracks:
            parent = self._timeline.cpu(cpu)
            self._tracks[cpu] = self._timeline.counter(f"CPU {cpu} TLB misses", "%", parent)
        self._packets.counter(self._tracks[cpu], window * WINDOW_NS, 100.0 * missed / asked)

    def close(self) -> None:
        """Tell of the windows that are not over."""
        for cpu in list(self._open):
            self._tell(cpu)
