# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: remap_file_pages() maps part of a shared mapping to other pages of its file."""

from __future__ import annotations

import errno

import pytest

from mmu.linux.filemap import AddressSpace, MappedFile
from mmu.linux.mman import MAP_FIXED, MAP_SHARED
from tests.linux.disk import Disk

BASE = 0x10_0000_0000
PAGE = 4096

pytestmark = pytest.mark.ucmmu(policy="refcount")


@pytest.fixture
def shared(mm):
    """Four pages of a file, each full of its number's digit."""
    disk = Disk(4 * PAGE)
    disk.data[:] = b"".join(str(n).encode() * PAGE for n in range(4))
    file = MappedFile(AddressSpace(disk), writable=True)
    mm.mmap(BASE, 4 * PAGE, 1, MAP_SHARED | MAP_FIXED, file)
    return mm


def digits(mm):
    return b"".join(mm.copy_from_user(BASE + n * PAGE, 1) for n in range(4))


def test_pages_in_another_order(shared, assert_refcounts):
    assert digits(shared) == b"0123"
    shared.remap_file_pages(BASE, PAGE, 0, 3, 0)
    shared.remap_file_pages(BASE + 2 * PAGE, 2 * PAGE, 0, 0, 0)
    assert digits(shared) == b"3101"
    assert_refcounts(shared, {BASE: 4})


def test_the_new_pages_are_there_at_once(shared, assert_walk):
    shared.remap_file_pages(BASE, PAGE, 0, 2, 0)
    assert_walk(BASE, "read", level=1)


def test_the_old_translation_is_gone(shared, assert_flushed):
    shared.touch(BASE, "read")
    shared.remap_file_pages(BASE, PAGE, 0, 2, 0)
    assert_flushed(0, BASE, tables=False)


def test_bad_arguments(shared, raises_errno):
    shared.vma(BASE + (1 << 30), PAGE)
    for addr, size, prot, pgoff in (
        (BASE, PAGE, 1, 0),
        (BASE, 0, 0, 0),
        (BASE, PAGE, 0, (1 << 64) - 1),
        (BASE + (1 << 30), PAGE, 0, 0),
        (BASE + (1 << 31), PAGE, 0, 0),
        (BASE, 8 * PAGE, 0, 0),
    ):
        with raises_errno(errno.EINVAL):
            shared.remap_file_pages(addr, size, prot, pgoff, 0)
    assert digits(shared) == b"0123"
