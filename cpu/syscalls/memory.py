# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory: thin over the mm, which does the work."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from cpu.syscalls.registry import s32, syscall
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.process import LinuxProcess

MAP_ANONYMOUS = 0x20
PAGE_SHIFT, PAGE_SIZE = 12, 4096


@syscall("mmap")
def sys_mmap(
    p: LinuxProcess, addr: int, length: int, prot: int, flags: int, fd: int, offset: int
) -> int:
    """mmap(2)."""
    if offset % PAGE_SIZE:
        raise LinuxError(errno.EINVAL)
    file = None if flags & MAP_ANONYMOUS else p.files.get(s32(fd)).mapped()
    return p.mm.mmap(addr, length, prot, flags, file, offset >> PAGE_SHIFT)


@syscall("munmap")
def sys_munmap(p: LinuxProcess, addr: int, length: int, *_: int) -> int:
    """munmap(2)."""
    p.mm.munmap(addr, length)
    return 0


@syscall("mprotect")
def sys_mprotect(p: LinuxProcess, addr: int, length: int, prot: int, *_: int) -> int:
    """mprotect(2)."""
    p.mm.mprotect(addr, length, prot)
    return 0


@syscall("brk")
def sys_brk(p: LinuxProcess, addr: int, *_: int) -> int:
    """brk(2), the kernel's form: returns the break, moved or not."""
    return p.mm.brk(addr)


@syscall("madvise")
def sys_madvise(p: LinuxProcess, addr: int, length: int, advice: int, *_: int) -> int:
    """madvise(2)."""
    p.mm.madvise(addr, length, advice)
    return 0


@syscall("mlock")
def sys_mlock(p: LinuxProcess, addr: int, length: int, *_: int) -> int:
    """mlock(2)."""
    p.mm.mlock(addr, length)
    return 0


@syscall("mlock2")
def sys_mlock2(p: LinuxProcess, addr: int, length: int, flags: int, *_: int) -> int:
    """mlock2(2)."""
    p.mm.mlock(addr, length, flags & 0xFFFFFFFF)
    return 0


@syscall("munlock")
def sys_munlock(p: LinuxProcess, addr: int, length: int, *_: int) -> int:
    """munlock(2)."""
    p.mm.munlock(addr, length)
    return 0


@syscall("mlockall")
def sys_mlockall(p: LinuxProcess, flags: int, *_: int) -> int:
    """mlockall(2)."""
    p.mm.mlockall(flags & 0xFFFFFFFF)
    return 0


@syscall("munlockall")
def sys_munlockall(p: LinuxProcess, *_: int) -> int:
    """munlockall(2)."""
    p.mm.munlockall()
    return 0
