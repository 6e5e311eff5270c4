# SPDX-License-Identifier: GPL-2.0-or-later
"""madvise() (mm/madvise.c, v6.18).

MADV_DONTNEED and MADV_DONTNEED_LOCKED drop the pages now. What else does something visible:
MADV_POPULATE_READ and _WRITE fault in, MADV_REMOVE punches a hole into shared anonymous memory,
MADV_WILLNEED reads file pages ahead, MADV_GUARD_INSTALL and _REMOVE set and take away guard markers
(mmu.linux.guard), MADV_FREE, MADV_COLD and MADV_PAGEOUT say what pages are worth (mmu.linux.aging),
and the advice that is a VMA flag (MADV_RANDOM, _DONTFORK, _HUGEPAGE ...) splits and merges VMAs as
in Linux.

Huge pages are off for every process (as by PR_SET_THP_DISABLE): MADV_COLLAPSE is EINVAL for
whatever is mapped. Same-page merging does not run: MADV_MERGEABLE sets its flag. MADV_HWPOISON and
MADV_SOFT_OFFLINE are EINVAL, as without CONFIG_MEMORY_FAILURE.
"""

from __future__ import annotations

import errno
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from mmu._native import ffi, lib
from mmu.errors import LinuxError
from mmu.linux import engine
from mmu.linux.aging import madvise_cold_range, madvise_free_range, madvise_pageout_range
from mmu.linux.guard import madvise_guard_install, madvise_guard_remove
from mmu.linux.gup import fault_in_page
from mmu.linux.handle_mm_fault import VM_FAULT_ERROR, VM_FAULT_OOM
from mmu.linux.huge_memory import unmap_single_vma
from mmu.linux.mman import (
    MADV_COLD,
    MADV_COLLAPSE,
    MADV_DODUMP,
    MADV_DOFORK,
    MADV_DONTDUMP,
    MADV_DONTFORK,
    MADV_DONTNEED,
    MADV_DONTNEED_LOCKED,
    MADV_FREE,
    MADV_GUARD_INSTALL,
    MADV_GUARD_REMOVE,
    MADV_HUGEPAGE,
    MADV_KEEPONFORK,
    MADV_MERGEABLE,
    MADV_NOHUGEPAGE,
    MADV_NORMAL,
    MADV_PAGEOUT,
    MADV_POPULATE_READ,
    MADV_POPULATE_WRITE,
    MADV_RANDOM,
    MADV_REMOVE,
    MADV_SEQUENTIAL,
    MADV_UNMERGEABLE,
    MADV_WILLNEED,
    MADV_WIPEONFORK,
)
from mmu.linux.sched import ERESTARTNOINTR
from mmu.linux.state import MmStruct
from mmu.linux.tracepoint import spanned
from mmu.linux.truncate import truncate_pagecache_range
from mmu.linux.vma import (
    VM_DONTCOPY,
    VM_DONTDUMP,
    VM_DROPPABLE,
    VM_HUGEPAGE,
    VM_IO,
    VM_LOCKED,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_MERGEABLE,
    VM_NOHUGEPAGE,
    VM_PFNMAP,
    VM_RAND_READ,
    VM_READ,
    VM_SEALED,
    VM_SEQ_READ,
    VM_SHARED,
    VM_SPECIAL,
    VM_WIPEONFORK,
    VM_WRITE,
    vma_modify_flags,
)
from mmu.linux.vma_lock import lock_vma_under_rcu, vma_end_read, vma_start_write
from mmu.units import PAGE_SHIFT, PAGE_SIZE, U64

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mmu._native import struct_vm_area_struct_ptr
    from mmu.linux.filemap import MappedFile

    _Advise = Callable[[MmStruct, struct_vm_area_struct_ptr | None, int, int, int], None]


_ZAP_RECLAIM_PT: Final = lib.ZAP_RECLAIM_PT
# VMAs that same-page merging leaves alone: ksm_compatible().
_KSM_INCOMPATIBLE = VM_SHARED | VM_MAYSHARE | VM_SPECIAL | VM_DROPPABLE
_OFFSET = PAGE_SIZE - 1

