# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for children: wait4(), waitid() (do_wait() of kernel/exit.c, v6.18).

::

    status word    exited: status << 8     killed: the signal     stopped: signal << 8 | 0x7f
                   continued: 0xffff
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cpu.exit import release_process
from cpu.restart import ERESTARTSYS
from cpu.rusage import Rusage
from cpu.siginfo import CLD_CONTINUED, CLD_EXITED, CLD_KILLED, CLD_STOPPED, CLD_TRAPPED
from cpu.task import Process, Task
from cpu.traced import tracees
from cpu.usage import rusage_of, rusage_of_thread
from mmu.errors import LinuxError
from mmu.linux.sched import Sleep

WNOHANG: Final = 1
WUNTRACED: Final = 2
WSTOPPED: Final = WUNTRACED
WEXITED: Final = 4
WCONTINUED: Final = 8
WNOWAIT: Final = 0x01000000
WNOTHREAD: Final = 0x20000000
WALL: Final = 0x40000000
WCLONE: Final = 0x80000000
STOPPED_STATUS: Final = 0x7F
CONTINUED_STATUS: Final = 0xFFFF


@dataclass
class Waited:
    """What was waited for: ``status`` is wait4()'s word; ``code`` is CLD_*, ``value`` the exit
    status or the signal.
    """

    pid: int
    uid: int
    status: int
    code: int
    value: int
    usage: Rusage


@dataclass(frozen=True)
class Tracee:
    """A thread that is traced, as those see it who wait for it."""

    task: Task

    @property
    def pid(self) -> int:
        """Its own number."""
        return self.task.pid

    @property
    def pgrp(self) -> int:
        """Its process's group."""
        return self.task.process.pgrp


Wanted = Callable[["Process | Tracee"], bool]


def do_wait(task: Task, wanted: Wanted, options: int) -> Waited | None:
    """Wait for a child that is ``wanted`` to change as ``options`` say; None: none has (WNOHANG).

    ECHILD: there is no such child. ERESTARTSYS: a signal came.
    """
    found: list[Waited] = []

    def look() -> bool:
        children = [child for child in _children(task, options) if wanted(child)]
        children = [child for child in children if _eligible(child, options)]
        expected = False
        for tracee in tracees(task.process):
            if wanted(Tracee(tracee)):
                stopped = _wait_stopped_tracee(tracee, options)
                if stopped is not None:
                    found.append(stopped)
                    return True
                expected = True
        for child in children:
            waited = _consider(task, child, options)
            if waited is not None:
                found.append(waited)
                return True
            expected |= not child.zombie or bool(options & WEXITED)
        if not expected:
            raise LinuxError(errno.ECHILD)
        return bool(options & WNOHANG)

    result = task.system.scheduler.wait_event(
        task.process.wait_chldexit, look, "a child", sleep=Sleep.INTERRUPTIBLE
    )
    if result:
        raise LinuxError(ERESTARTSYS)
    return found[0] if found else None


def _children(task: Task, options: int) -> list[Process]:
    children = list(task.process.children)
    if options & WNOTHREAD:
        return [child for child in children if child.parent_task is task]
    return children


def _eligible(child: Process, options: int) -> bool:
    """Whether it is the kind of child: one whose end is told by SIGCHLD, or another (__WCLONE)."""
    if options & WALL:
        return True
    return (child.exit_signal != signal.SIGCHLD) == bool(options & WCLONE)


def _consider(task: Task, child: Process, options: int) -> Waited | None:
    """wait_consider_task(): what can be told of the child, which is then told."""
    if child.zombie:
        return _wait_zombie(task, child, options) if options & WEXITED else None
    stop = child.stop_code
    if stop and options & WUNTRACED:
        if not options & WNOWAIT:
            child.stop_code = 0
        return _waited(child, stop << 8 | STOPPED_STATUS, CLD_STOPPED, stop)
    if child.stop_continued and options & WCONTINUED:
        if not options & WNOWAIT:
            child.stop_continued = False
        return _waited(child, CONTINUED_STATUS, CLD_CONTINUED, signal.SIGCONT)
    return None


def _wait_stopped_tracee(tracee: Task, options: int) -> Waited | None:
    """What is told of a tracee: that it stands still, once (wait_task_stopped())."""
    traced = tracee.traced
    if traced is None or not traced.signo or traced.told:
        return None
    if not options & WNOWAIT:
        traced.told = True
    signo = traced.signo
    usage = rusage_of_thread(tracee)
    status = signo << 8 | STOPPED_STATUS
    return Waited(tracee.pid, tracee.uid, status, CLD_TRAPPED, signo, usage)


def _wait_zombie(task: Task, child: Process, options: int) -> Waited:
    assert child.end is not None
    status = child.end.status
    killer = status & 0x7F
    waited = _waited(
        child, status, CLD_KILLED if killer else CLD_EXITED, killer or status >> 8 & 0xFF
    )
    if not options & WNOWAIT:
        total = task.process.rusage_children
        total.add(waited.usage)
        release_process(child)
    return waited


def _waited(child: Process, status: int, code: int, value: int) -> Waited:
    usage = rusage_of(child)
    usage.add(child.rusage_children)
    return Waited(child.pid, child.leader.uid, status, code, int(value), usage)
