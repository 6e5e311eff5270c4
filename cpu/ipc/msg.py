# SPDX-License-Identifier: GPL-2.0-or-later
"""Queues of messages: msgget(), msgsnd(), msgrcv(), msgctl() (ipc/msg.c, v6.18)."""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cpu.cred import CAP_SYS_RESOURCE
from cpu.ipc.ids import (
    IPC_INFO,
    IPC_NOWAIT,
    IPC_RMID,
    IPC_SET,
    IPC_STAT,
    S_IRUGO,
    S_IWUGO,
    IpcIds,
    IpcObject,
)
from cpu.restart import ERESTARTNOHAND
from mmu.errors import LinuxError
from mmu.linux.sched import Sleep, WaitQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpu.task import System, Task

MSGMNI, MSGMAX, MSGMNB = 32000, 8192, 16384
MSG_NOERROR, MSG_EXCEPT, MSG_COPY = 0o10000, 0o20000, 0o40000
MSG_STAT, MSG_INFO, MSG_STAT_ANY = 11, 12, 13
_MSQID_DS: Final = struct.Struct("<48sqqqQQQiiQQ")


@dataclass(frozen=True)
class Message:
    """struct msg_msg."""

    kind: int
    data: bytes


class MsgQueue(IpcObject):
    """struct msg_queue. Times are seconds since 1970, 0: never."""

    def __init__(self, key: int, mode: int, task: Task) -> None:
        super().__init__(key, mode, task.cred)
        self.messages: list[Message] = []
        self.qbytes = MSGMNB
        self.stime = self.rtime = 0
        self.ctime = _now(task.system)
        self.lspid = self.lrpid = 0
        self.wait = WaitQueue("a message queue")

    @property
    def cbytes(self) -> int:
        """Bytes in it."""
        return sum(len(message.data) for message in self.messages)

    def pack(self) -> bytes:
        """struct msqid64_ds."""
        times = (self.stime, self.rtime, self.ctime)
        sizes = (self.cbytes, len(self.messages), self.qbytes)
        return _MSQID_DS.pack(self.pack_perm(), *times, *sizes, self.lspid, self.lrpid, 0, 0)

    def has_room(self, size: int) -> bool:
        """msg_fits_inqueue()."""
        return size + self.cbytes <= self.qbytes and len(self.messages) + 1 <= self.qbytes


def _now(system: System) -> int:
    return system.clock.realtime_ns() // 10**9


