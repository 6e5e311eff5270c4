# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc of the machine's own processes (fs/proc/base.c, array.c, fd.c, v6.18).

::

    /proc/self -> PID        of the task that asks
    /proc/thread-self -> PID/task/TID
    /proc/PID                status stat statm maps smaps pagemap mem limits comm cmdline auxv ...
      task/TID               the same of one thread; fd and fdinfo are the process's
      fd/N, fdinfo/N         cpu/fs/proc_fd.py
      map_files/, ns/        cpu/fs/proc_links.py

What is made up tells of the moment in which it is read from its start. A process that was waited
for is gone.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from cpu.cred import CAP_SYS_ADMIN
from cpu.fs.node import Dentry, Node, d_path
from cpu.fs.proc_fd import ProcFd, ProcFdInfo, number_of
from cpu.fs.proc_links import MapFiles, Namespaces
from cpu.fs.proc_mem import FileOfMm, MemFile, PagemapFile
from cpu.fs.proc_mounts import mountinfo, mounts, mountstats
from cpu.fs.proc_net import proc_net
from cpu.fs.proc_pid import small_files
from cpu.fs.proc_stat import proc_stat
from cpu.fs.proc_task import cmdline, environ, mm_of, task_info
from cpu.fs.pseudo_fs import Directory, Inode, Link, MagicLink, Opened, TextFile
from cpu.ptrace import may_access
from cpu.task import Task
from mmu.errors import LinuxError
from mmu.linux import procfs, smaps

if TYPE_CHECKING:
    from cpu.fs.files import OpenFile
    from cpu.system import System
    from cpu.task import Process
    from mmu.linux.mm import Mm

Made = str | bytes | Iterator[str]
"""What a file's text is made of: cpu.fs.seq_file.Text."""


class ProcRoot(Directory):
    """/proc: the files of the whole machine, ``files``, and its processes."""

    def __init__(self, system: System, files: dict[str, Inode]) -> None:
        super().__init__(files)
        self._system = system

    def lookup(self, name: str) -> Node | None:
        """A process by its number, self, or one of the machine's files."""
        if name == "self":
            return Link(lambda: str(self._current().tgid))
        if name == "thread-self":
            return Link(lambda: f"{self._current().tgid}/task/{self._current().pid}")
        pid = number_of(name)
        if pid is None:
            return super().lookup(name)
        task = self._system.tasks.get(pid)
        return None if task is None else _ProcPid(task.process.leader, pid, self._current)

    def names(self) -> Iterable[str]:
        """The machine's files, then the processes by number."""
        pids = sorted(process.pid for process in _living(self._system))
        return [*super().names(), "self", "thread-self", *map(str, pids)]

    def _current(self) -> Task:
        task = self._system.scheduler.current
        assert isinstance(task, Task), "somebody but a task walks a path"
        return task


def _exe(file: OpenFile) -> Node | Dentry:
    return file.dentry if isinstance(file.dentry, Dentry) else Opened(file)


def _living(system: System) -> list[Process]:
    return [process for process in system.processes if process.pid in system.tasks]


