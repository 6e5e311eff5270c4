# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: MADV_GUARD_INSTALL makes every access SIGSEGV without memory behind it, until
MADV_GUARD_REMOVE or munmap().
"""

from __future__ import annotations

import errno

import pytest

from mmu._native import lib
from mmu.linux import guard
from mmu.linux.filemap import MappedFile
from mmu.linux.huge_memory import unmap_single_vma
from mmu.linux.mman import (
    MADV_DONTNEED,
    MADV_GUARD_INSTALL,
    MADV_GUARD_REMOVE,
    MADV_POPULATE_READ,
    MADV_POPULATE_WRITE,
    MADV_REMOVE,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_LOCKED,
    MAP_PRIVATE,
    MAP_SHARED,
)
from mmu.linux.policy import FreeTables
from mmu.linux.pt_reclaim import pte_ref_is_enabled

PAGE = 4096
SLOT = 2 << 20
BASE = 0x10_0000_0000
ANON = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED


def guarded(mm, pages=4, first=0, nr=2):
    mm.mmap(BASE, pages * PAGE, 3, ANON)
    mm.madvise(BASE + first * PAGE, nr * PAGE, MADV_GUARD_INSTALL)


def tables(mm):
    return mm.check_tables().pte_tables


@pytest.mark.parametrize("access", ["read", "write", "fetch"])
def test_an_access_is_segv_maperr(mm, touch, access, assert_refcounts, raises_errno):
    guarded(mm)
    mm.mprotect(BASE, 4 * PAGE, 7)
    segv = touch(BASE + PAGE, access)
    assert (segv.signal, segv.code, segv.address) == (11, 1, BASE + PAGE)
    assert touch(BASE + 2 * PAGE, access) is None
    with raises_errno(errno.EFAULT):
        mm.copy_to_user(BASE, b"x")
    assert_refcounts(mm, {BASE: 3})
    assert mm.vm_stats()["RssAnon"] <= 4


def test_faults_that_come_each_time_do_not_end_it(mm, touch, monkeypatch):
    """Linux tries three times, and the system call is restarted. Here it has locks then that keep
    faults off, for a CPU may fault the page in again in each of its slices.
    """
    zaps = 0

    def zap_and_fault(tlb, start, end, details):
        nonlocal zaps
        unmap_single_vma(tlb, start, end, details)
        zaps += 1
        if zaps <= 3:
            assert mm.handle_user_fault(BASE, lib.PF_US | lib.PF_WR) is None

    mm.mmap(BASE, 4 * PAGE, 3, ANON)
    assert touch(BASE, "write") is None
    monkeypatch.setattr(guard, "unmap_single_vma", zap_and_fault)
    mm.madvise(BASE, PAGE, MADV_GUARD_INSTALL)
    assert zaps == 4
    assert touch(BASE, "write").signal == 11


def test_what_was_mapped_goes(mm, touch, assert_refcounts):
    mm.mmap(BASE, 4 * PAGE, 3, ANON)
    mm.copy_to_user(BASE, b"gone" + bytes(4 * PAGE - 4))
    mm.madvise(BASE, 3 * PAGE, MADV_GUARD_INSTALL)
    assert mm.vm_stats()["RssAnon"] == 4
    assert_refcounts(mm, {BASE: 4})
    mm.madvise(BASE, 3 * PAGE, MADV_GUARD_REMOVE)
    assert_refcounts(mm, {BASE: 1})
    assert mm.copy_from_user(BASE, 4) == bytes(4)


@pytest.mark.parametrize("file", ["private", "shared"])
def test_a_file_s_pages_come_back(mm, file, raises_errno):
    kind = MAP_PRIVATE if file == "private" else MAP_SHARED
    mm.mmap(BASE, 2 * PAGE, 1, kind | MAP_FIXED, MappedFile(b"data" + bytes(2 * PAGE)))
    assert mm.copy_from_user(BASE, 4) == b"data"
    mm.madvise(BASE, PAGE, MADV_GUARD_INSTALL)
    with raises_errno(errno.EFAULT):
        mm.copy_from_user(BASE, 4)
    mm.madvise(BASE, PAGE, MADV_GUARD_REMOVE)
    assert mm.copy_from_user(BASE, 4) == b"data"


def test_dontneed_keeps_markers_and_their_table(mm, touch, assert_refcounts):
    """Under scan too: a table in which a marker stays is not reclaimed."""
    mm.mmap(BASE, SLOT, 3, ANON)
    touch(BASE)
    mm.madvise(BASE + PAGE, PAGE, MADV_GUARD_INSTALL)
    mm.madvise(BASE, SLOT, MADV_DONTNEED)
    assert tables(mm) == 1
    assert_refcounts(mm, {BASE: 1})
    assert touch(BASE + PAGE).code == 1
    mm.madvise(BASE, SLOT, MADV_GUARD_REMOVE)
    assert tables(mm) == (0 if pte_ref_is_enabled(mm) else 1)
    mm.madvise(BASE, SLOT, MADV_DONTNEED)
    assert tables(mm) == (1 if mm.kernel.policy is FreeTables.NEVER else 0)


def test_munmap_and_a_new_mapping_take_them_away(mm, touch):
    guarded(mm)
    mm.mmap(BASE, PAGE, 3, ANON)
    assert touch(BASE) is None
    mm.munmap(BASE + PAGE, PAGE)
    mm.mmap(BASE + PAGE, PAGE, 3, ANON)
    assert touch(BASE + PAGE) is None


def test_a_hole_punched_in_shared_memory_keeps_them(mm, touch):
    mm.mmap(BASE, 4 * PAGE, 3, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED)
    touch(BASE, pages=4)
    mm.madvise(BASE, PAGE, MADV_GUARD_INSTALL)
    mm.madvise(BASE, 4 * PAGE, MADV_REMOVE)
    assert touch(BASE).code == 1
    assert mm.copy_from_user(BASE + PAGE, 8) == bytes(8)


def test_several_tables_and_once_more(mm, touch, assert_refcounts):
    mm.mmap(BASE, 3 * SLOT, 3, ANON)
    touch(BASE + SLOT + PAGE)
    for _ in range(2):
        mm.madvise(BASE + SLOT - 2 * PAGE, SLOT + 4 * PAGE, MADV_GUARD_INSTALL)
        assert_refcounts(mm, {BASE: 2, BASE + SLOT: 512, BASE + 2 * SLOT: 2})
    mm.madvise(BASE, 3 * SLOT, MADV_GUARD_REMOVE)
    assert_refcounts(mm, {})


def test_populate_is_efault(mm, raises_errno):
    guarded(mm)
    for advice in (MADV_POPULATE_READ, MADV_POPULATE_WRITE):
        with raises_errno(errno.EFAULT):
            mm.madvise(BASE, 4 * PAGE, advice)


def test_errors(mm, raises_errno):
    """EINVAL for what is locked, but not to remove; ENOMEM for a hole, what is mapped guarded all
    the same.
    """
    mm.mmap(BASE, PAGE, 3, ANON | MAP_LOCKED)
    with raises_errno(errno.EINVAL):
        mm.madvise(BASE, PAGE, MADV_GUARD_INSTALL)
    mm.madvise(BASE, PAGE, MADV_GUARD_REMOVE)
    mm.mmap(BASE + 2 * PAGE, PAGE, 3, ANON)
    with raises_errno(errno.ENOMEM):
        mm.madvise(BASE + PAGE, 2 * PAGE, MADV_GUARD_INSTALL)
    with raises_errno(errno.EFAULT):
        mm.copy_from_user(BASE + 2 * PAGE, 1)


@pytest.mark.ucmmu(policy="refcount")
def test_no_memory_for_a_table(mm, raises_errno, assert_refcounts):
    mm.mmap(BASE, 2 * SLOT, 3, ANON)
    mm.memory.c.fail_after = 3
    with raises_errno(errno.ENOMEM):
        mm.madvise(BASE, 2 * SLOT, MADV_GUARD_INSTALL)
    mm.memory.c.fail_after = (1 << 64) - 1
    assert_refcounts(mm, {BASE: 512})
