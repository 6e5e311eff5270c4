# SPDX-License-Identifier: GPL-2.0-or-later
"""One process's address space, as its users see it: what system calls and faults do to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmu._native import lib
from mmu.events import MM_COUNTERS
from mmu.linux import brk as _brk
from mmu.linux import (
    fault,
    fork,
    khugepaged,
    madvise,
    mincore,
    mlock,
    mprotect,
    mremap,
    mseal,
    msync,
    munmap,
    procfs,
    tables,
    uaccess,
)
from mmu.linux import mmap as _mmap
from mmu.linux.fault import Segv
from mmu.linux.filemap import MappedFile
from mmu.linux.khugepaged import ScanResult
from mmu.linux.layout import TASK_SIZE, page_align
from mmu.linux.mm_users import mmput
from mmu.linux.policy import FreeLevels, FreeTables
from mmu.linux.state import Kernel, MmStruct, TablePolicy
from mmu.linux.tables import TablesReport
from mmu.linux.tlbflush import switch_mm
from mmu.linux.unmapped_area import get_unmapped_area
from mmu.linux.vma import VM_STACK_FLAGS
from mmu.units import PAGE_MASK

if TYPE_CHECKING:
    from mmu.events import EventRing
    from mmu.memory import Memory
    from mmu.x86 import Mmu

# What exec() makes of a new stack beyond its arguments: stack_expand of setup_arg_pages(), 128 KiB.
STACK_EXPAND = 131072


class Mm(MmStruct):
    """An address space as its users see it: the system calls and faults that act on it.

    ``kernel`` is what it lives in; ``switch_mm(kernel, mm)`` loads it into the CPU that runs.
    System calls raise LinuxError with the errno Linux would return. MmStruct has its state.
    """

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
        munmap.do_munmap(self, addr, length)

    def mprotect(self, addr: int, length: int, prot: int, *, has_key: bool = False) -> None:
        """mprotect(2); ``has_key``: pkey_mprotect(2) with a key, of which there is none: EINVAL."""
        mprotect.do_mprotect(self, addr, length, prot, has_key=has_key)

    def mremap(
        self, addr: int, old_len: int, new_len: int, flags: int = 0, new_addr: int = 0
    ) -> int:
        """mremap(2); returns the new address."""
        return mremap.do_mremap(self, addr, old_len, new_len, flags, new_addr)

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

    def msync(self, addr: int, length: int, flags: int) -> None:
        """msync(2)."""
        msync.do_msync(self, addr, length, flags)

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

    def mincore(self, addr: int, length: int, vec: int) -> None:
        """mincore(2)."""
        mincore.do_mincore(self, addr, length, vec)

    def mseal(self, addr: int, length: int, flags: int = 0) -> None:
        """mseal(2)."""
        mseal.do_mseal(self, addr, length, flags)

    def remap_file_pages(self, addr: int, size: int, prot: int, pgoff: int, flags: int) -> None:
        """remap_file_pages(2)."""
        _mmap.do_remap_file_pages(self, addr, size, prot, pgoff, flags)

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
        size = min(arg_pages + STACK_EXPAND, max(self.rlimit.stack & PAGE_MASK, arg_pages))
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
        """Where a mapping of length bytes goes that may lie anywhere; ENOMEM without room."""
        return get_unmapped_area(self, 0, page_align(length), 0, MappedFile(b""), 0)

    def exit_mmap(self) -> None:
        """The end, whoever uses it: unmap everything and check that nothing is left; see
        mmu.linux.mm_users. Twice is once.
        """
        if self.mm_users:
            self.mm_users = 1
            mmput(self)

    def dup_mm(self) -> Mm:
        """fork()'s copy of the address space, loaded nowhere, or ENOMEM; see mmu.linux.fork."""
        return fork.dup_mm(self)

    def collapse_huge_page(self, address: int) -> ScanResult:
        """Have one huge PMD map the 2 MiB of address; whether, or why not. See
        mmu.linux.khugepaged.
        """
        return khugepaged.collapse_huge_page(self, address)

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


def boot(
    memory: Memory,
    mmu: Mmu,
    *,
    policy: FreeTables | type[TablePolicy] = FreeTables.REFCOUNT,
    free_levels: FreeLevels = FreeLevels.PTE,
    engine: str = "c",
    ring: EventRing | None = None,
    lockdep: bool = False,
) -> Mm:
    """Return an empty address space loaded into the one CPU of a new kernel, whose MMU is ``mmu``.

    The other arguments are Kernel's, and so are the errors. Raises OutOfMemory if RAM has no frame
    for the PGD.
    """
    kernel = Kernel(
        memory,
        policy=policy,
        free_levels=free_levels,
        engine=engine,
        ring=ring,
        lockdep=lockdep,
    )
    kernel.add_cpu(mmu)
    mm = Mm(kernel)
    switch_mm(kernel, mm)
    return mm
