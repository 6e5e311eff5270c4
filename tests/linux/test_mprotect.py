# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: mprotect() gives exactly the range its rights, in VMAs and in entries, or fails as Linux
does.
"""

from __future__ import annotations

import errno

import pytest

from mmu.linux import procfs
from mmu.linux.filemap import MappedFile
from mmu.linux.mman import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_GROWSDOWN,
    MAP_PRIVATE,
    MAP_SHARED,
    PROT_EXEC,
    PROT_GROWSDOWN,
    PROT_GROWSUP,
    PROT_NONE,
    PROT_READ,
    PROT_SEM,
    PROT_WRITE,
)

PAGE = 4096
BASE = 0x10_0000_0000
RW = PROT_READ | PROT_WRITE
ANON = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED


def layout(mm):
    lines = [line.split() for line in procfs.maps(mm).splitlines()]
    return [(*(int(n, 16) - BASE >> 12 for n in line[0].split("-")), line[1]) for line in lines]


@pytest.fixture
def four_pages(mm, touch):
    mm.mmap(BASE, 4 * PAGE, RW, ANON)
    touch(BASE, pages=4)
    return mm


def test_read_only_and_back(four_pages, touch, assert_walk, assert_fault, assert_refcounts):
    mm = four_pages
    mm.mprotect(BASE + PAGE, 2 * PAGE, PROT_READ)
    assert layout(mm) == [(0, 1, "rw-p"), (1, 3, "r--p"), (3, 4, "rw-p")]
    assert_walk(BASE + PAGE, "read", dirty=False)  # it waits in SAVED_DIRTY
    assert_fault(BASE + PAGE, "write", code=7)
    assert str(touch(BASE + 2 * PAGE)) == f"SIGSEGV (SEGV_ACCERR) at {BASE + 2 * PAGE:#x}"
    mm.mprotect(BASE + PAGE, 2 * PAGE, RW)
    assert layout(mm) == [(0, 4, "rw-p")]
    assert_walk(BASE + PAGE, "read", dirty=True)
    assert touch(BASE + PAGE, pages=2) is None
    assert_refcounts(mm, {BASE: 4})


def test_prot_none_keeps_the_pages(four_pages, touch, assert_fault, assert_refcounts):
    mm = four_pages
    mm.copy_to_user(BASE, b"kept")
    mm.mprotect(BASE, PAGE, PROT_NONE)
    assert_fault(BASE, "read", code=4)
    assert str(touch(BASE, "read")) == f"SIGSEGV (SEGV_ACCERR) at {BASE:#x}"
    assert mm.vm_stats()["VmRSS"] == 16
    assert_refcounts(mm, {BASE: 4})
    mm.mprotect(BASE, PAGE, PROT_READ)
    assert mm.copy_from_user(BASE, 4) == b"kept"


def test_execute(four_pages, touch, assert_walk):
    mm = four_pages
    assert touch(BASE, "fetch").code == 2
    mm.mprotect(BASE, PAGE, PROT_READ | PROT_EXEC)
    assert touch(BASE, "fetch") is None
    assert_walk(BASE, "fetch", xd=False)


def test_the_tlb_forgets_the_old_rights(four_pages, mmu, touch):
    """The rights that a cached translation had do not outlive the call."""
    touch(BASE)
    four_pages.mprotect(BASE, PAGE, PROT_READ)
    assert mmu.translate(BASE, 1).result != 0


def test_accounting_follows_the_rights(four_pages):
    mm = four_pages
    assert mm.vm_stats()["VmData"] == 16
    mm.mprotect(BASE, 2 * PAGE, PROT_READ)
    assert mm.vm_stats()["VmData"] == 8
    mm.mprotect(BASE, 2 * PAGE, PROT_READ | PROT_EXEC)
    assert mm.vm_stats()["VmLib"] == 8


def test_a_hole_is_enomem_and_what_lies_before_it_is_changed(mm, raises_errno):
    mm.mmap(BASE, 2 * PAGE, RW, ANON)
    mm.mmap(BASE + 3 * PAGE, PAGE, RW, ANON)
    with raises_errno(errno.ENOMEM):
        mm.mprotect(BASE, 4 * PAGE, PROT_READ)
    assert layout(mm) == [(0, 2, "r--p"), (3, 4, "rw-p")]
    with raises_errno(errno.ENOMEM):
        mm.mprotect(BASE + 2 * PAGE, 2 * PAGE, PROT_READ)
    with raises_errno(errno.ENOMEM):
        mm.mprotect(BASE + 9 * PAGE, PAGE, PROT_READ)


@pytest.mark.ucmmu(engine="c", policy="refcount")
@pytest.mark.parametrize(
    ("addr", "length", "prot", "error"),
    [
        (BASE + 1, PAGE, PROT_READ, errno.EINVAL),
        (BASE, (1 << 64) - 1, PROT_READ, errno.ENOMEM),
        (BASE, (1 << 64) - PAGE, PROT_READ, errno.ENOMEM),
        (BASE, PAGE, 0x10, errno.EINVAL),
        (BASE, PAGE, 0x80, errno.EINVAL),
        (BASE, PAGE, PROT_READ | PROT_GROWSDOWN, errno.EINVAL),
        (BASE, PAGE, PROT_READ | PROT_GROWSUP, errno.EINVAL),
        (BASE, PAGE, PROT_READ | PROT_GROWSDOWN | PROT_GROWSUP, errno.EINVAL),
    ],
)
def test_errors(mm, raises_errno, addr, length, prot, error):
    mm.mmap(BASE, PAGE, RW, ANON)
    with raises_errno(error):
        mm.mprotect(addr, length, prot)
    assert layout(mm) == [(0, 1, "rw-p")]


@pytest.mark.ucmmu(engine="c", policy="refcount")
def test_what_is_no_error(mm):
    mm.mmap(BASE, PAGE, RW, ANON)
    mm.mprotect(BASE, 0, PROT_READ)
    mm.mprotect(BASE, 1, PROT_READ | PROT_SEM)
    assert layout(mm) == [(0, 1, "r--p")]


@pytest.mark.ucmmu(engine="c", policy="refcount")
def test_prot_growsdown_reaches_to_the_start_of_a_stack(mm):
    mm.mmap(BASE, 4 * PAGE, RW, ANON | MAP_GROWSDOWN)
    mm.mprotect(BASE + 2 * PAGE, PAGE, PROT_READ | PROT_GROWSDOWN)
    assert layout(mm) == [(0, 3, "r--p"), (3, 4, "rw-p")]


@pytest.mark.ucmmu(engine="c", policy="refcount")
def test_a_read_only_shared_file_never_becomes_writable(mm, raises_errno):
    mm.mmap(BASE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, MappedFile(bytes(PAGE)))
    with raises_errno(errno.EACCES):
        mm.mprotect(BASE, PAGE, RW)
    with raises_errno(errno.EACCES):
        mm.mmap(
            BASE + PAGE,
            PAGE,
            PROT_READ,
            MAP_PRIVATE | MAP_FIXED,
            MappedFile(bytes(PAGE), noexec=True),
        )
        mm.mprotect(BASE + PAGE, PAGE, PROT_READ | PROT_EXEC)


@pytest.mark.ucmmu(engine="c", policy="refcount")
def test_limits(mm, raises_errno):
    mm.mmap(BASE, 4 * PAGE, PROT_READ, ANON)
    mm.kernel.max_map_count = 1
    with raises_errno(errno.ENOMEM):
        mm.mprotect(BASE + PAGE, PAGE, RW)
    mm.kernel.max_map_count = 10
    mm.rlimit.data = PAGE
    with raises_errno(errno.ENOMEM):
        mm.mprotect(BASE, 2 * PAGE, RW)
    mm.rlimit.data = 1 << 40
    mm.kernel.overcommit_memory = 0
    huge = mm.mmap(0, mm.memory.size + PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS)
    with raises_errno(errno.ENOMEM):
        mm.mprotect(huge, mm.memory.size + PAGE, RW)
    assert layout(mm)[0] == (0, 4, "r--p")
