# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: VMAs become one only if their anon_vmas are the same, or one has none: the first private
write gives one.
"""

from __future__ import annotations

import pytest

from mmu.linux.filemap import MappedFile
from mmu.linux.mman import MADV_GUARD_INSTALL, MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED

PAGE = 4096
BASE = 0x10_0000_0000
ANON = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED


def vmas(mm):
    """(first page, end page, anon_vma) of each VMA, pages counted from BASE."""
    found = mm.c.vmas.vma[0 : mm.c.vmas.nr]
    return [(v.vm_start - BASE >> 12, v.vm_end - BASE >> 12, v.anon_vma) for v in found]


def two_neighbours_with_a_hole(mm, touch, *, right="write"):
    mm.mmap(BASE, 2 * PAGE, 3, ANON)
    mm.mmap(BASE + 4 * PAGE, 2 * PAGE, 3, ANON)
    touch(BASE, "write")
    touch(BASE + 4 * PAGE, right)


def test_two_faulted_neighbours_stay_apart(mm, touch):
    two_neighbours_with_a_hole(mm, touch)
    mm.mmap(BASE + 2 * PAGE, 2 * PAGE, 3, ANON)
    assert vmas(mm) == [(0, 4, 1), (4, 6, 2)]


def test_one_that_was_only_read_joins(mm, touch):
    two_neighbours_with_a_hole(mm, touch, right="read")
    mm.mmap(BASE + 2 * PAGE, 2 * PAGE, 3, ANON)
    assert vmas(mm) == [(0, 6, 1)]


def test_the_anon_vma_of_the_right_one_is_kept(mm, touch):
    mm.mmap(BASE, PAGE, 3, ANON)
    mm.mmap(BASE + 2 * PAGE, PAGE, 3, ANON)
    touch(BASE + 2 * PAGE)
    mm.mmap(BASE + PAGE, PAGE, 3, ANON)
    assert vmas(mm) == [(0, 3, 1)]


def test_mprotect_joins_by_the_same_rule(mm, touch):
    two_neighbours_with_a_hole(mm, touch)
    mm.mmap(BASE + 2 * PAGE, 2 * PAGE, 1, ANON)
    mm.mprotect(BASE + 2 * PAGE, 2 * PAGE, 3)
    assert vmas(mm) == [(0, 4, 1), (4, 6, 2)]


def test_parts_of_one_keep_its_anon_vma_and_join_again(mm, touch):
    mm.mmap(BASE, 3 * PAGE, 3, ANON)
    touch(BASE, pages=3)
    mm.mprotect(BASE + PAGE, PAGE, 1)
    assert vmas(mm) == [(0, 1, 1), (1, 2, 1), (2, 3, 1)]
    mm.mprotect(BASE + PAGE, PAGE, 3)
    assert vmas(mm) == [(0, 3, 1)]


@pytest.mark.parametrize("first", [0, 2])
def test_neighbours_that_differ_in_rights_alone_share_one_from_the_start(mm, touch, first):
    """find_mergeable_anon_vma(): so that they can join when their rights become the same."""
    mm.mmap(BASE, 4 * PAGE, 3, ANON)
    mm.mprotect(BASE + 2 * PAGE, 2 * PAGE, 7)
    touch(BASE + first * PAGE)
    touch(BASE + (2 - first) * PAGE)
    assert vmas(mm) == [(0, 2, 1), (2, 4, 1)]
    mm.mprotect(BASE + 2 * PAGE, 2 * PAGE, 3)
    assert vmas(mm) == [(0, 4, 1)]


def test_mprotect_over_what_was_only_read_merges(mm, touch):
    """VM_ACCOUNT goes with the right to write as long as there is no anon_vma."""
    mm.mmap(BASE, 2 * PAGE, 3, ANON)
    touch(BASE, "read", pages=2)
    mm.mmap(BASE + 2 * PAGE, 2 * PAGE, 1, ANON)
    mm.mprotect(BASE, 2 * PAGE, 1)
    assert vmas(mm) == [(0, 4, 0)]


def test_mprotect_over_what_was_written_does_not(mm, touch):
    mm.mmap(BASE, 2 * PAGE, 3, ANON)
    touch(BASE)
    mm.madvise(BASE, 2 * PAGE, 4)
    mm.mmap(BASE + 2 * PAGE, 2 * PAGE, 1, ANON)
    mm.mprotect(BASE, 2 * PAGE, 1)
    assert vmas(mm) == [(0, 2, 1), (2, 4, 0)]


def test_what_gives_a_vma_its_anon_vma(mm, touch, assert_walk):
    """A write to the zero page, a private write to a file, a guard region; not a write to shared
    memory.
    """
    file = MappedFile(bytes(4 * PAGE))
    mm.mmap(BASE, PAGE, 3, ANON)
    mm.mmap(BASE + 2 * PAGE, PAGE, 3, MAP_PRIVATE | MAP_FIXED, file)
    mm.mmap(BASE + 4 * PAGE, PAGE, 3, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED)
    mm.mmap(BASE + 6 * PAGE, PAGE, 3, ANON)
    mm.mmap(BASE + 8 * PAGE, PAGE, 3, MAP_PRIVATE | MAP_FIXED, file, 1)
    for page in (0, 2, 4, 8):
        touch(BASE + page * PAGE, "read")
    assert {anon_vma for _, _, anon_vma in vmas(mm)} == {0}
    for page in (0, 2, 4):
        touch(BASE + page * PAGE, "write")
    mm.madvise(BASE + 6 * PAGE, PAGE, MADV_GUARD_INSTALL)
    touch(BASE + 8 * PAGE, "write")
    assert [anon_vma for _, _, anon_vma in vmas(mm)] == [1, 2, 0, 3, 4]
