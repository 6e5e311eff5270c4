# SPDX-License-Identifier: GPL-2.0-or-later
"""Resource limits: getrlimit(), setrlimit(), prlimit(). docs/architecture.md says which of them
bind, and where.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from cpu.cred import CAP_SYS_RESOURCE
from cpu.rlimit_cpu import update_rlimit_cpu
from cpu.syscalls.registry import s32, syscall
from mmu.errors import LinuxError
from mmu.linux.resource import Resource, Rlimit
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.task import Process, Task

_RLIMIT = struct.Struct("<QQ")


def _read_rlimit(task: Task, addr: int) -> Rlimit:
    return Rlimit(*_RLIMIT.unpack(task.mm.copy_from_user(addr, _RLIMIT.size)))


def _do_prlimit(process: Process, resource: int, new: Rlimit | None, *, capable: bool) -> Rlimit:
    was = process.rlimits.do_prlimit(resource, new, capable=capable)
    if new is not None and resource == Resource.CPU:
        update_rlimit_cpu(process)
    return was


@syscall("prlimit64")
def sys_prlimit64(task: Task, pid: int, resource: int, new: int, old: int, *_: int) -> int:
    """prlimit(2). EPERM: a process of another user's (check_prlimit_permission())."""
    wanted = _read_rlimit(task, new) if new else None
    other = task.system.tasks.get(s32(pid)) if s32(pid) else task
    if other is None:
        raise LinuxError(errno.ESRCH)
    capable, its = task.cred.capable(CAP_SYS_RESOURCE), other.cred
    same = {its.uid, its.euid, its.suid} == {task.cred.uid} and {its.gid, its.egid, its.sgid} == {
        task.cred.gid
    }
    if other.process is not task.process and not same and not capable:
        raise LinuxError(errno.EPERM)
    was = _do_prlimit(other.process, resource & U32, wanted, capable=capable)
    if old:
        task.mm.copy_to_user(old, _RLIMIT.pack(*was))
    return 0


@syscall("getrlimit")
def sys_getrlimit(task: Task, resource: int, old: int, *_: int) -> int:
    """getrlimit(2)."""
    was = task.rlimits.do_prlimit(resource & U32, None)
    task.mm.copy_to_user(old, _RLIMIT.pack(*was))
    return 0


@syscall("setrlimit")
def sys_setrlimit(task: Task, resource: int, new: int, *_: int) -> int:
    """setrlimit(2)."""
    capable = task.cred.capable(CAP_SYS_RESOURCE)
    _do_prlimit(task.process, resource & U32, _read_rlimit(task, new), capable=capable)
    return 0
