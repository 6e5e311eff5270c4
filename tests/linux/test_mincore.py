# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: mincore() tells a byte for each page: 1 if it is resident, or in the page cache of a file
that the caller could write.
"""

from __future__ import annotations

import errno

import pytest

from mmu.linux.filemap import AddressSpace, MappedFile
from mmu.linux.mman import MADV_DONTNEED, MAP_FIXED, MAP_PRIVATE, MAP_SHARED
from tests.linux.disk import Disk

BASE = 0x10_0000_0000
VEC = 0x11_0000_0000
PAGE = 4096

pytestmark = pytest.mark.ucmmu(policy="refcount")


@pytest.fixture
def told(mm):
    """told(addr, pages): the bytes that mincore() writes."""
    mm.vma(VEC, 2 * PAGE)

    def told(addr, pages):
        mm.copy_to_user(VEC, b"?" * (pages + 1))
        mm.mincore(addr, pages * PAGE, VEC)
        *answer, behind = mm.copy_from_user(VEC, pages + 1)
        assert behind == ord("?")
        return answer

    return told


def test_anonymous_pages(mm, told, assert_refcounts):
    mm.vma(BASE, 4 * PAGE)
    assert told(BASE, 4) == [0, 0, 0, 0]
    mm.touch(BASE + PAGE)
    mm.touch(BASE + 3 * PAGE, "read")
    assert told(BASE, 4) == [0, 1, 0, 1]
    mm.madvise(BASE + PAGE, PAGE, MADV_DONTNEED)
    assert told(BASE, 4) == [0, 0, 0, 1]
    assert_refcounts(mm, {BASE: 1, VEC: 1})


def test_pages_without_a_table_and_across_tables(mm, told):
    mm.vma(BASE, 4 << 20)
    mm.touch(BASE + (2 << 20) + PAGE)
    assert told(BASE + (2 << 20) - PAGE, 3) == [0, 0, 1]


def test_the_page_cache_is_told_to_who_may_write_the_file(mm, told):
    for writable, untouched in ((True, 0), (False, 1)):
        file = MappedFile(AddressSpace(Disk(64 * PAGE)), writable=writable)
        mm.mmap(BASE, 64 * PAGE, 1, MAP_SHARED | MAP_FIXED, file)
        mm.touch(BASE, "read")
        assert told(BASE + 63 * PAGE, 1) == [untouched]
        assert told(BASE, 1) == [1]
        mm.madvise(BASE, PAGE, MADV_DONTNEED)
        assert told(BASE, 1) == [1], "it left the tables, not the page cache"
        mm.munmap(BASE, 64 * PAGE)


def test_a_hole_is_enomem_and_what_is_before_it_is_told(mm, told, raises_errno):
    mm.vma(BASE, PAGE)
    mm.touch(BASE)
    mm.copy_to_user(VEC, b"??")
    with raises_errno(errno.ENOMEM):
        mm.mincore(BASE, 2 * PAGE, VEC)
    assert mm.copy_from_user(VEC, 2) == b"\1?"


def test_bad_arguments(mm, told, raises_errno):
    mm.vma(BASE, PAGE)
    mm.mincore(BASE, 0, VEC)
    for addr, length, vec, number in (
        (BASE + 1, PAGE, VEC, errno.EINVAL),
        ((1 << 64) - PAGE, PAGE, VEC, errno.ENOMEM),
        (BASE, PAGE, 1 << 63, errno.EFAULT),
        (BASE, PAGE, BASE + (1 << 30), errno.EFAULT),
    ):
        with raises_errno(number):
            mm.mincore(addr, length, vec)


def test_private_pages_of_a_file(mm, told):
    file = MappedFile(b"x" * (2 * PAGE), writable=True)
    mm.mmap(BASE, 2 * PAGE, 3, MAP_PRIVATE | MAP_FIXED, file)
    mm.touch(BASE, "write")
    assert told(BASE, 1) == [1]
