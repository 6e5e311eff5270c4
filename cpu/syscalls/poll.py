# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for many files at once: poll(), select() and their like (fs/select.c, v6.18).

Time-outs are of virtual time. A task that only waits for the host's input with a time-out, while
nobody else runs, sees that time pass at once.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cpu.fs.poll import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLNVAL,
    POLLOUT,
    POLLPRI,
    POLLRDBAND,
    POLLRDNORM,
    POLLWRBAND,
    POLLWRNORM,
    poll_wait,
)
from cpu.restart import ERESTARTNOHAND, ERESTARTSYS, set_restart_fn
from cpu.syscalls.clock import SECOND, read_timespec
from cpu.syscalls.registry import s32, syscall
from cpu.syscalls.signals import read_user_sigmask
from mmu.errors import LinuxError
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.fs.files import OpenFile
    from cpu.task import Task

POLLIN_SET = POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR | POLLNVAL
POLLOUT_SET = POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR | POLLNVAL
POLLEX_SET = POLLPRI | POLLNVAL
SETS = (POLLIN_SET, POLLOUT_SET, POLLEX_SET)
"""What of poll() each set of select() stands for: to be read, written, and exceptions."""
FD_SETSIZE_MAX = 1 << 20
TIME64_MAX = (1 << 63) - 1
"""Seconds, beyond which no time-out is (include/linux/time64.h)."""
Watched = list[tuple["OpenFile | None", int]]
"""Files, None where there is none, and the events that are asked."""


def do_poll(task: Task, watched: Watched, deadline: int | None, what: str) -> list[int]:
    """What is so of each, as soon as anything is; all 0 once virtual time is at ``deadline``
    (None: never). Raises ERESTARTSYS.
    """
    found: list[int] = []

    def ready() -> bool:
        found[:] = [_revents(file, events) for file, events in watched]
        return any(found)

    scheduler = task.system.scheduler
    left = None if deadline is None else max(deadline - scheduler.now_ns(), 0)
    if ready() or left == 0:
        return found
    files = [file for file, _ in watched if file is not None]
    with held(files):
        listen = [file.listen for file in files]
        if poll_wait(scheduler, listen, ready, what, left) == -ERESTARTSYS:
            raise LinuxError(ERESTARTSYS)
    return found


def _revents(file: OpenFile | None, events: int) -> int:
    return POLLNVAL if file is None else file.poll() & (events | POLLERR | POLLHUP)


@contextmanager
def held(files: list[OpenFile]) -> Iterator[None]:
    """Be one more user of the files for a while."""
    for file in files:
        file.users += 1
    try:
        yield
    finally:
        for file in files:
            file.put()


def deadline_of(task: Task, nanoseconds: int | None) -> int | None:
    """The virtual time that is so many nanoseconds from now, at most the last that a struct
    timespec can say; None: never.
    """
    if nanoseconds is None:
        return None
    return min(task.system.clock.now_ns() + nanoseconds, TIME64_MAX * SECOND)


# poll().


@syscall("poll")
def sys_poll(task: Task, fds: int, nfds: int, timeout_ms: int, *_: int) -> int:
    """poll(2)."""
    timeout = s32(timeout_ms)
    deadline = deadline_of(task, None if timeout < 0 else timeout * 10**6)
    return _poll(task, fds, nfds & U32, deadline)


def _poll(task: Task, fds: int, nfds: int, deadline: int | None) -> int:
    try:
        return _do_sys_poll(task, fds, nfds, deadline)
    except LinuxError as error:
        if error.errno != ERESTARTSYS:
            raise
        return set_restart_fn(task, lambda task: _poll(task, fds, nfds, deadline))


@syscall("ppoll")
def sys_ppoll(task: Task, fds: int, nfds: int, timeout: int, mask: int, size: int, *_: int) -> int:
    """ppoll(2)."""
    deadline = deadline_of(task, read_timespec(task, timeout) if timeout else None)
    read_user_sigmask(task, mask, size)
    return _timed(task, timeout, deadline, lambda: _do_sys_poll(task, fds, nfds & U32, deadline))