# What the lock of one VMA is enough for, besides MADV_DONTNEED: get_lock_mode().
_VMA_READ_LOCK = (MADV_FREE, MADV_GUARD_INSTALL, MADV_GUARD_REMOVE)

# What loses contents: is_discard().
_DISCARDS = (
    MADV_FREE,
    MADV_DONTNEED,
    MADV_DONTNEED_LOCKED,
    MADV_REMOVE,
    MADV_DONTFORK,
    MADV_WIPEONFORK,
    MADV_GUARD_INSTALL,
)

# The advice that is a VMA flag: what it sets, what it clears, and the flags of VMAs it is refused
# for.
_FLAG_ADVICE = {
    MADV_NORMAL: (0, VM_RAND_READ | VM_SEQ_READ, 0),
    MADV_SEQUENTIAL: (VM_SEQ_READ, VM_RAND_READ, 0),
    MADV_RANDOM: (VM_RAND_READ, VM_SEQ_READ, 0),
    MADV_DONTFORK: (VM_DONTCOPY, 0, 0),
    MADV_DOFORK: (0, VM_DONTCOPY, VM_IO),
    MADV_MERGEABLE: (VM_MERGEABLE, 0, 0),
    MADV_UNMERGEABLE: (0, VM_MERGEABLE, 0),
    MADV_HUGEPAGE: (VM_HUGEPAGE, VM_NOHUGEPAGE, 0),
    MADV_NOHUGEPAGE: (VM_NOHUGEPAGE, VM_HUGEPAGE, 0),
    MADV_DONTDUMP: (VM_DONTDUMP, 0, 0),
    MADV_DODUMP: (0, VM_DONTDUMP, VM_SPECIAL | VM_DROPPABLE),
    MADV_WIPEONFORK: (VM_WIPEONFORK, 0, VM_SHARED),
    MADV_KEEPONFORK: (0, VM_WIPEONFORK, VM_DROPPABLE),
}


@spanned(lambda mm, start, length, *_, **__: (mm, start, start + length))
def do_madvise(mm: MmStruct, start: int, length: int, behavior: int) -> None:
    """Advise on [start, start + length), VMA by VMA.

    Errors: EINVAL (unknown advice, unaligned or impossible range, advice that a VMA cannot take),
    ENOMEM (a hole in the range: everything mapped in it is advised all the same), EAGAIN (too many
    VMAs), and those of MADV_REMOVE (EACCES) and MADV_POPULATE_* (EFAULT, EINVAL, ENOMEM).
    """
    size = (length + _OFFSET) & ~_OFFSET & U64
    end = start + size
    if start & _OFFSET or (length and not size) or end > U64:
        raise LinuxError(errno.EINVAL)
    if behavior in (MADV_DONTNEED, MADV_DONTNEED_LOCKED):
        if size:
            _locked(mm, start, end, behavior, _madvise_dontneed)
        return
    advise = _ADVICE.get(behavior)
    if advise is None:
        raise LinuxError(errno.EINVAL)
    if not size:
        return
    if behavior in _FLAG_ADVICE:
        with mm.mmap_write_lock(killable=True):
            advise(mm, None, start, end, behavior)
    elif behavior in _VMA_READ_LOCK:
        if not _locked_unless_restarted(mm, start, end, behavior, advise):
            with mm.mmap_write_lock(killable=True):
                _vmas_start_write(mm, start, end)
                advise(mm, None, start, end, behavior)
    elif behavior == MADV_REMOVE:
        advise(mm, None, start, end, behavior)
    else:
        with mm.mmap_read_lock():
            advise(mm, None, start, end, behavior)


def vector_madvise(mm: MmStruct, pieces: Sequence[tuple[int, int]], behavior: int) -> int:
    """vector_madvise(): advise on each (address, length); returns the bytes advised on before the
    first error, which is raised if there are none.
    """
    done = 0
    for start, length in pieces:
        try:
            do_madvise(mm, start, length, behavior)
        except LinuxError:
            if done:
                break
            raise
        done += length
    return done


