# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a mapped file is read through the page cache: zeros after its end within the page, SIGBUS
beyond.
"""

from __future__ import annotations

import pytest

from mmu.errors import MmuError
from mmu.linux.filemap import MappedFile
from mmu.linux.mman import MADV_DONTNEED, MAP_FIXED, MAP_PRIVATE, MAP_SHARED
from mmu.linux.vmscan import try_to_free_pages
from mmu.memory import Memory

PAGE = 4096
BASE = 0x10_0000_0000
FILE = MAP_PRIVATE | MAP_FIXED


def pattern(n):
    return bytes(i * 7 + (i >> 8) & 0xFF for i in range(n))


def test_contents_and_zeros_after_the_end(mm, assert_refcounts):
    data = pattern(2 * PAGE + 100)
    mm.mmap(BASE, 3 * PAGE, 1, FILE, MappedFile(data))
    assert mm.copy_from_user(BASE, 3 * PAGE) == data + bytes(PAGE - 100)
    assert_refcounts(mm, {BASE: 3})


def test_sigbus_beyond_the_end(mm, touch):
    mm.mmap(BASE, 3 * PAGE, 3, FILE, MappedFile(b"one page"))
    assert touch(BASE, "read") is None
    for access in ("read", "write"):
        segv = touch(BASE + PAGE, access)
        assert (segv.signal, segv.code, segv.address) == (7, 2, BASE + PAGE)
    assert str(segv) == f"SIGBUS (BUS_ADRERR) at {BASE + PAGE:#x}"


def test_offset(mm):
    data = pattern(5 * PAGE)
    mm.mmap(BASE, 2 * PAGE, 1, FILE, MappedFile(data), 3)
    assert mm.copy_from_user(BASE, 2 * PAGE) == data[3 * PAGE :]


@pytest.mark.ucmmu(engine="python")
def test_a_page_around_is_not_freed_while_its_lock_is_tried(mm, touch, assert_fault):
    """next_uptodate_folio() has a reference: else the frame could be another page's by then."""
    file = MappedFile(pattern(2 * PAGE))
    mm.mmap(BASE, 2 * PAGE, 1, FILE, file)
    touch(BASE, "read")
    mm.madvise(BASE, 2 * PAGE, MADV_DONTNEED)
    page, owners = mm.memory.page(file.cached(1)), []

    def truncate(point):
        if point == "folio_trylock":
            owners.append(page._refcount)
            if len(owners) == 2:  # page 1
                file.mapping.truncate_range(1, 2)
                owners.append(page._refcount)

    mm.kernel.on_point = truncate
    touch(BASE, "read")
    mm.kernel.on_point = None
    assert owners == [1, 2, 1]
    assert page._refcount == 0
    assert_fault(BASE + PAGE, "read")


def test_a_read_fault_maps_16_pages_around(mm, touch, assert_walk, assert_fault, assert_refcounts):
    file = MappedFile(pattern(64 * PAGE))
    mm.mmap(BASE, 64 * PAGE, 1, FILE, file)
    touch(BASE + 20 * PAGE, "read")
    for page in range(16, 32):
        assert_walk(BASE + page * PAGE, "read", pa=file.cached(page) << 12, dirty=False)
    assert_fault(BASE + 15 * PAGE, "read")
    assert_fault(BASE + 32 * PAGE, "read")
    assert mm.counters()["pgfault"] == mm.counters()["pgmajfault"] == 1
    assert mm.vm_stats()["RssFile"] == 64
    touch(BASE + 15 * PAGE, "read")
    assert mm.counters()["pgfault"] == 2
    assert mm.counters()["pgmajfault"] == 1
    # What the first window left out, pages 0 to 3, is read as well.
    assert_refcounts(mm, {BASE: 32})


def test_around_stays_within_vma_table_and_file(mm, touch, assert_refcounts):
    table = BASE + (2 << 20)
    file = MappedFile(pattern(20 * PAGE))
    mm.mmap(table - 3 * PAGE, 7 * PAGE, 1, FILE, file, 2)
    touch(table - PAGE, "read")
    assert_refcounts(mm, {BASE: 3})
    touch(table, "read")
    assert_refcounts(mm, {BASE: 3, table: 4})
    mm.mmap(BASE, 8 * PAGE, 1, FILE, file, 18)
    touch(BASE, "read")
    assert_refcounts(mm, {BASE: 5, table: 4})


def test_around_leaves_what_is_mapped_alone(mm, touch, assert_refcounts):
    mm.mmap(BASE, 8 * PAGE, 3, FILE, MappedFile(pattern(8 * PAGE)))
    mm.copy_to_user(BASE + 2 * PAGE, b"mine")
    touch(BASE, "read")
    assert mm.copy_from_user(BASE + 2 * PAGE, 4) == b"mine"
    assert mm.vm_stats()["RssAnon"] == 4
    assert mm.vm_stats()["RssFile"] == 28
    assert_refcounts(mm, {BASE: 8})


def test_two_mappings_share_the_cache(mm, touch, assert_walk):
    file = MappedFile(pattern(PAGE))
    mm.mmap(BASE, PAGE, 1, FILE, file)
    mm.mmap(BASE + 8 * PAGE, PAGE, 1, MAP_SHARED | MAP_FIXED, file)
    touch(BASE, "read")
    touch(BASE + 8 * PAGE, "read")
    assert assert_walk(BASE).pa == assert_walk(BASE + 8 * PAGE).pa
    page = mm.memory.page(file.cached(0))
    assert (page._refcount, page._mapcount, page.index) == (3, 2, 0)


def test_the_cache_goes_with_the_last_mapping_of_the_last_user(mm, touch):
    file = MappedFile(pattern(PAGE))
    mm.mmap(BASE, PAGE, 1, FILE, file)
    touch(BASE, "read")
    with file.user():
        mm.munmap(BASE, PAGE)
        assert file.nr_cached == 1
    assert file.nr_cached == 0


@pytest.mark.ucmmu(engine="c", policy="refcount")
def test_reclaim_drops_only_what_nobody_maps(mm, touch):
    file = MappedFile(pattern(40 * PAGE))
    mm.mmap(BASE, 40 * PAGE, 1, FILE, file)
    touch(BASE, "read")
    assert file.nr_cached == 32
    assert try_to_free_pages(mm) == 16
    assert file.nr_cached == 16
    assert mm.copy_from_user(BASE, 40 * PAGE) == pattern(40 * PAGE)


@pytest.mark.ucmmu(engine="c", policy="refcount")
def test_a_file_is_cached_in_one_ram(mm, touch):
    file = MappedFile(pattern(PAGE))
    mm.mmap(BASE, PAGE, 1, FILE, file)
    touch(BASE, "read")
    with pytest.raises(MmuError, match="another guest's RAM"):
        file.mapping.read_pages(Memory(1 << 20), 0)