def _timed(
    task: Task, timeout: int, deadline: int | None, call: Callable[[], int], *, unit: int = 1
) -> int:
    """Make the call, and tell in the time at ``timeout`` what is left (poll_select_finish());
    ``unit`` is of its second field, nanoseconds.
    """
    try:
        return call()
    except LinuxError as error:
        if error.errno == ERESTARTSYS:
            raise LinuxError(ERESTARTNOHAND) from None
        raise
    finally:
        if timeout and deadline is not None:
            seconds, rest = divmod(max(deadline - task.system.clock.now_ns(), 0), SECOND)
            _put(task, timeout, struct.pack("<qq", seconds, rest // unit))


def _put(task: Task, addr: int, data: bytes) -> None:
    """Write what does not matter where it cannot be written."""
    try:
        task.mm.copy_to_user(addr, data)
    except LinuxError:
        return


def _do_sys_poll(task: Task, fds: int, nfds: int, deadline: int | None) -> int:
    if nfds > task.files.nofile():
        raise LinuxError(errno.EINVAL)
    entries = list(
        struct.iter_unpack("<ihh", task.mm.copy_from_user(fds, 8 * nfds) if nfds else b"")
    )
    watched: Watched = []
    places = []
    for place, (fd, events, _) in enumerate(entries):
        if fd >= 0:
            watched.append((_get(task, fd), events & 0xFFFF))
            places.append(place)
    found = do_poll(task, watched, deadline, f"poll() of {len(watched)} files")
    revents = [0] * nfds
    for place, events in zip(places, found, strict=True):
        revents[place] = events
    for place, events in enumerate(revents):
        task.mm.copy_to_user(fds + 8 * place + 6, struct.pack("<H", events & 0xFFFF))
    return sum(map(bool, found))


def _get(task: Task, fd: int) -> OpenFile | None:
    try:
        return task.files.get(fd)
    except LinuxError:
        return None


# select().


@syscall("select")
def sys_select(
    task: Task, nfds: int, reads: int, writes: int, excepts: int, timeout: int, *_: int
) -> int:
    """select(2)."""
    limit = None
    if timeout:
        seconds, microseconds = struct.unpack("<qq", task.mm.copy_from_user(timeout, 16))
        limit = seconds * SECOND + microseconds * 1000
        if seconds < 0 or microseconds < 0 or seconds + microseconds // 10**6 > TIME64_MAX:
            raise LinuxError(errno.EINVAL)
    deadline = deadline_of(task, limit)
    sets = (reads, writes, excepts)
    return _timed(task, timeout, deadline, lambda: _select(task, nfds, sets, deadline), unit=1000)


@syscall("pselect6")
def sys_pselect6(
    task: Task, nfds: int, reads: int, writes: int, excepts: int, timeout: int, sigmask: int
) -> int:
    """pselect(2); ``sigmask`` is where the mask's address and size are."""
    mask = size = 0
    if sigmask:
        mask, size = struct.unpack("<QQ", task.mm.copy_from_user(sigmask, 16))
    deadline = deadline_of(task, read_timespec(task, timeout) if timeout else None)
    read_user_sigmask(task, mask, size)
    sets = (reads, writes, excepts)
    return _timed(task, timeout, deadline, lambda: _select(task, nfds, sets, deadline))


def _select(task: Task, nfds: int, sets: tuple[int, int, int], deadline: int | None) -> int:
    """core_sys_select()."""
    nr = s32(nfds)
    if nr < 0:
        raise LinuxError(errno.EINVAL)
    nr = min(nr, max([*task.files, 63]) + 1, FD_SETSIZE_MAX)
    size = (nr + 63) // 64 * 8
    asked = [_bitmap(task, addr, size) & (1 << nr) - 1 for addr in sets]
    fds = [fd for fd in range(nr) if (asked[0] | asked[1] | asked[2]) >> fd & 1]
    watched: Watched = [(task.files.get(fd), _wanted(asked, fd)) for fd in fds]
    found = do_poll(task, watched, deadline, f"select() of {len(fds)} files")
    answer = [0, 0, 0]
    for fd, events in zip(fds, found, strict=True):
        for i, kinds in enumerate(SETS):
            if asked[i] >> fd & 1 and events & kinds:
                answer[i] |= 1 << fd
    for addr, bits in zip(sets, answer, strict=True):
        if addr and size:
            task.mm.copy_to_user(addr, bits.to_bytes(size, "little"))
    return sum(bits.bit_count() for bits in answer)


def _wanted(asked: list[int], fd: int) -> int:
    events = 0
    for kinds, bits in zip(SETS, asked, strict=True):
        if bits >> fd & 1:
            events |= kinds
    return events


def _bitmap(task: Task, addr: int, size: int) -> int:
    return int.from_bytes(task.mm.copy_from_user(addr, size), "little") if addr and size else 0
