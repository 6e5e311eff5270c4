# SPDX-License-Identifier: GPL-2.0-or-later
"""mmap() (mm/mmap.c, mm/vma.c, v6.18).

What is not as in Linux: no huge pages are ever reserved, so MAP_HUGETLB fails in the end.
"""

from __future__ import annotations

import errno
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, NoReturn

from mmu._native import lib
from mmu.errors import LinuxError
from mmu.linux.filemap import (
    F_SEAL_FUTURE_WRITE,
    F_SEAL_WRITE,
    MAX_LFS_FILESIZE,
    MappedFile,
)
from mmu.linux.gup import mm_populate
from mmu.linux.layout import TASK_SIZE, page_align
from mmu.linux.mman import (
    MAP_32BIT,
    MAP_ABOVE4G,
    MAP_ANONYMOUS,
    MAP_DENYWRITE,
    MAP_DROPPABLE,
    MAP_EXECUTABLE,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_GROWSDOWN,
    MAP_HUGE_MASK,
    MAP_HUGE_SHIFT,
    MAP_HUGETLB,
    MAP_LOCKED,
    MAP_NONBLOCK,
    MAP_NORESERVE,
    MAP_POPULATE,
    MAP_PRIVATE,
    MAP_SHARED,
    MAP_SHARED_VALIDATE,
    MAP_STACK,
    MAP_SYNC,
    MAP_TYPE,
)
from mmu.linux.munmap import vms_complete_munmap_vmas, vms_gather_munmap_vmas
from mmu.linux.pgtable import PMD_SHIFT, PMD_SIZE
from mmu.linux.state import OVERCOMMIT_NEVER, MmStruct
from mmu.linux.tracepoint import spanned
from mmu.linux.unmapped_area import get_unmapped_area
from mmu.linux.vma import (
    VM_ACCOUNT,
    VM_DONTDUMP,
    VM_DONTEXPAND,
    VM_DROPPABLE,
    VM_EXEC,
    VM_GROWSDOWN,
    VM_LOCKED,
    VM_LOCKED_MASK,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_NOHUGEPAGE,
    VM_NORESERVE,
    VM_SHARED,
    VM_SYNC,
    VM_WIPEONFORK,
    VM_WRITE,
    accountable_mapping,
    calc_vm_prot_bits,
    can_do_mlock,
    find_vma_intersection,
    may_expand_vm,
    mlock_future_ok,
    new_vma,
    vm_enough_memory,
    vm_stat_account,
    vma_insert,
    vma_merge_new_range,
)
from mmu.linux.vma_lock import vma_start_write
from mmu.units import PAGE_SHIFT, PAGE_SIZE, U64

if TYPE_CHECKING:
    pass

# What a file system without DAX accepts of MAP_SHARED_VALIDATE (LEGACY_MAP_MASK).
LEGACY_MAP_MASK = (
    MAP_SHARED | MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_DENYWRITE | MAP_EXECUTABLE
    | MAP_GROWSDOWN | MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_STACK
    | MAP_HUGETLB | MAP_32BIT | MAP_ABOVE4G
    | PMD_SHIFT << MAP_HUGE_SHIFT | 30 << MAP_HUGE_SHIFT
)  # fmt: skip

# mmap().


def _round_hint_to_min(mm: MmStruct, hint: int) -> int:
    hint &= -PAGE_SIZE
    return page_align(mm.kernel.mmap_min_addr) if 0 < hint < mm.kernel.mmap_min_addr else hint


def _calc_vm_flag_bits(flags: int) -> int:
    bits = {
        MAP_GROWSDOWN: VM_GROWSDOWN,
        MAP_LOCKED: VM_LOCKED,
        MAP_STACK: VM_NOHUGEPAGE,
        MAP_SYNC: VM_SYNC,
    }
    return sum(vm_flag for flag, vm_flag in bits.items() if flags & flag)


