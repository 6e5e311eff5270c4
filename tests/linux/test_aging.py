# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: MADV_FREE makes pages lazily free, MADV_COLD clears A, MADV_PAGEOUT drops what is clean and
lazily free.
"""

from __future__ import annotations

from mmu.linux.mman import (
    MADV_COLD,
    MADV_FREE,
    MADV_PAGEOUT,
    MADV_POPULATE_WRITE,
    MAP_ANONYMOUS,
    MAP_DROPPABLE,
    MAP_FIXED,
    MAP_PRIVATE,
    MAP_SHARED,
)

PAGE = 4096
BASE = 0x10_0000_0000
ANON = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED


def bits(assert_walk, addr=BASE):
    entry = assert_walk(addr).entry[1]
    return entry >> 5 & 1, entry >> 6 & 1


def written(mm, pages=4, flags=ANON):
    mm.mmap(BASE, pages * PAGE, 3, flags)
    mm.copy_to_user(BASE, b"x" * pages * PAGE)


def test_free_keeps_the_page_and_clears_a_and_d(mm, assert_walk, assert_refcounts):
    written(mm)
    mm.madvise(BASE, PAGE, MADV_FREE)
    assert bits(assert_walk) == (0, 0)
    assert bits(assert_walk, BASE + PAGE) == (1, 1)
    assert mm.copy_from_user(BASE, 4) == b"xxxx"
    assert mm.vm_stats()["RssAnon"] == 16
    assert_refcounts(mm, {BASE: 4})


def test_the_processor_sets_d_again(mm, touch, assert_walk):
    """The flush that goes with it: a cached translation with D would write without setting D in
    memory.
    """
    written(mm)
    mm.madvise(BASE, PAGE, MADV_FREE)
    touch(BASE, "write")
    assert bits(assert_walk) == (1, 1)


def test_cold_clears_a_alone(mm, assert_walk):
    written(mm)
    mm.madvise(BASE, PAGE, MADV_COLD)
    assert bits(assert_walk) == (0, 1)


def test_pageout_drops_what_is_lazily_free_and_clean(mm, touch, assert_fault, assert_refcounts):
    written(mm)
    mm.madvise(BASE, 3 * PAGE, MADV_FREE)
    touch(BASE + PAGE, "write")
    mm.madvise(BASE, 4 * PAGE, MADV_PAGEOUT)
    assert mm.vm_stats()["RssAnon"] == 8
    assert_refcounts(mm, {BASE: 2})
    assert (
        mm.copy_from_user(BASE, 4 * PAGE) == bytes(PAGE) + b"x" * PAGE + bytes(PAGE) + b"x" * PAGE
    )
    mm.madvise(BASE, 4 * PAGE, MADV_PAGEOUT)
    assert mm.vm_stats()["RssAnon"] == 8


def test_the_last_entry_takes_the_table_along(mm, assert_refcounts):
    written(mm)
    mm.madvise(BASE, 4 * PAGE, MADV_FREE)
    mm.madvise(BASE, 4 * PAGE, MADV_PAGEOUT)
    assert_refcounts(mm, {})


def test_populate_for_writing_makes_it_dirty(mm):
    """get_user_pages() with FOLL_TOUCH: the page, though not its PTE."""
    written(mm)
    mm.madvise(BASE, 4 * PAGE, MADV_FREE)
    mm.madvise(BASE, PAGE, MADV_POPULATE_WRITE)
    mm.madvise(BASE, 4 * PAGE, MADV_PAGEOUT)
    assert mm.vm_stats()["RssAnon"] == 4
    mm.madvise(BASE, PAGE, MADV_FREE)
    mm.madvise(BASE, PAGE, MADV_PAGEOUT)
    assert mm.vm_stats()["RssAnon"] == 0


def test_droppable_memory_goes_though_it_was_written(mm):
    written(mm, flags=MAP_DROPPABLE | MAP_ANONYMOUS | MAP_FIXED)
    mm.madvise(BASE, 4 * PAGE, MADV_PAGEOUT)
    assert mm.vm_stats()["RssAnon"] == 0
    assert mm.copy_from_user(BASE, 4) == bytes(4)


def test_shared_memory_is_unmapped_and_kept(mm, touch):
    """What was never written leaves the page cache as well: it reads as zero either way."""
    mm.mmap(BASE, 4 * PAGE, 3, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED)
    mm.copy_to_user(BASE, b"kept")
    touch(BASE + PAGE, "read")
    file = mm.file(mm.c.vmas.vma[0].vm_file)
    assert file.nr_cached == 2
    mm.madvise(BASE, 4 * PAGE, MADV_PAGEOUT)
    assert mm.vm_stats()["RssShmem"] == 0
    assert file.nr_cached == 1
    assert mm.copy_from_user(BASE, 4) == b"kept"


def test_what_was_written_through_a_pte_that_is_gone_is_dirty(mm):
    mm.mmap(BASE, PAGE, 3, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED)
    mm.copy_to_user(BASE, b"kept")
    mm.madvise(BASE, PAGE, 4)
    assert mm.copy_from_user(BASE, 1) == b"k"
    mm.madvise(BASE, PAGE, MADV_PAGEOUT)
    assert mm.copy_from_user(BASE, 4) == b"kept"
