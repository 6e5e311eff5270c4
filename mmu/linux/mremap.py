# SPDX-License-Identifier: GPL-2.0-or-later
"""mremap() (mm/mremap.c, v6.18): grow, shrink and move a mapping.

::

    do_mremap()
      MREMAP_FIXED, same length   _remap_move(): every VMA of the range, gaps kept
      MREMAP_FIXED, _DONTUNMAP    _mremap_to(): unmap what is there, then _move_vma()
      else                        _mremap_at(): shrink, or grow in place, or _move_vma()

    _move_vma()   a copy of the VMA, merged with its new neighbours where that fits; what is mapped
                  moves (mmu.linux.move_page_tables); the old range is unmapped, or left empty
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmu._native import ffi, lib
from mmu.errors import LinuxError
from mmu.linux.gup import mm_populate
from mmu.linux.layout import TASK_SIZE, page_align
from mmu.linux.mman import (
    MAP_FIXED,
    MAP_SHARED,
    MREMAP_DONTUNMAP,
    MREMAP_FIXED,
    MREMAP_MAYMOVE,
)
from mmu.linux.move_page_tables import move_page_tables
from mmu.linux.munmap import unmap_range
from mmu.linux.state import MmStruct
from mmu.linux.tracepoint import spanned
from mmu.linux.unmapped_area import get_unmapped_area
from mmu.linux.vma import (
    VM_ACCOUNT,
    VM_DONTEXPAND,
    VM_LOCKED,
    VM_LOCKED_MASK,
    VM_MAYSHARE,
    VM_PFNMAP,
    VM_SEALED,
    VM_SHARED,
    find_vma_intersection,
    may_expand_vm,
    mlock_future_ok,
    vm_enough_memory,
    vm_stat_account,
    vma_insert,
    vma_is_anonymous,
    vma_merge_copy,
)
from mmu.linux.vma_lock import vma_start_write
from mmu.units import PAGE_SHIFT, PAGE_SIZE, U64

if TYPE_CHECKING:
    from mmu._native import struct_vm_area_struct_ptr

_OFFSET = PAGE_SIZE - 1


@dataclass(slots=True)
class _Remap:
    """struct vma_remap_struct: what is asked for, lengths in whole pages; ``vma`` is that of
    addr.
    """

    addr: int
    old_len: int
    new_len: int
    flags: int
    new_addr: int
    vma: Any = None
    populate_expand: bool = False

    @property
    def grows(self) -> bool:
        return self.new_len > self.old_len

    @property
    def implies_new_addr(self) -> bool:
        return self.flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) != 0

    @property
    def pgoff(self) -> int:
        """The offset of addr in the VMA's file, or as anonymous memory; pages."""
        return int(self.vma.vm_pgoff + (self.addr - self.vma.vm_start >> PAGE_SHIFT))


@spanned(lambda mm, addr, old_len, *_, **__: (mm, addr, addr + old_len))
def do_mremap(
    mm: MmStruct, addr: int, old_len: int, new_len: int, flags: int, new_addr: int
) -> int:
    """Make the mapping of [addr, addr + old_len) one of new_len bytes, perhaps elsewhere; returns
    where.

    Errors: EINVAL (flags, alignment, overlap, a private mapping of old_len 0), EFAULT (not mapped,
    or the range crosses the end of a VMA), ENOMEM (limits, no room, no memory for tables), EAGAIN
    (RLIMIT_MEMLOCK), EINTR if the process is to end while it waits for mmap_lock.
    """
    remap = _Remap(addr, page_align(old_len), page_align(new_len), flags, new_addr)
    _check_params(mm, remap)
    with mm.mmap_write_lock(killable=True):
        if flags & MREMAP_FIXED and remap.old_len == remap.new_len:
            result = _remap_move(mm, remap)
        else:
            remap.vma = _vma_lookup(mm, addr)
            _check_prep_vma(mm, remap)
            result = (_mremap_to if remap.implies_new_addr else _mremap_at)(mm, remap)
    if remap.populate_expand:
        mm_populate(mm, result + remap.old_len, result + remap.new_len)
    return result


def _check_params(mm: MmStruct, remap: _Remap) -> None:
    known = MREMAP_FIXED | MREMAP_MAYMOVE | MREMAP_DONTUNMAP
    if remap.flags & ~known or remap.addr & _OFFSET:
        raise LinuxError(errno.EINVAL)
    if not 0 < remap.new_len <= TASK_SIZE:
        raise LinuxError(errno.EINVAL)
    if not remap.implies_new_addr:
        return
    if remap.new_addr > TASK_SIZE - remap.new_len or remap.new_addr & _OFFSET:
        raise LinuxError(errno.EINVAL)
    dontunmap = remap.flags & MREMAP_DONTUNMAP
    if not remap.flags & MREMAP_MAYMOVE or (dontunmap and remap.old_len != remap.new_len):
        raise LinuxError(errno.EINVAL)
    old_end = (remap.addr + remap.old_len) & U64  # vrm_overlaps() lets it wrap
    if old_end > remap.new_addr and remap.new_addr + remap.new_len > remap.addr:
        raise LinuxError(errno.EINVAL)
    if mm.c.vmas.nr + 2 >= mm.kernel.max_map_count - 3:
        raise LinuxError(errno.ENOMEM)


