# SPDX-License-Identifier: GPL-2.0-or-later
"""What /proc tells of one task: its status, command line and environment (fs/proc/base.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpu.signals import NSIG, SIG_DFL, SIG_IGN, sigmask
from cpu.thread import State
from mmu.linux.handle_mm_fault import peek_pte
from mmu.linux.pgtable import entry_pfn, pte_present
from mmu.linux.procfs import TaskInfo
from mmu.linux.resource import Resource
from mmu.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from cpu.task import Task
    from mmu.linux.mm import Mm


def task_info(task: Task) -> TaskInfo:
    """What status says of the task besides its memory."""
    process, system, cred = task.process, task.system, task.cred
    ignored, caught = dispositions(task)
    return TaskInfo(
        name=task.comm.decode("utf-8", "surrogateescape"),
        pid=task.pid,
        tgid=task.tgid,
        ppid=parent_pid(task),
        uids=(cred.uid, cred.euid, cred.suid, cred.fsuid),
        gids=(cred.gid, cred.egid, cred.sgid, cred.fsgid),
        groups=cred.groups,
        capabilities=(
            cred.cap_inheritable,
            cred.cap_permitted,
            cred.cap_effective,
            cred.cap_bset,
            cred.cap_ambient,
        ),
        no_new_privs=task.no_new_privs,
        threads=max(len(process.threads), 1),
        fd_size=0 if task.exited_mm else max(64, 1 << max(task.files, default=0).bit_length()),
        state=state_letter(task),
        pgrp=process.pgrp,
        session=process.session,
        umask=task.fs.umask,
        sigq=(0, task.rlimits[Resource.SIGPENDING].cur),
        pending=task.pending.signal,
        shared_pending=process.shared_pending.signal,
        blocked=task.blocked,
        ignored=ignored,
        caught=caught,
        cpus_allowed=task.cpus_allowed,
        nr_cpus=len(system.kernel.cpus),
        nvcsw=task.nvcsw,
        nivcsw=task.nivcsw,
    )


def mm_of(task: Task) -> Mm | None:
    """Its address space; None: it has let go of it (get_task_mm())."""
    return None if task.exited_mm else task.mm


def parent_pid(task: Task) -> int:
    """getppid(): 1, init, for the first process and for orphans."""
    parent = task.process.parent
    return 1 if parent is None else parent.pid


def state_letter(task: Task) -> str:
    """R, S, D, T or Z."""
    return "Z" if task.state is State.DEAD else task.state.value


def dispositions(task: Task) -> tuple[int, int]:
    """Masks of the signals that are ignored, and of those that have a handler
    (collect_sigign_sigcatch()).
    """
    ignored = caught = 0
    for signo in range(1, NSIG + 1):
        handler = task.sighand.action(signo).handler
        if handler == SIG_IGN:
            ignored |= sigmask(signo)
        elif handler != SIG_DFL:
            caught |= sigmask(signo)
    return ignored, caught


def cmdline(mm: Mm) -> bytes:
    """The arguments, each with its zero, as they stand in the process's memory now."""
    return read_remote(mm, mm.c.arg_start, mm.c.arg_end)


def environ(mm: Mm) -> bytes:
    """The environment, each string with its zero, as it stands in the process's memory now."""
    return read_remote(mm, mm.c.env_start, mm.c.env_end)


def read_remote(mm: Mm, start: int, end: int) -> bytes:
    """[start, end) of an address space that need not be loaded; pages that are absent are zeros,
    for nothing is faulted in.
    """
    parts = []
    while start < end:
        size = min(end - start, PAGE_SIZE - start % PAGE_SIZE)
        pte = peek_pte(mm, start)
        if pte_present(pte):
            pa = entry_pfn(pte) << PAGE_SHIFT | start % PAGE_SIZE
            parts.append(mm.memory.read(pa, size))
        else:
            parts.append(bytes(size))
        start += size
    return b"".join(parts)
