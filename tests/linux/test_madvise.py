# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: MADV_DONTNEED drops the pages of exactly its range; all other advice ends as in Linux."""

from __future__ import annotations

import errno

import pytest

from mmu.linux import procfs
from mmu.linux.filemap import MappedFile
from mmu.linux.mman import (
    MADV_COLD,
    MADV_DONTFORK,
    MADV_DONTNEED,
    MADV_DONTNEED_LOCKED,
    MADV_FREE,
    MADV_HUGEPAGE,
    MADV_NORMAL,
    MADV_POPULATE_READ,
    MADV_POPULATE_WRITE,
    MADV_RANDOM,
    MADV_REMOVE,
    MADV_SEQUENTIAL,
    MADV_WILLNEED,
    MADV_WIPEONFORK,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_LOCKED,
    MAP_PRIVATE,
    MAP_SHARED,
)

PAGE = 4096
BASE = 0x10_0000_0000
ANON = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
MAX = (1 << 64) - 1
once = pytest.mark.ucmmu(engine="c", policy="refcount")


def test_dontneed_drops_exactly_the_range(mm, touch, assert_fault, assert_refcounts):
    mm.mmap(BASE, 8 * PAGE, 3, ANON)
    mm.copy_to_user(BASE, b"x" * 8 * PAGE)
    mm.madvise(BASE + 2 * PAGE, 3 * PAGE, MADV_DONTNEED)
    assert_fault(BASE + 2 * PAGE, "read", code=4)
    assert mm.vm_stats()["VmRSS"] == 20
    assert_refcounts(mm, {BASE: 5})
    assert mm.copy_from_user(BASE, 8 * PAGE) == b"x" * 2 * PAGE + bytes(3 * PAGE) + b"x" * 3 * PAGE
    assert mm.vm_stats()["VmHWM"] == 32


def test_the_length_is_rounded_up(mm, touch):
    mm.mmap(BASE, 4 * PAGE, 3, ANON)
    touch(BASE, pages=4)
    mm.madvise(BASE, PAGE + 1, MADV_DONTNEED)
    assert mm.vm_stats()["VmRSS"] == 8
    mm.madvise(BASE, 0, MADV_DONTNEED)
    assert mm.vm_stats()["VmRSS"] == 8


def test_holes_are_enomem_and_the_rest_is_dropped(mm, touch, raises_errno, assert_refcounts):
    for first in (0, 4):
        mm.mmap(BASE + first * PAGE, 2 * PAGE, 3, ANON)
        touch(BASE + first * PAGE, pages=2)
    with raises_errno(errno.ENOMEM):
        mm.madvise(BASE, 6 * PAGE, MADV_DONTNEED)
    assert mm.vm_stats()["VmRSS"] == 0
    assert_refcounts(mm, {})
    for start, pages in [(-4, 6), (5, 9), (2, 2), (20, 1)]:
        with raises_errno(errno.ENOMEM):
            mm.madvise(BASE + start * PAGE, pages * PAGE, MADV_DONTNEED)


def test_several_vmas_in_one_call(mm, touch, assert_refcounts):
    """One PTE table under several VMAs is freed when the last entry goes, whichever VMA held it."""
    for i, prot in enumerate([3, 7, 3]):
        mm.mmap(BASE + i * PAGE, PAGE, prot, ANON)
    touch(BASE, pages=3)
    mm.madvise(BASE, 3 * PAGE, MADV_DONTNEED)
    assert mm.vm_stats()["VmRSS"] == 0
    assert_refcounts(mm, {})


def test_a_locked_vma_ends_it_with_einval(mm, touch, raises_errno):
    mm.mmap(BASE, 2 * PAGE, 3, ANON)
    mm.mmap(BASE + 2 * PAGE, 2 * PAGE, 3, ANON | MAP_LOCKED)
    touch(BASE, pages=2)
    with raises_errno(errno.EINVAL):
        mm.madvise(BASE, 4 * PAGE, MADV_DONTNEED)
    assert mm.vm_stats()["VmRSS"] == 8
    mm.madvise(BASE, 4 * PAGE, MADV_DONTNEED_LOCKED)
    assert mm.vm_stats()["VmRSS"] == 0


def test_dontneed_of_a_private_file_brings_the_file_back(mm, touch):
    mm.mmap(BASE, 2 * PAGE, 3, MAP_PRIVATE | MAP_FIXED, MappedFile(b"file" + bytes(2 * PAGE)))
    mm.copy_to_user(BASE, b"mine")
    mm.madvise(BASE, 2 * PAGE, MADV_DONTNEED)
    assert mm.copy_from_user(BASE, 4) == b"file"


@once
@pytest.mark.parametrize(
    ("addr", "length", "advice"),
    [
        (BASE + 1, PAGE, MADV_DONTNEED),
        (BASE, MAX, MADV_DONTNEED),
        (BASE, MAX - PAGE + 1, MADV_DONTNEED),
        (BASE, PAGE, 5),
        (BASE, PAGE, 25),
        (BASE, PAGE, 26),
        (BASE, PAGE, 100),
        (BASE, PAGE, 99),
        (BASE, PAGE, 104),
        (BASE, PAGE, -1),
        (BASE + 1, PAGE, MADV_NORMAL),
    ],
)
def test_einval(mm, raises_errno, addr, length, advice):
    mm.mmap(BASE, PAGE, 3, ANON)
    with raises_errno(errno.EINVAL):
        mm.madvise(addr, length, advice)


