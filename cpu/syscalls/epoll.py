# SPDX-License-Identifier: GPL-2.0-or-later
"""epoll, eventfd and timerfd (fs/eventpoll.c, eventfd.c, timerfd.c, v6.18)."""

from __future__ import annotations

import errno
import struct
from contextlib import ExitStack
from typing import TYPE_CHECKING

from cpu.clock import EPOCH_NS
from cpu.fs.eventfd import EFD_SEMAPHORE, EventFd, TimerFd
from cpu.fs.eventpoll import (
    EPOLLET,
    EPOLLEXCLUSIVE,
    EPOLLWAKEUP,
    EventPoll,
)
from cpu.fs.files import O_CLOEXEC, O_NONBLOCK
from cpu.fs.poll import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM
from cpu.restart import ERESTARTSYS
from cpu.syscalls.clock import SECOND, read_timespec
from cpu.syscalls.poll import held
from cpu.syscalls.registry import s32, syscall
from cpu.syscalls.signals import read_user_sigmask
from mmu.errors import LinuxError
from mmu.linux.sched import Sleep
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.task import Task

EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD = 1, 2, 3
EP_MAX_EVENTS = 0x7FFFFFFF // 12
EVENT = struct.Struct("<IQ")
EXCLUSIVE_OK = (
    POLLIN
    | POLLOUT
    | POLLERR
    | POLLHUP
    | POLLRDNORM
    | POLLWRNORM
    | EPOLLWAKEUP
    | EPOLLET
    | EPOLLEXCLUSIVE
)
TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET = 1, 2
CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME = 0, 1, 7
CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM = 8, 9


@syscall("epoll_create")
def sys_epoll_create(task: Task, size: int, *_: int) -> int:
    """epoll_create(2)."""
    if s32(size) <= 0:
        raise LinuxError(errno.EINVAL)
    return task.files.install(EventPoll(task.system.scheduler))


@syscall("epoll_create1")
def sys_epoll_create1(task: Task, flags: int, *_: int) -> int:
    """epoll_create1(2)."""
    if flags & U32 & ~O_CLOEXEC:
        raise LinuxError(errno.EINVAL)
    return task.files.install(EventPoll(task.system.scheduler), cloexec=bool(flags & O_CLOEXEC))


@syscall("epoll_ctl")
def sys_epoll_ctl(task: Task, epfd: int, op: int, fd: int, event: int, *_: int) -> int:
    """epoll_ctl(2)."""
    op, events, data = s32(op), 0, 0
    if op != EPOLL_CTL_DEL:
        events, data = EVENT.unpack(task.mm.copy_from_user(event, EVENT.size))
    ep, file = task.files.get(s32(epfd)), task.files.get(s32(fd))
    if not file.can_poll:
        raise LinuxError(errno.EPERM)
    if file is ep or not isinstance(ep, EventPoll):
        raise LinuxError(errno.EINVAL)
    if events & EPOLLEXCLUSIVE and (op == EPOLL_CTL_MOD or events & ~EXCLUSIVE_OK):
        raise LinuxError(errno.EINVAL)
    events &= ~EPOLLWAKEUP
    if op == EPOLL_CTL_ADD:
        ep.insert(s32(fd), file, events, data)
    elif op == EPOLL_CTL_DEL:
        ep.remove(s32(fd), file)
    elif op == EPOLL_CTL_MOD:
        ep.modify(s32(fd), file, events, data)
    else:
        raise LinuxError(errno.EINVAL)
    return 0


@syscall("epoll_wait")
def sys_epoll_wait(
    task: Task, epfd: int, result: int, maxevents: int, timeout_ms: int, *_: int
) -> int:
    """epoll_wait(2)."""
    timeout = s32(timeout_ms)
    return _wait(task, epfd, result, maxevents, None if timeout < 0 else timeout * 10**6)


@syscall("epoll_pwait")
def sys_epoll_pwait(
    task: Task, epfd: int, result: int, maxevents: int, timeout_ms: int, mask: int, size: int
) -> int:
    """epoll_pwait(2)."""
    read_user_sigmask(task, mask, size)
    return sys_epoll_wait(task, epfd, result, maxevents, timeout_ms)


