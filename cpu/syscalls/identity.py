# SPDX-License-Identifier: GPL-2.0-or-later
"""Who the process is and may become, and the machine's name and size."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from cpu import cred
from cpu.syscalls.registry import s32, syscall
from cpu.uts import NEW_UTS_LEN
from mmu.errors import LinuxError
from mmu.units import PAGE_SIZE, U32

if TYPE_CHECKING:
    from cpu.cred import Cred
    from cpu.task import Task


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


@syscall("getuid")
def sys_getuid(task: Task, *_: int) -> int:
    """getuid(2)."""
    return task.cred.uid


@syscall("geteuid")
def sys_geteuid(task: Task, *_: int) -> int:
    """geteuid(2)."""
    return task.cred.euid


@syscall("getgid")
def sys_getgid(task: Task, *_: int) -> int:
    """getgid(2)."""
    return task.cred.gid


@syscall("getegid")
def sys_getegid(task: Task, *_: int) -> int:
    """getegid(2)."""
    return task.cred.egid


@syscall("getresuid")
def sys_getresuid(task: Task, ruid: int, euid: int, suid: int, *_: int) -> int:
    """getresuid(2)."""
    cred = task.cred
    return _put_ids(task, (ruid, cred.uid), (euid, cred.euid), (suid, cred.suid))


@syscall("getresgid")
def sys_getresgid(task: Task, rgid: int, egid: int, sgid: int, *_: int) -> int:
    """getresgid(2)."""
    cred = task.cred
    return _put_ids(task, (rgid, cred.gid), (egid, cred.egid), (sgid, cred.sgid))


def _put_ids(task: Task, *ids: tuple[int, int]) -> int:
    for addr, value in ids:
        task.mm.copy_to_user(addr, struct.pack("<I", value))
    return 0


def commit_creds(task: Task, new: Cred) -> int:
    """Make the task who ``new`` says. One who has become another can be looked into by nobody, and
    hears no more of its parent's death (commit_creds()).
    """
    old, task.cred = task.cred, new
    if new.is_another(old):
        task.process.dumpable = 0
        task.pdeath_signal = 0
    return 0


@syscall("setuid")
def sys_setuid(task: Task, uid: int, *_: int) -> int:
    """setuid(2)."""
    return commit_creds(task, cred.setuid(task.cred, uid & U32))


@syscall("setgid")
def sys_setgid(task: Task, gid: int, *_: int) -> int:
    """setgid(2)."""
    return commit_creds(task, cred.setgid(task.cred, gid & U32))


@syscall("setreuid")
def sys_setreuid(task: Task, ruid: int, euid: int, *_: int) -> int:
    """setreuid(2)."""
    return commit_creds(task, cred.setreuid(task.cred, ruid & U32, euid & U32))


@syscall("setregid")
def sys_setregid(task: Task, rgid: int, egid: int, *_: int) -> int:
    """setregid(2)."""
    return commit_creds(task, cred.setregid(task.cred, rgid & U32, egid & U32))


@syscall("setresuid")
def sys_setresuid(task: Task, ruid: int, euid: int, suid: int, *_: int) -> int:
    """setresuid(2)."""
    return commit_creds(task, cred.setresuid(task.cred, ruid & U32, euid & U32, suid & U32))


@syscall("setresgid")
def sys_setresgid(task: Task, rgid: int, egid: int, sgid: int, *_: int) -> int:
    """setresgid(2)."""
    return commit_creds(task, cred.setresgid(task.cred, rgid & U32, egid & U32, sgid & U32))


@syscall("setfsuid")
def sys_setfsuid(task: Task, uid: int, *_: int) -> int:
    """setfsuid(2): the ID there was, whether it changes or not."""
    old = task.cred.fsuid
    commit_creds(task, cred.setfsuid(task.cred, uid & U32))
    return old


@syscall("setfsgid")
def sys_setfsgid(task: Task, gid: int, *_: int) -> int:
    """setfsgid(2): the ID there was, whether it changes or not."""
    old = task.cred.fsgid
    commit_creds(task, cred.setfsgid(task.cred, gid & U32))
    return old


@syscall("getgroups")
def sys_getgroups(task: Task, size: int, addr: int, *_: int) -> int:
    """getgroups(2): how many supplementary groups there are; of size 0 only that."""
    size, groups = s32(size), task.cred.groups
    if size < 0 or 0 < size < len(groups):
        raise LinuxError(errno.EINVAL)
    if size:
        task.mm.copy_to_user(addr, struct.pack(f"<{len(groups)}I", *groups))
    return len(groups)


@syscall("setgroups")
def sys_setgroups(task: Task, size: int, addr: int, *_: int) -> int:
    """setgroups(2)."""
    cred.setgroups(task.cred, ())
    size &= U32
    if size > cred.NGROUPS_MAX:
        raise LinuxError(errno.EINVAL)
    groups = struct.unpack(f"<{size}I", task.mm.copy_from_user(addr, 4 * size))
    if cred.UNCHANGED in groups:
        raise LinuxError(errno.EINVAL)
    return commit_creds(task, cred.setgroups(task.cred, groups))


# Capabilities (kernel/capability.c).

CAPABILITY_U32S: Final = {0x19980330: 1, 0x20071026: 2, 0x20080522: 2}
"""By version: how many struct __user_cap_data_struct a set takes."""
CAPABILITY_VERSION: Final = 0x20080522


def _cap_header(task: Task, header: int, data: int) -> tuple[int, int] | None:
    """The number of words and the PID that the header says. None: the version is none of ours, ours
    is written there instead, and nobody asked for more (cap_validate_magic()). EINVAL.
    """
    version, pid = struct.unpack("<Ii", task.mm.copy_from_user(header, 8))
    words = CAPABILITY_U32S.get(version)
    if words is None:
        task.mm.copy_to_user(header, struct.pack("<I", CAPABILITY_VERSION))
        if data:
            raise LinuxError(errno.EINVAL)
        return None
    return words, pid


@syscall("capget")
def sys_capget(task: Task, header: int, data: int, *_: int) -> int:
    """capget(2): the effective, permitted and inheritable set of a thread."""
    asked = _cap_header(task, header, data)
    if asked is None:
        return 0
    words, pid = asked
    if pid < 0:
        raise LinuxError(errno.EINVAL)
    other = task.system.tasks.get(pid) if pid else task
    if other is None:
        raise LinuxError(errno.ESRCH)
    its = other.cred
    sets = (its.cap_effective, its.cap_permitted, its.cap_inheritable)
    if data:
        halves = [one >> 32 * word & U32 for word in range(words) for one in sets]
        task.mm.copy_to_user(data, struct.pack(f"<{3 * words}I", *halves))
    return 0


@syscall("capset")
def sys_capset(task: Task, header: int, data: int, *_: int) -> int:
    """capset(2), of the caller alone: EPERM for another."""
    asked = _cap_header(task, header, 1)
    assert asked is not None
    words, pid = asked
    if pid not in (0, task.pid):
        raise LinuxError(errno.EPERM)
    halves = struct.unpack(f"<{3 * words}I", task.mm.copy_from_user(data, 12 * words))
    sets = [
        sum(halves[3 * word + which] << 32 * word for word in range(words)) & cred.CAP_FULL_SET
        for which in range(3)
    ]
    effective, permitted, inheritable = sets
    return commit_creds(task, cred.capset(task.cred, effective, inheritable, permitted))


# The machine.


@syscall("sethostname")
def sys_sethostname(task: Task, name: int, size: int, *_: int) -> int:
    """sethostname(2): for who has CAP_SYS_ADMIN."""
    task.system.uts.nodename = _new_name(task, name, size)
    return 0


@syscall("setdomainname")
def sys_setdomainname(task: Task, name: int, size: int, *_: int) -> int:
    """setdomainname(2): for who has CAP_SYS_ADMIN."""
    task.system.uts.domainname = _new_name(task, name, size)
    return 0


def _new_name(task: Task, name: int, size: int) -> bytes:
    if not task.cred.capable(cred.CAP_SYS_ADMIN):
        raise LinuxError(errno.EPERM)
    if not 0 <= s32(size) <= NEW_UTS_LEN:
        raise LinuxError(errno.EINVAL)
    return task.mm.copy_from_user(name, s32(size)).split(b"\0")[0]


@syscall("uname")
def sys_uname(task: Task, buffer: int, *_: int) -> int:
    """uname(2)."""
    task.mm.copy_to_user(buffer, task.system.uts.pack())
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
