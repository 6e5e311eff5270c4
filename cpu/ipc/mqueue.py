# SPDX-License-Identifier: GPL-2.0-or-later
"""POSIX queues of messages: mq_open() and its like (ipc/mqueue.c, v6.18)."""

from __future__ import annotations

import errno
import struct
from bisect import insort
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cpu.cred import CAP_SYS_RESOURCE
from cpu.fs.files import (
    O_ACCMODE,
    O_CREAT,
    O_EXCL,
    O_NONBLOCK,
    O_RDONLY,
    O_RDWR,
    O_WRONLY,
    SEEK_CUR,
    SEEK_SET,
    OpenFile,
)
from cpu.fs.poll import POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM, PollHead
from cpu.ipc.ids import S_IRUGO, S_IWUGO, IpcObject
from mmu.errors import LinuxError
from mmu.linux.resource import Resource

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpu.fs.files import FileTable
    from cpu.task import System, Task

MQ_PRIO_MAX: Final = 32768
NAME_MAX: Final = 255
QUEUES_MAX, MSG_MAX, MSGSIZE_MAX = 256, 10, 8192
"""What /proc/sys/fs/mqueue has: queues, and messages of a queue and their bytes without
CAP_SYS_RESOURCE; the latter two are also what a queue gets that asks for nothing.
"""
HARD_MSGMAX, HARD_MSGSIZEMAX = 65536, 16 << 20
MQ_ATTR: Final = struct.Struct("<4q32x")
"""struct mq_attr: flags, maxmsg, msgsize, curmsgs."""
_POINTER, _NODE = 8, 48
"""Bytes that a message, and a priority, take beside the data: what RLIMIT_MSGQUEUE counts."""
_SIZE_OF_STATUS: Final = 80


@dataclass(order=True)
class Message:
    """A message; those that come first sort first. ``order`` counts what was sent."""

    rank: tuple[int, int]
    data: bytes

    @property
    def priority(self) -> int:
        """0 to MQ_PRIO_MAX - 1."""
        return -self.rank[0]


@dataclass
class Notification:
    """Who wants to hear of the first message: ``table`` is that of the process which asked, and
    ``tell`` sends the signal, if any.
    """

    table: FileTable
    pid: int
    signo: int
    tell: Callable[[Task], None]


class Mqueue(IpcObject):
    """struct mqueue_inode_info. ``maxmsg`` messages of up to ``msgsize`` bytes."""

    def __init__(self, system: System, task: Task, mode: int, maxmsg: int, msgsize: int) -> None:
        super().__init__(0, mode, task.cred)
        self.maxmsg, self.msgsize = maxmsg, msgsize
        self.messages: list[Message] = []
        self.sent = 0
        self.poll_head = PollHead(system.scheduler, "a POSIX message queue")
        self.notification: Notification | None = None
        self.receivers = 0
        """Tasks that wait for a message."""

    @property
    def nr_bytes(self) -> int:
        """What RLIMIT_MSGQUEUE counts."""
        overhead = self.maxmsg * _POINTER + min(self.maxmsg, MQ_PRIO_MAX) * _NODE
        return self.maxmsg * self.msgsize + overhead

    def attributes(self, flags: int) -> bytes:
        """struct mq_attr of a file with these status flags."""
        return MQ_ATTR.pack(flags & O_NONBLOCK, self.maxmsg, self.msgsize, len(self.messages))

    def send(self, sender: Task, data: bytes, priority: int) -> None:
        """do_mq_timedsend() without waiting. EMSGSIZE, EAGAIN."""
        if len(data) > self.msgsize:
            raise LinuxError(errno.EMSGSIZE)
        if len(self.messages) >= self.maxmsg:
            raise LinuxError(errno.EAGAIN)
        insort(self.messages, Message((-priority, self.sent), data))
        self.sent += 1
        if len(self.messages) == 1 and not self.receivers and self.notification is not None:
            told, self.notification = self.notification, None
            told.tell(sender)
        self.poll_head.wake(POLLIN)

    def receive(self, room: int) -> Message:
        """do_mq_timedreceive() without waiting. EMSGSIZE, EAGAIN."""
        if room < self.msgsize:
            raise LinuxError(errno.EMSGSIZE)
        if not self.messages:
            raise LinuxError(errno.EAGAIN)
        message = self.messages.pop(0)
        self.poll_head.wake(POLLOUT)
        return message


