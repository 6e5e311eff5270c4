# SPDX-License-Identifier: GPL-2.0-or-later
"""Timers that send signals: alarm(), setitimer(), timer_create() (kernel/time, v6.18)."""

from __future__ import annotations

import errno
import signal
import struct
from typing import TYPE_CHECKING, Final

from cpu.clock import EPOCH_NS
from cpu.posix_timers import (
    ITIMER_PROF,
    ITIMER_REAL,
    getitimer,
    setitimer,
    start_posix_timer,
    stop_posix_timer,
)
from cpu.signals import NSIG
from cpu.syscalls.clock import SECOND, TIMER_ABSTIME, cpu_clock
from cpu.syscalls.registry import s32, syscall
from cpu.timers import PosixTimer
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.task import Task

SIGEV_SIGNAL, SIGEV_NONE, SIGEV_THREAD, SIGEV_THREAD_ID = 0, 1, 2, 4
MAX_TIMERS: Final = 1024
"""Timers of a process here; more are EAGAIN, as with RLIMIT_SIGPENDING."""
REALTIME_TIMERS: Final = frozenset({0, 8, 11})
"""CLOCK_REALTIME, its alarm form, CLOCK_TAI: a timer's absolute times are since 1970."""
TIMER_CLOCKS: Final = REALTIME_TIMERS | {1, 7, 9}
"""With the monotonic and boot-time ones; there are CPU-time clocks besides."""
_TIMES: Final = struct.Struct("<qqqq")
_SIGEVENT: Final = struct.Struct("<QiiiI")
MICROSECOND: Final = 1000


# Interval timers.


def _read_timevals(task: Task, addr: int) -> tuple[int, int]:
    """Interval and value of a struct itimerval, nanoseconds; EINVAL, EFAULT."""
    a, b, c, d = _TIMES.unpack(task.mm.copy_from_user(addr, _TIMES.size))
    return _time(a, b, MICROSECOND), _time(c, d, MICROSECOND)


def _read_timespecs(task: Task, addr: int) -> tuple[int, int]:
    """Interval and value of a struct itimerspec, nanoseconds; EINVAL, EFAULT."""
    a, b, c, d = _TIMES.unpack(task.mm.copy_from_user(addr, _TIMES.size))
    return _time(a, b, 1), _time(c, d, 1)


def _time(seconds: int, parts: int, unit: int) -> int:
    if seconds < 0 or not 0 <= parts < SECOND // unit:
        raise LinuxError(errno.EINVAL)
    return seconds * SECOND + parts * unit


