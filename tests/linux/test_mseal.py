# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a sealed mapping stays: what would change or take it away is EPERM, and changes nothing."""

from __future__ import annotations

import errno

import pytest

from mmu.linux.mman import MADV_COLD, MADV_DONTNEED, MREMAP_MAYMOVE

BASE = 0x10_0000_0000
PAGE = 4096

pytestmark = pytest.mark.ucmmu(policy="refcount")


@pytest.fixture
def sealed(mm):
    """Four pages that may be read only, one written before, the middle two sealed."""
    mm.vma(BASE, 4 * PAGE)
    mm.touch(BASE + PAGE)
    mm.mprotect(BASE, 4 * PAGE, 1)
    mm.mseal(BASE + PAGE, 2 * PAGE)
    return mm


@pytest.mark.parametrize(
    "change",
    [
        lambda mm: mm.munmap(BASE, 4 * PAGE),
        lambda mm: mm.munmap(BASE + 2 * PAGE, PAGE),
        lambda mm: mm.mprotect(BASE + PAGE, PAGE, 3),
        lambda mm: mm.mprotect(BASE + PAGE, PAGE, 1),
        lambda mm: mm.mremap(BASE + PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE),
        lambda mm: mm.vma(BASE + PAGE, PAGE),
        lambda mm: mm.madvise(BASE + PAGE, PAGE, MADV_DONTNEED),
    ],
    ids=[
        "munmap all",
        "munmap a page",
        "mprotect",
        "to the same",
        "mremap",
        "mmap over it",
        "dontneed",
    ],
)
def test_changes_are_refused(sealed, raises_errno, assert_walk, assert_refcounts, change):
    with raises_errno(errno.EPERM):
        change(sealed)
    assert_walk(BASE + PAGE, "read", rights="ru")
    assert_refcounts(sealed, {BASE: 1})
    assert sealed.c.total_vm == 4


def test_what_is_around_it_may_go(sealed, assert_refcounts):
    sealed.munmap(BASE, PAGE)
    sealed.munmap(BASE + 3 * PAGE, PAGE)
    assert_refcounts(sealed, {BASE: 1})


def test_what_takes_nothing_away_is_allowed(sealed):
    sealed.madvise(BASE + PAGE, PAGE, MADV_COLD)
    sealed.mseal(BASE, 4 * PAGE)


def test_memory_that_can_be_written_may_be_discarded(mm, assert_refcounts):
    mm.vma(BASE, PAGE)
    mm.touch(BASE)
    mm.mseal(BASE, PAGE)
    mm.madvise(BASE, PAGE, MADV_DONTNEED)
    assert_refcounts(mm, {})


def test_a_hole_seals_nothing(mm, raises_errno):
    mm.vma(BASE, PAGE)
    with raises_errno(errno.ENOMEM):
        mm.mseal(BASE, 2 * PAGE)
    mm.munmap(BASE, PAGE)


def test_bad_arguments(mm, raises_errno):
    mm.vma(BASE, PAGE)
    mm.mseal(BASE, 0)
    for addr, length, flags in ((BASE + 1, PAGE, 0), (BASE, PAGE, 1), (BASE, (1 << 64) - 1, 0)):
        with raises_errno(errno.EINVAL):
            mm.mseal(addr, length, flags)
