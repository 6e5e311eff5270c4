# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc of the machine's own processes (fs/proc/base.c, array.c, fd.c, v6.18).

::

    /proc/self -> PID        of the task that asks
    /proc/thread-self -> PID/task/TID
    /proc/PID                status stat statm maps limits comm cmdline environ auxv exe cwd root
      task/TID               the same of one thread; fd and fdinfo are the process's
      fd/N, fdinfo/N

What is made up tells of the moment in which it is opened. A process that was waited for is gone.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from cpu.fs.proc_stat import proc_stat
from cpu.fs.proc_task import cmdline, environ, mm_of, task_info
from cpu.fs.pseudo_fs import Directory, Inode, Link, MagicLink, Opened, TextFile
from cpu.task import Task
from mmu.linux import procfs

if TYPE_CHECKING:
    from cpu.fs.files import OpenFile
    from cpu.system import System
    from cpu.task import Process
    from mmu.linux.mm import Mm

T = TypeVar("T", str, bytes)


class ProcRoot(Directory):
    """/proc: the files of the whole machine, ``files``, and its processes."""

    def __init__(self, system: System, files: dict[str, Inode]) -> None:
        super().__init__(files)
        self._system = system

    def lookup(self, name: str) -> Inode | None:
        """A process by its number, self, or one of the machine's files."""
        if name == "self":
            return Link(lambda: str(self._current().tgid))
        if name == "thread-self":
            return Link(lambda: f"{self._current().tgid}/task/{self._current().pid}")
        pid = _number(name)
        if pid is None:
            return super().lookup(name)
        task = self._system.tasks.get(pid)
        return None if task is None else _ProcPid(task.process.leader, pid)

    def names(self) -> Iterable[str]:
        """The machine's files, then the processes by number."""
        pids = sorted(process.pid for process in _living(self._system))
        return [*super().names(), "self", "thread-self", *map(str, pids)]

    def _current(self) -> Task:
        task = self._system.scheduler.current
        assert isinstance(task, Task), "somebody but a task walks a path"
        return task


def _living(system: System) -> list[Process]:
    return [process for process in system.processes if process.pid in system.tasks]


def _number(name: str) -> int | None:
    """The number that a directory's name says; None if it says none."""
    return (
        int(name) if (name.isascii() and name.isdigit() and name[0] != "0") or name == "0" else None
    )


class _ProcTask(Directory):
    """What /proc/PID and /proc/PID/task/TID both have."""

    def __init__(self, task: Task, pid: int, more: dict[str, Inode]) -> None:
        self._task = task
        texts: dict[str, Callable[[], str | bytes]] = {
            "status": lambda: procfs.status(mm_of(task), task_info(task)),
            "stat": lambda: proc_stat(task),
            "statm": lambda: _of_mm(task, procfs.statm, "0 0 0 0 0 0 0\n"),
            "maps": lambda: _of_mm(task, procfs.maps, ""),
            "limits": lambda: task.rlimits.proc_limits(),
            "comm": lambda: task.comm + b"\n",
            "cmdline": lambda: _of_mm(task, cmdline, b""),
            "environ": lambda: _of_mm(task, environ, b""),
        }
        children: dict[str, Inode] = {
            **{name: TextFile(text) for name, text in texts.items()},
            **({} if task.exited_mm else _links(task)),
            "fd": _ProcFd(task),
            "fdinfo": _ProcFdInfo(task),
            **more,
        }
        super().__init__(children)
        self.number = pid << 8 | 1


def _of_mm(task: Task, text: Callable[[Mm], T], without: T) -> T:
    """What tells of the task's memory; ``without`` if it has none any more."""
    mm = mm_of(task)
    return without if mm is None else text(mm)


def _links(task: Task) -> dict[str, Inode]:
    """What has a meaning as long as the task has its program."""
    process = task.process
    return {
        "exe": MagicLink(
            lambda: process.exe.real_path,
            lambda: Opened(process.exe.file),
        ),
        "cwd": Link(lambda: task.fs.cwd),
        "root": Link(lambda: "/"),
    }


class _ProcPid(_ProcTask):
    def __init__(self, task: Task, pid: int) -> None:
        super().__init__(task, pid, {"task": _Threads(task.process)})


class _Threads(Directory):
    """/proc/PID/task."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self._process = process

    def lookup(self, name: str) -> Inode | None:
        """A thread by its number."""
        tid = _number(name)
        for task in self._process.threads:
            if task.pid == tid:
                return _ProcTask(task, task.pid, {})
        return None

    def names(self) -> Iterable[str]:
        """The threads' numbers."""
        return [str(task.pid) for task in self._process.threads]


class _ProcFd(Directory):
    """/proc/PID/fd: a link for each open file."""

    mode = stat.S_IFDIR | 0o500

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task = task

    def lookup(self, name: str) -> Inode | None:
        """The link of a descriptor."""
        file = _file(self._task, name)
        if file is None:
            return None
        if stat.S_ISDIR(file.mode):
            return Link(lambda: file.path)
        return MagicLink(lambda: file.path, lambda: Opened(file))

    def names(self) -> Iterable[str]:
        """The descriptors' numbers."""
        return map(str, _fds(self._task))


class _ProcFdInfo(Directory):
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
    fd = _number(name)
    return task.files.get(fd) if fd is not None and fd in _fds(task) else None


def _fds(task: Task) -> list[int]:
    """The numbers of its descriptors; none if it is ending."""
    return [] if task.exited_mm else list(task.files)
