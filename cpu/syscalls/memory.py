# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory: thin over the mm, which does the work."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from cpu.fs.devices import ZeroFile
from cpu.syscalls.io import iovecs
from cpu.syscalls.registry import s32, syscall
from mmu.errors import LinuxError
from mmu.linux.mm_users import mmget_not_zero, mmput
from mmu.linux.mman import MAP_ANONYMOUS
from mmu.linux.process_vm_access import process_vm_rw
from mmu.units import PAGE_SHIFT, PAGE_SIZE, U32

if TYPE_CHECKING:
    from cpu.task import Task


@syscall("mmap")
def sys_mmap(
    task: Task, addr: int, length: int, prot: int, flags: int, fd: int, offset: int
) -> int:
    """mmap(2)."""
    if offset % PAGE_SIZE:
        raise LinuxError(errno.EINVAL)
    file = None
    if not flags & MAP_ANONYMOUS:
        opened = task.files.get(s32(fd))
        if isinstance(opened, ZeroFile):
            flags |= MAP_ANONYMOUS
        else:
            file = opened.mapped()
    return task.mm.mmap(addr, length, prot, flags, file, offset >> PAGE_SHIFT)


@syscall("munmap")
def sys_munmap(task: Task, addr: int, length: int, *_: int) -> int:
    """munmap(2)."""
    task.mm.munmap(addr, length)
    return 0


@syscall("mremap")
def sys_mremap(
    task: Task, addr: int, old_len: int, new_len: int, flags: int, new_addr: int, *_: int
) -> int:
    """mremap(2)."""
    return task.mm.mremap(addr, old_len, new_len, flags, new_addr)


@syscall("mprotect")
def sys_mprotect(task: Task, addr: int, length: int, prot: int, *_: int) -> int:
    """mprotect(2)."""
    task.mm.mprotect(addr, length, prot)
    return 0


@syscall("brk")
def sys_brk(task: Task, addr: int, *_: int) -> int:
    """brk(2), the kernel's form: returns the break, moved or not."""
    return task.mm.brk(addr)


@syscall("madvise")
def sys_madvise(task: Task, addr: int, length: int, advice: int, *_: int) -> int:
    """madvise(2)."""
    task.mm.madvise(addr, length, advice)
    return 0


@syscall("mlock")
def sys_mlock(task: Task, addr: int, length: int, *_: int) -> int:
    """mlock(2)."""
    task.mm.mlock(addr, length)
    return 0


@syscall("mlock2")
def sys_mlock2(task: Task, addr: int, length: int, flags: int, *_: int) -> int:
    """mlock2(2)."""
    task.mm.mlock(addr, length, flags & U32)
    return 0


@syscall("munlock")
def sys_munlock(task: Task, addr: int, length: int, *_: int) -> int:
    """munlock(2)."""
    task.mm.munlock(addr, length)
    return 0


@syscall("mlockall")
def sys_mlockall(task: Task, flags: int, *_: int) -> int:
    """mlockall(2)."""
    task.mm.mlockall(flags & U32)
    return 0


@syscall("munlockall")
def sys_munlockall(task: Task, *_: int) -> int:
    """munlockall(2)."""
    task.mm.munlockall()
    return 0


@syscall("process_vm_readv")
def sys_process_vm_readv(
    task: Task, pid: int, lvec: int, liovcnt: int, rvec: int, riovcnt: int, flags: int
) -> int:
    """process_vm_readv(2)."""
    return _process_vm_rw(task, pid, (lvec, liovcnt), (rvec, riovcnt), flags, write=False)


@syscall("process_vm_writev")
def sys_process_vm_writev(
    task: Task, pid: int, lvec: int, liovcnt: int, rvec: int, riovcnt: int, flags: int
) -> int:
    """process_vm_writev(2)."""
    return _process_vm_rw(task, pid, (lvec, liovcnt), (rvec, riovcnt), flags, write=True)


def _process_vm_rw(
    task: Task,
    pid: int,
    local: tuple[int, int],
    remote: tuple[int, int],
    flags: int,
    *,
    write: bool,
) -> int:
    """process_vm_rw(): EINVAL for flags or a bad vector, ESRCH if there is no such task."""
    if flags:
        raise LinuxError(errno.EINVAL)
    ours = iovecs(task, *local)
    if not any(size for _, size in ours):
        return 0
    theirs = iovecs(task, *remote)
    other = task.system.tasks.get(s32(pid))
    if other is None or not mmget_not_zero(other.mm):
        raise LinuxError(errno.ESRCH)
    mm = other.mm
    try:
        return process_vm_rw(task.mm, ours, mm, theirs, write=write)
    finally:
        mmput(mm)
