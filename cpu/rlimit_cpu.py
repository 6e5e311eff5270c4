# SPDX-License-Identifier: GPL-2.0-or-later
"""RLIMIT_CPU: SIGXCPU at the soft limit and each second beyond it, SIGKILL at the hard one
(check_process_timers() of kernel/time/posix-cpu-timers.c, v6.18).
"""

from __future__ import annotations

import signal
from typing import Final

from cpu.siginfo import SigInfo
from cpu.signal_send import group_send_sig_info
from cpu.task import Process
from cpu.timers import CpuTimer
from cpu.usage import cpu_time_ns
from mmu.linux.resource import RLIM_INFINITY, Resource, Rlimit

SECOND: Final = 10**9


def update_rlimit_cpu(process: Process) -> None:
    """Have the limit that is in force now bind: after prlimit(), and in a new process."""
    timer = process.rlimit_cpu
    if timer is not None:
        timer.cancel()
    soft, hard = process.rlimits[Resource.CPU]
    first = min(soft, hard)
    if first == RLIM_INFINITY:
        process.rlimit_cpu = None
        return
    timer = process.rlimit_cpu = CpuTimer(
        process.cpu_timers, lambda: cpu_time_ns(process), lambda: _expired(process)
    )
    timer.start(first * SECOND)


def _expired(process: Process) -> None:
    soft, hard = process.rlimits[Resource.CPU]
    used = cpu_time_ns(process)
    if hard != RLIM_INFINITY and used >= hard * SECOND:
        reason = f"it has used {hard} s of CPU time, its hard limit (RLIMIT_CPU)"
        group_send_sig_info(SigInfo.kernel(signal.SIGKILL, reason), process)
        return
    if used >= soft * SECOND:
        reason = f"it has used {soft} s of CPU time (RLIMIT_CPU)"
        group_send_sig_info(SigInfo.kernel(signal.SIGXCPU, reason), process)
        process.rlimits.force(Resource.CPU, Rlimit(soft + 1, hard))
    update_rlimit_cpu(process)
