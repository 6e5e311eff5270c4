# SPDX-License-Identifier: GPL-2.0-or-later
"""membarrier(2) (kernel/sched/membarrier.c, v6.18).

A store is seen by all CPUs at once here, so what is left of a barrier is that each CPU which runs a
thread of the process is interrupted, and has acknowledged it when the call returns.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Final

from cpu.syscalls.registry import s32, syscall
from cpu.task import Task
from mmu.errors import LinuxError
from mmu.linux.rcupdate import synchronize_rcu
from mmu.linux.smp import smp_call_function_many_cond
from mmu.units import U32

QUERY: Final = 0
GLOBAL: Final = 1
GLOBAL_EXPEDITED: Final = 2
REGISTER_GLOBAL_EXPEDITED: Final = 4
PRIVATE_EXPEDITED: Final = 8
REGISTER_PRIVATE_EXPEDITED: Final = 16
PRIVATE_EXPEDITED_SYNC_CORE: Final = 32
REGISTER_PRIVATE_EXPEDITED_SYNC_CORE: Final = 64
GET_REGISTRATIONS: Final = 512
COMMANDS: Final = 0x27F
"""All that exist without CONFIG_RSEQ."""
_REGISTER: Final = {
    REGISTER_GLOBAL_EXPEDITED: GLOBAL_EXPEDITED,
    REGISTER_PRIVATE_EXPEDITED: PRIVATE_EXPEDITED,
    REGISTER_PRIVATE_EXPEDITED_SYNC_CORE: PRIVATE_EXPEDITED_SYNC_CORE,
}
"""The command that each makes possible."""


@syscall("membarrier")
def sys_membarrier(task: Task, command: int, flags: int, _cpu: int, *_: int) -> int:
    """membarrier(2)."""
    command = s32(command)
    if flags & U32 or (command and command & COMMANDS != command) or command & (command - 1):
        raise LinuxError(errno.EINVAL)
    registered = task.mm.membarrier_state
    if command == QUERY:
        return COMMANDS
    if command == GET_REGISTRATIONS:
        return sum(name for name, allows in _REGISTER.items() if registered & allows)
    if command in _REGISTER:
        task.mm.membarrier_state |= _REGISTER[command]
        return 0
    kernel = task.system.kernel
    if command == GLOBAL:
        if len(kernel.cpus) > 1:
            synchronize_rcu(kernel)
    elif command == GLOBAL_EXPEDITED:
        _interrupt(task, lambda other: bool(other.mm.membarrier_state & GLOBAL_EXPEDITED))
    else:
        if not registered & command:
            raise LinuxError(errno.EPERM)
        _interrupt(task, lambda other: other.mm is task.mm)
    return 0


def _interrupt(task: Task, wanted: Callable[[Task], bool]) -> None:
    """ipi_mb() on each other CPU that runs such a thread. May wait."""
    system, own = task.system, task.rq
    mask = 0
    for rq in system.scheduler.rqs:
        current = rq.curr
        if rq is not own and isinstance(current, Task) and not current.exited_mm:
            mask |= wanted(current) << rq.cpu.id
    if mask:
        smp_call_function_many_cond(system.kernel, mask, _ipi_mb)


def _ipi_mb(_info: object) -> None:
    """smp_mb(): the interrupt alone is what counts."""