def _locked(mm: MmStruct, start: int, end: int, behavior: int, advise: _Advise) -> None:
    """try_vma_read_lock(): call ``advise`` with the one VMA of the range locked; or with None, and
    mmap_lock held for reading, where that does not do.
    """
    vma = lock_vma_under_rcu(mm, start)
    if vma is not None and not _is_vma_lock_sufficient(vma, end, behavior):
        vma_end_read(mm, vma)
        vma = None
    if vma is None:
        with mm.mmap_read_lock():
            advise(mm, None, start, end, behavior)
        return
    try:
        advise(mm, vma, start, end, behavior)
    finally:
        vma_end_read(mm, vma)


def _locked_unless_restarted(
    mm: MmStruct, start: int, end: int, behavior: int, advise: _Advise
) -> bool:
    """_locked(); False if it is to be begun again, since faults of other CPUs came between.

    Linux begins again with the same locks (restart_syscall()), and faults seldom come each time. A
    guest's CPU takes an interrupt at the end of its slice alone, and may fault the page in again in
    each: so the second time has locks that keep all faults off.
    """
    try:
        _locked(mm, start, end, behavior, advise)
    except LinuxError as error:
        if error.errno != ERESTARTNOINTR:
            raise
        return False
    return True


def _vmas_start_write(mm: MmStruct, start: int, end: int) -> None:
    vma = _vma_at(mm, start)
    while vma is not None and vma.vm_start < end:
        vma_start_write(mm, vma)
        vma = _vma_at(mm, vma.vm_end)


def _is_vma_lock_sufficient(vma: struct_vm_area_struct_ptr, end: int, behavior: int) -> bool:
    """Whether the range lies in the one VMA, which needs no anon_vma first."""
    return end <= vma.vm_end and (behavior != MADV_GUARD_INSTALL or bool(vma.anon_vma))


def _madvise_dontneed(
    mm: MmStruct, vma: struct_vm_area_struct_ptr | None, start: int, end: int, behavior: int
) -> None:
    """Zap what lies in [start, end), with one flush for all; a VMA that is special, or locked if
    that matters, ends it with EINVAL. ``vma``: see _walk_vmas().
    """
    error = 0
    forbidden = VM_PFNMAP | (VM_LOCKED if behavior == MADV_DONTNEED else 0)
    tlb = engine.tlb_gather_mmu(mm)
    try:
        while start < end:
            if vma is None:
                vma = _vma_at(mm, start)
            if vma is None:
                error = errno.ENOMEM
                break
            if start < vma.vm_start:
                error = errno.ENOMEM
                start = vma.vm_start
                if start >= end:
                    break
            if not _can_madvise_modify(vma, behavior):
                error = errno.EPERM
                break
            if vma.vm_flags & forbidden:
                error = errno.EINVAL
                break
            stop = min(vma.vm_end, end)
            unmap_single_vma(tlb, start, stop, _ZAP_RECLAIM_PT)
            start, vma = stop, None
    finally:
        engine.tlb_finish_mmu(tlb)
    if error:
        raise LinuxError(error)


def _can_madvise_modify(vma: struct_vm_area_struct_ptr, behavior: int) -> bool:
    """can_madvise_modify(): a sealed VMA's anonymous memory that cannot be written stays."""
    if not vma.vm_flags & VM_SEALED or behavior not in _DISCARDS:
        return True
    return bool(vma.vm_file) or bool(vma.vm_flags & VM_WRITE)


def _check_modify(vma: struct_vm_area_struct_ptr, behavior: int) -> None:
    if not _can_madvise_modify(vma, behavior):
        raise LinuxError(errno.EPERM)


def _vma_at(mm: MmStruct, address: int) -> struct_vm_area_struct_ptr | None:
    """The first VMA that ends above address."""
    vma = lib.find_vma(mm.c, address)
    return None if vma == ffi.NULL else vma


