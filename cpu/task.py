# SPDX-License-Identifier: GPL-2.0-or-later
"""One task: what a system call's handler, a page fault or an exception acts on.

::

    System     time, chance, the order to stop            shared by all tasks
      └── Task     registers (on its vCPU), mm, signals, files, limits, who it is
"""

from __future__ import annotations

import signal
from typing import Final, NoReturn

from cpu.elf import Executable
from cpu.files import GID, UID, FileSystem, FileTable
from cpu.signals import (
    Action,
    SignalReport,
    SignalState,
    default_action,
    sigmask,
    signal_name,
)
from cpu.system import System
from cpu.vcpu import VCpu
from mmu.linux.mm import Mm
from mmu.x86.check import ChangedBy

FIRST_PID: Final = 1000
TASK_COMM_LEN: Final = 16
"""Bytes of a task's name with the zero behind it (include/linux/sched.h)."""


class TaskEnd(Exception):
    """Ends a task: raised by whatever the task did last, caught by the loop that runs it.

    ``exit_code`` is as a shell shows it, ``ended`` one of "exit", "signal" and "stopped";
    ``report`` tells of the signal, if one ended it.
    """

    def __init__(self, exit_code: int, ended: str, report: SignalReport | None = None) -> None:
        super().__init__(ended)
        self.exit_code = exit_code
        self.ended = ended
        self.report = report


class Task:
    """A task_struct: the only thread of its process.

    ``vcpu`` has its registers while it runs; ``mm``, ``files``, ``fs``, ``signals`` and ``rlimits``
    are what clone() could share. ``exe`` is the program, ``own_links`` the names of the link to it
    in /proc; ``comm`` is its name, at most TASK_COMM_LEN - 1 bytes.
    """

    uid, gid = UID, GID

    def __init__(
        self,
        system: System,
        vcpu: VCpu,
        mm: Mm,
        exe: Executable,
        files: FileTable,
        fs: FileSystem,
        *,
        pid: int = FIRST_PID,
        own_links: frozenset[str] = frozenset(),
    ) -> None:
        self.system = system
        self.vcpu = vcpu
        self.mm = mm
        self.exe = exe
        self.files = files
        self.fs = fs
        self.pid = pid
        self.own_links = own_links
        self.rlimits = mm.rlimit
        self.signals = SignalState()
        self.comm = comm_of(exe)

    def entered_kernel(self, by: ChangedBy, detail: int, rip: int) -> None:
        """Say on whose behalf tables change from here on, to the stale-translation checker, if
        there is one: ``detail`` is the system call's number or the fault's address.
        """
        check = self.vcpu.mmu.check
        if check is not None:
            check.enter(by, detail, rip, self.vcpu.instructions)

    # The end.

    def exit(self, status: int) -> NoReturn:
        """End the task with this status, 0 to 255."""
        raise TaskEnd(status, "exit")

    def kill(
        self,
        signo: int,
        code: str,
        reason: str,
        *,
        address: int | None = None,
        walk: str = "",
        at: int | None = None,
    ) -> NoReturn:
        """End the task by a signal; the arguments are those of SignalReport.

        ``at`` is the instruction to show, if that is not the one at RIP.
        """
        rip = self.vcpu.rip
        report = SignalReport(
            signo=signo,
            code=code,
            reason=reason,
            rip=rip,
            address=address,
            instruction=self._disassemble(rip if at is None else at),
            walk=walk,
            handler=self.signals.action(signo).handler,
        )
        raise TaskEnd(128 + signo, "signal", report)

    def deadlock(self, what: str) -> NoReturn:
        """End a task that waits for what can never come, as if it had been killed."""
        self.kill(signal.SIGKILL, "SI_KERNEL", what)

    def _disassemble(self, rip: int) -> str:
        from cpu.disasm import disassemble_one

        code = self.vcpu.peek(rip)
        return disassemble_one(code, rip) if code else ""

    # Signals.

    def send_signal(self, signo: int) -> None:
        """Send a signal to the task: it is dropped, waits while blocked, or acts by default.

        Raises TaskEnd if it ends the task.
        """
        if self.signals.ignores(signo):
            return
        self.signals.pending |= sigmask(signo)
        self.deliver_signals()

    def deliver_signals(self) -> None:
        """Let every pending signal that is not blocked act. Raises TaskEnd if one ends the task."""
        while (signo := self.signals.take_deliverable()) is not None:
            action = default_action(signo)
            if action is Action.IGNORE:
                handler = self.signals.action(signo).handler
                self.system.notes.add(
                    f"{signal_name(signo)} was sent; its handler at {handler:#x} was not run:"
                    " signals act by default here"
                )
                continue
            reason = "sent by the guest itself"
            if action is Action.STOP:
                reason += "; it would stop a process for good, since nobody could continue it"
            self.kill(signo, "SI_USER", reason)


def comm_of(exe: Executable) -> bytes:
    """Return the name that exec() gives a task: the last part of the program's path."""
    name = exe.path.rpartition("/")[2]
    return name.encode("utf-8", "surrogateescape")[: TASK_COMM_LEN - 1]