@once
@pytest.mark.parametrize("advice", [0, 1, 2, 3, *range(10, 22)])
def test_advice_that_is_taken(mm, touch, advice):
    mm.mmap(BASE, 4 * PAGE, 3, ANON)
    mm.copy_to_user(BASE, b"kept")
    mm.madvise(BASE, 2 * PAGE, advice)
    assert mm.copy_from_user(BASE, 4) == b"kept"


@once
def test_free_keeps_the_pages(mm, touch, raises_errno):
    """MADV_FREE may drop pages later; nothing here ever does. Files and locked memory refuse it."""
    mm.mmap(BASE, 2 * PAGE, 3, ANON)
    mm.copy_to_user(BASE, b"kept")
    mm.madvise(BASE, 2 * PAGE, MADV_FREE)
    assert mm.copy_from_user(BASE, 4) == b"kept"
    file = mm.mmap(0, PAGE, 1, MAP_PRIVATE, MappedFile(b"x"))
    locked = mm.mmap(0, PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED)
    for addr, advice in [
        (file, MADV_FREE),
        (locked, MADV_FREE),
        (locked, MADV_COLD),
        (file, MADV_WIPEONFORK),
    ]:
        with raises_errno(errno.EINVAL):
            mm.madvise(addr, PAGE, advice)


@once
def test_flag_advice_splits_and_merges(mm):
    mm.mmap(BASE, 8 * PAGE, 3, ANON)
    mm.madvise(BASE + 2 * PAGE, 2 * PAGE, MADV_RANDOM)
    assert mm.c.vmas.nr == 3
    mm.madvise(BASE + 2 * PAGE, 2 * PAGE, MADV_SEQUENTIAL)
    assert mm.c.vmas.nr == 3
    mm.madvise(BASE, 8 * PAGE, MADV_NORMAL)
    assert mm.c.vmas.nr == 1
    mm.madvise(BASE, 8 * PAGE, MADV_HUGEPAGE)
    assert mm.c.vmas.nr == 1


@once
def test_flag_advice_is_eagain_at_max_map_count(mm, raises_errno):
    mm.mmap(BASE, 8 * PAGE, 3, ANON)
    mm.kernel.max_map_count = 1
    with raises_errno(errno.EAGAIN):
        mm.madvise(BASE + PAGE, PAGE, MADV_DONTFORK)


def test_populate(mm, raises_errno, assert_walk, assert_refcounts):
    mm.mmap(BASE, 4 * PAGE, 3, ANON)
    mm.madvise(BASE, 2 * PAGE, MADV_POPULATE_READ)
    assert mm.vm_stats()["VmRSS"] == 0  # the zero page is nobody's
    assert_walk(BASE, "read", pa=mm.memory.zero_pfn << 12)
    mm.madvise(BASE, 4 * PAGE, MADV_POPULATE_WRITE)
    assert mm.vm_stats()["VmRSS"] == 16
    assert_refcounts(mm, {BASE: 4})
    mm.mprotect(BASE, PAGE, 1)
    with raises_errno(errno.EINVAL):
        mm.madvise(BASE, PAGE, MADV_POPULATE_WRITE)
    with raises_errno(errno.ENOMEM):
        mm.madvise(BASE, 5 * PAGE, MADV_POPULATE_READ)
    mm.mmap(BASE + 8 * PAGE, 2 * PAGE, 1, MAP_PRIVATE | MAP_FIXED, MappedFile(b"one page"))
    with raises_errno(errno.EFAULT):
        mm.madvise(BASE + 8 * PAGE, 2 * PAGE, MADV_POPULATE_READ)


@once
def test_populate_out_of_memory(mm, raises_errno):
    mm.mmap(BASE, 4 * PAGE, 3, ANON)
    mm.memory.c.fail_after = 2
    with raises_errno(errno.ENOMEM):
        mm.madvise(BASE, 4 * PAGE, MADV_POPULATE_WRITE)


def test_remove_punches_a_hole_into_shared_memory(mm, raises_errno, assert_refcounts):
    mm.mmap(BASE, 4 * PAGE, 3, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED)
    mm.copy_to_user(BASE, b"x" * 4 * PAGE)
    mm.madvise(BASE + PAGE, 2 * PAGE, MADV_REMOVE)
    assert_refcounts(mm, {BASE: 2})
    assert mm.copy_from_user(BASE, 4 * PAGE) == b"x" * PAGE + bytes(2 * PAGE) + b"x" * PAGE
    private = mm.mmap(0, PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS)
    file = mm.mmap(0, PAGE, 1, MAP_PRIVATE, MappedFile(b"x"))
    for addr, error in [(private, errno.EINVAL), (file, errno.EACCES)]:
        with raises_errno(error):
            mm.madvise(addr, PAGE, MADV_REMOVE)


@once
def test_willneed_reads_ahead(mm, touch):
    file = MappedFile(bytes(100 * PAGE))
    mm.mmap(BASE, 50 * PAGE, 1, MAP_PRIVATE | MAP_FIXED, file)
    mm.madvise(BASE, 50 * PAGE, MADV_WILLNEED)
    assert file.nr_cached == 50
    touch(BASE, "read")
    assert mm.counters()["pgmajfault"] == 0
    assert "r--p" in procfs.maps(mm)
