# SPDX-License-Identifier: GPL-2.0-or-later
"""Making pipes, pairs of sockets, and files of memory: pipe2(), socketpair(), memfd_create()."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from cpu.files import O_CLOEXEC, O_DIRECT, O_NONBLOCK, OpenFile
from cpu.pipes import make_pipe
from cpu.syscalls.registry import syscall
from mmu.errors import LinuxError
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.task import Task


@syscall("pipe")
def sys_pipe(task: Task, result: int, *_: int) -> int:
    """pipe(2)."""
    return _pipe2(task, result, 0)


@syscall("pipe2")
def sys_pipe2(task: Task, result: int, flags: int, *_: int) -> int:
    """pipe2(2)."""
    flags &= U32
    if flags & ~(O_CLOEXEC | O_NONBLOCK | O_DIRECT):
        raise LinuxError(errno.EINVAL)
    return _pipe2(task, result, flags)


def _pipe2(task: Task, result: int, flags: int) -> int:
    ends = make_pipe(task.system.scheduler, task.system.new_inode(), flags)
    return install_pair(task, result, ends, cloexec=bool(flags & O_CLOEXEC))


def install_pair(task: Task, result: int, ends: tuple[OpenFile, OpenFile], *, cloexec: bool) -> int:
    """Give both files a number, and write the numbers to ``result``; none stays open if that cannot
    be.
    """
    pair = task.files.install_pair(*ends, cloexec=cloexec)
    try:
        task.mm.copy_to_user(result, struct.pack("<ii", *pair))
    except LinuxError:
        for fd in pair:
            task.files.close(fd)
        raise
    return 0
