# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: mremap() takes along what is mapped: a whole table by its PMD entry, else each entry with
its reference; nothing is lost, counted twice or still translated (v6.18). What it does to VMAs is
compared with the host's kernel in test_native_fork.py.
"""

from __future__ import annotations

import errno

from mmu.errors import LinuxError
from mmu.linux.filemap import MappedFile
from mmu.linux.mman import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_PRIVATE,
    MAP_SHARED,
    MREMAP_DONTUNMAP,
    MREMAP_FIXED,
    MREMAP_MAYMOVE,
)
from tests.linux.processes import check_processes, pfn

PAGE = 4096
TABLE = 512 * PAGE
BASE = 0x10_0000_0000
NEW = BASE + 16 * TABLE
ANON = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
MOVE = MREMAP_MAYMOVE | MREMAP_FIXED


def table_of(mm, addr, assert_walk):
    return assert_walk(addr).entry[2] & 0xF_FFFF_FFFF_F000


def test_a_whole_table_moves_as_it_is(mm, touch, assert_walk, assert_refcounts):
    mm.mmap(BASE, 2 * TABLE, 3, ANON)
    mm.copy_to_user(BASE + 5 * PAGE, b"kept")
    touch(BASE + TABLE)
    table, page = table_of(mm, BASE + 5 * PAGE, assert_walk), pfn(mm, BASE + 5 * PAGE)
    assert mm.mremap(BASE, 2 * TABLE, 2 * TABLE, MOVE, NEW) == NEW
    assert table_of(mm, NEW + 5 * PAGE, assert_walk) == table
    assert pfn(mm, NEW + 5 * PAGE) == page
    assert touch(BASE + 5 * PAGE, "read").code == 1
    assert mm.copy_from_user(NEW + 5 * PAGE, 4) == b"kept"
    assert_refcounts(mm, {NEW: 1, NEW + TABLE: 1})
    mm.madvise(NEW + TABLE, PAGE, 4)
    assert_refcounts(mm, {NEW: 1})


def test_entries_move_with_their_references(mm, touch, assert_refcounts):
    mm.mmap(BASE, TABLE, 3, ANON)
    touch(BASE, pages=3)
    mm.copy_to_user(BASE + 2 * PAGE, b"kept")
    mm.mremap(BASE + PAGE, 2 * PAGE, 2 * PAGE, MOVE, NEW + 511 * PAGE)
    assert_refcounts(mm, {BASE: 1, NEW: 1, NEW + TABLE: 1})
    assert mm.copy_from_user(NEW + TABLE, 4) == b"kept"
    mm.mremap(NEW + 511 * PAGE, 2 * PAGE, 2 * PAGE, MOVE, BASE + PAGE)
    assert_refcounts(mm, {BASE: 3})


def test_within_one_table(mm, touch, assert_refcounts):
    mm.mmap(BASE, 2 * PAGE, 3, ANON)
    mm.copy_to_user(BASE, b"kept")
    mm.mremap(BASE, 2 * PAGE, 2 * PAGE, MOVE, BASE + 8 * PAGE)
    assert mm.copy_from_user(BASE + 8 * PAGE, 4) == b"kept"
    assert touch(BASE).code == 1
    assert_refcounts(mm, {BASE: 1})


def test_the_tlb_forgets_the_old_place(mm, mmu, touch):
    mm.mmap(BASE, 2 * PAGE, 3, ANON)
    touch(BASE, pages=2)
    mm.mremap(BASE, 2 * PAGE, 2 * PAGE, MOVE, NEW)
    assert mmu.resident(BASE) is None and mmu.resident(BASE + PAGE) is None


def test_what_moved_away_and_stays_mapped_is_empty(mm, touch, ucmmu_options, assert_refcounts):
    mm.mmap(BASE, TABLE, 3, ANON)
    mm.copy_to_user(BASE, b"kept")
    mm.mremap(BASE, TABLE, TABLE, MOVE | MREMAP_DONTUNMAP, NEW + PAGE)
    assert mm.copy_from_user(NEW + PAGE, 4) == b"kept"
    assert_refcounts(mm, {NEW: 1})
    counted = ucmmu_options.policy.startswith("refcount")
    assert mm.check_tables().pte_tables == (1 if counted else 3)
    assert mm.copy_from_user(BASE, 4) == bytes(4)
    assert mm.vm_stats()["VmSize"] == 2 * 2048


def test_growth_of_locked_memory_is_populated(mm):
    mm.mmap(BASE, 2 * PAGE, 3, ANON)
    mm.mlock(BASE, 2 * PAGE)
    mm.mremap(BASE, 2 * PAGE, 6 * PAGE)
    assert (mm.vm_stats()["VmLck"], mm.vm_stats()["VmRSS"]) == (24, 24)
    mm.mremap(BASE, 6 * PAGE, 8 * PAGE, MOVE, NEW)
    assert (mm.vm_stats()["VmLck"], mm.vm_stats()["VmRSS"]) == (32, 32)
    mm.mremap(NEW, 8 * PAGE, PAGE)
    assert (mm.vm_stats()["VmLck"], mm.vm_stats()["VmRSS"]) == (4, 4)


def test_it_moves_where_there_is_room(mm, touch):
    """realloc(): no address is asked for."""
    mm.mmap(BASE, 2 * PAGE, 3, ANON)
    mm.copy_to_user(BASE, b"kept")
    mm.mmap(BASE + 2 * PAGE, PAGE, 1, ANON)
    there = mm.mremap(BASE, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE)
    assert there == mm.c.mmap_base - 4 * PAGE
    assert mm.copy_from_user(there, 4) == b"kept"
    assert touch(BASE).code == 1


def test_limits(mm, raises_errno):
    mm.mmap(BASE, 4 * PAGE, 3, ANON)
    mm.rlimit.address_space = 8 * PAGE
    with raises_errno(errno.ENOMEM):
        mm.mremap(BASE, 4 * PAGE, 9 * PAGE)
    with raises_errno(errno.ENOMEM):
        mm.mremap(BASE, 4 * PAGE, 4 * PAGE, MOVE | MREMAP_DONTUNMAP, NEW + PAGE) and mm.mremap(
            NEW + PAGE, 4 * PAGE, 4 * PAGE, MOVE | MREMAP_DONTUNMAP, BASE + TABLE
        )
    mm.rlimit.address_space = 1 << 40
    mm.rlimit.memlock = 4 * PAGE
    mm.mlock(BASE, 4 * PAGE)
    with raises_errno(errno.EAGAIN):
        mm.mremap(BASE, 4 * PAGE, 5 * PAGE)
    mm.kernel.max_map_count = 6
    with raises_errno(errno.ENOMEM):
        mm.mremap(BASE, 4 * PAGE, 4 * PAGE, MOVE, BASE + 64 * PAGE)


def test_a_part_of_a_special_mapping_does_not_move(mm, raises_errno):
    special = MappedFile.special_mapping(bytes(2 * PAGE), "[vdso]")
    mm.install_special_mapping(BASE, 2 * PAGE, 0x75, special)
    with raises_errno(errno.EINVAL):
        mm.mremap(BASE, PAGE, PAGE, MOVE, NEW)
    assert mm.mremap(BASE, 2 * PAGE, 2 * PAGE, MOVE, NEW) == NEW


def test_out_of_memory_at_every_allocation(mm):
    """New tables of three slots: whichever fails, all is where it was."""
    mm.mmap(BASE, 3 * TABLE, 3, ANON)
    for number in range(3):
        mm.copy_to_user(BASE + number * TABLE + 7, bytes([number + 1]))
    far = BASE + (1 << 39) + PAGE
    for allocations in range(10):
        mm.memory.c.fail_after = allocations
        try:
            assert mm.mremap(BASE, 3 * TABLE, 3 * TABLE, MOVE, far) == far
            break
        except LinuxError as error:
            assert error.errno == errno.ENOMEM
        finally:
            mm.memory.c.fail_after = (1 << 64) - 1
        check_processes(mm.kernel)
        assert mm.vm_stats()["VmSize"] == 3 * 2048
        for number in range(3):
            assert mm.copy_from_user(BASE + number * TABLE + 7, 1)[0] == number + 1
    assert allocations >= 2 + 3
    assert mm.copy_from_user(far + 2 * TABLE + 7, 1) == b"\3"


def test_another_process_keeps_its_pages(mm, touch):
    """A page that a fork shares moves in one process and stays in the other."""
    mm.mmap(BASE, TABLE, 3, ANON)
    mm.mmap(BASE + TABLE, PAGE, 3, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED)
    mm.copy_to_user(BASE, b"kept")
    child = mm.dup_mm()
    mm.mremap(BASE, TABLE, TABLE, MOVE, NEW)
    assert pfn(child, BASE) == pfn(mm, NEW)
    mm.copy_to_user(NEW, b"mine")
    check_processes(mm.kernel)
    child.exit_mmap()
    assert mm.copy_from_user(NEW, 4) == b"mine"


def test_an_old_length_that_wraps_overlaps_nothing(mm, raises_errno):
    """So the target is unmapped before the old range turns out to be impossible, as in v6.18."""
    mm.mmap(BASE, PAGE, 3, ANON)
    mm.mmap(NEW, 2 * PAGE, 3, ANON)
    with raises_errno(errno.EINVAL):
        mm.mremap(BASE, (1 << 64) - PAGE, PAGE, MOVE, NEW)
    assert [vma.vm_start for vma in mm.c.vmas.vma[0 : mm.c.vmas.nr]] == [BASE, NEW + PAGE]
