# SPDX-License-Identifier: GPL-2.0-or-later
"""Who and where the process is: constants of this machine."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from cpu.syscalls.registry import syscall
from mmu.units import PAGE_SIZE

if TYPE_CHECKING:
    from cpu.task import Task

UTS_FIELDS = ("Linux", "ucmmu", "6.18.0", "#1 SMP PREEMPT_DYNAMIC", "x86_64", "(none)")


@syscall("getpid")
def sys_getpid(task: Task, *_: int) -> int:
    """getpid(2)."""
    return task.tgid


@syscall("gettid")
def sys_gettid(task: Task, *_: int) -> int:
    """gettid(2)."""
    return task.pid


@syscall("getppid")
def sys_getppid(task: Task, *_: int) -> int:
    """getppid(2): init is the first process's parent."""
    parent = task.process.parent
    return 1 if parent is None else parent.pid


@syscall("getuid", "geteuid")
def sys_getuid(task: Task, *_: int) -> int:
    """getuid(2), geteuid(2)."""
    return task.uid


@syscall("getgid", "getegid")
def sys_getgid(task: Task, *_: int) -> int:
    """getgid(2), getegid(2)."""
    return task.gid


@syscall("uname")
def sys_uname(task: Task, buffer: int, *_: int) -> int:
    """uname(2)."""
    task.mm.copy_to_user(buffer, b"".join(field.encode().ljust(65, b"\0") for field in UTS_FIELDS))
    return 0


@syscall("sysinfo")
def sys_sysinfo(task: Task, buffer: int, *_: int) -> int:
    """sysinfo(2)."""
    memory = task.mm.memory
    uptime = task.system.clock.now_ns() // 10**9
    free = int(memory.c.nr_free) * PAGE_SIZE
    procs = min(len(task.system.tasks), 0xFFFF)
    task.mm.copy_to_user(
        buffer,
        struct.pack(
            "<q3QQQQQQQHHxxxxQQI4x",
            uptime,
            0,
            0,
            0,
            memory.size,
            free,
            0,
            0,
            0,
            0,
            procs,
            0,
            0,
            0,
            1,
        ),
    )
    return 0
