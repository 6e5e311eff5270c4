# SPDX-License-Identifier: GPL-2.0-or-later
"""ioctl() (fs/ioctl.c, v6.18): what every file has; what sockets and terminals have is asked of
their own.
"""

from __future__ import annotations

import errno
import stat
import struct
from typing import TYPE_CHECKING

from cpu.fs.files import O_NONBLOCK
from cpu.fs.kstat import BLOCK_SIZE
from cpu.fs.pty import PtyMaster
from cpu.fs.tty import TtyFile
from cpu.net.sock import Sock
from cpu.syscalls.registry import s32, syscall
from cpu.syscalls.sock_ioctl import sock_ioctl
from cpu.syscalls.tty_ioctl import tty_ioctl
from mmu.errors import LinuxError
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.fs.files import OpenFile
    from cpu.task import Task

FIONBIO, FIONREAD, FIONCLEX, FIOCLEX = 0x5421, 0x541B, 0x5450, 0x5451
FIGETBSZ, FIOQSIZE = 2, 0x5460
FICLONE, FICLONERANGE, FS_IOC_FIEMAP = 0x40049409, 0x4020940D, 0xC020660B


@syscall("ioctl")
def sys_ioctl(task: Task, fd: int, request: int, argument: int, *_: int) -> int:
    """ioctl(2)."""
    entry, request = task.files.descriptor(s32(fd)), request & U32
    task.files.not_path(s32(fd))
    file = entry.file
    if request in (FIOCLEX, FIONCLEX):
        entry.cloexec = request == FIOCLEX
        return 0
    if request == FIONBIO:
        (on,) = struct.unpack("<i", task.mm.copy_from_user(argument, 4))
        file.set_flags(file.flags | O_NONBLOCK if on else file.flags & ~O_NONBLOCK)
        return 0
    if request == FIONREAD:
        nr = file.nr_readable()
        task.mm.copy_to_user(argument, struct.pack("<i", min(nr, 0x7FFFFFFF)))
        return 0
    if isinstance(file, Sock):
        return sock_ioctl(task, file, request, argument)
    if isinstance(file, (TtyFile, PtyMaster)):
        return tty_ioctl(task, file, request, argument)
    return _of_a_file(task, file, request, argument)


def _of_a_file(task: Task, file: OpenFile, request: int, argument: int) -> int:
    """What file systems have: blocks; no reflinks, no extents (do_vfs_ioctl())."""
    regular = stat.S_ISREG(file.mode)
    if request == FIGETBSZ and (regular or stat.S_ISDIR(file.mode)):
        task.mm.copy_to_user(argument, struct.pack("<i", BLOCK_SIZE))
        return 0
    if request == FIOQSIZE and regular:
        task.mm.copy_to_user(argument, struct.pack("<q", file.getattr().blocks << 9))
        return 0
    if regular and request in (FICLONE, FICLONERANGE, FS_IOC_FIEMAP):
        if request == FICLONE:
            task.files.get(s32(argument))
        raise LinuxError(errno.EOPNOTSUPP)
    raise LinuxError(errno.ENOTTY)
