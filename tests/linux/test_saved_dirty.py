# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a PTE that loses R/W keeps its dirtiness in SAVED_DIRTY, bit 58, and gets D back with R/W:
D without R/W would make it a page of a shadow stack (pte_mksaveddirty(), asm/pgtable.h, v6.18; SDM
vol. 3A 4.6.1).
"""

from __future__ import annotations

import pytest

from mmu._native import lib
from mmu.linux.filemap import AddressSpace, MappedFile
from mmu.linux.mman import (
    MADV_DONTNEED,
    MADV_FREE,
    MADV_PAGEOUT,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_PRIVATE,
    MAP_SHARED,
    MS_SYNC,
)
from mmu.linux.pgtable import DIRTY_BITS, PROTNONE, RW, SAVED_DIRTY, D, P
from mmu.linux.smaps import show_smap
from tests.linux.disk import Disk
from tests.linux.processes import check_processes, pfn, pte, read, write

PAGE = 4096
BASE = 0x10_0000_0000
ANON = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
BITS = P | RW | D | SAVED_DIRTY


@pytest.fixture
def dirty(mm):
    """An mm with a page that was written to."""
    mm.mmap(BASE, PAGE, 3, ANON)
    write(mm, BASE, b"x")
    assert pte(mm, BASE) & BITS == P | RW | D
    yield mm
    check_processes(mm.kernel)


@pytest.mark.parametrize(("prot", "bits"), [(0, 0), (1, P), (5, P)])
def test_mprotect_and_back(dirty, prot: int, bits: int) -> None:
    dirty.mprotect(BASE, PAGE, prot)
    assert pte(dirty, BASE) & BITS == bits | SAVED_DIRTY
    dirty.mprotect(BASE, PAGE, 3)
    assert pte(dirty, BASE) & BITS == P | RW | D


def test_prot_none_to_read_only(dirty) -> None:
    dirty.mprotect(BASE, PAGE, 0)
    assert pte(dirty, BASE) & PROTNONE
    dirty.mprotect(BASE, PAGE, 1)
    assert pte(dirty, BASE) & BITS == P | SAVED_DIRTY
    assert read(dirty, BASE) == b"x"


def test_a_clean_page_stays_clean(dirty) -> None:
    dirty.madvise(BASE, PAGE, MADV_FREE)
    dirty.mprotect(BASE, PAGE, 1)
    assert pte(dirty, BASE) & BITS == P


def test_the_last_owner_writes_again(dirty) -> None:
    """wp_page_reuse(): the right comes back, and D with it."""
    child = dirty.dup_mm()
    assert pte(dirty, BASE) & BITS == pte(child, BASE) & BITS == P | SAVED_DIRTY
    child.exit_mmap()
    write(dirty, BASE, b"y")
    assert pte(dirty, BASE) & BITS == P | RW | D


def test_a_copy_has_a_dirty_bit_of_its_own(dirty) -> None:
    child = dirty.dup_mm()
    write(child, BASE, b"y")
    assert pte(dirty, BASE) & BITS == P | SAVED_DIRTY
    assert pte(child, BASE) & BITS == P | RW | D
    child.exit_mmap()


def test_the_processor_sees_no_shadow_stack(dirty, assert_walk) -> None:
    dirty.mprotect(BASE, PAGE, 1)
    assert_walk(BASE, "read", dirty=False)
    assert read(dirty, BASE) == b"x"


def test_madv_free_and_pageout(dirty) -> None:
    """MADV_FREE cleans a page that is dirty only so; MADV_PAGEOUT keeps one that is dirty again."""
    dirty.mprotect(BASE, PAGE, 1)
    dirty.madvise(BASE, PAGE, MADV_FREE)
    assert not pte(dirty, BASE) & DIRTY_BITS
    dirty.mprotect(BASE, PAGE, 3)
    write(dirty, BASE, b"y")
    dirty.mprotect(BASE, PAGE, 1)
    dirty.madvise(BASE, PAGE, MADV_PAGEOUT)
    assert read(dirty, BASE) == b"y"


def test_smaps_counts_it_dirty(dirty) -> None:
    dirty.mprotect(BASE, PAGE, 1)
    (vma,) = [v for v in dirty.c.vmas.vma[0 : dirty.c.vmas.nr] if v.vm_start == BASE]
    assert "Private_Dirty: 4 kB" in " ".join(show_smap(dirty, vma).split())


@pytest.fixture
def shared(mm):
    """A mapping of a shared file whose page was written to and then made read-only."""
    mm.mmap(
        BASE, PAGE, 3, MAP_SHARED | MAP_FIXED, MappedFile(AddressSpace(Disk(PAGE)), writable=True)
    )
    write(mm, BASE, b"x")
    mm.mprotect(BASE, PAGE, 1)
    assert pte(mm, BASE) & BITS == P | SAVED_DIRTY
    return mm


def test_zapping_it_tells_the_file(shared) -> None:
    """zap_present_folio_ptes(): the folio is dirty if a PTE of it was."""
    page = shared.memory.page(pfn(shared, BASE))
    page.flags &= ~lib.PG_dirty
    shared.madvise(BASE, PAGE, MADV_DONTNEED)
    assert page.flags & lib.PG_dirty


def test_writing_back_cleans_it(shared) -> None:
    """page_mkclean() clears both bits."""
    shared.msync(BASE, PAGE, MS_SYNC)
    assert pte(shared, BASE) & BITS == P


def test_a_shared_page_that_is_dirty_gets_its_right_at_once(shared) -> None:
    """can_change_shared_pte_writable(): pte_dirty() is either bit."""
    shared.mprotect(BASE, PAGE, 3)
    assert pte(shared, BASE) & BITS == P | RW | D
