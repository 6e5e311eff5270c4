# SPDX-License-Identifier: GPL-2.0-or-later
"""Time and chance: virtual both, from instructions and a seed."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from cpu.clock import LATEST_NS
from cpu.restart import ERESTARTNOHAND, set_restart_fn
from cpu.syscalls.registry import s32, syscall
from cpu.usage import cpu_time_ns, thread_cpu_time_ns
from mmu.errors import LinuxError
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.task import Task

CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID = 2, 3
REALTIME_CLOCKS = frozenset({0, 5, 8, 11})
"""CLOCK_REALTIME, its coarse and alarm forms, CLOCK_TAI."""
OTHER_CLOCKS = frozenset({1, 4, 6, 7, 9})
"""Monotonic and boot-time clocks."""
CPUCLOCK_SCHED, CPUCLOCK_PERTHREAD = 2, 4
"""Low bits of a clock's number that has a PID, inverted, above them (linux/posix-timers.h)."""
TIMER_ABSTIME = 1
GRND_FLAGS = 0x7
PIECE = 1 << 16
MAX_RANDOM = 33_554_431
"""Bytes that one call gives at most (drivers/char/random.c; getrandom(2))."""
SECOND = 10**9


def clock_ns(task: Task, clock: int) -> int:
    """What the clock of that number says, nanoseconds; EINVAL: there is none."""
    clock = s32(clock)
    if clock in REALTIME_CLOCKS:
        return task.system.clock.realtime_ns()
    if clock in OTHER_CLOCKS:
        return task.system.clock.now_ns()
    return cpu_clock(task, clock)()


def cpu_clock(task: Task, clock: int) -> Callable[[], int]:
    """What says the time of the CPU-time clock of that number; EINVAL: it is none."""
    if clock == CLOCK_PROCESS_CPUTIME_ID:
        return lambda: cpu_time_ns(task.process)
    if clock == CLOCK_THREAD_CPUTIME_ID:
        return lambda: thread_cpu_time_ns(task)
    pid = ~(clock >> 3)
    found = task.system.tasks.get(pid) if pid else task
    if clock >= 0 or clock & 3 != CPUCLOCK_SCHED or found is None:
        raise LinuxError(errno.EINVAL)
    other = found
    if not clock & CPUCLOCK_PERTHREAD:
        return lambda: cpu_time_ns(other.process)
    if other.process is not task.process:
        raise LinuxError(errno.EINVAL)
    return lambda: thread_cpu_time_ns(other)


def read_timespec(task: Task, addr: int) -> int:
    """Nanoseconds of the struct timespec at ``addr``; EINVAL if it is no valid time, EFAULT if it
    cannot be read.
    """
    seconds, nanoseconds = struct.unpack("<qq", task.mm.copy_from_user(addr, 16))
    if seconds < 0 or not 0 <= nanoseconds < SECOND:
        raise LinuxError(errno.EINVAL)
    return int(seconds * SECOND + nanoseconds)


@syscall("clock_gettime")
def sys_clock_gettime(task: Task, clock: int, result: int, *_: int) -> int:
    """clock_gettime(2)."""
    task.mm.copy_to_user(result, struct.pack("<qq", *divmod(clock_ns(task, clock), SECOND)))
    return 0


@syscall("clock_getres")
def sys_clock_getres(task: Task, clock: int, result: int, *_: int) -> int:
    """clock_getres(2): a nanosecond."""
    clock_ns(task, clock)
    if result:
        task.mm.copy_to_user(result, struct.pack("<qq", 0, 1))
    return 0


@syscall("gettimeofday")
def sys_gettimeofday(task: Task, result: int, zone: int, *_: int) -> int:
    """gettimeofday(2), in UTC."""
    if result:
        seconds, nanoseconds = divmod(task.system.clock.realtime_ns(), SECOND)
        task.mm.copy_to_user(result, struct.pack("<qq", seconds, nanoseconds // 1000))
    if zone:
        task.mm.copy_to_user(zone, struct.pack("<ii", 0, 0))
    return 0


@syscall("time")
def sys_time(task: Task, result: int, *_: int) -> int:
    """time(2)."""
    seconds = task.system.clock.realtime_ns() // SECOND
    if result:
        task.mm.copy_to_user(result, struct.pack("<q", seconds))
    return seconds


@syscall("nanosleep")
def sys_nanosleep(task: Task, request: int, remaining: int, *_: int) -> int:
    """nanosleep(2)."""
    return _sleep(task, read_timespec(task, request), remaining)


@syscall("clock_nanosleep")
def sys_clock_nanosleep(
    task: Task, clock: int, flags: int, request: int, remaining: int, *_: int
) -> int:
    """clock_nanosleep(2); a CPU-time clock's sleep is a monotonic one's here."""
    clock_ns(task, clock)
    if s32(clock) == CLOCK_THREAD_CPUTIME_ID:
        raise LinuxError(errno.EINVAL)
    wanted = read_timespec(task, request)
    if not flags & TIMER_ABSTIME:
        return _sleep(task, wanted, remaining)
    realtime = s32(clock) in REALTIME_CLOCKS
    left = task.system.clock.until(wanted, realtime=realtime)
    if task.system.sleep(left, f"{left} ns to pass") == 0:
        return 0
    return -ERESTARTNOHAND


def _sleep(task: Task, nanoseconds: int, remaining: int) -> int:
    """Sleep; if a signal comes, the time that was left goes to ``remaining``, if that is not 0, and
    restart_syscall() sleeps on (hrtimer_nanosleep()).
    """
    clock = task.system.clock
    end = min(clock.now_ns() + nanoseconds, LATEST_NS)

    def sleep_on(task: Task) -> int:
        left = max(0, end - clock.now_ns())
        if task.system.sleep(left, f"{left} ns to pass") == 0:
            return 0
        if remaining:
            left = max(0, end - clock.now_ns())
            if not left:
                return 0
            task.mm.copy_to_user(remaining, struct.pack("<qq", *divmod(left, SECOND)))
        return set_restart_fn(task, sleep_on)

    return sleep_on(task)


@syscall("getrandom")
def sys_getrandom(task: Task, buffer: int, size: int, flags: int, *_: int) -> int:
    """getrandom(2), from the run's seed."""
    if flags & U32 & ~GRND_FLAGS:
        raise LinuxError(errno.EINVAL)
    done, size = 0, min(size, MAX_RANDOM)
    while done < size and not task.system.stopping:
        step = min(size - done, PIECE)
        try:
            task.mm.copy_to_user(buffer + done, task.system.random.randbytes(step))
        except LinuxError:
            if done:
                break
            raise
        done += step
    return done
