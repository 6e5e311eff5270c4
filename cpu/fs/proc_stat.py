# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/PID/stat: one line of numbers (do_task_stat() of fs/proc/array.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cpu.fs.proc_task import dispositions, mm_of, parent_pid, state_letter
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
_PTS_MAJOR: Final = 136
"""UNIX98_PTY_SLAVE_MAJOR."""


def proc_stat(task: Task) -> str:
    """The line, of a thread; its faults, times and threads are the process's."""
    process, mm = task.process, mm_of(task)
    counters = task.mm.counters()
    ignored, caught = dispositions(task)
    name = task.comm.decode("utf-8", "surrogateescape")
    major = counters["pgmajfault"]
    c = None if mm is None else mm.c
    fields = [
        *(parent_pid(task), process.pgrp, process.session, *_terminal(task), PF_RANDOMIZE),
        *(counters["pgfault"] - major, 0, major, 0),
        *(process.executed() // TICK_NS, 0, 0, 0),
        *(DEFAULT_PRIO, 0, max(len(process.threads), 1), 0, 0),
        *((0, 0) if mm is None else (mm.c.total_vm * PAGE_SIZE, mm.rss())),
        task.rlimits[Resource.RSS].cur,
        *((0, 0, 0) if c is None else (c.start_code, c.end_code, c.start_stack)),
        *(0, 0),
        *(task.pending.signal | process.shared_pending.signal, task.blocked, ignored, caught),
        *(0, 0, 0, SIGCHLD, 0 if task.rq is None else task.rq.cpu.id),
        *(0, 0, 0, 0, 0),
        *((0, 0, 0) if c is None else (c.start_data, c.end_data, c.start_brk)),
        *((0, 0, 0, 0) if c is None else (c.arg_start, c.arg_end, c.env_start, c.env_end)),
        process.end.status if process.zombie and process.end is not None else 0,
    ]
    text = " ".join(str(field if field < 0 else field & U64) for field in fields)
    return f"{task.pid} ({name}) {state_letter(task)} {text}\n"


def _terminal(task: Task) -> tuple[int, int]:
    """tty_nr and tpgid: the process's terminal, and the group in its foreground; 0 and -1 without
    one.
    """
    tty = task.process.tty
    return (0, -1) if tty is None else (_PTS_MAJOR << 8 | tty.index, tty.pgrp)