class MessageQueues:
    """The queues of a machine."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.ids: IpcIds[MsgQueue] = IpcIds(MSGMNI)

    def msgget(self, task: Task, key: int, flags: int) -> int:
        """newque()."""
        return self.ids.get(
            task, key, flags, lambda: MsgQueue(key, flags, task), lambda queue: None
        )

    def msgsnd(self, task: Task, number: int, message: Message, flags: int) -> int:
        """do_msgsnd(). EINVAL, EACCES, EAGAIN, EIDRM, EINTR."""
        size = len(message.data)
        if size > MSGMAX or number < 0 or message.kind < 1:
            raise LinuxError(errno.EINVAL)
        queue = self.ids.check(number)
        queue.permitted(task.cred, S_IWUGO)
        if not queue.has_room(size):
            if flags & IPC_NOWAIT:
                raise LinuxError(errno.EAGAIN)
            self._sleep(queue, lambda: queue.has_room(size), f"room in message queue {number}")
        queue.messages.append(message)
        queue.lspid, queue.stime = task.tgid, _now(self._system)
        self._system.scheduler.wake_up(queue.wait)
        return 0

    def msgrcv(self, task: Task, number: int, size: int, kind: int, flags: int) -> Message:
        """do_msgrcv(): the message, cut to ``size`` if MSG_NOERROR says so. EINVAL, EACCES, E2BIG,
        ENOMSG, EIDRM, EINTR.
        """
        if number < 0 or size >> 63:
            raise LinuxError(errno.EINVAL)
        if flags & MSG_COPY and (flags & MSG_EXCEPT or not flags & IPC_NOWAIT):
            raise LinuxError(errno.EINVAL)
        queue = self.ids.check(number)
        queue.permitted(task.cred, S_IRUGO)
        if flags & MSG_COPY:
            if not 0 <= kind < len(queue.messages):
                raise LinuxError(errno.ENOMSG)
            return self._fit(queue.messages[kind], size, flags)
        if _find(queue, kind, flags) is None:
            if flags & IPC_NOWAIT:
                raise LinuxError(errno.ENOMSG)
            what = f"a message in queue {number}"
            self._sleep(queue, lambda: _find(queue, kind, flags) is not None, what)
        at = _find(queue, kind, flags)
        assert at is not None
        message = self._fit(queue.messages[at], size, flags)
        del queue.messages[at]
        queue.lrpid, queue.rtime = task.tgid, _now(self._system)
        self._system.scheduler.wake_up(queue.wait)
        return message

    @staticmethod
    def _fit(message: Message, size: int, flags: int) -> Message:
        if size < len(message.data) and not flags & MSG_NOERROR:
            raise LinuxError(errno.E2BIG)
        return Message(message.kind, message.data[:size])

    def _sleep(self, queue: MsgQueue, ready: Callable[[], bool], what: str) -> None:
        result = self._system.scheduler.wait_event(
            queue.wait, lambda: queue.deleted or ready(), what, sleep=Sleep.INTERRUPTIBLE
        )
        if queue.deleted:
            raise LinuxError(errno.EIDRM)
        if result:
            raise LinuxError(ERESTARTNOHAND)

    def msgctl(self, task: Task, number: int, command: int, buffer: int) -> int:
        """msgctl(2)."""
        if number < 0 or command < 0:
            raise LinuxError(errno.EINVAL)
        mm = task.mm
        if command in (IPC_INFO, MSG_INFO):
            mm.copy_to_user(buffer, self._info(command))
            return self.ids.max_index
        if command in (IPC_STAT, MSG_STAT, MSG_STAT_ANY):
            by_index = command != IPC_STAT
            queue = self.ids.at_index(number) if by_index else self.ids.check(number)
            if command != MSG_STAT_ANY:
                queue.permitted(task.cred, S_IRUGO)
            mm.copy_to_user(buffer, queue.pack())
            return queue.id if by_index else 0
        if command in (IPC_SET, IPC_RMID):
            data = mm.copy_from_user(buffer, _MSQID_DS.size) if command == IPC_SET else b""
            queue = self.ids.check(number)
            queue.owned(task.cred)
            if command == IPC_RMID:
                self.ids.remove(queue)
            else:
                qbytes = _MSQID_DS.unpack(data)[6]
                if qbytes > MSGMNB and not task.cred.capable(CAP_SYS_RESOURCE):
                    raise LinuxError(errno.EPERM)
                queue.set_perm(data)
                queue.qbytes, queue.ctime = qbytes, _now(self._system)
            self._system.scheduler.wake_up(queue.wait)
            return 0
        raise LinuxError(errno.EINVAL)

    def _info(self, command: int) -> bytes:
        """struct msginfo."""
        pool, tables, segments = MSGMNI * MSGMNB // 1024, MSGMNB, 0xFFFF
        if command == MSG_INFO:
            queues = list(self.ids.objects.values())
            pool = len(queues)
            segments = sum(len(queue.messages) for queue in queues)
            tables = sum(queue.cbytes for queue in queues)
            return struct.pack("<7iH2x", pool, segments, MSGMAX, MSGMNB, MSGMNI, 16, tables, 0xFFFF)
        return struct.pack("<7iH2x", pool, MSGMNB, MSGMAX, MSGMNB, MSGMNI, 16, tables, segments)

    def proc(self) -> str:
        """/proc/sysvipc/msg."""
        lines = [
            "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid"
            "      stime      rtime      ctime\n"
        ]
        lines += [
            f"{q.key:10} {q.id:10}  {q.mode:4o}  {q.cbytes:10} {len(q.messages):10} {q.lspid:5} "
            f"{q.lrpid:5} {q.uid:5} {q.gid:5} {q.cuid:5} {q.cgid:5} {q.stime:10} {q.rtime:10} "
            f"{q.ctime:10}\n"
            for q in self.ids.objects.values()
        ]
        return "".join(lines)


def _find(queue: MsgQueue, kind: int, flags: int) -> int | None:
    """find_msg(): where the message is that is to be received: the first; the first of a kind, or
    of another with MSG_EXCEPT; below 0 the first of the least kind up to that.
    """
    messages = queue.messages
    if kind == 0:
        return 0 if messages else None
    if kind < 0:
        least = min((m.kind for m in messages if m.kind <= -kind), default=None)
        return None if least is None else next(i for i, m in enumerate(messages) if m.kind == least)
    other = bool(flags & MSG_EXCEPT)
    return next((i for i, m in enumerate(messages) if (m.kind != kind) == other), None)
