# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/PID/fd and fdinfo (fs/proc/fd.c, v6.18)."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cpu.fs.node import Dentry
from cpu.fs.pseudo_fs import Directory, Inode, MagicLink, Opened, TextFile

if TYPE_CHECKING:
    from cpu.fs.files import OpenFile
    from cpu.task import Task


def number_of(name: str) -> int | None:
    """The number that a directory's name says; None if it says none."""
    return (
        int(name) if (name.isascii() and name.isdigit() and name[0] != "0") or name == "0" else None
    )


class ProcFd(Directory):
    """/proc/PID/fd: a link for each open file."""

    immutable = True
    mode = stat.S_IFDIR | 0o500

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task = task

    def lookup(self, name: str) -> Inode | None:
        """The link of a descriptor."""
        file = _file(self._task, name)
        if file is None:
            return None
        dentry = file.dentry
        if isinstance(dentry, Dentry):
            return MagicLink(file.shown_path, lambda: dentry)
        return MagicLink(file.shown_path, lambda: Opened(file))

    def names(self) -> Iterable[str]:
        """The descriptors' numbers."""
        return map(str, _fds(self._task))


class ProcFdInfo(Directory):
    """/proc/PID/fdinfo."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task = task

    def lookup(self, name: str) -> Inode | None:
        """What is to say of a descriptor."""
        file = _file(self._task, name)
        return None if file is None else TextFile(file.fdinfo)

    def names(self) -> Iterable[str]:
        """The descriptors' numbers."""
        return map(str, _fds(self._task))


def _file(task: Task, name: str) -> OpenFile | None:
    fd = number_of(name)
    return task.files.get(fd) if fd is not None and fd in _fds(task) else None


def _fds(task: Task) -> list[int]:
    """The numbers of its descriptors; none if it is ending."""
    return [] if task.exited_mm else list(task.files)
