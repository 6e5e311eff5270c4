# SPDX-License-Identifier: GPL-2.0-or-later
"""mincore(): which pages of a range are in memory (mm/mincore.c, v6.18)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from mmu._native import ffi, lib
from mmu.errors import LinuxError
from mmu.linux.pagewalk import walk_page_range
from mmu.linux.pgtable import pte_present
from mmu.linux.state import MmStruct
from mmu.linux.uaccess import access_ok, copy_to_user
from mmu.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from mmu._native import struct_vm_area_struct_ptr


def do_mincore(mm: MmStruct, start: int, length: int, vec: int) -> None:
    """sys_mincore(): a byte for each page of [start, start + length) to the user address vec, 1 if
    it is resident or in its file's page cache.

    All pages of a file that the caller could not write are told as resident
    (can_do_mincore()). Errors: EINVAL (start is not page-aligned), ENOMEM (a hole: what lies before
    it is told; not user addresses), EFAULT. Takes the mmap_lock for reading, a page of answers at
    a time.
    """
    if start & (PAGE_SIZE - 1):
        raise LinuxError(errno.EINVAL)
    if not access_ok(start, length):
        raise LinuxError(errno.ENOMEM)
    pages = (length + PAGE_SIZE - 1) >> PAGE_SHIFT
    if not access_ok(vec, pages):
        raise LinuxError(errno.EFAULT)
    while pages:
        with mm.mmap_read_lock():
            answer = _mincore_vma(mm, start, min(pages, PAGE_SIZE))
        copy_to_user(mm, vec, answer)
        pages -= len(answer)
        vec += len(answer)
        start += len(answer) << PAGE_SHIFT


def _mincore_vma(mm: MmStruct, addr: int, pages: int) -> bytes:
    """do_mincore(): the answers of as many of the pages as lie in addr's VMA."""
    vma = lib.find_vma(mm.c, addr)
    if vma == ffi.NULL or addr < vma.vm_start:
        raise LinuxError(errno.ENOMEM)
    end = min(vma.vm_end, addr + (pages << PAGE_SHIFT))
    if vma.vm_file and not _can_do_mincore(mm, vma):
        return b"\1" * (end - addr >> PAGE_SHIFT)
    answer = bytearray()
    for start, following, ptes in walk_page_range(mm, addr, end):
        nr = following - start >> PAGE_SHIFT
        if ptes is None:
            answer += bytes(_is_cached(mm, vma, start + (i << PAGE_SHIFT)) for i in range(nr))
        else:
            answer += bytes(
                pte_present(pte) or _is_cached(mm, vma, start + (i << PAGE_SHIFT))
                for i, pte in enumerate(ptes)
            )
    return bytes(answer)


def _can_do_mincore(mm: MmStruct, vma: struct_vm_area_struct_ptr) -> bool:
    """Whether the page cache of the VMA's file is the caller's to look at."""
    file = mm.file(vma.vm_file)
    return not file.special and (file.shmem or file.writable)


def _is_cached(mm: MmStruct, vma: struct_vm_area_struct_ptr, addr: int) -> bool:
    """mincore_page(): whether the file's page for addr is in its page cache."""
    if not vma.vm_file:
        return False
    pgoff = vma.vm_pgoff + (addr - vma.vm_start >> PAGE_SHIFT)
    return mm.file(vma.vm_file).cached(pgoff) is not None
