# SPDX-License-Identifier: GPL-2.0-or-later
"""One process's address space: mm_struct and what the system calls and faults do to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mmu._native import ffi, lib
from mmu.errors import MmuError
from mmu.events import MM_COUNTERS
from mmu.linux import brk as _brk
from mmu.linux import fault, madvise, mlock, mprotect, procfs, tables, uaccess
from mmu.linux import mmap as _mmap
from mmu.linux.bug import Bug, mm_bug
from mmu.linux.engine import ENGINES, Engine
from mmu.linux.fault import Segv
from mmu.linux.filemap import MappedFile
from mmu.linux.pt_reclaim import FreeTables
from mmu.linux.resource import Rlimits
from mmu.linux.tables import TablesReport
from mmu.linux.unmapped_area import TASK_SIZE, UNKNOWN, Hole, get_unmapped_area, mmap_base
from mmu.linux.vma import OVERCOMMIT_ALWAYS, PAGE_SHIFT, VM_STACK_FLAGS, page_align

if TYPE_CHECKING:
    from mmu.events import EventRing
    from mmu.memory import Memory
    from mmu.x86 import Mmu

DEFAULT_MAX_MAP_COUNT = 65530
DEFAULT_MMAP_MIN_ADDR = 65536
# What exec() makes of a new stack beyond its arguments: stack_expand of setup_arg_pages(), 128 KiB.
STACK_EXPAND = 131072


class MmStruct:
    """An mm_struct: page tables in guest RAM, VMAs, counters; and the system calls that act on
    them.

    ``mmu`` is the processor whose CR3 it is loaded into, ``policy`` how empty PTE tables are freed,
    ``engine`` "c" or "python": which twin does the work on entries. ``c`` is the ``struct
    mm_struct`` that both work on. System calls raise LinuxError with the errno Linux would return.
    One CPU, one task: mmap_lock is never waited for. ``rlimit`` are the limits that bind it,
    ``def_flags`` the VMA flags that every new mapping gets (mlockall()), and
    ``fatal_signal_pending`` says whether the process is to end: long loops ask it and break off.
    ``overcommit_memory`` is the sysctl: 1 (all mappings are allowed) unless set to 0 (none may
    exceed all RAM). Raises OutOfMemory if RAM has no frame for the PGD.
    """

    def __init__(
        self,
        memory: Memory,
        mmu: Mmu,
        *,
        policy: FreeTables = FreeTables.REFCOUNT,
        engine: str = "c",
        ring: EventRing | None = None,
    ) -> None:
        if engine not in ENGINES:
            raise MmuError(f"there is no engine {engine!r}: choose one of {', '.join(ENGINES)}")
        self.memory = memory
        self.mmu = mmu
        self.policy = policy
        self.engine: Engine = ENGINES[engine]
        self.ring = ring
        self.rlimit = Rlimits()
        self.def_flags = 0
        self.fatal_signal_pending: Callable[[], bool] = _never
        self.max_map_count = DEFAULT_MAX_MAP_COUNT
        self.mmap_min_addr = DEFAULT_MMAP_MIN_ADDR
        self.overcommit_memory = OVERCOMMIT_ALWAYS
        self.code_written: list[int] = []
        self._files: list[MappedFile | None] = [None]
        self._rcu = ffi.new("struct rcu_state *", {"head": lib.PAGE_NONE, "tail": lib.PAGE_NONE})
        self.c: Any = ffi.gc(ffi.new("struct mm_struct *"), _free_vmas)
        self._init_struct()
        self.hole = Hole(UNKNOWN, int(self.c.mmap_base))

    def _init_struct(self) -> None:
        c = self.c
        c.ram = self.memory.c
        c.mmu = self.mmu.c
        c.ring = ffi.NULL if self.ring is None else self.ring.c
        c.rcu = self._rcu
        c.policy = self.policy.number
        c.task_size = TASK_SIZE
        c.mmap_base = mmap_base(self.rlimit.stack)
        pgd = self.memory.alloc_pages()
        self.memory.page(pgd).flags |= lib.PG_table
        c.pgd = pgd << PAGE_SHIFT
        self.mmu.write_cr3(c.pgd)

    def __repr__(self) -> str:
        """Sizes and policy, for people."""
        return f"<MmStruct {self.c.total_vm << 2} kB in {self.c.vmas.nr} VMAs, free tables: {self.policy.label}>"

    # System calls.

    def mmap(
        self,
        addr: int,
        length: int,
        prot: int,
        flags: int,
        file: MappedFile | None = None,
        pgoff: int = 0,
    ) -> int:
        """mmap(2); returns the address. Without a file it is MAP_ANONYMOUS; pgoff in pages."""
        return _mmap.do_mmap(self, addr, length, prot, flags, file, pgoff)

    def munmap(self, addr: int, length: int) -> None:
        """munmap(2)."""
        _mmap.do_munmap(self, addr, length)

    def mprotect(self, addr: int, length: int, prot: int) -> None:
        """mprotect(2)."""
        mprotect.do_mprotect(self, addr, length, prot)

    def brk(self, addr: int) -> int:
        """brk(2) as the kernel answers it: where the heap ends then, the old end if it could not be
        moved.
        """
        return _brk.do_brk(self, addr)

    def vm_brk_flags(self, addr: int, length: int, vm_flags: int = 0) -> None:
        """Zeroed memory behind a file's data, for an ELF loader; see mmu.linux.brk."""
        _brk.vm_brk_flags(self, addr, length, vm_flags)

    def madvise(self, addr: int, length: int, advice: int) -> None:
        """madvise(2)."""
        madvise.do_madvise(self, addr, length, advice)

    def mlock(self, addr: int, length: int, flags: int = 0) -> None:
        """mlock(2), mlock2(2)."""
        mlock.do_mlock(self, addr, length, flags)

    def munlock(self, addr: int, length: int) -> None:
        """munlock(2)."""
        mlock.do_munlock(self, addr, length)

    def mlockall(self, flags: int) -> None:
        """mlockall(2)."""
        mlock.do_mlockall(self, flags)

    def munlockall(self) -> None:
        """munlockall(2)."""
        mlock.do_munlockall(self)

    def setup_arg_pages(
        self, arg_bytes: int, *, stack_top: int = TASK_SIZE, executable: bool = False
    ) -> int:
        """exec()'s stack: room for arg_bytes of arguments below stack_top, and 128 KiB for growth;
        returns stack_top.

        The first access further down grows it, as far as RLIMIT_STACK goes. The stack's size is set
        up at once, as fs/exec.c does; start_stack, which names "[stack]" in maps, is the caller's
        to set to the final stack pointer, and is stack_top - arg_bytes until then. ENOMEM if the
        arguments exceed the limit.
        """
        arg_pages = page_align(max(arg_bytes, 1))
        size = min(arg_pages + STACK_EXPAND, max(self.rlimit.stack & -(1 << PAGE_SHIFT), arg_pages))
        vm_flags = VM_STACK_FLAGS | (lib.VM_EXEC if executable else 0)
        with self.mmap_write_lock():
            _mmap.insert_vm_struct(self, stack_top - size, stack_top, vm_flags)
        self.c.start_stack = stack_top - arg_bytes
        return stack_top

    def install_special_mapping(
        self, addr: int, length: int, vm_flags: int, file: MappedFile
    ) -> None:
        """Map pages of the kernel's, as the vDSO; see mmu.linux.mmap."""
        with self.mmap_write_lock():
            _mmap.install_special_mapping(self, addr, length, vm_flags, file)

    def get_unmapped_area(self, length: int) -> int:
        """Where a mapping of length bytes that may lie anywhere goes; ENOMEM if there is no room."""
        return get_unmapped_area(self, 0, page_align(length), 0, MappedFile(b""), 0)

    def exit_mmap(self) -> None:
        """The end: unmap everything and check that nothing is left; see mmu.linux.mmap. Twice is
        once.
        """
        _mmap.exit_mmap(self)

    # Faults, and the kernel's own accesses.

    def handle_user_fault(self, address: int, error_code: int) -> Segv | None:
        """The page-fault handler's long way: None if the access may be tried again, else the
        signal; or OomKill.
        """
        return fault.handle_user_fault(self, address, error_code)

    def copy_from_user(self, addr: int, n: int) -> bytes:
        """N bytes from a user address, or EFAULT."""
        return uaccess.copy_from_user(self, addr, n)

    def copy_to_user(self, addr: int, data: bytes | bytearray | memoryview) -> None:
        """Write to a user address, or EFAULT."""
        uaccess.copy_to_user(self, addr, data)

    def strncpy_from_user(self, addr: int, limit: int) -> bytes:
        """The NUL-terminated string at a user address, at most limit bytes of it, or EFAULT."""
        return uaccess.strncpy_from_user(self, addr, limit)

    # What it says of itself.

    def rss(self) -> int:
        """Resident pages: get_mm_rss()."""
        rss = self.c.rss_stat
        return int(rss[lib.MM_FILEPAGES] + rss[lib.MM_ANONPAGES] + rss[lib.MM_SHMEMPAGES])

    def vm_stats(self) -> dict[str, int]:
        """The Vm* and Rss* figures of /proc/self/status, kB, and VmPTE_peak."""
        return procfs.vm_stats(self)

    def counters(self) -> dict[str, int]:
        """The kernel's counters (MM_COUNTER in events.def) by name."""
        return dict(zip(MM_COUNTERS, self.c.counter, strict=True))

    def check_tables(self, *, references: bool = False) -> TablesReport:
        """Walk the tables from CR3 in RAM and compare them with every counter; see
        mmu.linux.tables.

        With ``references`` the report has the reference count of each PTE table.
        """
        return tables.check_tables(self, references=references)

    # Locks, files, memory: for this package.

    @contextmanager
    def mmap_write_lock(self) -> Iterator[None]:
        """Hold mmap_lock for writing: no fault is resolved by a fast path meanwhile."""
        if self.c.mmap_lock:
            mm_bug(self, Bug.LOCK_HELD)
        self.c.mmap_lock = 1
        try:
            yield
        finally:
            self.c.mmap_lock = 0

    def file(self, number: int) -> MappedFile:
        """The file that vm_file stands for."""
        file = self._files[number]
        if file is None:
            raise MmuError(f"no file has number {number} in this mm")
        return file

    def file_number(self, file: MappedFile | None) -> int:
        """The vm_file of a file, given to it now if need be (the mm is then one of its users); 0
        for None.
        """
        if file is None:
            return 0
        for number, known in enumerate(self._files):
            if known is file:
                return number
        file.get()
        if None in self._files[1:]:
            number = self._files.index(None, 1)
            self._files[number] = file
        else:
            number = len(self._files)
            self._files.append(file)
        return number

    def put_unused_files(self, numbers: set[int]) -> None:
        """Let go of those of these files that no VMA maps any more."""
        used = (
            {vma.vm_file for vma in self.c.vmas.vma[0 : self.c.vmas.nr]}
            if numbers - {0}
            else numbers
        )
        for number in numbers - used - {0}:
            self.file(number).put()
            self._files[number] = None

    def put_all_files(self) -> None:
        """Let go of every file."""
        self.put_unused_files(
            {number for number, file in enumerate(self._files) if file is not None}
        )

    def try_to_free_pages(self) -> int:
        """Direct reclaim: end a grace period, drop page-cache pages that nobody maps; returns
        frames freed.
        """
        before = self.memory.free_frames
        self.engine.rcu_process_callbacks(self)
        for file in self._files:
            if file is not None:
                file.drop_unmapped()
        return self.memory.free_frames - before


def _never() -> bool:
    return False


def _free_vmas(c: Any) -> None:
    lib.vma_remove(c, 0, c.vmas.nr)