def _file_flags(
    file: MappedFile, length: int, prot: int, flags: int, pgoff: int, vm_flags: int
) -> int:
    """do_mmap()'s rules for a file: the VMA's flags, or EOVERFLOW, EOPNOTSUPP, EACCES, EPERM,
    EINVAL.
    """
    if length > MAX_LFS_FILESIZE or pgoff > MAX_LFS_FILESIZE - length >> PAGE_SHIFT:
        raise LinuxError(errno.EOVERFLOW)
    kind = flags & MAP_TYPE
    if kind in (MAP_SHARED, MAP_SHARED_VALIDATE):
        if kind == MAP_SHARED_VALIDATE and flags & ~LEGACY_MAP_MASK:
            raise LinuxError(errno.EOPNOTSUPP)
        if prot & lib.VM_WRITE and not file.writable:
            raise LinuxError(errno.EACCES)
        vm_flags |= VM_SHARED | VM_MAYSHARE
        if not file.writable:
            vm_flags &= ~(VM_MAYWRITE | VM_SHARED)
    elif kind != MAP_PRIVATE:
        raise LinuxError(errno.EINVAL)
    if not file.readable:
        raise LinuxError(errno.EACCES)
    if file.noexec:
        if vm_flags & VM_EXEC:
            raise LinuxError(errno.EPERM)
        vm_flags &= ~VM_MAYEXEC
    if vm_flags & VM_GROWSDOWN or (vm_flags & VM_SHARED and not file.mapping.ops.writable):
        raise LinuxError(errno.EINVAL)
    if vm_flags & VM_SYNC and not file.shmem:
        raise LinuxError(errno.EOPNOTSUPP)
    return _check_seals(file, vm_flags)


def _check_seals(file: MappedFile, vm_flags: int) -> int:
    """memfd_check_seals_mmap(): a file of memory that is not to be written can be mapped shared,
    but never for writing.
    """
    if vm_flags & VM_SHARED and file.mapping.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE):
        if vm_flags & VM_WRITE:
            raise LinuxError(errno.EPERM)
        vm_flags &= ~VM_MAYWRITE
    return vm_flags


def _anonymous_flags(flags: int, vm_flags: int) -> int:
    """do_mmap()'s rules for anonymous memory: the VMA's flags, or EINVAL."""
    kind = flags & MAP_TYPE
    if kind == MAP_PRIVATE:
        return vm_flags
    if kind not in (MAP_SHARED, MAP_DROPPABLE) or vm_flags & VM_GROWSDOWN:
        raise LinuxError(errno.EINVAL)
    if kind == MAP_SHARED:
        return vm_flags | VM_SHARED | VM_MAYSHARE
    if flags & MAP_LOCKED:
        raise LinuxError(errno.EINVAL)
    return vm_flags | VM_DROPPABLE | VM_NORESERVE | VM_WIPEONFORK | VM_DONTDUMP


# Huge pages: none are reserved.


_HUGE_PAGES = MappedFile.shared_anonymous(0)


def _huge_length(length: int, flags: int, file: MappedFile | None) -> int:
    """ksys_mmap_pgoff()'s share of MAP_HUGETLB: whole huge pages of 2 MiB, the one size there is;
    else EINVAL.
    """
    if file is not None or flags >> MAP_HUGE_SHIFT & MAP_HUGE_MASK not in (0, PMD_SHIFT):
        raise LinuxError(errno.EINVAL)
    return (length + PMD_SIZE - 1) & -PMD_SIZE & U64


def _map_huge(
    mm: MmStruct, addr: int, length: int, flags: int, vm_flags: int, pgoff: int
) -> NoReturn:
    """The end of a MAP_HUGETLB mapping, which fails: ENOMEM, or EINVAL before.

    hugetlbfs_file_mmap() says so when what was mapped at a fixed address is already gone.
    """
    vm_flags = _file_flags(_HUGE_PAGES, length, vm_flags, flags, pgoff, vm_flags)
    first, last = vms_gather_munmap_vmas(mm, addr, addr + length)
    unmapped = _nr_pages(mm, first, last)
    if not may_expand_vm(mm, vm_flags, (length >> PAGE_SHIFT) - unmapped):
        raise LinuxError(errno.ENOMEM)
    vms_complete_munmap_vmas(mm, first, last)
    raise LinuxError(errno.EINVAL if pgoff & (PMD_SIZE - 1) >> PAGE_SHIFT else errno.ENOMEM)


def _nr_pages(mm: MmStruct, first: int, last: int, vm_flags: int = 0) -> int:
    """Pages of VMAs [first, last) that have all of these flags."""
    vmas = mm.c.vmas.vma[first:last] if last > first else ()
    return sum(
        vma.vm_end - vma.vm_start >> PAGE_SHIFT
        for vma in vmas
        if vma.vm_flags & vm_flags == vm_flags
    )


