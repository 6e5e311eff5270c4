# SPDX-License-Identifier: GPL-2.0-or-later
"""By what the events of a trace are put together: each grouping numbers its groups as they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from ucmmu.reading.attribution import NO_KIND, U64, Kinds, owners, pid_of
from ucmmu.reading.named import FunctionNames, TaskNames

if TYPE_CHECKING:
    from mmu.trace.reader import Batch, TraceFile

Codes = npt.NDArray[np.int64]
PAGE_SHIFT = 12
_OF_PAGES = (
    "insn",
    "access",
    "tlb_hit",
    "tlb_miss",
    "tlb_evict",
    "walk_entry",
    "page_fault",
    "set_pte",
)
NONE = -1
"""The number of no group."""


class Grouping(Protocol):
    """Puts each event into a group. ``needs_ip``: by the instruction it belongs to; ``only``: the
    names of what is summed (empty: everything).
    """

    needs_ip: bool
    only: frozenset[str]

    def codes(self, batch: Batch, ips: U64) -> Codes:
        """For each event the number of its group, NONE for none."""
        ...

    def label(self, code: int) -> str:
        """What a group is called."""
        ...


class Whole:
    """All together."""

    needs_ip = False
    only = frozenset[str]()

    def __init__(self, trace: TraceFile) -> None:
        pass

    def codes(self, batch: Batch, ips: U64) -> Codes:
        """Zeros."""
        return np.zeros(len(batch.records), dtype=np.int64)

    def label(self, code: int) -> str:
        """``all``."""
        return "all"


class ByCpu:
    """By the CPU they happened on."""

    needs_ip = False
    only = frozenset[str]()

    def __init__(self, trace: TraceFile) -> None:
        pass

    def codes(self, batch: Batch, ips: U64) -> Codes:
        """The numbers of the CPUs."""
        return batch.records["cpu"].astype(np.int64)

    def label(self, code: int) -> str:
        """``CPU 0``."""
        return f"CPU {code}"


class ByFunction:
    """By the guest function whose instruction they belong to."""

    needs_ip = True
    only = frozenset[str]()

    def __init__(self, trace: TraceFile) -> None:
        self._functions = FunctionNames(trace)

    def codes(self, batch: Batch, ips: U64) -> Codes:
        """The numbers of the functions."""
        codes, _ = self._functions.of(batch, ips)
        return codes.astype(np.int64)

    def label(self, code: int) -> str:
        """Its name."""
        return self._functions.names[code] or "(before the first instruction)"


class ByProcess:
    """By the process whose task caused them."""

    needs_ip = False
    only = frozenset[str]()

    def __init__(self, trace: TraceFile) -> None:
        self._tasks = TaskNames(trace)
        self._notes = trace.notes
        self._read = 0
        self._last = 0
        self._tgid: dict[int, int] = {}

    def codes(self, batch: Batch, ips: U64) -> Codes:
        """The PIDs of the processes, 0 for the idle tasks."""
        self._last = int(batch.numbers[-1])
        for note in self._notes[self._read :]:
            if note.kind in ("process", "exec"):
                pid = note.fields["pid"]
                self._tgid[pid] = note.fields.get("tgid") or pid
        self._read = len(self._notes)
        tasks, places = np.unique(batch.records["task"], return_inverse=True)
        tgids = np.array([self._tgid.get(task, task) for task in tasks.tolist()], dtype=np.int64)
        found: Codes = tgids[places]
        return found

    def label(self, code: int) -> str:
        """``hello-2``, as ftrace names a task."""
        if code == 0:
            return "(no task)"
        return f"{self._tasks.at(code, self._last) or 'task'}-{code}"


class ByPage:
    """By the 4-KiB page of the address that they are about."""

    needs_ip = False
    only = frozenset(f"event:{name}" for name in _OF_PAGES)

    def __init__(self, trace: TraceFile) -> None:
        self._address = np.full(256, NONE, dtype=np.int64)
        for desc in trace.descs:
            for at, field in enumerate(desc.fields):
                if field in ("address", "ip"):
                    self._address[desc.id] = at

    def codes(self, batch: Batch, ips: U64) -> Codes:
        """The numbers of the pages."""
        records = np.ascontiguousarray(batch.records)
        words = records.view(np.uint64).reshape(len(records), -1)
        at = self._address[records["id"]]
        address = words[np.arange(len(records)), 3 + np.maximum(at, 0)]
        pages = (address >> np.uint64(PAGE_SHIFT)).astype(np.int64)
        found: Codes = np.where(at == NONE, NONE, pages)
        return found

    def label(self, code: int) -> str:
        """Its address."""
        return f"{code << PAGE_SHIFT:#x}"


class BySyscall:
    """By the system call that their task was in."""

    needs_ip = False
    only = frozenset[str]()

    def __init__(self, trace: TraceFile) -> None:
        self._kinds = Kinds(trace.descs)
        self._in: dict[int, int] = {}

    def codes(self, batch: Batch, ips: U64) -> Codes:
        """The numbers of the calls, NONE outside of any; an entry and an exit belong to theirs."""
        records = batch.records
        enter, leave = self._kinds.number("sys_enter"), self._kinds.number("sys_exit")
        found = np.full(len(records), NONE, dtype=np.int64)
        if NO_KIND in (enter, leave):
            return found
        ids, number = records["id"], records["a"].astype(np.int64)
        whose = owners(records)
        for owner in np.unique(whose).tolist():
            at = np.flatnonzero(whose == owner)
            marked = (ids[at] == enter) | (ids[at] == leave)
            latest = np.maximum.accumulate(np.where(marked, np.arange(1, len(at) + 1), 0))
            state = np.where(ids[at] == enter, number[at], NONE)
            codes = np.where(latest > 0, state[latest - 1], self._in.get(owner, NONE))
            self._in[owner] = int(codes[-1])
            codes[ids[at] == leave] = number[at][ids[at] == leave]
            found[at] = codes if pid_of(owner) else NONE
        return found

    def label(self, code: int) -> str:
        """Its name."""
        from cpu.syscalls.numbers import syscall_name

        return syscall_name(code)


GROUPINGS: dict[str, Callable[[TraceFile], Grouping]] = {
    "function": ByFunction,
    "cpu": ByCpu,
    "process": ByProcess,
    "page": ByPage,
    "syscall": BySyscall,
}
"""By what ``ucmmu stats --by`` can group, beside TLB arrays."""