class _ProcTask(Directory):
    """What /proc/PID and /proc/PID/task/TID both have."""

    immutable = True

    def __init__(self, task: Task, pid: int, current: Callable[[], Task]) -> None:
        self._task, self._current = task, current
        cred = task.cred
        self.owner = (cred.euid, cred.egid) if task.process.dumpable == 1 else (0, 0)
        children: dict[str, Inode] = {
            "status": TextFile(lambda: procfs.status(mm_of(task), task_info(task))),
            "stat": TextFile(lambda: proc_stat(task)),
            "statm": self._of_mm(procfs.statm, "0 0 0 0 0 0 0\n"),
            "maps": self._of_mm(procfs.map_lines),
            "smaps": self._of_mm(smaps.smaps),
            "smaps_rollup": self._of_mm(smaps.smaps_rollup),
            "numa_maps": self._of_mm(smaps.numa_maps),
            "limits": TextFile(lambda: task.rlimits.proc_limits()),
            "cmdline": self._of_mm(cmdline),
            "environ": self._of_mm(environ, rights=0o400),
            "auxv": self._of_mm(lambda mm: mm.saved_auxv, rights=0o400),
            "pagemap": FileOfMm(self._open_pagemap, stat.S_IFREG | 0o400, writable=False),
            "mem": FileOfMm(self._open_mem, stat.S_IFREG | 0o600, writable=True),
            "mountinfo": TextFile(mountinfo),
            "mounts": TextFile(mounts),
            "mountstats": TextFile(mountstats, rights=0o400),
            **small_files(task, current),
            **({} if task.exited_mm else self._links()),
            "fd": ProcFd(task),
            "fdinfo": ProcFdInfo(task),
            "map_files": MapFiles(task, current),
            "ns": Namespaces(),
            "net": proc_net(task.system.net),
        }
        for child in children.values():
            child.owner = self.owner
        super().__init__(children)
        self.number = pid << 8 | 1

    def _allowed(self) -> None:
        """EACCES unless the task that asks may look into this one."""
        if not may_access(self._current(), self._task):
            raise LinuxError(errno.EACCES)

    def _of_mm(self, text: Callable[[Mm], Made], without: str = "", rights: int = 0o444) -> Inode:
        """A file that tells of the task's memory; ``without`` if it has none any more."""

        def made() -> Made:
            if text is not procfs.statm:
                self._allowed()
            mm = mm_of(self._task)
            return without if mm is None else text(mm)

        return TextFile(made, rights=rights)

    def _open_pagemap(self, flags: int) -> OpenFile:
        self._allowed()
        show_pfn = self._current().cred.capable(CAP_SYS_ADMIN)
        return PagemapFile(mm_of(self._task), flags, show_pfn=show_pfn)

    def _open_mem(self, flags: int) -> OpenFile:
        self._allowed()
        return MemFile(mm_of(self._task), flags)

    def _links(self) -> dict[str, Inode]:
        """What has a meaning as long as the task has its program."""
        task, process = self._task, self._task.process
        return {
            "exe": MagicLink(lambda: process.exe.file.shown_path(), lambda: _exe(process.exe.file)),
            "cwd": MagicLink(lambda: d_path(task.fs.pwd), lambda: task.fs.pwd),
            "root": MagicLink(lambda: d_path(task.fs.root), lambda: task.fs.root),
        }


class _ProcPid(_ProcTask):
    def __init__(self, task: Task, pid: int, current: Callable[[], Task]) -> None:
        super().__init__(task, pid, current)
        self.process = task.process
        self._children["task"] = _Threads(task.process, current)


class _ProcTid(_ProcTask):
    def __init__(self, task: Task, current: Callable[[], Task]) -> None:
        super().__init__(task, task.pid, current)
        process = task.process
        self._children["children"] = TextFile(
            lambda: "".join(
                f"{child.pid} " for child in process.children if child.parent_task is task
            )
        )


def process_of_directory(file: OpenFile) -> Process | None:
    """The process whose /proc/PID this open directory is; None: it is none
    (tgid_pidfd_to_pid()).
    """
    node = file.dentry.node if isinstance(file.dentry, Dentry) else None
    return node.process if isinstance(node, _ProcPid) else None


class _Threads(Directory):
    """/proc/PID/task."""

    def __init__(self, process: Process, current: Callable[[], Task]) -> None:
        super().__init__()
        self._process = process
        self._current = current

    def lookup(self, name: str) -> Inode | None:
        """A thread by its number."""
        tid = number_of(name)
        for task in self._process.threads:
            if task.pid == tid:
                return _ProcTid(task, self._current)
        return None

    def names(self) -> Iterable[str]:
        """The threads' numbers."""
        return [str(task.pid) for task in self._process.threads]
