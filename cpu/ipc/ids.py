# SPDX-License-Identifier: GPL-2.0-or-later
"""Objects with keys and numbers, and who may use them (ipc/util.c, v6.18)."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from cpu.cred import CAP_IPC_OWNER, CAP_SYS_ADMIN
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.cred import Cred
    from cpu.task import Task

IPC_CREAT, IPC_EXCL, IPC_NOWAIT = 0o1000, 0o2000, 0o4000
IPC_RMID, IPC_SET, IPC_STAT, IPC_INFO = 0, 1, 2, 3
IPC_PRIVATE: Final = 0
S_IRUGO, S_IWUGO = 0o444, 0o222
IPCMNI_SHIFT: Final = 15
MIN_CYCLE: Final = 64
"""Numbers are not given again before so many others (ipc_min_cycle)."""
_PERM: Final = struct.Struct("<iIIIIIHH4xQQ")


class IpcObject:
    """struct kern_ipc_perm: ``id`` and ``key`` name it, the rest says whose it is."""

    def __init__(self, key: int, mode: int, cred: Cred) -> None:
        self.id = -1
        self.key = key
        self.mode = mode & 0o777
        self.uid = self.cuid = cred.euid
        self.gid = self.cgid = cred.egid
        self.seq = 0
        self.deleted = False

    def pack_perm(self) -> bytes:
        """struct ipc64_perm, 48 bytes."""
        ids = (self.uid, self.gid, self.cuid, self.cgid)
        return _PERM.pack(self.key, *ids, self.mode, self.seq, 0, 0, 0)

    def permitted(self, cred: Cred, wanted: int) -> None:
        """ipcperms(): EACCES unless all of the rights in ``wanted``, an octal digit thrice, are the
        caller's.
        """
        wanted = wanted >> 6 | wanted >> 3 | wanted
        granted = self.mode
        if cred.euid in (self.cuid, self.uid):
            granted >>= 6
        elif cred.in_group_p(self.cgid) or cred.in_group_p(self.gid):
            granted >>= 3
        if wanted & ~granted & 0o7 and not cred.capable(CAP_IPC_OWNER):
            raise LinuxError(errno.EACCES)

    def owned(self, cred: Cred) -> None:
        """ipcctl_obtain_check(): EPERM unless the caller owns it, made it, or is CAP_SYS_ADMIN."""
        if cred.euid not in (self.cuid, self.uid) and not cred.capable(CAP_SYS_ADMIN):
            raise LinuxError(errno.EPERM)

    def set_perm(self, data: bytes) -> None:
        """ipc_update_perm(): owner and rights from a struct ipc64_perm; EINVAL."""
        _key, uid, gid, _cuid, _cgid, mode, *_rest = _PERM.unpack_from(data)
        if uid == 0xFFFFFFFF or gid == 0xFFFFFFFF:
            raise LinuxError(errno.EINVAL)
        self.uid, self.gid = uid, gid
        self.mode = self.mode & ~0o777 | mode & 0o777


T = TypeVar("T", bound=IpcObject)


class IpcIds(Generic[T]):
    """struct ipc_ids: the objects of one kind, by number; at most ``limit``."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.objects: dict[int, T] = {}
        """By index, the low bits of the number."""
        self._last_index = -1
        self._seq = 0

    def add(self, new: T) -> int:
        """ipc_addid(): give it a number; ENOSPC."""
        if len(self.objects) >= self.limit:
            raise LinuxError(errno.ENOSPC)
        span = min(max(len(self.objects) * 3 // 2, MIN_CYCLE), self.limit)
        candidates = [*range(self._last_index + 1, span), *range(span)]
        index = next(index for index in candidates if index not in self.objects)
        if index <= self._last_index:
            self._seq = self._seq + 1 & 0xFFFF
        self._last_index = index
        new.seq = self._seq
        new.id = new.seq << IPCMNI_SHIFT | index
        self.objects[index] = new
        return new.id

    def remove(self, old: T) -> None:
        """ipc_rmid(): nobody finds it any more."""
        old.deleted = True
        self.objects.pop(old.id & (1 << IPCMNI_SHIFT) - 1, None)

    def check(self, number: int) -> T:
        """ipc_obtain_object_check(): the object of that number; EINVAL."""
        found = self.objects.get(number & (1 << IPCMNI_SHIFT) - 1) if number >= 0 else None
        if found is None or found.id != number:
            raise LinuxError(errno.EINVAL)
        return found

    def at_index(self, index: int) -> T:
        """The object of that index; EINVAL."""
        found = self.objects.get(index)
        if found is None:
            raise LinuxError(errno.EINVAL)
        return found

    def get(
        self, task: Task, key: int, flags: int, make: Callable[[], T], check: Callable[[T], None]
    ) -> int:
        """ipcget(): the number of the object with this key, made if IPC_CREAT says so. ``check``
        raises what else is wrong with one that is there. ENOENT, EEXIST, EACCES.
        """
        if key == IPC_PRIVATE:
            return self.add(make())
        for found in self.objects.values():
            if found.key == key:
                if flags & IPC_CREAT and flags & IPC_EXCL:
                    raise LinuxError(errno.EEXIST)
                check(found)
                found.permitted(task.cred, flags & 0o777)
                return found.id
        if not flags & IPC_CREAT:
            raise LinuxError(errno.ENOENT)
        return self.add(make())

    @property
    def max_index(self) -> int:
        """The highest index in use, 0 if none is: what IPC_INFO and SHM_INFO return."""
        return max(self.objects, default=0)
