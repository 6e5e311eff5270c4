# SPDX-License-Identifier: GPL-2.0-or-later
"""Perfetto's tracks of a trace: one for each process, task and CPU, made when first needed."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

from mmu.units import PAGE_SHIFT
from ucmmu.reading.packets import Packets

if TYPE_CHECKING:
    from mmu.events import Event
    from mmu.trace.reader import Note, TraceFile


class Timeline:
    """Knows the track of whatever happens, as notes and interrupts come by."""

    def __init__(self, packets: Packets, trace: TraceFile) -> None:
        self._packets = packets
        self._notes = trace.notes
        self._read = 0
        self._uuids = 0
        self._processes: dict[int, int] = {}
        self._threads: dict[int, int] = {}
        self._tgid: dict[int, int] = {}
        self._comm: dict[int, str] = {}
        self._of_mm: dict[int, int] = {}
        self._makers: dict[int, list[tuple[int, int]]] = {}
        self._indexed = 0
        self._named: dict[str, int] = {}
        self._interrupted: dict[int, int] = {}

    def catch_up(self, number: int, time: int) -> None:
        """Take the notes that stand before event ``number``."""
        while self._read < len(self._notes) and self._notes[self._read].event <= number:
            self._take(self._notes[self._read], time)
            self._read += 1

    def _take(self, note: Note, time: int) -> None:
        pid = note.fields.get("pid")
        if pid is None:
            return
        if note.kind == "exit":
            if pid in self._threads:
                self._packets.end_all(self._threads[pid], time)
            return
        if note.kind not in ("process", "exec", "comm"):
            return
        self._tgid[pid] = note.fields.get("tgid") or self._tgid.get(pid, pid)
        self._comm[pid] = note.fields.get("comm") or self._comm.get(pid, "")
        mm = note.fields.get("mm")
        if mm:
            self._of_mm[mm] = self._tgid[pid]
        if self._tgid[pid] == pid and pid in self._processes:
            self._packets.process(self._processes[pid], pid, self._comm[pid])
        if pid in self._threads:
            tgid = self._tgid[pid]
            self._packets.thread(self._threads[pid], tgid, pid, self._comm[pid])

    def name_of(self, pid: int) -> str:
        """What a task is called now."""
        return self._comm.get(pid) or f"task {pid}"

    def track_of(self, event: Event) -> int:
        """Where an event belongs: to the interrupt its CPU handles, else its task, else its CPU."""
        if self._interrupted.get(event.cpu) or not event.task:
            return self.interrupts(event.cpu)
        return self.thread(event.task)

    def process_of(self, mm: int) -> int:
        """The track of the process whose address space it is, 0 if none is known.

        A new address space is filled before the note of its process.
        """
        if mm not in self._of_mm:
            self._index()
            made = self._makers.get(mm, [])
            at = bisect.bisect_left(made, (self._read, 0))
            if at == len(made):
                return 0
            tgid = made[at][1]
            self._comm.setdefault(tgid, str(self._notes[made[at][0]].fields.get("comm") or ""))
            return self._process(tgid)
        return self._process(self._of_mm[mm])

    def _index(self) -> None:
        """Find who gets which address space, in the notes that there are."""
        for at in range(self._indexed, len(self._notes)):
            note = self._notes[at]
            if note.kind in ("process", "exec") and note.fields.get("mm"):
                tgid = note.fields.get("tgid") or note.fields["pid"]
                self._makers.setdefault(note.fields["mm"], []).append((at, tgid))
        self._indexed = len(self._notes)

    def frame_freed(self, pfn: int) -> None:
        """An address space whose PGD lay there is no more: the frame may be another's."""
        self._of_mm.pop(pfn << PAGE_SHIFT, None)

    def thread(self, pid: int) -> int:
        """The track of a task."""
        if pid not in self._threads:
            tgid = self._tgid.get(pid, pid)
            self._process(tgid)
            track = self._threads[pid] = self.new()
            self._packets.thread(track, tgid, pid, self.name_of(pid))
        return self._threads[pid]

    def _process(self, tgid: int) -> int:
        if tgid not in self._processes:
            track = self._processes[tgid] = self.new()
            self._packets.process(track, tgid, self.name_of(tgid))
        return self._processes[tgid]

    def cpu(self, number: int) -> int:
        """The track of which task a CPU runs."""
        return self.named(f"CPU {number}")

    def interrupts(self, cpu: int) -> int:
        """The track of what a CPU does for no task."""
        return self.named(f"CPU {cpu} interrupts and idle", self.cpu(cpu))

    def enter_interrupt(self, cpu: int) -> int:
        """The track of the interrupt that the CPU begins to handle."""
        self._interrupted[cpu] = self._interrupted.get(cpu, 0) + 1
        return self.interrupts(cpu)

    def leave_interrupt(self, cpu: int) -> int:
        """The track of the interrupt that the CPU has handled."""
        self._interrupted[cpu] = max(0, self._interrupted.get(cpu, 0) - 1)
        return self.interrupts(cpu)

    def named(self, name: str, parent: int = 0) -> int:
        """The track of this name."""
        if name not in self._named:
            track = self._named[name] = self.new()
            self._packets.track(track, name, parent)
        return self._named[name]

    def counter(self, name: str, unit: str, parent: int = 0) -> int:
        """A new track of values."""
        track = self.new()
        self._packets.counter_track(track, name, unit, parent)
        return track

    def new(self) -> int:
        """The number of a new track."""
        self._uuids += 1
        return self._uuids
