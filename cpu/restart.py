# SPDX-License-Identifier: GPL-2.0-or-later
"""System calls that a signal interrupts, and how they go on (include/linux/errno.h, v6.18).

A handler of a call returns one of these negated, or raises LinuxError with it; user space never
sees them. On the way back to it they mean:

::

                             a handler runs                   no handler runs
    ERESTARTSYS              again if SA_RESTART, else EINTR  again
    ERESTARTNOINTR           again                            again
    ERESTARTNOHAND           EINTR                            again
    ERESTART_RESTARTBLOCK    EINTR                            restart_syscall(): goes on

"Again" is the same call with the same arguments: RIP goes back over SYSCALL, and rax has its
number.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mmu.linux.sched import ERESTARTNOINTR, ERESTARTSYS

if TYPE_CHECKING:
    from cpu.task import Task

ERESTARTNOHAND: Final = 514
ERESTART_RESTARTBLOCK: Final = 516
RESTARTS: Final = frozenset({ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK})

__all__ = [
    "ERESTARTNOHAND",
    "ERESTARTNOINTR",
    "ERESTARTSYS",
    "ERESTART_RESTARTBLOCK",
    "RESTARTS",
    "do_no_restart_syscall",
    "set_restart_fn",
]


def set_restart_fn(task: Task, fn: Callable[[Task], int]) -> int:
    """Have ``fn`` carry the call on if no handler runs; returns -ERESTART_RESTARTBLOCK, for the
    call to return.
    """
    task.restart_fn = fn
    return -ERESTART_RESTARTBLOCK


def do_no_restart_syscall(_task: Task) -> int:
    """What restart_syscall() does where there is nothing to go on with."""
    return -errno.EINTR