def _pack(interval: int, value: int, unit: int) -> bytes:
    words = []
    for time in (interval, value):
        seconds, rest = divmod(time, SECOND)
        words += [seconds, rest // unit]
    return _TIMES.pack(*words)


def _which(which: int) -> int:
    if not ITIMER_REAL <= s32(which) <= ITIMER_PROF:
        raise LinuxError(errno.EINVAL)
    return s32(which)


@syscall("getitimer")
def sys_getitimer(task: Task, which: int, value: int, *_: int) -> int:
    """getitimer(2)."""
    left, interval = getitimer(task.process, _which(which))
    task.mm.copy_to_user(value, _pack(interval, left, MICROSECOND))
    return 0


@syscall("setitimer")
def sys_setitimer(task: Task, which: int, new: int, old: int, *_: int) -> int:
    """setitimer(2)."""
    interval, value = _read_timevals(task, new) if new else (0, 0)
    left, was = setitimer(task.process, _which(which), value, interval)
    if old:
        task.mm.copy_to_user(old, _pack(was, left, MICROSECOND))
    return 0


@syscall("alarm")
def sys_alarm(task: Task, seconds: int, *_: int) -> int:
    """alarm(2): ITIMER_REAL; the seconds that were left are rounded, never to 0."""
    left, _interval = setitimer(task.process, ITIMER_REAL, (seconds & 0xFFFFFFFF) * SECOND, 0)
    return max(1, (left + SECOND // 2) // SECOND) if left else 0


# POSIX timers.


@syscall("timer_create")
def sys_timer_create(task: Task, clock: int, event: int, result: int, *_: int) -> int:
    """timer_create(2)."""
    process, clock = task.process, s32(clock)
    cpu_time = None if clock in TIMER_CLOCKS else cpu_clock(task, clock)
    if len(process.posix_timers) >= MAX_TIMERS:
        raise LinuxError(errno.EAGAIN)
    number = process.next_posix_timer
    value, signo, tid = number, int(signal.SIGALRM), 0
    if event:
        value, signo, tid = _read_sigevent(task, event)
    timer = PosixTimer(number, clock, signo, value, tid, clock in REALTIME_TIMERS)
    start_posix_timer(process, timer, cpu_time)
    task.mm.copy_to_user(result, struct.pack("<i", number))
    process.posix_timers[number] = timer
    process.next_posix_timer += 1
    return 0


def _read_sigevent(task: Task, addr: int) -> tuple[int, int, int]:
    """sigev_value, the signal (0: none) and the thread (0: any) of a struct sigevent; EINVAL."""
    data = task.mm.copy_from_user(addr, 64)
    value, signo, notify, tid, _ = _SIGEVENT.unpack_from(data)
    if notify == SIGEV_NONE:
        return value, 0, 0
    if notify not in (SIGEV_SIGNAL, SIGEV_THREAD, SIGEV_SIGNAL | SIGEV_THREAD_ID):
        raise LinuxError(errno.EINVAL)
    if not 1 <= signo <= NSIG:
        raise LinuxError(errno.EINVAL)
    if not notify & SIGEV_THREAD_ID:
        return value, signo, 0
    target = task.system.tasks.get(tid)
    if target is None or target.process is not task.process:
        raise LinuxError(errno.EINVAL)
    return value, signo, tid


def _timer(task: Task, number: int) -> PosixTimer:
    timer = task.process.posix_timers.get(s32(number))
    if timer is None:
        raise LinuxError(errno.EINVAL)
    return timer


def _timer_gettime(timer: PosixTimer) -> bytes:
    """What is left and the interval; with its signal waiting, until the next time after it."""
    left, expires, now = 0, timer.timer.expires, timer.timer.now()
    if expires is None and timer.queued and timer.interval:
        passed = now - timer.timer.expired_at
        expires = timer.timer.expired_at + (passed // timer.interval + 1) * timer.interval
    if expires is not None:
        left = max(expires - now, 1)
    return _pack(timer.interval, left, 1)


@syscall("timer_settime")
def sys_timer_settime(task: Task, number: int, flags: int, new: int, old: int, *_: int) -> int:
    """timer_settime(2)."""
    if not new:
        raise LinuxError(errno.EINVAL)
    interval, value = _read_timespecs(task, new)
    timer = _timer(task, number)
    was = _timer_gettime(timer)
    stop_posix_timer(task.process, timer)
    timer.interval, timer.overrun = interval if value else 0, 0
    if value and flags & TIMER_ABSTIME:
        timer.timer.start(max(0, value - EPOCH_NS) if timer.realtime else value)
    elif value:
        timer.timer.start(timer.timer.now() + value)
    if old:
        task.mm.copy_to_user(old, was)
    return 0


@syscall("timer_gettime")
def sys_timer_gettime(task: Task, number: int, value: int, *_: int) -> int:
    """timer_gettime(2)."""
    task.mm.copy_to_user(value, _timer_gettime(_timer(task, number)))
    return 0


@syscall("timer_getoverrun")
def sys_timer_getoverrun(task: Task, number: int, *_: int) -> int:
    """timer_getoverrun(2): of the signal that was taken last."""
    return _timer(task, number).overrun


@syscall("timer_delete")
def sys_timer_delete(task: Task, number: int, *_: int) -> int:
    """timer_delete(2)."""
    timer = _timer(task, number)
    stop_posix_timer(task.process, timer)
    del task.process.posix_timers[timer.number]
    return 0
