# SPDX-License-Identifier: GPL-2.0-or-later
"""The small files of /proc/PID, those that can be written among them (fs/proc/base.c, v6.18)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Final

from cpu.cred import CAP_SYS_RESOURCE
from cpu.fs.proc_task import mm_of
from cpu.fs.pseudo_fs import Inode, TextFile
from cpu.fs.seq_file import kstrto
from cpu.syscalls.numbers import syscall_name
from cpu.task import TASK_COMM_LEN, Task
from cpu.thread import State
from cpu.usage import thread_cpu_time_ns
from mmu.errors import LinuxError
from mmu.linux import pagemap

OOM_SCORE_ADJ_MAX: Final = 1000
MMF_DUMP_FILTER_MASK: Final = 0x1FF
MILLISECOND: Final = 10**6
DEFAULT_PRIO: Final = 120
NO_LOGIN: Final = 0xFFFFFFFF
"""(uid_t)-1: nobody has logged in; also the audit session."""


def small_files(task: Task, current: Callable[[], Task]) -> dict[str, Inode]:
    """The files, by name; ``current`` is the task that asks."""
    process = task.process

    def constant(text: str, rights: int = 0o444) -> Inode:
        return TextFile(lambda: text, rights=rights)

    def set_score(data: bytes) -> None:
        set_oom_score_adj(current(), task, kstrto(data))

    return {
        "arch_status": constant(""),
        "autogroup": TextFile(lambda: f"/autogroup-{process.session} nice 0\n"),
        "cgroup": constant("0::/\n"),
        "clear_refs": TextFile(str, lambda data: _clear_refs(task, data), rights=0),
        "comm": TextFile(lambda: task.comm + b"\n", lambda data: _set_comm(current(), task, data)),
        "coredump_filter": TextFile(
            lambda: f"{process.coredump_filter:08x}\n",
            lambda data: _set_coredump_filter(task, data),
        ),
        "cpuset": constant("/\n"),
        "gid_map": constant(_ID_MAP),
        "io": TextFile(lambda: io(task), rights=0o400),
        "loginuid": constant(str(NO_LOGIN)),
        "oom_adj": TextFile(
            lambda: f"{_oom_adj(process.oom_score_adj)}\n",
            lambda data: _set_oom_adj(current(), task, kstrto(data)),
        ),
        "oom_score": TextFile(lambda: f"{oom_score(task)}\n"),
        "oom_score_adj": TextFile(lambda: f"{process.oom_score_adj}\n", set_score),
        "personality": constant("00040000\n", 0o400),
        "projid_map": constant(_ID_MAP),
        "sched": TextFile(lambda: sched(task)),
        "schedstat": TextFile(lambda: f"{thread_cpu_time_ns(task)} 0 {_switches(task)}\n"),
        "sessionid": constant(str(NO_LOGIN)),
        "setgroups": constant("allow\n"),
        "timens_offsets": constant(
            "monotonic           0         0\nboottime            0         0\n"
        ),
        "timers": constant(""),
        "timerslack_ns": TextFile(
            lambda: f"{task.timer_slack_ns}\n",
            lambda data: _set_timer_slack(task, data),
            rights=0o666,
        ),
        "uid_map": constant(_ID_MAP),
        "wchan": TextFile(lambda: "0" if task is current() else wchan(task)),
    }


_ID_MAP: Final = f"{0:10} {0:10} {NO_LOGIN:10}\n"
"""uid_map of the first user namespace."""


def _clear_refs(task: Task, data: bytes) -> None:
    kind = kstrto(data, base=10, limit=12)
    if not pagemap.CLEAR_REFS_ALL <= kind <= pagemap.CLEAR_REFS_MM_HIWATER_RSS:
        raise LinuxError(errno.EINVAL)
    mm = mm_of(task)
    if mm is not None:
        pagemap.clear_refs(mm, kind)


def _set_comm(asks: Task, task: Task, data: bytes) -> None:
    """comm_write(): a name for a thread of the caller's own process; EINVAL for others."""
    if asks.process is not task.process:
        raise LinuxError(errno.EINVAL)
    task.set_comm(data[: TASK_COMM_LEN - 1].partition(b"\0")[0])


def _set_coredump_filter(task: Task, data: bytes) -> None:
    task.process.coredump_filter = kstrto(data) & MMF_DUMP_FILTER_MASK


