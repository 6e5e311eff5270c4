# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: mlock() and its kin set a flag, count in VmLck against RLIMIT_MEMLOCK, and bring every page
in.
"""

from __future__ import annotations

import errno

import pytest

from mmu.linux.mman import (
    MADV_DONTNEED,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_PRIVATE,
    MCL_CURRENT,
    MCL_FUTURE,
    MCL_ONFAULT,
    MLOCK_ONFAULT,
)

PAGE = 4096
BASE = 0x10_0000_0000
ANON = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
once = pytest.mark.ucmmu(engine="c", policy="refcount")


def stats(mm):
    found = mm.vm_stats()
    return found["VmLck"], found["RssAnon"]


def test_lock_and_unlock_a_part(mm, raises_errno):
    mm.mmap(BASE, 8 * PAGE, 3, ANON)
    mm.mlock(BASE + PAGE + 5, 2 * PAGE)
    assert stats(mm) == (12, 12)
    assert mm.c.vmas.nr == 3
    with raises_errno(errno.EINVAL):
        mm.madvise(BASE, 8 * PAGE, MADV_DONTNEED)
    mm.mlock(BASE, 2 * PAGE)
    assert stats(mm) == (16, 16)
    mm.munlock(BASE, 8 * PAGE)
    assert stats(mm) == (0, 16)
    assert mm.c.vmas.nr == 1


def test_a_lock_and_an_unlock_take_whole_pages(mm):
    mm.mmap(BASE, 8 * PAGE, 3, ANON)
    mm.mlock(BASE + 5, 3 * PAGE)
    assert stats(mm) == (16, 16)
    mm.munlock(BASE + PAGE + 5, PAGE)
    assert stats(mm) == (8, 16)
    assert [vma.vm_start for vma in mm.c.vmas.vma[0 : mm.c.vmas.nr]] == [
        BASE,
        BASE + PAGE,
        BASE + 3 * PAGE,
        BASE + 4 * PAGE,
    ]


def test_on_fault_waits_for_faults(mm, touch):
    mm.mmap(BASE, 4 * PAGE, 3, ANON)
    mm.mlock(BASE, 4 * PAGE, MLOCK_ONFAULT)
    assert stats(mm) == (16, 0)
    touch(BASE)
    assert stats(mm) == (16, 4)


def test_unmapping_counts_out(mm):
    mm.mmap(BASE, 4 * PAGE, 3, ANON)
    mm.mlock(BASE, 4 * PAGE)
    mm.munmap(BASE + PAGE, PAGE)
    assert stats(mm) == (12, 12)


@once
def test_limits(mm, raises_errno):
    mm.mmap(BASE, 8 * PAGE, 3, ANON)
    mm.rlimit.memlock = 4 * PAGE
    with raises_errno(errno.ENOMEM):
        mm.mlock(BASE, 5 * PAGE)
    mm.mlock(BASE, 4 * PAGE)
    mm.mlock(BASE, 4 * PAGE)  # what is locked already counts once
    with raises_errno(errno.ENOMEM):
        mm.mlock(BASE + 3 * PAGE, 2 * PAGE)
    with raises_errno(errno.ENOMEM):
        mm.mlockall(MCL_CURRENT)
    mm.rlimit.memlock = 0
    with raises_errno(errno.EPERM):
        mm.mlock(BASE, PAGE)
    with raises_errno(errno.EPERM):
        mm.mlockall(MCL_FUTURE)
    mm.munlock(BASE, 8 * PAGE)


@once
def test_errors(mm, raises_errno):
    mm.mmap(BASE, 2 * PAGE, 3, ANON)
    mm.mmap(BASE + 3 * PAGE, PAGE, 0, ANON)
    with raises_errno(errno.EINVAL):
        mm.mlock(BASE, PAGE, 2)
    with raises_errno(errno.EINVAL):
        mm.munlock(BASE, (1 << 64) - BASE)
    with raises_errno(errno.ENOMEM):
        mm.munlock(BASE, 4 * PAGE)
    with raises_errno(errno.ENOMEM):
        mm.mlock(BASE, 4 * PAGE)
    assert stats(mm) == (8, 0)  # locked up to the hole, not brought in
    with raises_errno(errno.ENOMEM):
        mm.mlock(BASE + 3 * PAGE, PAGE)  # PROT_NONE: no page can be had
    assert stats(mm) == (12, 0)
    for flags in (0, 8, MCL_ONFAULT):
        with raises_errno(errno.EINVAL):
            mm.mlockall(flags)


def test_mlockall_of_what_is_and_what_will_be(mm):
    mm.mmap(BASE, 2 * PAGE, 3, ANON)
    mm.mlockall(MCL_CURRENT)
    assert stats(mm) == (8, 8)
    mm.mmap(BASE + 8 * PAGE, PAGE, 3, ANON)
    assert stats(mm) == (8, 8)
    mm.mlockall(MCL_FUTURE)
    assert stats(mm) == (8, 8)
    mm.mmap(BASE + 16 * PAGE, PAGE, 3, ANON)
    assert stats(mm) == (12, 12)
    mm.munlockall()
    mm.mmap(BASE + 24 * PAGE, PAGE, 3, ANON)
    assert stats(mm) == (0, 12)


def test_a_locked_heap_is_brought_in(mm):
    mm.c.start_brk = mm.c.brk = BASE
    mm.mlockall(MCL_FUTURE)
    mm.brk(BASE + 3 * PAGE)
    assert stats(mm) == (12, 12)


def test_locked_memory_that_becomes_writable_is_copied_at_once(mm):
    """mprotect_fixup(): no fault is left to come."""
    mm.mmap(BASE, 2 * PAGE, 1, ANON)
    mm.mlock(BASE, 2 * PAGE)
    assert stats(mm) == (8, 0)
    mm.mprotect(BASE, 2 * PAGE, 3)
    assert stats(mm) == (8, 8)
