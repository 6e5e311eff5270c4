# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a write to a private page of a file goes to a copy; the file, and everybody else, keeps the
original.
"""

from __future__ import annotations

from mmu._native import lib
from mmu.linux.filemap import MappedFile
from mmu.linux.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE

PAGE = 4096
BASE = 0x10_0000_0000
FILE = MAP_PRIVATE | MAP_FIXED
DATA = b"original" + bytes(range(256)) * 16


def test_write_first(mm, touch, assert_walk, assert_refcounts):
    file = MappedFile(DATA)
    mm.mmap(BASE, PAGE, 3, FILE, file)
    mm.copy_to_user(BASE, b"mine")
    assert mm.copy_from_user(BASE, 8) == b"mineinal"
    walk = assert_walk(BASE, "write", dirty=True)
    assert walk.pa != file.cached(0) << 12
    assert mm.memory.page(walk.pa >> 12).flags & lib.PG_anon
    assert mm.memory.read(file.cached(0) << 12, 8) == b"original"
    assert (mm.vm_stats()["RssAnon"], mm.vm_stats()["RssFile"]) == (4, 0)
    assert mm.memory.page(file.cached(0))._refcount == 1
    assert_refcounts(mm, {BASE: 1})


def test_read_then_write(mm, touch, assert_walk, assert_fault, assert_refcounts):
    file = MappedFile(DATA)
    mm.mmap(BASE, PAGE, 3, FILE, file)
    touch(BASE, "read")
    assert_walk(BASE, "read", pa=file.cached(0) << 12)
    assert_fault(BASE, "write", code=7)
    assert_refcounts(mm, {BASE: 1})
    assert touch(BASE, "write") is None
    assert mm.copy_from_user(BASE, 8) == b"original"
    assert assert_walk(BASE, "write").pa != file.cached(0) << 12
    page = mm.memory.page(file.cached(0))
    assert (page._refcount, page._mapcount) == (1, 0)
    assert (mm.vm_stats()["RssAnon"], mm.vm_stats()["RssFile"]) == (4, 0)
    assert_refcounts(mm, {BASE: 1})


def test_the_tlb_forgets_the_original(mm, mmu, touch):
    """After the copy no cached translation leads to the page cache any more."""
    file = MappedFile(DATA)
    mm.mmap(BASE, PAGE, 3, FILE, file)
    touch(BASE, "read")
    touch(BASE, "write")
    assert mmu.translate(BASE, 0).pa != file.cached(0) << 12


def test_a_write_right_that_comes_back_does_not_reach_the_file(mm, touch):
    """mprotect() to writable leaves page-cache pages read-only: the write still copies."""
    file = MappedFile(DATA)
    mm.mmap(BASE, PAGE, 1, FILE, file)
    touch(BASE, "read")
    mm.mprotect(BASE, PAGE, 3)
    mm.copy_to_user(BASE, b"mine")
    assert mm.memory.read(file.cached(0) << 12, 8) == b"original"


def test_a_page_somebody_else_holds_is_copied(mm, touch, assert_walk, assert_refcounts):
    """An anonymous page that another process may map is not written in place; once it is the last
    owner, it is.
    """
    mm.mmap(BASE, PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
    mm.copy_to_user(BASE, b"shared")
    old = assert_walk(BASE).pa >> 12
    mm.memory.page(old)._refcount += 1
    mm.memory.page(old).flags &= ~lib.PG_anon_exclusive
    mm.mprotect(BASE, PAGE, 1)
    mm.mprotect(BASE, PAGE, 3)
    mm.copy_to_user(BASE, b"mine!!")
    assert assert_walk(BASE).pa >> 12 != old
    assert mm.memory.read(old << 12, 6) == b"shared"
    mm.memory.put_page(old)
    assert_refcounts(mm, {BASE: 1})
    mm.mprotect(BASE, PAGE, 1)
    mm.mprotect(BASE, PAGE, 3)
    before = assert_walk(BASE).pa
    touch(BASE)
    assert assert_walk(BASE).pa == before
