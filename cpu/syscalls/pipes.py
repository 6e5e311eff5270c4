# SPDX-License-Identifier: GPL-2.0-or-later
"""Making pipes, pairs of sockets, and files of memory: pipe2(), socketpair(), memfd_create()."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from cpu.fs.files import O_CLOEXEC, O_DIRECT, O_NONBLOCK, OpenFile
from cpu.fs.memfd import Memfd, memfd_create
from cpu.fs.pipes import make_pipe
from cpu.syscalls.registry import syscall
from mmu.errors import LinuxError
from mmu.linux.filemap import F_SEAL_EXEC, F_SEAL_SEAL
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


MFD_CLOEXEC, MFD_ALLOW_SEALING, MFD_NOEXEC_SEAL, MFD_EXEC = 1, 2, 8, 16
MFD_NAME_MAX = 249


@syscall("memfd_create")
def sys_memfd_create(task: Task, name: int, flags: int, *_: int) -> int:
    """memfd_create(2); without huge pages."""
    flags &= U32
    if flags & ~(MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC):
        raise LinuxError(errno.EINVAL)
    if flags & MFD_EXEC and flags & MFD_NOEXEC_SEAL:
        raise LinuxError(errno.EINVAL)
    text = task.mm.strncpy_from_user(name, MFD_NAME_MAX + 1)
    if len(text) > MFD_NAME_MAX:
        raise LinuxError(errno.EINVAL)
    system = task.system
    sealed = flags & MFD_NOEXEC_SEAL
    seals = F_SEAL_EXEC if sealed else 0 if flags & MFD_ALLOW_SEALING else F_SEAL_SEAL
    memfd = Memfd(
        system.kernel,
        text.decode("utf-8", "surrogateescape"),
        system.new_inode(),
        mode=0o666 if sealed else 0o777,
        seals=seals,
        killed=system.fatal_signal_pending,
    )
    return task.files.install(memfd_create(memfd), cloexec=bool(flags & MFD_CLOEXEC))