@spanned(lambda mm, addr, length, *_, **__: (mm, addr, addr + length))
def do_mmap(
    mm: MmStruct, addr: int, length: int, prot: int, flags: int, file: MappedFile | None, pgoff: int
) -> int:
    """ksys_mmap_pgoff() and vm_mmap_pgoff(): returns the address. pgoff in pages.

    ``file`` None means MAP_ANONYMOUS; the caller has turned a descriptor into a file or EBADF.
    EINTR if the process is to end before mmap_lock can be had.
    """
    if flags & MAP_HUGETLB:
        length = _huge_length(length, flags, file)
    with mm.mmap_write_lock(killable=True):
        addr, populate = _do_mmap(mm, addr, length, prot, flags, file, pgoff)
    if populate:
        mm_populate(mm, addr, addr + page_align(length))
    return addr


def _do_mmap(
    mm: MmStruct, addr: int, length: int, prot: int, flags: int, file: MappedFile | None, pgoff: int
) -> tuple[int, bool]:
    """do_mmap(): the address, and whether it is to be faulted in; mmap_lock is held for writing."""
    if not length:
        raise LinuxError(errno.EINVAL)
    if flags & MAP_FIXED_NOREPLACE:
        flags |= MAP_FIXED
    if not flags & MAP_FIXED:
        addr = _round_hint_to_min(mm, addr)
    length = page_align(length)
    if not length or mm.c.vmas.nr > mm.kernel.max_map_count:
        raise LinuxError(errno.ENOMEM)
    if pgoff + (length >> PAGE_SHIFT) > U64:
        raise LinuxError(errno.EOVERFLOW)
    vm_flags = calc_vm_prot_bits(prot) | _calc_vm_flag_bits(flags) | mm.def_flags
    vm_flags |= VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC
    shared_anonymous = file is None and flags & MAP_TYPE == MAP_SHARED
    if flags & MAP_HUGETLB and flags & MAP_FIXED and addr & (PMD_SIZE - 1) and length <= TASK_SIZE:
        raise LinuxError(errno.EINVAL)
    addr = get_unmapped_area(mm, addr, length, flags, file, 0 if file is None else pgoff)
    if flags & MAP_FIXED_NOREPLACE and find_vma_intersection(mm, addr, addr + length) is not None:
        raise LinuxError(errno.EEXIST)
    if flags & MAP_LOCKED and not can_do_mlock(mm):
        raise LinuxError(errno.EPERM)
    if not mlock_future_ok(mm, vm_flags, length >> PAGE_SHIFT):
        raise LinuxError(errno.EAGAIN)
    if flags & MAP_HUGETLB:
        _map_huge(mm, addr, length, flags, vm_flags, pgoff)
    if file is None:
        vm_flags = _anonymous_flags(flags, vm_flags)
        pgoff = 0 if shared_anonymous else addr >> PAGE_SHIFT
    else:
        vm_flags = _file_flags(file, length, prot, flags, pgoff, vm_flags)
    if flags & MAP_NORESERVE and mm.kernel.overcommit_memory != OVERCOMMIT_NEVER:
        vm_flags |= VM_NORESERVE
    if shared_anonymous:
        file = MappedFile.shared_anonymous(length)
    with _user_of(file):
        mmap_region(mm, addr, length, vm_flags, pgoff, file)
    populate = flags & (MAP_POPULATE | MAP_NONBLOCK) == MAP_POPULATE
    return addr, populate or bool(vm_flags & VM_LOCKED)


