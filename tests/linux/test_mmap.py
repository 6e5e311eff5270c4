# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: mmap() maps what was asked for, where it was asked for, or fails as Linux does and changes
nothing.
"""

from __future__ import annotations

import errno

import pytest

from mmu.errors import LinuxError
from mmu.linux import procfs
from mmu.linux.filemap import MappedFile
from mmu.linux.layout import TASK_SIZE
from mmu.linux.mman import (
    MAP_ANONYMOUS,
    MAP_DROPPABLE,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_GROWSDOWN,
    MAP_HUGE_SHIFT,
    MAP_HUGETLB,
    MAP_LOCKED,
    MAP_NORESERVE,
    MAP_POPULATE,
    MAP_PRIVATE,
    MAP_SHARED,
    MAP_SHARED_VALIDATE,
    MAP_STACK,
    MAP_SYNC,
    PROT_EXEC,
    PROT_NONE,
    PROT_READ,
    PROT_WRITE,
)
from mmu.linux.vma import VM_GROWSDOWN, VM_NORESERVE

PAGE = 4096
BASE = 0x10_0000_0000
RW = PROT_READ | PROT_WRITE
ANON = MAP_PRIVATE | MAP_ANONYMOUS
MAX = (1 << 64) - 1

pytestmark = pytest.mark.ucmmu(engine="c", policy="refcount")


def layout(mm):
    return [line.split()[:2] for line in procfs.maps(mm).splitlines()]


def test_a_mapping_is_readable_as_zero_and_keeps_what_is_written(mm, touch):
    addr = mm.mmap(0, 3 * PAGE, RW, ANON)
    assert mm.copy_from_user(addr, 3 * PAGE) == bytes(3 * PAGE)
    mm.copy_to_user(addr + 100, b"kept")
    assert mm.copy_from_user(addr + 100, 4) == b"kept"
    assert mm.vm_stats()["VmSize"] == 12


def test_the_length_is_rounded_up_to_pages(mm):
    addr = mm.mmap(BASE, PAGE + 1, RW, ANON | MAP_FIXED)
    assert layout(mm) == [[f"{addr:x}-{addr + 2 * PAGE:x}", "rw-p"]]


@pytest.mark.parametrize(
    ("addr", "length", "prot", "flags", "error"),
    [
        (0, 0, RW, ANON, errno.EINVAL),
        (0, MAX, RW, ANON, errno.ENOMEM),
        (0, 1 << 47, RW, ANON, errno.ENOMEM),
        (0, TASK_SIZE, RW, ANON, errno.ENOMEM),
        (0, PAGE, RW, MAP_ANONYMOUS, errno.EINVAL),
        (0, PAGE, RW, MAP_SHARED_VALIDATE | MAP_ANONYMOUS, errno.EINVAL),
        (0, PAGE, RW, ANON | MAP_HUGETLB, errno.ENOMEM),
        (BASE + 1, PAGE, RW, ANON | MAP_FIXED, errno.EINVAL),
        (TASK_SIZE, PAGE, RW, ANON | MAP_FIXED, errno.ENOMEM),
        (TASK_SIZE - PAGE, 2 * PAGE, RW, ANON | MAP_FIXED, errno.ENOMEM),
        (MAX - PAGE + 1, PAGE, RW, ANON | MAP_FIXED, errno.ENOMEM),
        (PAGE, PAGE, RW, ANON | MAP_FIXED, errno.EPERM),
        (0, PAGE, RW, ANON | MAP_FIXED, errno.EPERM),
        (0, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_GROWSDOWN, errno.EINVAL),
        (0, PAGE, RW, MAP_DROPPABLE | MAP_ANONYMOUS | MAP_LOCKED, errno.EINVAL),
    ],
)
def test_errors_of_anonymous_memory(mm, raises_errno, addr, length, prot, flags, error):
    with raises_errno(error):
        mm.mmap(addr, length, prot, flags)
    assert layout(mm) == []
    assert mm.vm_stats()["VmSize"] == 0


@pytest.mark.parametrize(
    ("file", "prot", "flags", "pgoff", "error"),
    [
        ({"readable": False}, PROT_READ, MAP_PRIVATE, 0, errno.EACCES),
        ({}, RW, MAP_SHARED, 0, errno.EACCES),
        ({"writable": True}, PROT_READ, MAP_SHARED, 0, errno.EINVAL),
        ({"noexec": True}, PROT_READ | PROT_EXEC, MAP_PRIVATE, 0, errno.EPERM),
        ({}, PROT_READ, MAP_PRIVATE | MAP_GROWSDOWN, 0, errno.EINVAL),
        ({}, PROT_READ, 0, 0, errno.EINVAL),
        ({}, PROT_READ, MAP_DROPPABLE, 0, errno.EINVAL),
        ({}, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, 0, errno.EOPNOTSUPP),
        ({}, PROT_READ, MAP_PRIVATE, 0x7FFFFFFFFFFFF, errno.EOVERFLOW),
        ({}, PROT_READ, MAP_PRIVATE, MAX, errno.EOVERFLOW),
        ({}, PROT_READ, MAP_PRIVATE | MAP_HUGETLB, 0, errno.EINVAL),
    ],
)
def test_errors_of_files(mm, raises_errno, file, prot, flags, pgoff, error):
    mapped = MappedFile(bytes(PAGE), **file)
    with raises_errno(error):
        mm.mmap(0, PAGE, prot, flags, mapped, pgoff)
    assert layout(mm) == []
    assert mapped.users == 0


def test_map_fixed_replaces_what_was_there(mm, touch, assert_refcounts):
    mm.mmap(BASE, 4 * PAGE, RW, ANON | MAP_FIXED)
    touch(BASE, pages=4)
    mm.mmap(BASE + PAGE, 2 * PAGE, PROT_READ, ANON | MAP_FIXED)
    assert [perms for _, perms in layout(mm)] == ["rw-p", "r--p", "rw-p"]
    assert mm.vm_stats()["VmRSS"] == 8
    assert_refcounts(mm, {BASE: 2})


def test_map_fixed_noreplace_refuses_any_overlap(mm, raises_errno):
    mm.mmap(BASE, 2 * PAGE, RW, ANON | MAP_FIXED)
    with raises_errno(errno.EEXIST):
        mm.mmap(BASE + PAGE, 2 * PAGE, RW, ANON | MAP_FIXED_NOREPLACE)
    assert mm.mmap(BASE + 2 * PAGE, PAGE, RW, ANON | MAP_FIXED_NOREPLACE) == BASE + 2 * PAGE


def test_map_populate_maps_every_page(mm, assert_walk, assert_refcounts):
    addr = mm.mmap(BASE, 8 * PAGE, RW, ANON | MAP_FIXED | MAP_POPULATE)
    for page in range(8):
        assert_walk(addr + page * PAGE, "write", dirty=True)
    assert mm.counters()["pgfault"] == 8
    assert_refcounts(mm, {addr: 8})


def test_map_populate_of_prot_none_maps_nothing(mm):
    mm.mmap(0, 8 * PAGE, PROT_NONE, ANON | MAP_POPULATE)
    assert mm.vm_stats()["VmRSS"] == 0


def test_flags_that_change_nothing_or_little(mm):
    addr = mm.mmap(0, PAGE, RW, ANON | MAP_STACK)
    assert not mm.c.vmas.vma[0].vm_flags & VM_GROWSDOWN
    mm.munmap(addr, PAGE)
    mm.mmap(0, PAGE, RW, ANON | MAP_NORESERVE)
    assert mm.c.vmas.vma[0].vm_flags & VM_NORESERVE
    mm.mmap(0, PAGE, RW, MAP_DROPPABLE | MAP_ANONYMOUS)
    assert mm.c.vmas.nr == 2


def test_map_locked_counts_and_is_limited(mm, raises_errno):
    mm.mmap(BASE, 4 * PAGE, RW, ANON | MAP_FIXED | MAP_LOCKED)
    assert mm.vm_stats()["VmLck"] == mm.vm_stats()["VmRSS"] == 16
    mm.rlimit.memlock = 5 * PAGE
    with raises_errno(errno.EAGAIN):
        mm.mmap(0, 2 * PAGE, RW, ANON | MAP_LOCKED)
    mm.rlimit.memlock = 0
    with raises_errno(errno.EPERM):
        mm.mmap(0, PAGE, RW, ANON | MAP_LOCKED)
    mm.munmap(BASE, 4 * PAGE)
    assert mm.vm_stats()["VmLck"] == 0


def test_limits_on_address_space_and_data(mm, raises_errno):
    mm.rlimit.address_space = 8 * PAGE
    mm.mmap(BASE, 8 * PAGE, PROT_READ, ANON | MAP_FIXED)
    with raises_errno(errno.ENOMEM):
        mm.mmap(0, PAGE, PROT_READ, ANON)
    mm.mmap(BASE, 8 * PAGE, PROT_READ, ANON | MAP_FIXED)  # replacing needs no more
    mm.rlimit.address_space, mm.rlimit.data = MAX, 2 * PAGE
    with raises_errno(errno.ENOMEM):
        mm.mmap(0, 3 * PAGE, RW, ANON)
    mm.mmap(0, 3 * PAGE, PROT_READ, ANON)


def test_overcommit(mm, raises_errno):
    more_than_ram = mm.memory.size + PAGE
    mm.mmap(0, more_than_ram, RW, ANON)
    mm.kernel.overcommit_memory = 0
    with raises_errno(errno.ENOMEM):
        mm.mmap(0, more_than_ram, RW, ANON)
    mm.mmap(0, more_than_ram, RW, ANON | MAP_NORESERVE)
    mm.mmap(0, more_than_ram, PROT_READ, ANON)


def test_a_refused_mapping_leaves_what_it_would_have_replaced(mm, touch):
    mm.mmap(BASE, 4 * PAGE, RW, ANON | MAP_FIXED)
    mm.copy_to_user(BASE + PAGE, b"still here")
    mm.rlimit.address_space = 4 * PAGE
    with pytest.raises(LinuxError):
        mm.mmap(BASE + PAGE, 8 * PAGE, RW, ANON | MAP_FIXED)
    assert mm.copy_from_user(BASE + PAGE, 10) == b"still here"
    assert mm.vm_stats()["VmSize"] == 16


def test_huge_pages_are_whole_ones(mm, raises_errno):
    """Linux has unmapped what was there when it finds that it has no huge pages."""
    mm.mmap(BASE, 513 * PAGE, RW, ANON | MAP_FIXED)
    with raises_errno(errno.ENOMEM):
        mm.mmap(BASE, PAGE, RW, ANON | MAP_FIXED | MAP_HUGETLB)
    assert layout(mm) == [[f"{BASE + 512 * PAGE:x}-{BASE + 513 * PAGE:x}", "rw-p"]]
    with raises_errno(errno.ENOMEM):
        mm.mmap(BASE - 512 * PAGE, 512 * PAGE, RW, ANON | MAP_FIXED | MAP_HUGETLB)
    assert len(layout(mm)) == 1
    with raises_errno(errno.ENOMEM):
        mm.mmap(BASE, 513 * PAGE, RW, ANON | MAP_FIXED | MAP_HUGETLB)
    assert layout(mm) == []


@pytest.mark.parametrize(
    ("size", "error"),
    [(0, errno.ENOMEM), (21, errno.ENOMEM), (30, errno.EINVAL), (1, errno.EINVAL)],
)
def test_huge_pages_of_a_size_there_is_not(mm, raises_errno, size, error):
    """MAP_HUGE_2MB is the one size; the flags below the size's bits have no part in it."""
    with raises_errno(error):
        mm.mmap(0, PAGE, RW, ANON | MAP_HUGETLB | MAP_NORESERVE | size << MAP_HUGE_SHIFT)


