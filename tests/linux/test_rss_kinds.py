# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a resident page counts in RssAnon, RssFile or RssShmem by what it is, and out of the same
one when it goes.
"""

from __future__ import annotations

import pytest

from mmu.linux.filemap import MappedFile
from mmu.linux.mman import (
    MADV_DONTNEED,
    MADV_REMOVE,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_PRIVATE,
    MAP_SHARED,
)

PAGE = 4096
BASE = 0x10_0000_0000
SHARED = MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED


def rss(mm):
    stats = mm.vm_stats()
    return stats["RssAnon"], stats["RssFile"], stats["RssShmem"]


@pytest.mark.parametrize("access", ["read", "write"])
def test_shared_anonymous_memory_is_shmem(mm, touch, access):
    """The end of one PTE table, and the beginning of the next."""
    begin = BASE + 480 * PAGE
    mm.mmap(begin, 64 * PAGE, 3, SHARED)
    touch(begin, access, pages=64)
    assert rss(mm) == (0, 0, 256)
    assert mm.check_tables().shmem_pages == 64
    mm.madvise(begin, 32 * PAGE, MADV_DONTNEED)
    assert rss(mm) == (0, 0, 128)
    mm.madvise(begin + 32 * PAGE, 16 * PAGE, MADV_REMOVE)
    assert rss(mm) == (0, 0, 64)
    mm.munmap(begin, 64 * PAGE)
    assert rss(mm) == (0, 0, 0)


def test_a_private_copy_of_a_file_page_changes_its_kind(mm, touch):
    mm.mmap(BASE, 4 * PAGE, 3, MAP_PRIVATE | MAP_FIXED, MappedFile(bytes(4 * PAGE)))
    touch(BASE, "read")
    assert rss(mm) == (0, 16, 0)
    touch(BASE, "write")
    assert rss(mm) == (4, 12, 0)
    mm.madvise(BASE, 4 * PAGE, MADV_DONTNEED)
    assert rss(mm) == (0, 0, 0)


def test_the_high_water_mark_counts_every_kind(mm, touch):
    mm.mmap(BASE, PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
    mm.mmap(BASE + PAGE, 2 * PAGE, 3, SHARED)
    mm.mmap(BASE + 3 * PAGE, 4 * PAGE, 3, MAP_PRIVATE | MAP_FIXED, MappedFile(bytes(4 * PAGE)))
    touch(BASE, pages=3)
    assert mm.vm_stats()["VmHWM"] == 12
    touch(BASE + 3 * PAGE, "read", pages=4)
    assert mm.vm_stats()["VmHWM"] == 28
    mm.munmap(BASE, 7 * PAGE)
    assert (rss(mm), mm.vm_stats()["VmHWM"]) == ((0, 0, 0), 28)


def test_shared_memory_comes_back_by_fault_around(mm, touch):
    mm.mmap(BASE, 16 * PAGE, 3, SHARED)
    touch(BASE, "write", pages=5)
    mm.madvise(BASE, 16 * PAGE, MADV_DONTNEED)
    touch(BASE, "read")
    assert rss(mm) == (0, 0, 20)


def test_the_check_of_the_tables_tells_each_kind(mm, touch):
    mm.mmap(BASE, PAGE, 3, SHARED)
    touch(BASE)
    mm.c.rss_stat[3] -= 1
    mm.c.rss_stat[0] += 1
    problems = [problem.split(":")[0] for problem in mm.check_tables().problems]
    mm.c.rss_stat[3] += 1
    mm.c.rss_stat[0] -= 1
    assert problems == ["file pages", "shared memory pages"]
