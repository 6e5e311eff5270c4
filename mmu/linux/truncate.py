# SPDX-License-Identifier: GPL-2.0-or-later
"""Taking pages out of a file's page cache while processes map them (mm/truncate.c, mm/memory.c,
v6.18).
"""

from __future__ import annotations

from typing import Final

from mmu._native import lib
from mmu.linux import engine
from mmu.linux.filemap import AddressSpace
from mmu.linux.state import Kernel, MmStruct
from mmu.units import PAGE_SHIFT

_ZAP_KEEP_COWS: Final = lib.ZAP_KEEP_COWS


def truncate_pagecache_range(
    kernel: Kernel, mapping: AddressSpace, first: int, end: int, *, even_cows: bool = False
) -> None:
    """Drop pages [first, end) of a file, mapped or not; they read as zero, or as the file, again.

    ``even_cows``: private copies go too, as where the file ends before them now (ftruncate()).
    No lock is held, for this takes the mmap_lock of each mm that maps the file.
    """
    mapping.get()
    try:
        unmap_mapping_pages(kernel, mapping, first, end, even_cows=even_cows)
        while mapping.is_mapped(first, end):
            unmap_mapping_pages(kernel, mapping, first, end, even_cows=even_cows)
        mapping.truncate_range(first, end)
    finally:
        mapping.put()


def unmap_mapping_pages(
    kernel: Kernel, mapping: AddressSpace, first: int, end: int, *, even_cows: bool = False
) -> None:
    """Zap pages [first, end) of a file in every mm that maps them.

    The mmap_lock of each keeps its VMAs where Linux has i_mmap_rwsem. A fault may bring a page back
    as soon as that is dropped.
    """
    zap = 0 if even_cows else _ZAP_KEEP_COWS
    for mm in list(kernel.mms):
        if any(known.mapping is mapping for known in mm.files):
            with mm.mmap_read_lock():
                _unmap_mapping_range(mm, mapping, first, end, zap)


def mapped_ranges(
    mm: MmStruct, mapping: AddressSpace, first: int, end: int
) -> list[tuple[int, int, int]]:
    """Where the mm maps pages [first, end) of a file: start and end address in each VMA, and its
    vm_flags. The mmap_lock is held.
    """
    ranges = []
    for i in range(mm.c.vmas.nr):
        vma = mm.c.vmas.vma[i]
        if vma.vm_file and mm.file(vma.vm_file).mapping is mapping:
            offset = vma.vm_start - (vma.vm_pgoff << PAGE_SHIFT)
            low = max(vma.vm_start, offset + (first << PAGE_SHIFT))
            high = min(vma.vm_end, offset + (end << PAGE_SHIFT))
            if low < high:
                ranges.append((low, high, vma.vm_flags))
    return ranges


def _unmap_mapping_range(
    mm: MmStruct, mapping: AddressSpace, first: int, end: int, zap: int
) -> None:
    ranges = mapped_ranges(mm, mapping, first, end)
    if not ranges:
        return
    tlb = engine.tlb_gather_mmu(mm)
    try:
        for low, high, _ in ranges:
            engine.unmap_page_range(tlb, low, high, zap)
    finally:
        engine.tlb_finish_mmu(tlb)