def _set_timer_slack(task: Task, data: bytes) -> None:
    slack = kstrto(data, base=10, limit=40)
    if slack < 0:
        raise LinuxError(errno.EINVAL)
    task.timer_slack_ns = slack or 50_000


# Whom the OOM killer would take.


def oom_score(task: Task) -> int:
    """oom_badness() as /proc shows it: 0 to 2000, of the memory of the machine."""
    total = task.system.kernel.memory.size >> 12
    mm = mm_of(task)
    adj = task.process.oom_score_adj
    if mm is None or adj == -OOM_SCORE_ADJ_MAX:
        return 0
    points = mm.rss() + (int(mm.c.pgtables_bytes) >> 12) + adj * total // 1000
    return max((1000 + points * 1000 // total) * 2 // 3, 0)


def set_oom_score_adj(asks: Task, task: Task, value: int) -> None:
    """__set_oom_adj(): EINVAL beyond ±1000; EACCES where it is lowered below what a privileged
    process set last.
    """
    if not -OOM_SCORE_ADJ_MAX <= value <= OOM_SCORE_ADJ_MAX:
        raise LinuxError(errno.EINVAL)
    process, privileged = task.process, asks.cred.capable(CAP_SYS_RESOURCE)
    if value < process.oom_score_adj_min and not privileged:
        raise LinuxError(errno.EACCES)
    process.oom_score_adj = value
    if privileged:
        process.oom_score_adj_min = value


def _oom_adj(score_adj: int) -> int:
    """oom_adj_read(): the older scale, -17 to 15."""
    if score_adj == OOM_SCORE_ADJ_MAX:
        return 15
    return int(score_adj * 17 / OOM_SCORE_ADJ_MAX)


def _set_oom_adj(asks: Task, task: Task, value: int) -> None:
    """oom_adj_write(): -17 to 15 on the older scale, by which nothing may be lowered without
    CAP_SYS_RESOURCE.
    """
    if not (-16 <= value <= 15 or value == -17):
        raise LinuxError(errno.EINVAL)
    wanted = OOM_SCORE_ADJ_MAX if value == 15 else int(value * OOM_SCORE_ADJ_MAX / 17)
    if wanted < task.process.oom_score_adj and not asks.cred.capable(CAP_SYS_RESOURCE):
        raise LinuxError(errno.EACCES)
    set_oom_score_adj(asks, task, wanted)


# What it does.


def wchan(task: Task) -> str:
    """The function in which it sleeps, of those that lead there the outermost: that of its system
    call; "0" if it runs.
    """
    if task.state is State.RUNNING or task.orig_ax < 0:
        return "0"
    return f"__x64_sys_{syscall_name(task.orig_ax).removeprefix('syscall ')}"


def io(task: Task) -> str:
    """/proc/PID/io: what its process has read and written; of blocks of a disk nothing is known."""
    used = task.process.io
    return (
        f"rchar: {used.rchar}\nwchar: {used.wchar}\nsyscr: {used.syscr}\nsyscw: {used.syscw}\n"
        "read_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n"
    )


def _switches(task: Task) -> int:
    return task.nvcsw + task.nivcsw


def sched(task: Task) -> str:
    """/proc/PID/sched: what of it has a meaning here."""
    now = task.system.clock.now_ns()
    header = f"{task.comm.decode('utf-8', 'replace')} ({task.pid}, #threads: "
    header += f"{max(len(task.process.threads), 1)})\n"
    run = thread_cpu_time_ns(task)
    rows = {
        "se.exec_start": _decimal(now),
        "se.vruntime": _decimal(run),
        "se.sum_exec_runtime": _decimal(run),
        "se.nr_migrations": "0",
        "nr_switches": str(_switches(task)),
        "nr_voluntary_switches": str(task.nvcsw),
        "nr_involuntary_switches": str(task.nivcsw),
        "se.load.weight": str(1 << 20),
        "policy": str(task.sched.policy),
        "prio": str(DEFAULT_PRIO + task.sched.nice),
    }
    lines = "".join(f"{name:<45}:{value:>21}\n" for name, value in rows.items())
    return f"{header}{'-' * 67}\n{lines}"


def _decimal(nanoseconds: int) -> str:
    """Milliseconds with the nanoseconds behind the point: SPLIT_NS()."""
    return f"{nanoseconds // MILLISECOND}.{nanoseconds % MILLISECOND:06}"
