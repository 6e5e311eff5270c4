# SPDX-License-Identifier: GPL-2.0-or-later
"""Taking pages out of a file's page cache while processes map them (mm/truncate.c, mm/memory.c,
v6.18).

::

    truncate_pagecache_range()
      unmap_mapping_pages()            all at once, in every mm
      truncate_inode_pages_range()     each page that is cached, its folio locked:
        truncate_cleanup_folio()         unmapped again, if a fault came in between
        filemap_remove_folio()           nobody can map it now
      unmap_mapping_pages()            private copies made in between, where those go too

A page is unmapped twice at most, whatever other CPUs do.
"""

from __future__ import annotations

from typing import Final

from mmu._native import lib
from mmu.linux import engine
from mmu.linux.filemap import AddressSpace
from mmu.linux.folio import filemap_lock_folio, filemap_remove_folio, folio_unlock_put
from mmu.linux.huge_memory import unmap_single_vma
from mmu.linux.i_mmap import i_mmap_read, mapped_ranges, mms_mapping
from mmu.linux.state import Kernel, MmStruct

_ZAP_KEEP_COWS: Final = lib.ZAP_KEEP_COWS


def truncate_pagecache_range(
    kernel: Kernel, mapping: AddressSpace, first: int, end: int, *, even_cows: bool = False
) -> None:
    """Drop pages [first, end) of a file, mapped or not; they read as zero, or as the file, again.

    ``even_cows``: private copies go too, as where the file ends before them now
    (truncate_pagecache()), which its i_size says already. No page-table lock, no folio lock and no
    i_mmap_rwsem is held; may sleep.
    """
    mapping.get()
    try:
        unmap_mapping_pages(kernel, mapping, first, end, even_cows=even_cows)
        truncate_inode_pages_range(kernel, mapping, first, end)
        if even_cows:
            unmap_mapping_pages(kernel, mapping, first, end, even_cows=True)
    finally:
        mapping.put()


def truncate_inode_pages_range(kernel: Kernel, mapping: AddressSpace, first: int, end: int) -> None:
    """Take those of pages [first, end) out of the cache that are in it now; may sleep."""
    kernel.instrument_read(kernel, "i_pages")
    for pgoff in mapping.cached_pages(first, end):
        pfn = filemap_lock_folio(kernel, mapping, pgoff)
        if pfn is not None:
            truncate_cleanup_folio(kernel, mapping, pgoff, pfn)
            filemap_remove_folio(kernel, mapping, pgoff)
            folio_unlock_put(kernel, pfn)


def truncate_cleanup_folio(kernel: Kernel, mapping: AddressSpace, pgoff: int, pfn: int) -> None:
    """See to it that no PTE maps the page, whose folio is locked: unmap_mapping_folio()."""
    if kernel.memory.page(pfn)._mapcount:
        unmap_mapping_pages(kernel, mapping, pgoff, pgoff + 1)


def unmap_mapping_pages(
    kernel: Kernel, mapping: AddressSpace, first: int, end: int, *, even_cows: bool = False
) -> None:
    """Zap pages [first, end) of a file in every mm that maps them; holds i_mmap_rwsem for reading
    meanwhile. A page whose folio is not locked may be mapped again at once.
    """
    zap = 0 if even_cows else _ZAP_KEEP_COWS
    with i_mmap_read(kernel, mapping):
        for mm in mms_mapping(kernel, mapping):
            _unmap_mapping_range(mm, mapping, first, end, zap)


def _unmap_mapping_range(
    mm: MmStruct, mapping: AddressSpace, first: int, end: int, zap: int
) -> None:
    ranges = mapped_ranges(mm, mapping, first, end)
    if not ranges:
        return
    tlb = engine.tlb_gather_mmu(mm)
    try:
        for low, high, _ in ranges:
            unmap_single_vma(tlb, low, high, zap)
    finally:
        engine.tlb_finish_mmu(tlb)