def test_max_map_count(mm, raises_errno):
    mm.kernel.max_map_count = 4
    for i in range(5):
        mm.mmap(BASE + 2 * i * PAGE, PAGE, RW, ANON | MAP_FIXED)
    with raises_errno(errno.ENOMEM):
        mm.mmap(0, PAGE, RW, ANON)


def test_shared_anonymous_memory(mm, touch, assert_refcounts):
    """What one mapping writes the other reads: here, one of a merged pair, since there is no fork
    yet.
    """
    addr = mm.mmap(0, 4 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS)
    mm.copy_to_user(addr + PAGE - 2, b"over")
    assert touch(addr + 2 * PAGE, "read") is None
    assert touch(addr + 2 * PAGE, "write") is None
    mm.madvise(addr, 4 * PAGE, 4)
    assert (
        mm.copy_from_user(addr + PAGE - 2, 4) == b"over"
    )  # DONTNEED drops the mapping, not the memory
    assert "/dev/zero (deleted)" in procfs.maps(mm)
    assert_refcounts(mm)
    mm.munmap(addr, 4 * PAGE)
    assert mm.memory.frames_in_use < 8


def test_neighbours_merge_if_they_are_alike(mm):
    mm.mmap(BASE, PAGE, RW, ANON | MAP_FIXED)
    mm.mmap(BASE + 2 * PAGE, PAGE, RW, ANON | MAP_FIXED)
    mm.mmap(BASE + PAGE, PAGE, RW, ANON | MAP_FIXED)
    assert mm.c.vmas.nr == 1
    mm.mmap(BASE + 3 * PAGE, PAGE, PROT_READ, ANON | MAP_FIXED)
    assert mm.c.vmas.nr == 2


def test_file_mappings_merge_if_offsets_continue(mm):
    file = MappedFile(bytes(4 * PAGE))
    mm.mmap(BASE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0)
    mm.mmap(BASE + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 1)
    assert mm.c.vmas.nr == 1
    mm.mmap(BASE + 2 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 3)
    mm.mmap(
        BASE + 3 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, MappedFile(bytes(9 * PAGE)), 4
    )
    assert mm.c.vmas.nr == 3


def test_an_mm_names_a_wrong_engine(mmu):
    from mmu.errors import MmuError
    from mmu.linux.mm import boot

    with pytest.raises(MmuError, match="no engine 'rust'"):
        boot(mmu.memory, mmu, engine="rust")
