# SPDX-License-Identifier: GPL-2.0-or-later
"""Taking pages out of a file's page cache while processes map them (mm/truncate.c, mm/memory.c,
v6.18).
"""

from __future__ import annotations

from typing import Final

from mmu._native import lib
from mmu.linux import engine
from mmu.linux.filemap import MappedFile
from mmu.linux.state import Kernel, MmStruct
from mmu.units import PAGE_SHIFT

_ZAP_KEEP_COWS: Final = lib.ZAP_KEEP_COWS


def truncate_pagecache_range(
    kernel: Kernel, file: MappedFile, first: int, end: int, *, even_cows: bool = False
) -> None:
    """Drop pages [first, end) of a file, mapped or not; they read as zero, or as the file, again.

    ``even_cows``: private copies go too, as where the file ends before them now (ftruncate()).
    No lock is held, for this takes the mmap_lock of each mm that maps the file.
    """
    with file.user():
        unmap_mapping_pages(kernel, file, first, end, even_cows=even_cows)
        while file.is_mapped(first, end):
            unmap_mapping_pages(kernel, file, first, end, even_cows=even_cows)
        file.truncate_range(first, end)


def unmap_mapping_pages(
    kernel: Kernel, file: MappedFile, first: int, end: int, *, even_cows: bool = False
) -> None:
    """Zap pages [first, end) of a file in every mm that maps them.

    The mmap_lock of each keeps its VMAs where Linux has i_mmap_rwsem. A fault may bring a page back
    as soon as that is dropped.
    """
    for mm in list(kernel.mms):
        if any(known is file for known in mm.files):
            with mm.mmap_read_lock():
                _unmap_mapping_range(mm, file, first, end, 0 if even_cows else _ZAP_KEEP_COWS)


def _unmap_mapping_range(mm: MmStruct, file: MappedFile, first: int, end: int, zap: int) -> None:
    ranges = []
    for i in range(mm.c.vmas.nr):
        vma = mm.c.vmas.vma[i]
        if vma.vm_file and mm.file(vma.vm_file) is file:
            offset = vma.vm_start - (vma.vm_pgoff << PAGE_SHIFT)
            low = max(vma.vm_start, offset + (first << PAGE_SHIFT))
            high = min(vma.vm_end, offset + (end << PAGE_SHIFT))
            if low < high:
                ranges.append((low, high))
    if not ranges:
        return
    tlb = engine.tlb_gather_mmu(mm)
    try:
        for low, high in ranges:
            engine.unmap_page_range(tlb, low, high, zap)
    finally:
        engine.tlb_finish_mmu(tlb)