def _vma_lookup(mm: MmStruct, addr: int) -> struct_vm_area_struct_ptr | None:
    """The VMA that addr lies in."""
    i = lib.vma_index_of(mm.c, addr)
    if i >= mm.c.vmas.nr or addr < mm.c.vmas.vma[i].vm_start:
        return None
    return mm.c.vmas.vma[i]


def _check_prep_vma(mm: MmStruct, remap: _Remap) -> None:
    vma = remap.vma
    if vma is None:
        raise LinuxError(errno.EFAULT)
    if vma.vm_flags & VM_SEALED:
        raise LinuxError(errno.EPERM)
    if not remap.implies_new_addr:
        remap.new_addr = remap.addr
        if not remap.grows:
            return
    if not remap.old_len and not vma.vm_flags & (VM_SHARED | VM_MAYSHARE):
        raise LinuxError(errno.EINVAL)
    fixed_size = vma.vm_flags & (VM_DONTEXPAND | VM_PFNMAP)
    if remap.flags & MREMAP_DONTUNMAP and fixed_size:
        raise LinuxError(errno.EINVAL)
    if min(remap.old_len, remap.new_len) > vma.vm_end - remap.addr:
        raise LinuxError(errno.EFAULT)
    if not remap.grows:
        return
    remap.populate_expand = bool(vma.vm_flags & VM_LOCKED)
    if remap.pgoff + (remap.new_len >> PAGE_SHIFT) >= 1 << 64:
        raise LinuxError(errno.EINVAL)
    if fixed_size:
        raise LinuxError(errno.EFAULT)
    delta = remap.new_len - remap.old_len >> PAGE_SHIFT
    if not mlock_future_ok(mm, vma.vm_flags, delta):
        raise LinuxError(errno.EAGAIN)
    if not may_expand_vm(mm, vma.vm_flags, delta):
        raise LinuxError(errno.ENOMEM)


def _charge(mm: MmStruct, vma: struct_vm_area_struct_ptr, length: int) -> None:
    """vrm_calc_charge(): ENOMEM if that much more is more than there is."""
    if vma.vm_flags & VM_ACCOUNT and not vm_enough_memory(mm, length >> PAGE_SHIFT):
        raise LinuxError(errno.ENOMEM)


def _stat_account(mm: MmStruct, vm_flags: int, length: int) -> None:
    vm_stat_account(mm, vm_flags, length >> PAGE_SHIFT)
    if vm_flags & VM_LOCKED:
        mm.c.locked_vm += length >> PAGE_SHIFT


# Where it is.


def _mremap_at(mm: MmStruct, remap: _Remap) -> int:
    if remap.new_len < remap.old_len:
        _unmap(mm, remap.addr + remap.new_len, remap.old_len - remap.new_len)
    elif remap.grows:
        return _expand_vma(mm, remap)
    return remap.addr


def _unmap(mm: MmStruct, start: int, length: int) -> None:
    """do_vmi_munmap(); EINVAL for a range beyond user space."""
    if start > TASK_SIZE or length > TASK_SIZE - start:
        raise LinuxError(errno.EINVAL)
    unmap_range(mm, start, start + length)


def _expand_vma(mm: MmStruct, remap: _Remap) -> int:
    delta, vma = remap.new_len - remap.old_len, remap.vma
    if vma.vm_end - remap.addr == remap.old_len and _vma_expandable(mm, vma, delta):
        _charge(mm, vma, delta)
        vm_flags, end = vma.vm_flags, vma.vm_end
        pgoff = vma.vm_pgoff + (end - vma.vm_start >> PAGE_SHIFT)
        if vma_merge_copy(mm, vma, end, end + delta, pgoff) is None:
            raise LinuxError(errno.ENOMEM)
        _stat_account(mm, vm_flags, delta)
        return remap.addr
    if not remap.flags & MREMAP_MAYMOVE:
        raise LinuxError(errno.ENOMEM)
    _set_new_addr(mm, remap)
    return _move_vma(mm, remap)


def _vma_expandable(mm: MmStruct, vma: struct_vm_area_struct_ptr, delta: int) -> bool:
    end = vma.vm_end + delta
    if find_vma_intersection(mm, vma.vm_end, end) is not None:
        return False
    try:
        get_unmapped_area(mm, vma.vm_start, end - vma.vm_start, MAP_FIXED, None, 0)
    except LinuxError:
        return False
    return True