class MqueueFile(OpenFile):
    """A queue that is open; what is read of it is its status."""

    mode = 0o100600

    def __init__(self, queue: Mqueue, name: str, flags: int) -> None:
        super().__init__()
        self.queue = queue
        self.flags = flags & (O_ACCMODE | O_NONBLOCK)
        self.path = f"/{name}"
        self.mode = 0o100000 | queue.mode
        self.uid, self.gid = queue.uid, queue.gid
        self.poll_head = queue.poll_head

    def _status(self) -> bytes:
        queued = sum(len(message.data) for message in self.queue.messages)
        told = self.queue.notification
        signo, pid = (0, 0) if told is None else (told.signo, told.pid)
        text = f"QSIZE:{queued:<10} NOTIFY:{0:<5} SIGNO:{signo:<5} NOTIFY_PID:{pid:<6}\n"
        return text.encode()

    @property
    def size(self) -> int:
        """FILENT_SIZE."""
        return _SIZE_OF_STATUS

    def read(self, count: int) -> bytes:
        """The next bytes of its status (mqueue_read_file())."""
        data = self._status()[self.position : self.position + count]
        self.position += len(data)
        return data

    def pread(self, count: int, offset: int) -> bytes:
        """The same from ``offset`` on."""
        return self._status()[offset : offset + count]

    def write(self, data: bytes) -> int:
        """It cannot be written."""
        raise LinuxError(errno.EINVAL)

    def seek(self, offset: int, whence: int) -> int:
        """The position in its status."""
        base = {SEEK_SET: 0, SEEK_CUR: self.position}.get(whence, self.size)
        if base + offset < 0:
            raise LinuxError(errno.EINVAL)
        self.position = base + offset
        return self.position

    def poll(self) -> int:
        """Whether a message can be taken, or sent (mqueue_poll_file())."""
        events = POLLIN | POLLRDNORM if self.queue.messages else 0
        if len(self.queue.messages) < self.queue.maxmsg:
            events |= POLLOUT | POLLWRNORM
        return events

    def flush(self, table: FileTable) -> None:
        """Who asked to be told by this table is told no more (mqueue_flush_file())."""
        told = self.queue.notification
        if told is not None and told.table is table:
            self.queue.notification = None
        super().flush(table)


_WANTED: Final = {O_RDONLY: S_IRUGO, O_WRONLY: S_IWUGO, O_RDWR: S_IRUGO | S_IWUGO}


class MqueueNames:
    """The queues of a machine that have a name."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.queues: dict[str, Mqueue] = {}

    @staticmethod
    def _check(name: str) -> None:
        if not name:
            raise LinuxError(errno.ENOENT)
        if "/" in name or name in (".", ".."):
            raise LinuxError(errno.EACCES)
        if len(name.encode("utf-8", "surrogateescape")) > NAME_MAX:
            raise LinuxError(errno.ENAMETOOLONG)

    def open(
        self, task: Task, name: str, flags: int, mode: int, attributes: tuple[int, int] | None
    ) -> MqueueFile:
        """do_mq_open(); ``attributes`` are maxmsg and msgsize. ENOENT, EEXIST, EACCES, EINVAL,
        ENAMETOOLONG, ENOSPC, EMFILE (RLIMIT_MSGQUEUE).
        """
        self._check(name)
        queue = self.queues.get(name)
        if queue is None:
            if not flags & O_CREAT:
                raise LinuxError(errno.ENOENT)
            queue = self._make(task, mode & ~task.fs.umask, attributes)
            self.queues[name] = queue
        else:
            if flags & O_CREAT and flags & O_EXCL:
                raise LinuxError(errno.EEXIST)
            if flags & O_ACCMODE == O_ACCMODE:
                raise LinuxError(errno.EINVAL)
            queue.permitted(task.cred, _WANTED[flags & O_ACCMODE])
        return MqueueFile(queue, name, flags)

    def _make(self, task: Task, mode: int, attributes: tuple[int, int] | None) -> Mqueue:
        privileged = task.cred.capable(CAP_SYS_RESOURCE)
        maxmsg, msgsize = attributes or (MSG_MAX, MSGSIZE_MAX)
        if len(self.queues) >= QUEUES_MAX and not privileged:
            raise LinuxError(errno.ENOSPC)
        most = (HARD_MSGMAX, HARD_MSGSIZEMAX) if privileged else (MSG_MAX, MSGSIZE_MAX)
        if not 0 < maxmsg <= most[0] or not 0 < msgsize <= most[1]:
            raise LinuxError(errno.EINVAL)
        queue = Mqueue(self._system, task, mode, maxmsg, msgsize)
        used = sum(other.nr_bytes for other in self.queues.values() if other.cuid == queue.cuid)
        if used + queue.nr_bytes > task.rlimits[Resource.MSGQUEUE].cur:
            raise LinuxError(errno.EMFILE)
        return queue

    def unlink(self, task: Task, name: str) -> None:
        """mq_unlink(): those who have it open keep it. ENOENT, EACCES, EPERM."""
        self._check(name)
        queue = self.queues.get(name)
        if queue is None:
            raise LinuxError(errno.ENOENT)
        queue.owned(task.cred)
        del self.queues[name]