def _walk_vmas(
    mm: MmStruct,
    locked: struct_vm_area_struct_ptr | None,
    start: int,
    end: int,
    behavior: int,
    visit: Callable[[struct_vm_area_struct_ptr, int, int], None],
) -> None:
    """madvise_walk_vmas(): visit(VMA, start, end) for each part of [start, end); ENOMEM at last for
    holes. EPERM for what a sealed VMA is not given.

    ``locked`` is the VMA that is read-locked and holds the whole range; None: mmap_lock is held,
    and where it is for writing visit may split and merge VMAs at the range it is given.
    """
    if locked is not None:
        _check_modify(locked, behavior)
        visit(locked, start, end)
        return
    unmapped = False
    while start < end:
        vma = _vma_at(mm, start)
        if vma is None:
            raise LinuxError(errno.ENOMEM)
        if start < vma.vm_start:
            unmapped = True
            start = vma.vm_start
            if start >= end:
                break
        stop = min(vma.vm_end, end)
        _check_modify(vma, behavior)
        visit(vma, start, stop)
        start = stop
    if unmapped:
        raise LinuxError(errno.ENOMEM)


def _madvise_flags(
    mm: MmStruct, vma: struct_vm_area_struct_ptr | None, start: int, end: int, behavior: int
) -> None:
    """Set and clear VMA flags: madvise_vma_behavior(), madvise_update_vma()."""
    set_flags, clear_flags, refused = _FLAG_ADVICE[behavior]

    def visit(vma: struct_vm_area_struct_ptr, start: int, end: int) -> None:
        if vma.vm_flags & refused or (behavior == MADV_WIPEONFORK and vma.vm_file):
            raise LinuxError(errno.EINVAL)
        if behavior == MADV_MERGEABLE and vma.vm_flags & _KSM_INCOMPATIBLE:
            return
        vm_flags = (vma.vm_flags & ~clear_flags) | set_flags
        if vm_flags == vma.vm_flags:
            return
        try:
            i = lib.vma_index_of(mm.c, start)
            vma_modify_flags(mm, i, start, end, vm_flags)
        except LinuxError as error:
            raise LinuxError(errno.EAGAIN if error.errno == errno.ENOMEM else error.errno) from None

    _walk_vmas(mm, vma, start, end, behavior, visit)


def _madvise_willneed(
    mm: MmStruct, vma: struct_vm_area_struct_ptr | None, start: int, end: int, behavior: int
) -> None:
    def visit(vma: struct_vm_area_struct_ptr, start: int, end: int) -> None:
        if vma.vm_file:
            first = vma.vm_pgoff + (start - vma.vm_start >> PAGE_SHIFT)
            mapping = mm.file(vma.vm_file).mapping
            mapping.read_ahead(mm.memory, first, first + (end - start >> PAGE_SHIFT))

    _walk_vmas(mm, vma, start, end, behavior, visit)


def _madvise_free(
    mm: MmStruct, vma: struct_vm_area_struct_ptr | None, start: int, end: int, behavior: int
) -> None:
    def visit(vma: struct_vm_area_struct_ptr, start: int, end: int) -> None:
        if vma.vm_file or vma.vm_flags & (VM_LOCKED | VM_PFNMAP):
            raise LinuxError(errno.EINVAL)
        madvise_free_range(mm, vma, start, end)

    _walk_vmas(mm, vma, start, end, behavior, visit)


def _madvise_cold(
    mm: MmStruct, vma: struct_vm_area_struct_ptr | None, start: int, end: int, behavior: int
) -> None:
    def visit(vma: struct_vm_area_struct_ptr, start: int, end: int) -> None:
        if vma.vm_flags & (VM_LOCKED | VM_PFNMAP):
            raise LinuxError(errno.EINVAL)
        (madvise_cold_range if behavior == MADV_COLD else madvise_pageout_range)(
            mm, vma, start, end
        )

    _walk_vmas(mm, vma, start, end, behavior, visit)


