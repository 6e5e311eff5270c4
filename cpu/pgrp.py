# SPDX-License-Identifier: GPL-2.0-or-later
"""Process groups and sessions (kernel/exit.c, kernel/sys.c, v6.18)."""

from __future__ import annotations

import signal
from contextlib import suppress

from cpu.siginfo import SigInfo
from cpu.signal_send import kill_pgrp
from cpu.task import Process, System
from mmu.errors import LinuxError

INIT_PGRP = 1
"""Process group, session and number of init, which is the parent of who has no other."""


def members(system: System, pgrp: int) -> list[Process]:
    """The processes of a group, zombies included."""
    return [process for process in system.alive() if process.pgrp == pgrp]


def kill_orphaned_pgrp(process: Process, parent: Process | None) -> None:
    """If the group of ``process`` loses its last way to job control, and has stopped processes,
    they get SIGHUP and SIGCONT.

    The process ends (``parent`` None), or loses ``parent``, which ends.
    """
    ignored = process if parent is None else None
    if parent is None:
        parent = process.parent
    parent_pgrp = INIT_PGRP if parent is None else parent.pgrp
    parent_session = INIT_PGRP if parent is None else parent.session
    pgrp, system = process.pgrp, process.system
    if (
        parent_pgrp != pgrp
        and parent_session == process.session
        and will_become_orphaned_pgrp(system, pgrp, ignored)
        and has_stopped_jobs(system, pgrp)
    ):
        with suppress(LinuxError):
            kill_pgrp(SigInfo.kernel(signal.SIGHUP), system, pgrp)
            kill_pgrp(SigInfo.kernel(signal.SIGCONT), system, pgrp)


def will_become_orphaned_pgrp(system: System, pgrp: int, ignored: Process | None) -> bool:
    """Whether no process of the group but ``ignored`` has a parent in another group of the same
    session.
    """
    for process in members(system, pgrp):
        parent = process.parent
        if process is ignored or process.zombie or parent is None:
            continue
        if parent.pgrp != pgrp and parent.session == process.session:
            return False
    return True


def has_stopped_jobs(system: System, pgrp: int) -> bool:
    """Whether a process of the group is stopped."""
    return any(process.stop.stopped for process in members(system, pgrp))
