# SPDX-License-Identifier: GPL-2.0-or-later
"""The links below /proc/PID/map_files and /proc/PID/ns (fs/proc/base.c, fs/nsfs.c, v6.18)."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NoReturn

from cpu.fs.files import OpenFile
from cpu.fs.proc_task import mm_of
from cpu.fs.pseudo_fs import Directory, Inode, MagicLink
from cpu.ptrace import may_access
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.task import Task

NAMESPACES: Final = {
    "cgroup": 0xEFFFFFFB,
    "ipc": 0xEFFFFFFF,
    "mnt": 0xEFFFFFF8,
    "net": 0xEFFFFFF9,
    "pid": 0xEFFFFFFC,
    "pid_for_children": 0xEFFFFFFC,
    "time": 0xEFFFFFFA,
    "time_for_children": 0xEFFFFFFA,
    "user": 0xEFFFFFFD,
    "uts": 0xEFFFFFFE,
}
"""The inodes of the first namespaces, the only ones (enum init_ns_ino)."""


class MapFiles(Directory):
    """/proc/PID/map_files: a link for each mapping of a file. It may be read, not followed: that
    takes CAP_CHECKPOINT_RESTORE, and what is mapped need not have a name any more.
    """

    mode = stat.S_IFDIR | 0o500

    def __init__(self, task: Task, current: Callable[[], Task]) -> None:
        super().__init__()
        self._task = task
        self._asks = current

    def lookup(self, name: str) -> Inode | None:
        """The link of a range of addresses."""
        path = self._mapped().get(name)
        return None if path is None else MagicLink(lambda: path, _refuse)

    def names(self) -> Iterable[str]:
        """The ranges, in their order."""
        return list(self._mapped())

    def _mapped(self) -> dict[str, str]:
        if not may_access(self._asks(), self._task):
            raise LinuxError(errno.EACCES)
        mm = mm_of(self._task)
        if mm is None:
            return {}
        with mm.mmap_read_lock():
            return {
                f"{vma.vm_start:x}-{vma.vm_end:x}": mm.file(vma.vm_file).shown()[0]
                for vma in mm.c.vmas.vma[0 : mm.c.vmas.nr]
                if vma.vm_file and not mm.file(vma.vm_file).special
            }


def _refuse() -> NoReturn:
    raise LinuxError(errno.EPERM)


class NamespaceFile(OpenFile):
    """An open namespace: a file that only names it."""

    mode = stat.S_IFREG | 0o444

    def read(self, count: int) -> bytes:
        """It has no bytes."""
        raise LinuxError(errno.EINVAL)


class _Namespace(Inode):
    def __init__(self, text: str, number: int) -> None:
        self._text = text
        self.number = number

    def open(self, path: str, flags: int) -> OpenFile:
        """Open it."""
        file = NamespaceFile()
        file.path, file.inode = self._text, self.inode(path)
        return file


class Namespaces(Directory):
    """/proc/PID/ns."""

    mode = stat.S_IFDIR | 0o511

    def __init__(self) -> None:
        super().__init__({name: _link(name, number) for name, number in NAMESPACES.items()})


def _link(name: str, number: int) -> MagicLink:
    text = f"{name.partition('_')[0]}:[{number}]"
    return MagicLink(lambda: text, lambda: _Namespace(text, number))