def _madvise_remove(
    mm: MmStruct, vma: struct_vm_area_struct_ptr | None, start: int, end: int, behavior: int
) -> None:
    """Punch a hole into shared memory or a file, in every mapping of it of every process.

    The mmap_lock is not held meanwhile, as by madvise_remove(), which drops it.
    """
    holes: list[tuple[MappedFile, int, int]] = []

    def visit(vma: struct_vm_area_struct_ptr, start: int, end: int) -> None:
        if vma.vm_flags & VM_LOCKED or not vma.vm_file:
            raise LinuxError(errno.EINVAL)
        if vma.vm_flags & (VM_SHARED | VM_MAYWRITE) != VM_SHARED | VM_MAYWRITE:
            raise LinuxError(errno.EACCES)
        first = vma.vm_pgoff + (start - vma.vm_start >> PAGE_SHIFT)
        file = mm.file(vma.vm_file)
        users.enter_context(file.user())  # it may be unmapped while one before it is waited for
        holes.append((file, first, first + (end - start >> PAGE_SHIFT)))

    with ExitStack() as users:
        try:
            with mm.mmap_read_lock():
                _walk_vmas(mm, vma, start, end, behavior, visit)
        finally:
            for file, first, last in holes:
                offset, length = first << PAGE_SHIFT, last - first << PAGE_SHIFT
                if not file.mapping.ops.punch_hole(offset, length):
                    truncate_pagecache_range(mm.kernel, file.mapping, first, last)


def _madvise_guard(
    mm: MmStruct, vma: struct_vm_area_struct_ptr | None, start: int, end: int, behavior: int
) -> None:
    act = madvise_guard_install if behavior == MADV_GUARD_INSTALL else madvise_guard_remove
    _walk_vmas(mm, vma, start, end, behavior, lambda vma, *part: act(mm, vma, *part))


def _madvise_collapse(
    mm: MmStruct, vma: struct_vm_area_struct_ptr | None, start: int, end: int, behavior: int
) -> None:
    def visit(vma: struct_vm_area_struct_ptr, start: int, end: int) -> None:
        raise LinuxError(errno.EINVAL)

    _walk_vmas(mm, vma, start, end, behavior, visit)


def _madvise_populate(
    mm: MmStruct, vma: struct_vm_area_struct_ptr | None, start: int, end: int, behavior: int
) -> None:
    """faultin_page_range(): EINVAL where the VMA forbids it, EFAULT past a file and in a guard
    region.

    ENOMEM for holes and no RAM, EINTR when the process is to end.
    """
    write = behavior == MADV_POPULATE_WRITE
    while start < end:
        i = lib.vma_index_of(mm.c, start)
        if i >= mm.c.vmas.nr or mm.c.vmas.vma[i].vm_start > start:
            raise LinuxError(errno.ENOMEM)
        vma = mm.c.vmas.vma[i]
        if vma.vm_flags & (VM_IO | VM_PFNMAP) or not vma.vm_flags & (
            VM_WRITE if write else VM_READ
        ):
            raise LinuxError(errno.EINVAL)
        stop = min(vma.vm_end, end)
        for page in range(start, stop, PAGE_SIZE):
            if mm.fatal_signal_pending():
                raise LinuxError(errno.EINTR)
            fault = fault_in_page(mm, vma, page, write)
            if fault & VM_FAULT_ERROR:
                raise LinuxError(errno.ENOMEM if fault & VM_FAULT_OOM else errno.EFAULT)
        start = stop


_ADVICE: dict[int, _Advise] = {
    **dict.fromkeys(_FLAG_ADVICE, _madvise_flags),
    MADV_WILLNEED: _madvise_willneed,
    MADV_FREE: _madvise_free,
    MADV_REMOVE: _madvise_remove,
    MADV_COLD: _madvise_cold,
    MADV_PAGEOUT: _madvise_cold,
    MADV_COLLAPSE: _madvise_collapse,
    MADV_GUARD_INSTALL: _madvise_guard,
    MADV_GUARD_REMOVE: _madvise_guard,
    MADV_POPULATE_READ: _madvise_populate,
    MADV_POPULATE_WRITE: _madvise_populate,
}
