# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of tasks and of guest functions, for whole batches at a time."""

from __future__ import annotations

import bisect
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from ucmmu.reading.attribution import U64, owners, pid_of
from ucmmu.reading.symbols import History

if TYPE_CHECKING:
    from mmu.trace.reader import Batch, TraceFile

UNKNOWN: Final = "[unknown]"
"""What a function is called that lies in no mapping that the trace tells of, as perf calls it."""
_CHANGES_MAPS: Final = frozenset({"process", "exec", "map", "unmap"})


class TaskNames:
    """What each task is called (comm), as of each event."""

    def __init__(self, trace: TraceFile) -> None:
        self.names = [""]
        self._notes = trace.notes
        self._read = 0
        self._since: dict[int, tuple[list[int], list[int]]] = {}
        self._codes = {"": 0}

    def _take_notes(self) -> None:
        """Take those that are there: a trace from a pipe gets more while it is read."""
        for note in self._notes[self._read :]:
            pid, comm = note.fields.get("pid"), note.fields.get("comm")
            if pid is None or comm is None:
                continue
            if comm not in self._codes:
                self._codes[comm] = len(self.names)
                self.names.append(comm)
            events, names = self._since.setdefault(pid, ([], []))
            events.append(note.event)
            names.append(self._codes[comm])
        self._read = len(self._notes)

    def of(self, batch: Batch) -> tuple[npt.NDArray[np.int32], list[str]]:
        """For each event the number of its task's name, and the names by number."""
        self._take_notes()
        found = np.zeros(len(batch.records), dtype=np.int32)
        tasks = batch.records["task"]
        for task in np.unique(tasks).tolist():
            events, names = self._since.get(task, ([], []))
            at = np.flatnonzero(tasks == task)
            place = np.searchsorted(events, batch.numbers[at], side="right")
            found[at] = np.array([0, *names], dtype=np.int32)[place]
        return found, self.names

    def at(self, task: int, number: int) -> str:
        """What a task is called as of one event, "" if the trace does not say."""
        self._take_notes()
        events, names = self._since.get(task, ([], []))
        place = bisect.bisect_right(events, number)
        return self.names[names[place - 1]] if place else ""


class FunctionNames:
    """The guest function of an instruction's address, as of each event.

    A function is called by its name; where that is not known by its file in brackets, as perf does.
    """

    def __init__(self, trace: TraceFile) -> None:
        self._history = History(trace)
        self._notes = trace.notes
        self._read = 0
        self.names = [""]
        self._codes = {"": 0}
        self._known: dict[tuple[int, int], int] = {}

    def of(self, batch: Batch, ips: U64) -> tuple[npt.NDArray[np.int32], list[str]]:
        """For each event the number of the function of its ``ips``, and the names by number."""
        found = np.zeros(len(ips), dtype=np.int32)
        if len(ips):
            whose = owners(batch.records)
            edges = [0, *self._edges(batch), len(ips)]
            for begin, end in pairwise(edges):
                if begin:
                    self._known.clear()
                if begin < end:
                    at = int(batch.numbers[begin])
                    found[begin:end] = self._piece(whose[begin:end], ips[begin:end], at)
        return found, self.names

    def _edges(self, batch: Batch) -> list[int]:
        """Places in the batch before which mappings change."""
        last = int(batch.numbers[-1])
        events: list[int] = []
        while self._read < len(self._notes) and self._notes[self._read].event <= last:
            note = self._notes[self._read]
            self._read += 1
            if note.kind in _CHANGES_MAPS and (not events or events[-1] != note.event):
                events.append(note.event)
        if events:
            self._known.clear()
        return np.unique(np.searchsorted(batch.numbers, events)).tolist() if events else []

    def _piece(self, whose: npt.NDArray[np.int64], ips: U64, at: int) -> npt.NDArray[np.int32]:
        """Between two changes of mappings."""
        found = np.zeros(len(ips), dtype=np.int32)
        for owner in np.unique(whose).tolist():
            its = np.flatnonzero(whose == owner)
            mm = self._history.mm_of(pid_of(owner), at)
            unique, places = np.unique(ips[its], return_inverse=True)
            codes = [self._code(mm, ip, at) for ip in unique.tolist()]
            found[its] = np.array(codes, dtype=np.int32)[places]
        return found

    def _code(self, mm: int, ip: int, at: int) -> int:
        key = mm, ip
        code = self._known.get(key)
        if code is None:
            name = "" if ip == 0 else self._name(mm, ip, at)
            code = self._codes.setdefault(name, len(self.names))
            if code == len(self.names):
                self.names.append(name)
            self._known[key] = code
        return code

    def _name(self, mm: int, ip: int, at: int) -> str:
        symbol = self._history.symbol(mm, ip, at)
        if symbol is None:
            return UNKNOWN
        return symbol.function or f"[{symbol.file.rpartition('/')[2]}]"
