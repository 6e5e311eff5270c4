# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory: thin over the mm, which does the work."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from cpu.fs.devices import ZeroFile
from cpu.syscalls.registry import s32, syscall
from mmu.errors import LinuxError
from mmu.linux.mman import MAP_ANONYMOUS
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


@syscall("mincore")
def sys_mincore(task: Task, addr: int, length: int, vec: int, *_: int) -> int:
    """mincore(2)."""
    task.mm.mincore(addr, length, vec)
    return 0


@syscall("mseal")
def sys_mseal(task: Task, addr: int, length: int, flags: int, *_: int) -> int:
    """mseal(2)."""
    task.mm.mseal(addr, length, flags)
    return 0


@syscall("remap_file_pages")
def sys_remap_file_pages(
    task: Task, addr: int, size: int, prot: int, pgoff: int, flags: int, *_: int
) -> int:
    """remap_file_pages(2)."""
    task.mm.remap_file_pages(addr, size, prot, pgoff, flags)
    return 0


# Protection keys, of a processor without them: CPUID tells of no PKU, so none can be had.


@syscall("pkey_alloc")
def sys_pkey_alloc(_task: Task, _flags: int, _rights: int, *_: int) -> int:
    """pkey_alloc(2): EINVAL, as arch_set_user_pkey_access() without OSPKE."""
    raise LinuxError(errno.EINVAL)


@syscall("pkey_free")
def sys_pkey_free(_task: Task, _pkey: int, *_: int) -> int:
    """pkey_free(2): no key was ever given out."""
    raise LinuxError(errno.EINVAL)


@syscall("pkey_mprotect")
def sys_pkey_mprotect(task: Task, addr: int, length: int, prot: int, pkey: int, *_: int) -> int:
    """pkey_mprotect(2): with the key -1 it is mprotect(2)."""
    task.mm.mprotect(addr, length, prot, has_key=s32(pkey) != -1)
    return 0
