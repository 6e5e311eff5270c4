# SPDX-License-Identifier: GPL-2.0-or-later
"""Terminals, sessions and process groups (drivers/tty/tty_jobctrl.c, v6.18).

The session of the user's own terminal has its leader outside of the machine: the end of the first
process does not hang it up.
"""

from __future__ import annotations

import errno
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from cpu.fs.files import O_ACCMODE, O_NOCTTY, O_WRONLY, OpenFile
from cpu.fs.pseudo_fs import Inode
from cpu.fs.pty import DevPts, PtySlave, tty_device
from cpu.fs.tty import JobControl, Tty
from cpu.pgrp import will_become_orphaned_pgrp
from cpu.siginfo import SigInfo
from cpu.signal_send import group_send_sig_info, kill_pgrp
from cpu.signals import SIG_IGN, sigmask
from cpu.task import Task
from mmu.errors import LinuxError
from mmu.linux.sched import ERESTARTSYS

if TYPE_CHECKING:
    from cpu.task import Process, System


TTY_GID = 5
"""The group that terminals belong to."""


class TtyJobControl(JobControl):
    """The sessions and groups of a machine."""

    def __init__(self, system: System) -> None:
        self._system = system

    def _process(self) -> Process | None:
        task = self._system.scheduler.current
        return task.process if isinstance(task, Task) else None

    def check_change(self, tty: Tty, signo: int) -> None:
        """__tty_check_change()."""
        task = self._system.scheduler.current
        if not isinstance(task, Task):
            return
        process = task.process
        if process.tty is not tty or not tty.pgrp or process.pgrp == tty.pgrp:
            return
        handler = task.sighand.action(signo).handler
        if task.blocked & sigmask(signo) or handler == SIG_IGN:
            if signo == signal.SIGTTIN:
                raise LinuxError(errno.EIO)
            return
        if will_become_orphaned_pgrp(self._system, process.pgrp, None):
            raise LinuxError(errno.EIO)
        self.signal_pgrp(process.pgrp, signo)
        raise LinuxError(ERESTARTSYS)

    def owner(self) -> tuple[int, int]:
        """Of who makes the system call that is under way."""
        task = self._system.scheduler.current
        return (task.cred.fsuid if isinstance(task, Task) else os.getuid(), TTY_GID)

    def signal_pgrp(self, pgrp: int, signo: int) -> None:
        """Of the kernel's own."""
        if pgrp:
            with suppress(LinuxError):
                kill_pgrp(SigInfo.kernel(signo), self._system, pgrp)

    def hang_up(self, tty: Tty, *, exit_session: bool = False) -> None:
        """tty_signal_session_leader(): with ``exit_session`` the foreground group hears too."""
        if not tty.session:
            return
        for process in self._system.alive():
            if process.session != tty.session:
                continue
            if process.tty is tty:
                process.tty = None
            if process.pid == process.session:
                for signo in (signal.SIGHUP, signal.SIGCONT):
                    with suppress(LinuxError):
                        group_send_sig_info(SigInfo.kernel(signo), process)
                process.tty_old_pgrp = tty.pgrp
        if exit_session:
            self.signal_pgrp(tty.pgrp, signal.SIGHUP)

    def opened(self, tty: Tty, flags: int) -> None:
        """tty_open_proc_set_tty(): the first that a leader without one opens becomes its
        controlling terminal.
        """
        process = self._process()
        if process is None or flags & O_NOCTTY or flags & O_ACCMODE == O_WRONLY:
            return
        if process.pid == process.session and process.tty is None and not tty.session:
            set_ctty(tty, process)


def set_ctty(tty: Tty, process: Process) -> None:
    """proc_set_tty()."""
    tty.session, tty.pgrp = process.session, process.pgrp
    process.tty = tty


def disassociate_ctty(process: Process, *, on_exit: bool) -> None:
    """A session's leader ends, or lets go of its terminal."""
    tty, system = process.tty, process.system
    if tty is None:
        if on_exit and process.tty_old_pgrp:
            for signo in (signal.SIGHUP, signal.SIGCONT):
                tty_jobs(system).signal_pgrp(process.tty_old_pgrp, signo)
        return
    jobs = tty_jobs(system)
    if isinstance(tty, PtySlave) and on_exit:
        jobs.hang_up(tty, exit_session=True)
        tty.hang_up()
    elif not on_exit:
        for signo in (signal.SIGHUP, signal.SIGCONT):
            jobs.signal_pgrp(tty.pgrp, signo)
    else:
        return
    tty.session = tty.pgrp = 0
    for other in system.alive():
        if other.session == process.session:
            other.tty = None


def tty_jobs(system: System) -> TtyJobControl:
    """The machine's."""
    assert isinstance(system.tty_jobs, TtyJobControl)
    return system.tty_jobs


def tty_devices(system: System) -> dict[str, Inode]:
    """What of /dev is terminals: tty, ptmx, pts."""
    jobs = TtyJobControl(system)
    system.tty_jobs = jobs
    pts = system.devpts = DevPts(system.scheduler, jobs, jobs.opened)

    def open_tty(flags: int) -> OpenFile:
        process = jobs._process()
        if process is None or process.tty is None:
            raise LinuxError(errno.ENXIO)
        return pts.open_slave(process.tty, flags | O_NOCTTY)

    return {
        "tty": tty_device(open_tty, 5, 0),
        "ptmx": tty_device(pts.open_master, 5, 2),
        "pts": pts,
    }
