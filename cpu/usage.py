# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process or a thread has used so far (getrusage() of kernel/sys.c, v6.18)."""

from __future__ import annotations

from cpu.clock import SYSCALL_NS
from cpu.rusage import Rusage
from cpu.task import Process, Task


def cpu_time_ns(process: Process) -> int:
    """CPU time of all its threads, those that have ended included: CLOCK_PROCESS_CPUTIME_ID."""
    if process.system.scheduler.counting:
        return process.executed()
    return process.nr_syscalls * SYSCALL_NS


def thread_cpu_time_ns(task: Task) -> int:
    """CPU time of the thread: CLOCK_THREAD_CPUTIME_ID. Without counting that of its process."""
    scheduler = task.system.scheduler
    return scheduler.executed(task) if scheduler.counting else cpu_time_ns(task.process)


def rusage_of(process: Process) -> Rusage:
    """RUSAGE_SELF. Page faults are those of its address spaces."""
    task = process.threads[0] if process.threads else process.leader
    faults = task.mm.counters()
    past = process.past_counters
    majflt = faults["pgmajfault"] + past.get("pgmajfault", 0)
    threads = process.threads
    return Rusage(
        utime=cpu_time_ns(process),
        maxrss=max(process.maxrss, int(task.mm.c.hiwater_rss), task.mm.rss()) << 2,
        minflt=faults["pgfault"] + past.get("pgfault", 0) - majflt,
        majflt=majflt,
        nvcsw=process.past_nvcsw + sum(thread.nvcsw for thread in threads),
        nivcsw=process.past_nivcsw + sum(thread.nivcsw for thread in threads),
    )


def rusage_of_thread(task: Task) -> Rusage:
    """RUSAGE_THREAD. Page faults are those of its whole process."""
    usage = rusage_of(task.process)
    usage.utime = thread_cpu_time_ns(task)
    usage.nvcsw, usage.nivcsw = task.nvcsw, task.nivcsw
    return usage
