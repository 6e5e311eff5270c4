# SPDX-License-Identifier: GPL-2.0-or-later
"""What a task owes others when it lets go of its address space, in exit() or exec() (mm_release()
of kernel/fork.c, v6.18).
"""

from __future__ import annotations

from contextlib import suppress

from cpu.futex.keys import put_user_u32
from cpu.futex.pi import exit_pi_state_list
from cpu.futex.robust import exit_robust_list
from cpu.futex.waitwake import futex_wake
from cpu.task import Task
from mmu.errors import LinuxError


def exit_mm_release(task: Task) -> None:
    """Futexes that it holds get the mark of a dead owner, whoever joins it is woken, and a parent
    in vfork() goes on. Its address space is still loaded. May wait.
    """
    if task.robust_list:
        exit_robust_list(task)
        task.robust_list = 0
    exit_pi_state_list(task)
    addr, task.clear_child_tid = task.clear_child_tid, 0
    if addr and task.mm.mm_users > 1:
        with suppress(LinuxError):
            put_user_u32(task.mm, addr, 0)
        with suppress(LinuxError):
            futex_wake(task, addr, 1, shared=True)
    complete_vfork_done(task)


def complete_vfork_done(task: Task) -> None:
    """A parent in vfork() has its address space back."""
    done, task.vfork_done = task.vfork_done, None
    if done is not None:
        task.system.scheduler.wake_up(done)