@syscall("epoll_pwait2")
def sys_epoll_pwait2(
    task: Task, epfd: int, result: int, maxevents: int, timeout: int, mask: int, size: int
) -> int:
    """epoll_pwait2(2)."""
    limit = read_timespec(task, timeout) if timeout else None
    read_user_sigmask(task, mask, size)
    return _wait(task, epfd, result, maxevents, limit)


def _wait(task: Task, epfd: int, result: int, maxevents: int, timeout_ns: int | None) -> int:
    """do_epoll_wait()."""
    most = s32(maxevents)
    if not 0 < most <= EP_MAX_EVENTS:
        raise LinuxError(errno.EINVAL)
    ep = task.files.get(s32(epfd))
    if not isinstance(ep, EventPoll):
        raise LinuxError(errno.EINVAL)
    nr = 0

    def put(place: int, events: int, data: int) -> None:
        task.mm.copy_to_user(result + place * EVENT.size, EVENT.pack(events, data))

    def ready() -> bool:
        nonlocal nr
        nr = ep.send(most, put)
        return nr > 0

    if not ready() and timeout_ns != 0:
        with held([ep]), ExitStack() as ends:
            ep.listen_to_streams(ends)
            outcome = task.system.scheduler.wait_event(
                ep.poll_head.queue,
                ready,
                "an event of epoll",
                sleep=Sleep.INTERRUPTIBLE,
                timeout_ns=timeout_ns,
            )
        if outcome == -ERESTARTSYS:
            raise LinuxError(errno.EINTR)
    return nr


@syscall("eventfd")
def sys_eventfd(task: Task, count: int, *_: int) -> int:
    """eventfd(2) of old."""
    return sys_eventfd2(task, count, 0)


@syscall("eventfd2")
def sys_eventfd2(task: Task, count: int, flags: int, *_: int) -> int:
    """eventfd(2)."""
    if flags & U32 & ~(O_CLOEXEC | O_NONBLOCK | EFD_SEMAPHORE):
        raise LinuxError(errno.EINVAL)
    return task.files.install(
        EventFd(task.system.scheduler, count & U32, flags), cloexec=bool(flags & O_CLOEXEC)
    )


@syscall("timerfd_create")
def sys_timerfd_create(task: Task, clock: int, flags: int, *_: int) -> int:
    """timerfd_create(2); the alarm clocks need CAP_WAKE_ALARM."""
    clock = s32(clock)
    if flags & U32 & ~(O_CLOEXEC | O_NONBLOCK):
        raise LinuxError(errno.EINVAL)
    if clock in (CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM):
        raise LinuxError(errno.EPERM)
    if clock not in (CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME):
        raise LinuxError(errno.EINVAL)
    epoch = EPOCH_NS if clock == CLOCK_REALTIME else 0
    return task.files.install(
        TimerFd(task.system.scheduler, epoch, flags), cloexec=bool(flags & O_CLOEXEC)
    )


@syscall("timerfd_settime")
def sys_timerfd_settime(task: Task, fd: int, flags: int, new: int, old: int, *_: int) -> int:
    """timerfd_settime(2); the real-time clock is never set here."""
    interval, value = read_timespec(task, new), read_timespec(task, new + 16)
    if flags & U32 & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET):
        raise LinuxError(errno.EINVAL)
    timer = _timer(task, fd)
    before = timer.settime(value, interval, absolute=bool(flags & TFD_TIMER_ABSTIME))
    if old:
        _put_itimerspec(task, old, before)
    return 0


@syscall("timerfd_gettime")
def sys_timerfd_gettime(task: Task, fd: int, result: int, *_: int) -> int:
    """timerfd_gettime(2)."""
    _put_itimerspec(task, result, _timer(task, fd).gettime())
    return 0


def _timer(task: Task, fd: int) -> TimerFd:
    file = task.files.get(s32(fd))
    if not isinstance(file, TimerFd):
        raise LinuxError(errno.EINVAL)
    return file


def _put_itimerspec(task: Task, addr: int, times: tuple[int, int]) -> None:
    value, interval = times
    words = (*divmod(interval, SECOND), *divmod(value, SECOND))
    task.mm.copy_to_user(addr, struct.pack("<qqqq", *words))
