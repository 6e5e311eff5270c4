# SPDX-License-Identifier: GPL-2.0-or-later
"""POSIX queues of messages: thin over cpu.ipc.mqueue."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, TypeVar

from cpu.fs.files import O_ACCMODE, O_CLOEXEC, O_CREAT, O_NONBLOCK, O_RDONLY, O_WRONLY
from cpu.ipc.mqueue import MQ_ATTR, MQ_PRIO_MAX, MqueueFile, Notification
from cpu.restart import ERESTARTSYS
from cpu.siginfo import SI_MESGQ, SigInfo
from cpu.signal_send import send_signal
from cpu.syscalls.clock import read_timespec
from cpu.syscalls.paths import user_path
from cpu.syscalls.registry import s32, syscall
from mmu.errors import LinuxError
from mmu.units import U32

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpu.task import Task

T = TypeVar("T")
_NSIG = 64
_SIGEV_SIGNAL, _SIGEV_NONE, _SIGEV_THREAD = 0, 1, 2


@syscall("mq_open")
def sys_mq_open(task: Task, name: int, flags: int, mode: int, attributes: int, *_: int) -> int:
    """mq_open(2)."""
    wanted = None
    if attributes:
        _, maxmsg, msgsize, _ = MQ_ATTR.unpack(task.mm.copy_from_user(attributes, MQ_ATTR.size))
        wanted = (maxmsg, msgsize) if flags & O_CREAT else None
    queues = task.system.ipc.mqueue
    file = queues.open(task, user_path(task, name), flags & U32, mode & 0o777, wanted)
    return task.files.install(file, cloexec=bool(flags & O_CLOEXEC))


@syscall("mq_unlink")
def sys_mq_unlink(task: Task, name: int, *_: int) -> int:
    """mq_unlink(2)."""
    task.system.ipc.mqueue.unlink(task, user_path(task, name))
    return 0


def _file(task: Task, fd: int, without: int | None = None) -> MqueueFile:
    """The queue that is open; EBADF if it is none, or was opened as ``without``."""
    file = task.files.not_path(s32(fd))
    if not isinstance(file, MqueueFile) or file.flags & O_ACCMODE == without:
        raise LinuxError(errno.EBADF)
    return file


def _deadline(task: Task, timeout: int) -> int | None:
    """When CLOCK_REALTIME has the time at ``timeout``, in nanoseconds; None: never."""
    return read_timespec(task, timeout) if timeout else None


def _blocking(task: Task, file: MqueueFile, action: Callable[[], T], deadline: int | None) -> T:
    """Do what may raise EAGAIN; wait until it does not, to the deadline: ETIMEDOUT."""
    results: list[T] = []

    def ready() -> bool:
        try:
            results.append(action())
        except LinuxError as error:
            if error.errno != errno.EAGAIN:
                raise
            return False
        return True

    if file.flags & O_NONBLOCK:
        return action()
    left = None if deadline is None else task.system.clock.until(deadline, realtime=True)
    file.users += 1
    try:
        result = file.queue.poll_head.wait(ready, file.path, left)
    finally:
        file.put()
    if result == -errno.ETIME:
        raise LinuxError(errno.ETIMEDOUT)
    if result:
        raise LinuxError(ERESTARTSYS)
    return results[0]


@syscall("mq_timedsend")
def sys_mq_timedsend(
    task: Task, fd: int, message: int, size: int, priority: int, timeout: int, *_: int
) -> int:
    """mq_timedsend(2)."""
    priority &= U32
    deadline = _deadline(task, timeout)
    if priority >= MQ_PRIO_MAX:
        raise LinuxError(errno.EINVAL)
    file = _file(task, fd, without=O_RDONLY)
    if size > file.queue.msgsize:
        raise LinuxError(errno.EMSGSIZE)
    data = task.mm.copy_from_user(message, size) if size else b""
    _blocking(task, file, lambda: file.queue.send(task, data, priority), deadline)
    return 0


@syscall("mq_timedreceive")
def sys_mq_timedreceive(
    task: Task, fd: int, buffer: int, room: int, priority: int, timeout: int, *_: int
) -> int:
    """mq_timedreceive(2)."""
    deadline = _deadline(task, timeout)
    file = _file(task, fd, without=O_WRONLY)
    file.queue.receivers += 1
    try:
        message = _blocking(task, file, lambda: file.queue.receive(room), deadline)
    finally:
        file.queue.receivers -= 1
    if priority:
        task.mm.copy_to_user(priority, struct.pack("<I", message.priority))
    task.mm.copy_to_user(buffer, message.data)
    return len(message.data)


@syscall("mq_getsetattr")
def sys_mq_getsetattr(task: Task, fd: int, new: int, old: int, *_: int) -> int:
    """mq_getattr(3), mq_setattr(3): only O_NONBLOCK changes."""
    flags = None
    if new:
        flags = MQ_ATTR.unpack(task.mm.copy_from_user(new, MQ_ATTR.size))[0]
        if flags & ~O_NONBLOCK:
            raise LinuxError(errno.EINVAL)
    file = _file(task, fd)
    before = file.queue.attributes(file.flags)
    if flags is not None:
        file.flags = file.flags & ~O_NONBLOCK | flags
    if old:
        task.mm.copy_to_user(old, before)
    return 0


@syscall("mq_notify")
def sys_mq_notify(task: Task, fd: int, event: int, *_: int) -> int:
    """mq_notify(2). SIGEV_THREAD needs a socket of AF_NETLINK to tell: EBADF."""
    value = signo = 0
    notify = _SIGEV_NONE
    if event:
        value, signo, notify = struct.unpack("<Qii", task.mm.copy_from_user(event, 16))
        if notify not in (_SIGEV_NONE, _SIGEV_SIGNAL, _SIGEV_THREAD):
            raise LinuxError(errno.EINVAL)
        if notify == _SIGEV_SIGNAL and not 0 <= signo <= _NSIG:
            raise LinuxError(errno.EINVAL)
        if notify == _SIGEV_THREAD:
            raise LinuxError(errno.EBADF)
    file = _file(task, fd)
    told = file.queue.notification
    if not event:
        if told is not None and told.pid == task.tgid:
            file.queue.notification = None
        return 0
    if told is not None:
        raise LinuxError(errno.EBUSY)
    wanted = signo if notify == _SIGEV_SIGNAL else 0
    tell = _teller(task, wanted, value)
    file.queue.notification = Notification(task.files, task.tgid, wanted, tell)
    return 0


def _teller(task: Task, signo: int, value: int) -> Callable[[Task], None]:
    """Sends the signal of a notification, from whoever sent the message (__do_notify())."""

    def tell(sender: Task) -> None:
        if signo:
            fields = struct.pack("<iIQ", sender.tgid, sender.cred.uid, value)
            send_signal(SigInfo(signo, SI_MESGQ, fields), task, group=True)

    return tell
