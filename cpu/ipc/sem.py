# SPDX-License-Identifier: GPL-2.0-or-later
"""Semaphores in sets: semget(), semop(), semctl() (ipc/sem.c, v6.18).

A call's operations are done all or none. One that cannot be waits in its set's queue; whoever
changes a value does for those that wait, in their order, what can be done then.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

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
from mmu.errors import LinuxError
from mmu.linux.sched import Sleep, WaitQueue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cpu.task import Process, System, Task

SEMMNI, SEMMSL, SEMOPM, SEMVMX = 32000, 32000, 500, 32767
SEMMNS: Final = SEMMNI * SEMMSL
SEM_UNDO: Final = 0o10000
GETPID, GETVAL, GETALL, GETNCNT, GETZCNT, SETVAL, SETALL = range(11, 18)
SEM_STAT, SEM_INFO, SEM_STAT_ANY = 18, 19, 20
_SEMID_DS: Final = struct.Struct("<48sqQqQQQQ")
_SEMBUF: Final = struct.Struct("<Hhh")


@dataclass(frozen=True)
class Sembuf:
    """struct sembuf."""

    num: int
    op: int
    flags: int


@dataclass
class _Waiter:
    """struct sem_queue: a call that waits; ``blocking`` is the operation that cannot be done,
    ``result`` is set when it is over: 0 or an errno.
    """

    operations: list[Sembuf]
    process: Process
    blocking: Sembuf
    result: int | None = None


class SemArray(IpcObject):
    """struct sem_array. Times are seconds since 1970, 0: never."""

    def __init__(self, key: int, mode: int, nsems: int, task: Task) -> None:
        super().__init__(key, mode, task.cred)
        self.values = [0] * nsems
        self.pids = [0] * nsems
        self.otime = 0
        self.ctime = _now(task.system)
        self.pending: list[_Waiter] = []
        self.queue = WaitQueue("a semaphore")
        self.undo: dict[Process, list[int]] = {}
        """What is added to each value when the process ends."""

    def pack(self) -> bytes:
        """struct semid64_ds."""
        perm = self.pack_perm()
        return _SEMID_DS.pack(perm, self.otime, 0, self.ctime, 0, len(self.values), 0, 0)


def _now(system: System) -> int:
    return system.clock.realtime_ns() // 10**9


class Semaphores:
    """The sets of a machine."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.ids: IpcIds[SemArray] = IpcIds(SEMMNI)

    def semget(self, task: Task, key: int, nsems: int, flags: int) -> int:
        """newary() and sem_more_checks()."""
        if not 0 <= nsems <= SEMMSL:
            raise LinuxError(errno.EINVAL)

        def make() -> SemArray:
            if not nsems:
                raise LinuxError(errno.EINVAL)
            return SemArray(key, flags, nsems, task)

        def check(array: SemArray) -> None:
            if nsems > len(array.values):
                raise LinuxError(errno.EINVAL)

        return self.ids.get(task, key, flags, make, check)

    def semtimedop(
        self, task: Task, number: int, operations: list[Sembuf], timeout_ns: int | None
    ) -> int:
        """__do_semtimedop(). EFBIG, ERANGE, EACCES, EAGAIN, EIDRM, EINTR, ENOMEM."""
        array = self.ids.check(number)
        if max(one.num for one in operations) >= len(array.values):
            raise LinuxError(errno.EFBIG)
        alter = any(one.op for one in operations)
        array.permitted(task.cred, S_IWUGO if alter else S_IRUGO)
        blocking = self._perform(array, operations, task.process)
        if blocking is None:
            if alter:
                self._update(array)
            return 0
        if blocking.flags & IPC_NOWAIT:
            raise LinuxError(errno.EAGAIN)
        waiter = _Waiter(operations, task.process, blocking)
        array.pending.append(waiter)
        result = self._system.scheduler.wait_event(
            array.queue,
            lambda: waiter.result is not None,
            f"semaphore {blocking.num} of set {array.id}",
            sleep=Sleep.INTERRUPTIBLE,
            timeout_ns=timeout_ns,
        )
        if waiter.result is None:
            array.pending.remove(waiter)
            raise LinuxError(errno.EAGAIN if result == -errno.ETIME else errno.EINTR)
        if waiter.result:
            raise LinuxError(waiter.result)
        return 0

    def _perform(
        self, array: SemArray, operations: Sequence[Sembuf], process: Process
    ) -> Sembuf | None:
        """perform_atomic_semop(): do all, or return the operation that has to wait. ERANGE."""
        values = list(array.values)
        undo = list(array.undo.get(process, [0] * len(values)))
        for one in operations:
            if one.op == 0 and values[one.num]:
                return one
            if values[one.num] + one.op < 0:
                return one
            values[one.num] += one.op
            if values[one.num] > SEMVMX:
                raise LinuxError(errno.ERANGE)
            if one.flags & SEM_UNDO:
                undo[one.num] -= one.op
                if not -SEMVMX - 1 <= undo[one.num] <= SEMVMX:
                    raise LinuxError(errno.ERANGE)
        array.values = values
        for one in operations:
            array.pids[one.num] = process.pid
        if any(one.flags & SEM_UNDO for one in operations):
            array.undo[process] = undo
        array.otime = _now(self._system)
        return None

    def _update(self, array: SemArray) -> None:
        """do_smart_update(): finish the calls that can be now."""
        done = True
        while done:
            done = False
            for waiter in list(array.pending):
                try:
                    blocking = self._perform(array, waiter.operations, waiter.process)
                    waiter.result = 0 if blocking is None else None
                except LinuxError as error:
                    blocking, waiter.result = None, error.errno
                if blocking is not None and blocking.flags & IPC_NOWAIT:
                    waiter.result = errno.EAGAIN
                if waiter.result is None:
                    assert blocking is not None
                    waiter.blocking = blocking
                    continue
                array.pending.remove(waiter)
                done = done or any(one.op for one in waiter.operations)
        self._system.scheduler.wake_up(array.queue)

    def exit_sem(self, process: Process) -> None:
        """The process ends: what SEM_UNDO asked for is undone."""
        for array in list(self.ids.objects.values()):
            undo = array.undo.pop(process, None)
            if undo is None:
                continue
            for num, change in enumerate(undo):
                if change:
                    array.values[num] = max(0, min(SEMVMX, array.values[num] + change))
                    array.pids[num] = process.pid
            self._update(array)

    def _remove(self, array: SemArray) -> None:
        """freeary(): all who wait get EIDRM."""
        self.ids.remove(array)
        for waiter in array.pending:
            waiter.result = errno.EIDRM
        array.pending.clear()
        self._system.scheduler.wake_up(array.queue)

    # semctl().

    def semctl(self, task: Task, number: int, semnum: int, command: int, arg: int) -> int:
        """semctl(2); ``arg`` is union semun as the register has it."""
        if number < 0:
            raise LinuxError(errno.EINVAL)
        mm = task.mm
        if command in (IPC_INFO, SEM_INFO):
            mm.copy_to_user(arg, self._info(command))
            return self.ids.max_index
        if command in (IPC_STAT, SEM_STAT, SEM_STAT_ANY):
            by_index = command != IPC_STAT
            array = self.ids.at_index(number) if by_index else self.ids.check(number)
            if command != SEM_STAT_ANY:
                array.permitted(task.cred, S_IRUGO)
            mm.copy_to_user(arg, array.pack())
            return array.id if by_index else 0
        if command in (IPC_SET, IPC_RMID):
            data = mm.copy_from_user(arg, 48) if command == IPC_SET else b""
            array = self.ids.check(number)
            array.owned(task.cred)
            if command == IPC_RMID:
                self._remove(array)
            else:
                array.set_perm(data)
                array.ctime = _now(self._system)
            return 0
        if command in (GETALL, SETALL):
            return self._all(task, self.ids.check(number), command, arg)
        if command == SETVAL:
            return self._setval(task, number, semnum, arg)
        if command in (GETVAL, GETPID, GETNCNT, GETZCNT):
            return self._get(task, self.ids.check(number), semnum, command)
        raise LinuxError(errno.EINVAL)

    def _info(self, command: int) -> bytes:
        """struct seminfo."""
        arrays = list(self.ids.objects.values())
        usz, aem = 20, SEMVMX
        if command == SEM_INFO:
            usz, aem = len(arrays), sum(len(array.values) for array in arrays)
        return struct.pack(
            "<10i", SEMMNS, SEMMNI, SEMMNS, SEMMNS, SEMMSL, SEMOPM, SEMOPM, usz, SEMVMX, aem
        )

    def _all(self, task: Task, array: SemArray, command: int, arg: int) -> int:
        array.permitted(task.cred, S_IWUGO if command == SETALL else S_IRUGO)
        form = struct.Struct(f"<{len(array.values)}H")
        if command == GETALL:
            task.mm.copy_to_user(arg, form.pack(*array.values))
            return 0
        values = list(form.unpack(task.mm.copy_from_user(arg, form.size)))
        if max(values) > SEMVMX:
            raise LinuxError(errno.ERANGE)
        array.values = values
        array.pids = [task.tgid] * len(values)
        for undo in array.undo.values():
            undo[:] = [0] * len(values)
        array.ctime = _now(self._system)
        self._update(array)
        return 0

    def _setval(self, task: Task, number: int, semnum: int, arg: int) -> int:
        value = arg & 0xFFFFFFFF
        if value > SEMVMX:
            raise LinuxError(errno.ERANGE)
        array = self.ids.check(number)
        if not 0 <= semnum < len(array.values):
            raise LinuxError(errno.EINVAL)
        array.permitted(task.cred, S_IWUGO)
        array.values[semnum], array.pids[semnum] = value, task.tgid
        for undo in array.undo.values():
            undo[semnum] = 0
        array.ctime = _now(self._system)
        self._update(array)
        return 0

    def _get(self, task: Task, array: SemArray, semnum: int, command: int) -> int:
        array.permitted(task.cred, S_IRUGO)
        if not 0 <= semnum < len(array.values):
            raise LinuxError(errno.EINVAL)
        if command == GETVAL:
            return array.values[semnum]
        if command == GETPID:
            return array.pids[semnum]
        waiting = [waiter.blocking for waiter in array.pending]
        return sum(
            one.num == semnum and (one.op < 0 if command == GETNCNT else one.op == 0)
            for one in waiting
        )

    def proc(self) -> str:
        """/proc/sysvipc/sem."""
        lines = [
            "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n"
        ]
        lines += [
            f"{a.key:10} {a.id:10}  {a.mode:4o} {len(a.values):10} {a.uid:5} {a.gid:5} {a.cuid:5} "
            f"{a.cgid:5} {a.otime:10} {a.ctime:10}\n"
            for a in self.ids.objects.values()
        ]
        return "".join(lines)


def read_sembufs(task: Task, addr: int, count: int) -> list[Sembuf]:
    """The operations at a user address: E2BIG, EINVAL, EFAULT."""
    if not count:
        raise LinuxError(errno.EINVAL)
    if count > SEMOPM:
        raise LinuxError(errno.E2BIG)
    data = task.mm.copy_from_user(addr, count * _SEMBUF.size)
    return [Sembuf(*one) for one in _SEMBUF.iter_unpack(data)]
