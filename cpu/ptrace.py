# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether one task may look into another (kernel/ptrace.c, v6.18)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpu.cred import CAP_SYS_PTRACE

if TYPE_CHECKING:
    from cpu.task import Task


def may_access(task: Task, other: Task) -> bool:
    """__ptrace_may_access(): threads of one process may; else IDs and capabilities decide, and
    whether the other may be dumped (PR_SET_DUMPABLE).
    """
    if task.process is other.process:
        return True
    if not task.cred.may_trace(other.cred):
        return False
    return other.process.dumpable == 1 or task.cred.capable(CAP_SYS_PTRACE)