def _set_new_addr(mm: MmStruct, remap: _Remap) -> None:
    vma = remap.vma
    file = mm.file(vma.vm_file) if vma.vm_file else None
    flags = MAP_FIXED if remap.flags & MREMAP_FIXED else 0
    if vma.vm_flags & VM_MAYSHARE:
        flags |= MAP_SHARED
    wanted = remap.new_addr if remap.implies_new_addr else 0
    remap.new_addr = get_unmapped_area(mm, wanted, remap.new_len, flags, file, remap.pgoff)


# Elsewhere.


def _remap_move(mm: MmStruct, remap: _Remap) -> int:
    """Move each VMA of the range, as far as it lies inside, so that gaps stay as they are."""
    start, end, target = remap.addr, remap.addr + remap.old_len, remap.new_addr
    addr, result = start, None
    while addr < end:
        i = find_vma_intersection(mm, addr, end)
        if i is None:
            break
        vma = mm.c.vmas.vma[i]
        if result is None and start < vma.vm_start:
            raise LinuxError(errno.EFAULT)
        addr = max(vma.vm_start, addr)
        stop = min(end, vma.vm_end)
        one = _Remap(addr, stop - addr, stop - addr, remap.flags, target + addr - start, vma)
        _check_prep_vma(mm, one)
        moved = _mremap_to(mm, one)
        result = moved if result is None else result
        addr = stop
    if result is None:
        raise LinuxError(errno.EFAULT)
    return result


def _mremap_to(mm: MmStruct, remap: _Remap) -> int:
    if remap.flags & MREMAP_FIXED:
        _unmap(mm, remap.new_addr, remap.new_len)
        remap.vma = _vma_lookup(mm, remap.addr)
        if remap.vma is None:
            raise LinuxError(errno.EFAULT)
    if remap.new_len < remap.old_len:
        _unmap(mm, remap.addr + remap.new_len, remap.old_len - remap.new_len)
        remap.old_len = remap.new_len
    if remap.flags & MREMAP_DONTUNMAP and not may_expand_vm(
        mm, remap.vma.vm_flags, remap.old_len >> PAGE_SHIFT
    ):
        raise LinuxError(errno.ENOMEM)
    _set_new_addr(mm, remap)
    return _move_vma(mm, remap)


def _move_vma(mm: MmStruct, remap: _Remap) -> int:
    vma, dontunmap = remap.vma, remap.flags & MREMAP_DONTUNMAP
    if mm.c.vmas.nr >= mm.kernel.max_map_count - 3:
        raise LinuxError(errno.ENOMEM)
    whole = (vma.vm_start, vma.vm_end) == (remap.addr, remap.addr + remap.old_len)
    if vma.vm_file and mm.file(vma.vm_file).special and not whole:
        raise LinuxError(errno.EINVAL)
    _charge(mm, vma, remap.new_len if dontunmap else remap.new_len - remap.old_len)
    vma_start_write(mm, vma)
    vm_flags = vma.vm_flags
    new = _copy_vma(mm, remap)
    old = remap.vma
    moved = move_page_tables(mm, old, remap.addr, new, remap.new_addr, remap.old_len)
    failed = moved < remap.old_len
    hiwater_vm = mm.c.hiwater_vm
    _stat_account(mm, vm_flags, remap.new_len)
    if failed:
        move_page_tables(mm, new, remap.new_addr, old, remap.addr, moved)
        _unmap(mm, remap.new_addr, remap.new_len)
    elif dontunmap:
        _dontunmap_complete(mm, remap, new, whole)
    elif remap.old_len:
        _unmap(mm, remap.addr, remap.old_len)
    mm.c.hiwater_vm = hiwater_vm
    if failed:
        raise LinuxError(errno.ENOMEM)
    return remap.new_addr


def _copy_vma(mm: MmStruct, remap: _Remap) -> struct_vm_area_struct_ptr:
    """copy_vma(): the VMA of the new range; ``remap.vma`` is that of the old one afterwards, which
    may have become the same. Memory that was never written counts its offset anew.
    """
    vma, pgoff = remap.vma, remap.pgoff
    start, end = remap.new_addr, remap.new_addr + remap.new_len
    if vma_is_anonymous(vma) and not vma.anon_vma:
        pgoff = start >> PAGE_SHIFT
    i = vma_merge_copy(mm, vma, start, end, pgoff)
    if i is None:
        copy = ffi.new("struct vm_area_struct *", vma[0])
        copy.vm_start, copy.vm_end, copy.vm_pgoff = start, end, pgoff
        i = vma_insert(mm, copy)
    new = mm.c.vmas.vma[i]
    vma_start_write(mm, new)
    remap.vma = _vma_lookup(mm, remap.addr)
    return new


def _dontunmap_complete(
    mm: MmStruct, remap: _Remap, new: struct_vm_area_struct_ptr, whole: bool
) -> None:
    """The old VMA stays, empty: not locked, and without an anon_vma if all of it moved."""
    remap.vma.vm_flags &= ~VM_LOCKED_MASK
    if whole and new != remap.vma:
        remap.vma.anon_vma = remap.vma.nr_anon_vma_chain = 0
