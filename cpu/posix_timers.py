# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process's timers send, and how they go on (kernel/time/{itimer,posix-timers}.c, v6.18).

::

    setitimer()      Process.itimers        SIGALRM, SIGVTALRM, SIGPROF to the process
    timer_create()   Process.posix_timers   the signal it was told, once until it is taken: what
                                            expires meanwhile counts as overrun
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Final

from cpu.siginfo import SigInfo
from cpu.signal_send import group_send_sig_info, prepare_signal, send_signal
from cpu.task import Process
from cpu.timers import CpuTimer, HrTimer, Itimer, PosixTimer, Timer
from cpu.usage import cpu_time_ns
from mmu.errors import LinuxError

ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF = 0, 1, 2
DELAYTIMER_MAX: Final = (1 << 31) - 1
_SIGNALS: Final = {
    ITIMER_REAL: signal.SIGALRM,
    ITIMER_VIRTUAL: signal.SIGVTALRM,
    ITIMER_PROF: signal.SIGPROF,
}


# Interval timers.


def itimer_of(process: Process, which: int) -> Itimer:
    """The process's interval timer of that kind; made if it was never asked for."""
    itimer = process.itimers.get(which)
    if itimer is None:
        itimer = process.itimers[which] = _new_itimer(process, which)
    return itimer


def _new_itimer(process: Process, which: int) -> Itimer:
    timer: Timer
    if which == ITIMER_REAL:
        timer = HrTimer(process.system.scheduler, lambda: _itimer_expired(process, which))
    else:
        timer = CpuTimer(
            process.cpu_timers,
            lambda: cpu_time_ns(process),
            lambda: _itimer_expired(process, which),
        )
    return Itimer(timer)


def _itimer_expired(process: Process, which: int) -> None:
    itimer = process.itimers[which]
    group_send_sig_info(SigInfo.kernel(_SIGNALS[which], "its interval timer has expired"), process)
    if itimer.incr and which != ITIMER_REAL:
        itimer.timer.start(itimer.timer.expired_at + itimer.incr)


def itimer_dequeued(process: Process) -> None:
    """SIGALRM is taken: only then ITIMER_REAL goes on (posixtimer_rearm_itimer())."""
    itimer = process.itimers.get(ITIMER_REAL)
    if itimer is not None and itimer.incr and itimer.timer.expires is None:
        timer = itimer.timer
        missed = (timer.now() - timer.expired_at) // itimer.incr
        timer.start(timer.expired_at + (missed + 1) * itimer.incr)


def getitimer(process: Process, which: int) -> tuple[int, int]:
    """Nanoseconds until it expires, 0: it will not; and its interval."""
    itimer = process.itimers.get(which)
    if itimer is None or itimer.timer.expires is None:
        return 0, 0 if itimer is None else itimer.incr
    return max(itimer.timer.expires - itimer.timer.now(), 1), itimer.incr


def setitimer(process: Process, which: int, value: int, interval: int) -> tuple[int, int]:
    """Have it expire in ``value`` nanoseconds, 0: never, and each ``interval`` from then on;
    returns what getitimer() said before.
    """
    was = getitimer(process, which)
    if which not in process.itimers and not value:
        return was
    itimer = itimer_of(process, which)
    itimer.timer.cancel()
    itimer.incr = interval if value else 0
    if value:
        itimer.timer.start(itimer.timer.now() + value)
    return was


# POSIX timers.


def start_posix_timer(
    process: Process, timer: PosixTimer, cpu_time: Callable[[], int] | None
) -> None:
    """Give the timer what it counts by, virtual time or what ``cpu_time`` says; it does not run
    yet.
    """

    def expired() -> None:
        _posix_timer_expired(process, timer)

    if cpu_time is None:
        timer.timer = HrTimer(process.system.scheduler, expired)
    else:
        timer.timer = CpuTimer(process.cpu_timers, cpu_time, expired)


def _posix_timer_expired(process: Process, timer: PosixTimer) -> None:
    """Send its signal; it goes on when that is taken, or at once if none is sent."""
    task = process.system.tasks.get(timer.tid) if timer.tid else process.leader
    if task is None or task.process is not process:
        return
    if not timer.signo or not prepare_signal(timer.signo, task):
        _forward(timer)
        return
    timer.queued = True
    try:
        send_signal(
            SigInfo.timer(timer.signo, timer.number, timer.value), task, group=not timer.tid
        )
    except LinuxError:
        timer.queued = False


def _forward(timer: PosixTimer) -> int:
    """Start it for its next time from now on; returns how many were missed (hrtimer_forward())."""
    if not timer.interval:
        return 0
    expired_at = timer.timer.expired_at
    missed = max(0, timer.timer.now() - expired_at) // timer.interval
    timer.timer.start(expired_at + (missed + 1) * timer.interval)
    return missed


def timer_dequeued(process: Process, info: SigInfo) -> SigInfo:
    """A timer's signal is taken: the timer goes on, and what it missed meanwhile is told
    (posixtimer_deliver_signal()). What the guest itself has sent as if of a timer stays as it is.
    """
    timer = process.posix_timers.get(info.timer_id)
    if timer is None or not timer.queued:
        return info
    timer.queued = False
    timer.overrun = min(_forward(timer), DELAYTIMER_MAX)
    return info.with_overrun(timer.overrun)


def stop_posix_timer(process: Process, timer: PosixTimer) -> None:
    """It does not run any more, and its signal does not wait any more."""
    timer.timer.cancel()
    if timer.queued:
        timer.queued = False
        for pending in (process.shared_pending, *(task.pending for task in process.threads)):
            pending.drop_timers(timer.number)
