# SPDX-License-Identifier: GPL-2.0-or-later
"""Wrong ways to take pages out of a file that processes map. Each is a small change of ours, and
names a scenario in which it shows and what it shows as.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

from mmu._native import lib
from mmu.linux import file_fault, i_mmap, move_page_tables, truncate
from mmu.linux.folio import filemap_get_folio, folio_lock
from mmu.linux.pgtable import add_mm_counter, pte_table
from mmu.linux.policy import FreeTables
from mmu.linux.pte_ref import pte_entries_set
from mmu.linux.set_pte_range import Frames, set_pte_range
from ucmmu.race.variant import Variant, replaces


class _Wrong(Variant):
    policies = (FreeTables.REFCOUNT,)


class NotLookedAtAgain(_Wrong):
    """A fault maps the page that it found, whether it is the file's still or not."""

    scenarios = ("punch-fault",)
    seen = "left its file"

    @replaces(file_fault)
    def filemap_lock_folio(kernel: Any, mapping: Any, pgoff: int) -> Any:
        """Locked, and no second look."""
        pfn = filemap_get_folio(kernel, mapping, pgoff)
        if pfn is not None:
            folio_lock(kernel, pfn)
        return pfn


class AroundNotLocked(_Wrong):
    """The pages around a fault are mapped without their locks."""

    scenarios = ("punch-fault-around",)
    seen = "PAGE_CACHE_MAPPED|left its file"

    @replaces(file_fault)
    def _filemap_map_pages(
        mm: Any, mapping: Any, pte: Any, start: int, around: range, vm_flags: int
    ) -> None:
        """Whoever has them."""
        frames = mapping.frames(around)
        mm.kernel.point("frames")
        prot = file_fault.vma_page_prot(vm_flags, mapping)
        mapped = set_pte_range(mm, pte, start, prot, len(around), Frames(frames))
        add_mm_counter(mm, lib.MM_SHMEMPAGES, mapped)
        pte_entries_set(mm, pte_table(pte), mapped)


class UnlinkedEarly(_Wrong):
    """munmap() takes a VMA out of i_mmap before it has cleared what it maps."""

    scenarios = ("punch-munmap",)
    seen = "PAGE_CACHE_MAPPED"

    @replaces(i_mmap)
    def _i_mmap(mm: Any) -> Iterator[Any]:
        """Only those of the index."""
        yield from mm.c.vmas.vma[0 : mm.c.vmas.nr]


class NotUnmappedAgain(_Wrong):
    """Truncation looks for private copies before it takes the pages out, and not after."""

    scenarios = ("truncate-cow",)
    seen = "a private copy is left"

    @replaces(truncate)
    def unmap_mapping_pages(
        kernel: Any, mapping: Any, first: int, end: int, *, even_cows: bool = False
    ) -> None:
        """Not once nothing is cached any more."""
        if mapping.nr_cached:
            _unmap_mapping_pages(kernel, mapping, first, end, even_cows=even_cows)


_unmap_mapping_pages = truncate.unmap_mapping_pages


class NotLockedWhileMoved(_Wrong):
    """mremap() moves entries without the lock of those who come by the file."""

    scenarios = ("mremap-rmap",)
    seen = "it missed an entry|PTE_TABLE_LEAKED"

    @replaces(move_page_tables)
    def i_mmap_write(_mm: Any, _file: int) -> Any:
        """No lock."""
        return nullcontext()


def _is_variant(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Variant) and bool(value.scenarios)


VARIANTS = {name: value for name, value in list(globals().items()) if _is_variant(value)}