def do_remap_file_pages(
    mm: MmStruct, start: int, size: int, prot: int, pgoff: int, flags: int
) -> None:
    """remap_file_pages(), as it is emulated: map [start, start + size) of a shared mapping to the
    file's pages from pgoff on. EINVAL for anything else; errors of do_mmap().
    """
    start, size = start & -PAGE_SIZE, size & -PAGE_SIZE
    if prot or start + size > U64 or not size or pgoff + (size >> PAGE_SHIFT) > U64:
        raise LinuxError(errno.EINVAL)
    with mm.mmap_write_lock(killable=True):
        i = lib.vma_index_of(mm.c, start)
        vmas, end = mm.c.vmas, start + size
        if i >= vmas.nr or vmas.vma[i].vm_start > start or not vmas.vma[i].vm_flags & VM_SHARED:
            raise LinuxError(errno.EINVAL)
        vma = vmas.vma[i]
        while vmas.vma[i].vm_end < end:
            here, after = vmas.vma[i], vmas.vma[i + 1] if i + 1 < vmas.nr else None
            if after is None or (after.vm_start, after.vm_file, after.vm_flags) != (
                here.vm_end,
                here.vm_file,
                here.vm_flags,
            ):
                raise LinuxError(errno.EINVAL)
            i += 1
        flags &= MAP_NONBLOCK
        flags |= MAP_SHARED | MAP_FIXED | MAP_POPULATE
        if vma.vm_flags & VM_LOCKED:
            flags |= MAP_LOCKED
        file = mm.file(vma.vm_file)
        _, populate = _do_mmap(mm, start, size, calc_vm_prot_bits(vma.vm_flags), flags, file, pgoff)
    if populate:
        mm_populate(mm, start, end)


def _user_of(file: MappedFile | None) -> AbstractContextManager[object]:
    """Keep a file's page cache while the last VMA of it may go and a new one come."""
    return nullcontext() if file is None else file.user()


def install_special_mapping(
    mm: MmStruct, addr: int, length: int, vm_flags: int, file: MappedFile
) -> None:
    """_install_special_mapping(): map pages of the kernel's at addr, where nothing is mapped;
    ENOMEM for a limit.

    ``file`` is a MappedFile.special_mapping(). The mmap_lock is held for writing.
    """
    insert_vm_struct(mm, addr, addr + length, vm_flags | VM_DONTEXPAND, mm.file_number(file), 0)


def insert_vm_struct(
    mm: MmStruct, start: int, end: int, vm_flags: int, file: int = 0, pgoff: int | None = None
) -> None:
    """Map [start, end), page-aligned, where nothing is mapped; ENOMEM if something is, or for a
    limit.

    Anonymous memory, if no file is given. The mmap_lock is held for writing.
    """
    nr_pages = end - start >> PAGE_SHIFT
    if find_vma_intersection(mm, start, end) is not None or not may_expand_vm(
        mm, vm_flags, nr_pages
    ):
        raise LinuxError(errno.ENOMEM)
    if vm_flags & VM_ACCOUNT and not vm_enough_memory(mm, nr_pages):
        raise LinuxError(errno.ENOMEM)
    pgoff = start >> PAGE_SHIFT if pgoff is None else pgoff
    vma_insert(mm, new_vma(start, end, vm_flags, pgoff, file))
    vm_stat_account(mm, vm_flags, nr_pages)


def mmap_region(
    mm: MmStruct, addr: int, length: int, vm_flags: int, pgoff: int, file: MappedFile | None
) -> None:
    """Unmap what lies in [addr, addr + length) and map it anew; the mmap_lock is held for writing.

    ENOMEM for the limits on address space, memory and number of VMAs; what was mapped is then left
    as it was.
    """
    end, nr_pages = addr + length, length >> PAGE_SHIFT
    first, last = vms_gather_munmap_vmas(mm, addr, end)
    if not may_expand_vm(mm, vm_flags, nr_pages - _nr_pages(mm, first, last)):
        raise LinuxError(errno.ENOMEM)
    if accountable_mapping(vm_flags):
        if not vm_enough_memory(mm, nr_pages - _nr_pages(mm, first, last, VM_ACCOUNT)):
            raise LinuxError(errno.ENOMEM)
        vm_flags |= VM_ACCOUNT
    vms_complete_munmap_vmas(mm, first, last)
    i = vma_merge_new_range(mm, addr, end, vm_flags, pgoff, mm.file_number(file))
    vm_stat_account(mm, vm_flags, nr_pages)
    if vm_flags & VM_LOCKED and vm_flags & VM_DROPPABLE:
        vma_start_write(mm, mm.c.vmas.vma[i])
        mm.c.vmas.vma[i].vm_flags &= ~VM_LOCKED_MASK
    elif vm_flags & VM_LOCKED:
        mm.c.locked_vm += nr_pages
