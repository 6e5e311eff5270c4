# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/PID/stat: one line of numbers (do_task_stat() of fs/proc/array.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cpu.proc_task import dispositions, parent_pid, state_letter
from mmu.linux.resource import Resource
from mmu.units import PAGE_SIZE, U64

if TYPE_CHECKING:
    from cpu.task import Task

USER_HZ: Final = 100
"""Ticks a second of the times that /proc tells."""
TICK_NS: Final = 10**9 // USER_HZ
PF_RANDOMIZE: Final = 0x400000
SIGCHLD: Final = 17
DEFAULT_PRIO: Final = 20


def proc_stat(task: Task) -> str:
    """The line, of a thread; its faults, times and threads are the process's."""
    process, mm = task.process, task.mm
    c, counters = mm.c, mm.counters()
    ignored, caught = dispositions(task)
    name = task.comm.decode("utf-8", "surrogateescape")
    major = counters["pgmajfault"]
    fields = [
        *(parent_pid(task), process.pgrp, process.session, 0, -1, PF_RANDOMIZE),
        *(counters["pgfault"] - major, 0, major, 0),
        *(process.executed() // TICK_NS, 0, 0, 0),
        *(DEFAULT_PRIO, 0, len(process.threads), 0, 0),
        *(c.total_vm * PAGE_SIZE, mm.rss(), task.rlimits[Resource.RSS].cur),
        *(c.start_code, c.end_code, c.start_stack, 0, 0),
        *(task.pending.signal | process.shared_pending.signal, task.blocked, ignored, caught),
        *(0, 0, 0, SIGCHLD, 0 if task.rq is None else task.rq.cpu.id),
        *(0, 0, 0, 0, 0),
        *(c.start_data, c.end_data, c.start_brk),
        *(c.arg_start, c.arg_end, c.env_start, c.env_end),
        0,
    ]
    text = " ".join(str(field if field < 0 else field & U64) for field in fields)
    return f"{task.pid} ({name}) {state_letter(task)} {text}\n"
