# SPDX-License-Identifier: GPL-2.0-or-later
"""Who and where the process is: constants of this machine."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from cpu.files import RLIMIT_NOFILE
from cpu.syscalls.registry import s32, syscall
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.process import LinuxProcess

RLIM_INFINITY = (1 << 64) - 1
NR_LIMITS = 16
RLIMIT_STACK_NR, RLIMIT_CORE_NR, RLIMIT_NOFILE_NR = 3, 4, 7
STACK_LIMIT = 8 << 20
UTS_FIELDS = ("Linux", "ucmmu", "6.18.0", "#1 SMP PREEMPT_DYNAMIC", "x86_64", "(none)")


@syscall("getpid", "gettid", "getpgrp")
def sys_getpid(p: LinuxProcess, *_: int) -> int:
    """getpid(2), gettid(2), getpgrp(2): one thread, alone in its group."""
    return p.pid


@syscall("getppid")
def sys_getppid(_p: LinuxProcess, *_: int) -> int:
    """getppid(2): init's child."""
    return 1


@syscall("getuid", "geteuid")
def sys_getuid(p: LinuxProcess, *_: int) -> int:
    """getuid(2), geteuid(2)."""
    return p.uid


@syscall("getgid", "getegid")
def sys_getgid(p: LinuxProcess, *_: int) -> int:
    """getgid(2), getegid(2)."""
    return p.gid


@syscall("uname")
def sys_uname(p: LinuxProcess, buffer: int, *_: int) -> int:
    """uname(2)."""
    p.mm.copy_to_user(buffer, b"".join(field.encode().ljust(65, b"\0") for field in UTS_FIELDS))
    return 0


@syscall("sysinfo")
def sys_sysinfo(p: LinuxProcess, buffer: int, *_: int) -> int:
    """sysinfo(2)."""
    memory = p.mm.memory
    uptime = p.clock.now_ns() // 10**9
    free = int(memory.c.nr_free) * 4096
    p.mm.copy_to_user(
        buffer,
        struct.pack("<q3QQQQQQQHHxxxxQQI4x", uptime, 0, 0, 0, memory.size, free, 0, 0, 0, 0, 1, 0, 0, 0, 1),
    )
    return 0


def _limit(resource: int) -> tuple[int, int]:
    """Soft and hard limit."""
    if not 0 <= s32(resource) < NR_LIMITS:
        raise LinuxError(errno.EINVAL)
    if s32(resource) == RLIMIT_STACK_NR:
        return STACK_LIMIT, RLIM_INFINITY
    if s32(resource) == RLIMIT_CORE_NR:
        return 0, 0
    if s32(resource) == RLIMIT_NOFILE_NR:
        return RLIMIT_NOFILE, RLIMIT_NOFILE
    return RLIM_INFINITY, RLIM_INFINITY


@syscall("prlimit64")
def sys_prlimit64(p: LinuxProcess, pid: int, resource: int, new: int, old: int, *_: int) -> int:
    """prlimit(2): limits can be read; setting one to anything else is refused, for none could be kept."""
    if s32(pid) not in (0, p.pid):
        raise LinuxError(errno.ESRCH)
    limit = _limit(resource)
    if new and struct.unpack("<QQ", p.mm.copy_from_user(new, 16)) != limit:
        raise LinuxError(errno.EPERM)
    if old:
        p.mm.copy_to_user(old, struct.pack("<QQ", *limit))
    return 0


@syscall("getrlimit")
def sys_getrlimit(p: LinuxProcess, resource: int, old: int, *_: int) -> int:
    """getrlimit(2)."""
    return sys_prlimit64(p, 0, resource, 0, old)
