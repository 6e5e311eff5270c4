# SPDX-License-Identifier: GPL-2.0-or-later
"""Shared memory with keys: shmget(), shmat(), shmdt(), shmctl() (ipc/shm.c, v6.18).

A segment is a file of shared memory without a name; attaching maps it. How many mappings there are
is counted where somebody asks: each VMA is one.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from cpu.cred import CAP_IPC_LOCK
from cpu.ipc.ids import (
    IPC_INFO,
    IPC_PRIVATE,
    IPC_RMID,
    IPC_SET,
    IPC_STAT,
    S_IRUGO,
    S_IWUGO,
    IpcIds,
    IpcObject,
)
from mmu.errors import LinuxError
from mmu.linux.filemap import MappedFile
from mmu.linux.layout import page_align
from mmu.linux.mman import MAP_FIXED, MAP_SHARED, PROT_EXEC, PROT_READ, PROT_WRITE
from mmu.linux.vma import find_vma_intersection
from mmu.units import PAGE_SHIFT, PAGE_SIZE, U64

if TYPE_CHECKING:
    from cpu.task import System, Task
    from mmu.linux.state import Kernel, MmStruct

SHM_RDONLY, SHM_RND, SHM_REMAP, SHM_EXEC = 0o10000, 0o20000, 0o40000, 0o100000
SHM_DEST, SHM_LOCKED = 0o1000, 0o2000
SHM_HUGETLB: Final = 0o4000
SHM_LOCK, SHM_UNLOCK, SHM_STAT, SHM_INFO, SHM_STAT_ANY = 11, 12, 13, 14, 15
SHMMIN, SHMMNI = 1, 4096
SHMMAX: Final = U64 - (1 << 24)
SHMALL: Final = U64 - (1 << 24)
_SHMID_DS: Final = struct.Struct("<48sQqqqiiQQQ")


class Segment(IpcObject):
    """struct shmid_kernel. Times are seconds since 1970, 0: never."""

    def __init__(self, key: int, mode: int, size: int, task: Task) -> None:
        super().__init__(key, mode, task.cred)
        self.size = size
        self.file = MappedFile.shared_anonymous(page_align(size))
        self.file.get()
        self.atime = self.dtime = 0
        self.ctime = _now(task.system)
        self.cpid, self.lpid = task.tgid, 0
        self.dest = self.locked = False

    @property
    def name(self) -> str:
        """What maps shows."""
        return f"/SYSV{self.key & 0xFFFFFFFF:08x} (deleted)"

    def nattch(self, kernel: Kernel) -> int:
        """Mappings of it in all address spaces."""
        return sum(len(_vmas_of(mm, self)) for mm in kernel.mms)

    def pack(self, kernel: Kernel) -> bytes:
        """struct shmid64_ds."""
        times = (self.atime, self.dtime, self.ctime)
        mode, self.mode = self.mode, self.mode | SHM_DEST * self.dest | SHM_LOCKED * self.locked
        perm = self.pack_perm()
        self.mode = mode
        attached = self.nattch(kernel)
        return _SHMID_DS.pack(perm, self.size, *times, self.cpid, self.lpid, attached, 0, 0)


def _now(system: System) -> int:
    return system.clock.realtime_ns() // 10**9


def _vmas_of(mm: MmStruct, segment: Segment) -> list[tuple[int, int, int]]:
    """(start, end, pgoff) of each VMA of the mm that maps the segment."""
    files = {number for number, file in mm.numbered_files() if file.mapping is segment.file.mapping}
    if not files:
        return []
    return [
        (vma.vm_start, vma.vm_end, vma.vm_pgoff)
        for vma in mm.c.vmas.vma[0 : mm.c.vmas.nr]
        if vma.vm_file in files
    ]


class SharedMemory:
    """The segments of a machine."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.ids: IpcIds[Segment] = IpcIds(SHMMNI)

    def _sweep(self) -> None:
        """Segments that were removed and that nobody maps any more are gone (shm_destroy())."""
        for segment in list(self.ids.objects.values()):
            if segment.dest and not segment.nattch(self._system.kernel):
                self.ids.remove(segment)

    def shmget(self, task: Task, key: int, size: int, flags: int) -> int:
        """newseg() and shm_more_checks()."""
        self._sweep()

        def make() -> Segment:
            if not SHMMIN <= size <= SHMMAX:
                raise LinuxError(errno.EINVAL)
            pages = page_align(size) >> PAGE_SHIFT
            if flags & SHM_HUGETLB or pages > task.mm.memory.size >> PAGE_SHIFT:
                raise LinuxError(errno.ENOMEM)
            return Segment(key, flags, size, task)

        def check(segment: Segment) -> None:
            if segment.size < size:
                raise LinuxError(errno.EINVAL)

        return self.ids.get(task, key, flags, make, check)

    def shmat(self, task: Task, number: int, addr: int, flags: int) -> int:
        """do_shmat(): returns the address."""
        if number < 0:
            raise LinuxError(errno.EINVAL)
        how = MAP_SHARED
        if addr:
            if addr % PAGE_SIZE:
                if not flags & SHM_RND:
                    raise LinuxError(errno.EINVAL)
                addr &= -PAGE_SIZE
                if not addr and flags & SHM_REMAP:
                    raise LinuxError(errno.EINVAL)
            how |= MAP_FIXED
        elif flags & SHM_REMAP:
            raise LinuxError(errno.EINVAL)
        prot, wanted = PROT_READ, S_IRUGO
        if not flags & SHM_RDONLY:
            prot, wanted = PROT_READ | PROT_WRITE, S_IRUGO | S_IWUGO
        if flags & SHM_EXEC:
            prot, wanted = prot | PROT_EXEC, wanted | 0o111
        self._sweep()
        segment = self.ids.check(number)
        segment.permitted(task.cred, wanted)
        if addr and not flags & SHM_REMAP:
            end = addr + segment.size
            if end > U64 or find_vma_intersection(task.mm, addr, end) is not None:
                raise LinuxError(errno.EINVAL)
        writable = not flags & SHM_RDONLY
        file = MappedFile(
            segment.file.mapping,
            path=segment.name,
            writable=writable,
            device=(0, 1),
            inode=segment.id,
        )
        at = task.mm.mmap(addr, segment.size, prot, how, file)
        segment.atime, segment.lpid = _now(self._system), task.tgid
        return at

    def shmdt(self, task: Task, addr: int) -> None:
        """Unmap what is left of the mapping that began at addr; EINVAL if there is none."""
        if addr % PAGE_SIZE:
            raise LinuxError(errno.EINVAL)
        for segment in self.ids.objects.values():
            vmas = [
                (start, end)
                for start, end, pgoff in _vmas_of(task.mm, segment)
                if start - (pgoff << PAGE_SHIFT) == addr
            ]
            if vmas:
                for start, end in vmas:
                    task.mm.munmap(start, end - start)
                segment.dtime, segment.lpid = _now(self._system), task.tgid
                self._sweep()
                return
        raise LinuxError(errno.EINVAL)

    def shmctl(self, task: Task, number: int, command: int, buffer: int) -> int:
        """shmctl(2)."""
        self._sweep()
        mm, kernel = task.mm, self._system.kernel
        if command == IPC_INFO:
            mm.copy_to_user(buffer, struct.pack("<9Q", SHMMAX, 1, SHMMNI, SHMMNI, SHMALL, *[0] * 4))
            return self.ids.max_index
        if command == SHM_INFO:
            mm.copy_to_user(buffer, self._info())
            return self.ids.max_index
        if command in (IPC_STAT, SHM_STAT, SHM_STAT_ANY):
            by_index = command != IPC_STAT
            segment = self.ids.at_index(number) if by_index else self.ids.check(number)
            if command != SHM_STAT_ANY:
                segment.permitted(task.cred, S_IRUGO)
            mm.copy_to_user(buffer, segment.pack(kernel))
            return segment.id if by_index else 0
        if command in (IPC_SET, IPC_RMID):
            data = mm.copy_from_user(buffer, 48) if command == IPC_SET else b""
            segment = self.ids.check(number)
            segment.owned(task.cred)
            if command == IPC_SET:
                segment.set_perm(data)
                segment.ctime = _now(self._system)
            elif not segment.dest:
                segment.dest, segment.key = True, IPC_PRIVATE
                segment.file.put()
                self._sweep()
            return 0
        if command in (SHM_LOCK, SHM_UNLOCK):
            self._lock(task, self.ids.check(number), lock=command == SHM_LOCK)
            return 0
        raise LinuxError(errno.EINVAL)

    def _lock(self, task: Task, segment: Segment, *, lock: bool) -> None:
        """Nothing is ever paged out: a lock is a mark."""
        if not task.cred.capable(CAP_IPC_LOCK):
            if task.cred.euid not in (segment.uid, segment.cuid):
                raise LinuxError(errno.EPERM)
            if lock and not task.rlimits.memlock:
                raise LinuxError(errno.EPERM)
        segment.locked = lock

    def _info(self) -> bytes:
        """struct shm_info."""
        segments = list(self.ids.objects.values())
        total = sum(page_align(segment.size) >> PAGE_SHIFT for segment in segments)
        resident = sum(segment.file.nr_cached for segment in segments)
        return struct.pack("<i4xQQQQQ", len(segments), total, resident, 0, 0, 0)

    def close(self) -> None:
        """The machine ends: give all memory back."""
        for segment in self.ids.objects.values():
            if not segment.dest:
                segment.dest = True
                segment.file.put()

    def proc(self) -> str:
        """/proc/sysvipc/shm."""
        self._sweep()
        lines = [
            "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid"
            "  cgid      atime      dtime      ctime                   rss                  swap\n"
        ]
        for s in self.ids.objects.values():
            mode = s.mode | SHM_DEST * s.dest | SHM_LOCKED * s.locked
            rss = s.file.nr_cached << PAGE_SHIFT
            lines.append(
                f"{s.key:10} {s.id:10}  {mode:4o} {s.size:21} {s.cpid:5} {s.lpid:5} "
                f" {s.nattch(self._system.kernel):5} {s.uid:5} {s.gid:5} {s.cuid:5} {s.cgid:5} "
                f"{s.atime:10} {s.dtime:10} {s.ctime:10} {rss:21} {0:21}\n"
            )
        return "".join(lines)
