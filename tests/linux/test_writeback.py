# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the first write to a page of a shared file is heard of and makes it dirty; writing it back
takes D and the right to write away in every mapping, so that the next write is heard of again.
"""

from __future__ import annotations

import pytest

from mmu.errors import LinuxError
from mmu.linux.filemap import AddressSpace, MappedFile
from mmu.linux.locks import pte_lock, pte_unlock
from mmu.linux.mman import (
    MADV_DONTNEED,
    MADV_REMOVE,
    MAP_FIXED,
    MAP_PRIVATE,
    MAP_SHARED,
    MS_ASYNC,
    MS_INVALIDATE,
    MS_SYNC,
)
from mmu.linux.pgtable import RW, D, entry_pfn, mm_find_pmd
from mmu.linux.truncate import truncate_pagecache_range
from mmu.linux.vmscan import try_to_free_pages
from mmu.x86 import Access
from tests.linux.cpus import Cpus
from tests.linux.disk import Disk
from tests.linux.processes import access, pte, run
from ucmmu.race.interleaving import Interleaving

PAGE = 4096
BASE = 0x10_0000_0000
SHARED = MAP_SHARED | MAP_FIXED


def file_of(disk: Disk, **rights: bool) -> MappedFile:
    return MappedFile(AddressSpace(disk), writable=True, **rights)


@pytest.fixture
def disk() -> Disk:
    return Disk(5 * PAGE + 100)


def dirty(file: MappedFile) -> list[int]:
    return sorted(file.mapping.dirty)


def test_reads_map_pages_that_cannot_be_written(mm, touch, assert_walk, assert_fault, disk):
    file = file_of(disk)
    mm.mmap(BASE, 6 * PAGE, 3, SHARED, file)
    touch(BASE, "read")
    for page in range(6):
        assert_walk(BASE + page * PAGE, "read", dirty=False)
        assert_fault(BASE + page * PAGE, "write")
    assert dirty(file) == []
    faults = mm.counters()["pgfault"]
    touch(BASE + PAGE, "write")
    assert_walk(BASE + PAGE, "write", dirty=True)
    assert dirty(file) == [1]
    assert mm.counters()["pgfault"] == faults + 1


def test_a_first_write_maps_the_page_itself(mm, touch, assert_refcounts, disk):
    file = file_of(disk)
    mm.mmap(BASE, 6 * PAGE, 3, SHARED, file)
    touch(BASE + 2 * PAGE, "write")
    assert dirty(file) == [2]
    assert mm.vm_stats()["RssFile"] == 4
    assert mm.counters()["pgmajfault"] == 1
    assert_refcounts(mm, {BASE: 1})


def test_msync_writes_what_is_dirty_and_protects_it_again(
    mm, touch, assert_walk, assert_fault, disk
):
    file = file_of(disk)
    mm.mmap(BASE, 6 * PAGE, 3, SHARED, file)
    mm.copy_to_user(BASE + 10, b"first")
    mm.copy_to_user(BASE + 5 * PAGE + 96, b"last and beyond")
    mm.msync(BASE, 6 * PAGE, MS_ASYNC)
    assert disk.written == []
    mm.msync(BASE, 6 * PAGE, MS_SYNC)
    assert disk.written == [0, 5]
    assert disk.data[10:15] == b"first"
    assert disk.data[5 * PAGE + 96 :] == b"last"
    assert dirty(file) == []
    assert_walk(BASE, "read", dirty=False)
    assert_fault(BASE, "write")
    mm.msync(BASE, 6 * PAGE, MS_SYNC)
    assert disk.written == [0, 5]
    touch(BASE, "write")
    assert dirty(file) == [0]


def test_msync_writes_only_its_range_and_holes_are_told(mm, disk):
    file = file_of(disk)
    mm.mmap(BASE, 6 * PAGE, 3, SHARED, file)
    mm.copy_to_user(BASE, bytes(6 * PAGE))
    mm.munmap(BASE + 2 * PAGE, PAGE)
    with pytest.raises(LinuxError, match="ENOMEM"):
        mm.msync(BASE + PAGE, 3 * PAGE, MS_SYNC)
    assert disk.written == [1, 3]
    assert dirty(file) == [0, 2, 4, 5]
    with pytest.raises(LinuxError, match="ENOMEM"):
        mm.msync(BASE, 6 * PAGE, MS_ASYNC)
    for bad in (MS_SYNC | MS_ASYNC, 64):
        with pytest.raises(LinuxError, match="EINVAL"):
            mm.msync(BASE, PAGE, bad)
    with pytest.raises(LinuxError, match="EINVAL"):
        mm.msync(BASE + 1, PAGE, MS_SYNC)
    mm.mlock(BASE, PAGE)
    with pytest.raises(LinuxError, match="EBUSY"):
        mm.msync(BASE, PAGE, MS_INVALIDATE)


def test_every_mapping_is_cleaned(mm, disk):
    file = file_of(disk)
    mm.mmap(BASE, 2 * PAGE, 3, SHARED, file)
    mm.mmap(BASE + (4 << 20), PAGE, 3, SHARED, file_of_same(file), 1)
    mm.copy_to_user(BASE + PAGE, b"one way")
    mm.copy_to_user(BASE + (4 << 20), b"two")
    mm.msync(BASE, 2 * PAGE, MS_SYNC)
    assert disk.written == [1]
    assert disk.data[PAGE : PAGE + 7] == b"two way"
    mm.copy_to_user(BASE + (4 << 20), b"three")
    assert dirty(file) == [1]


def file_of_same(file: MappedFile) -> MappedFile:
    return MappedFile(file.mapping, writable=True)


def test_a_child_is_heard_of_too(mm, disk):
    file = file_of(disk)
    mm.mmap(BASE, 2 * PAGE, 3, SHARED, file)
    mm.copy_to_user(BASE, b"parent")
    child = mm.dup_mm()
    mm.msync(BASE, PAGE, MS_SYNC)
    for addr_space in (mm, child):
        assert not pte(addr_space, BASE) & (RW | D)
    assert dirty(file) == []
    child.exit_mmap()
    run(mm)


def test_mprotect_gives_the_right_back_to_what_is_dirty_only(
    mm, touch, assert_walk, assert_fault, disk
):
    file = file_of(disk)
    mm.mmap(BASE, 6 * PAGE, 3, SHARED, file)
    touch(BASE, "read")
    touch(BASE + PAGE, "write")
    mm.mprotect(BASE, 6 * PAGE, 1)
    assert_fault(BASE + PAGE, "write")
    mm.mprotect(BASE, 6 * PAGE, 3)
    assert_walk(BASE + PAGE, "write", dirty=True)
    assert_fault(BASE, "write")
    faults = mm.counters()["pgfault"]
    touch(BASE, "write")
    assert mm.counters()["pgfault"] == faults + 1
    assert dirty(file) == [0, 1]


def test_a_private_copy_is_nobody_elses(mm, touch, disk):
    file = file_of(disk)
    mm.mmap(BASE, 2 * PAGE, 3, MAP_PRIVATE | MAP_FIXED, file)
    mm.copy_to_user(BASE, b"mine")
    assert dirty(file) == []
    assert disk.data[:4] != b"mine"
    assert mm.vm_stats()["RssAnon"] == 4


def test_a_full_disk_is_sigbus(mm, touch, disk):
    disk.room = 1
    mm.mmap(BASE, 6 * PAGE, 3, SHARED, file_of(disk))
    assert touch(BASE, "write") is None
    segv = touch(BASE + PAGE, "write")
    assert (segv.signal, segv.code) == (7, 2)
    touch(BASE + 2 * PAGE, "read")
    assert touch(BASE + 2 * PAGE, "write").signal == 7


def test_a_write_while_another_mm_is_cleaned_is_heard_of(disk):
    """The writer of page 0 comes after its mm was cleaned, and before the child's was."""
    cpus = Cpus("python", nr=3)
    mm, file, at = cpus.mm, file_of(disk), BASE + (1 << 30)
    mm.mmap(at, PAGE, 3, SHARED, file)
    mm.copy_to_user(at, b"first")
    child = mm.dup_mm()
    access(child, at, Access.READ)
    run(mm)
    pmd = mm_find_pmd(child, at)
    assert pmd is not None
    table = entry_pfn(child.memory.read_u64(pmd))
    written: list[bool] = []

    def hold() -> None:
        pte_lock(child, table)
        cpus.kernel.scheduler.spin_until(lambda: bool(written), "the second write")
        pte_unlock(child, table)

    def write() -> None:
        cpus.kernel.scheduler.spin_until(lambda: not pte(mm, at) & RW, "the first mm to be clean")
        mm.copy_to_user(at, b"again")
        written.append(True)

    actors = {0: lambda: mm.msync(at, PAGE, MS_SYNC), 1: hold, 2: write}
    Interleaving(cpus.kernel, actors, schedule=[1], points=set()).run()
    assert disk.data[:5] == b"again"
    assert pte(mm, at) & RW
    assert dirty(file) == [0]
    assert file.mapping.writeback == []


def test_what_cannot_be_read_costs_no_frame(mm, disk):
    file = file_of(disk)
    file.get()
    mm.mmap(BASE, 6 * PAGE, 1, SHARED, file)
    file.mapping.read_ahead(mm.memory, 2, 3)
    in_use = mm.memory.frames_in_use
    disk.broken = True
    for pgoff in (0, 1, 4):
        with pytest.raises(LinuxError, match="EIO"):
            file.mapping.read_pages(mm.memory, pgoff)
    assert mm.memory.frames_in_use == in_use
    file.put()


def test_a_page_that_cannot_be_read_is_sigbus(mm, touch, disk):
    disk.broken = True
    mm.mmap(BASE, PAGE, 3, SHARED, file_of(disk))
    assert touch(BASE, "read").signal == 7
    assert touch(BASE, "write").signal == 7
    assert mm.memory.free_frames


def test_what_could_not_be_written_stays_dirty(mm, disk):
    file = file_of(disk)
    mm.mmap(BASE, PAGE, 3, SHARED, file)
    mm.copy_to_user(BASE, b"kept")
    disk.broken = True
    with pytest.raises(LinuxError, match="EIO"):
        mm.msync(BASE, PAGE, MS_SYNC)
    assert dirty(file) == [0]
    disk.broken = False
    mm.msync(BASE, PAGE, MS_SYNC)
    assert disk.data[:4] == b"kept"


def test_dirty_pages_outlive_their_mapping_and_a_lack_of_memory(mm, disk):
    file = file_of(disk)
    file.get()
    mm.mmap(BASE, 6 * PAGE, 3, SHARED, file)
    mm.copy_to_user(BASE, b"kept")
    mm.madvise(BASE, 6 * PAGE, MADV_DONTNEED)
    assert file.nr_cached == 6
    try_to_free_pages(mm)
    assert file.nr_cached == 1
    assert mm.copy_from_user(BASE, 4) == b"kept"
    mm.munmap(BASE, 6 * PAGE)
    assert dirty(file) == [0]
    file.put()


def test_the_end_moves_under_a_mapping(mm, touch, assert_refcounts, disk):
    file = file_of(disk)
    mm.mmap(BASE, 6 * PAGE, 3, SHARED, file)
    mm.copy_to_user(BASE, bytes(6 * PAGE))
    del disk.data[2 * PAGE :]
    truncate_pagecache_range(mm.kernel, file.mapping, 2, 6, even_cows=True)
    assert dirty(file) == [0, 1]
    assert_refcounts(mm, {BASE: 2})
    assert touch(BASE + 2 * PAGE, "write").signal == 7
    disk.data += bytes(PAGE)
    assert touch(BASE + 2 * PAGE, "write") is None
    assert dirty(file) == [0, 1, 2]


def test_rights_of_the_open_file_bind(mm, disk):
    file = MappedFile(AddressSpace(disk), writable=False)
    with pytest.raises(LinuxError, match="EACCES"):
        mm.mmap(BASE, PAGE, 3, SHARED, file)
    mm.mmap(BASE, PAGE, 1, SHARED, file)
    with pytest.raises(LinuxError, match="EACCES"):
        mm.mprotect(BASE, PAGE, 3)
    with pytest.raises(LinuxError, match="EACCES"):
        mm.mmap(BASE, PAGE, 1, SHARED, file_of(disk, readable=False))


def test_a_file_that_is_unmapped_while_another_gets_its_hole_stays_open(mm, disk):
    """MADV_REMOVE of two files: the first waits, and somebody unmaps the second."""
    other = file_of(Disk(2 * PAGE))

    class Waits(Disk):
        """Its holes take long."""

        def punch_hole(self, offset: int, length: int) -> bool:
            """Somebody else goes on meanwhile."""
            mm.munmap(BASE + PAGE, PAGE)
            assert other.users
            return super().punch_hole(offset, length)

    mm.mmap(BASE, PAGE, 3, SHARED, file_of(Waits(PAGE)))
    mm.mmap(BASE + PAGE, PAGE, 3, SHARED, other)
    mm.madvise(BASE, 2 * PAGE, MADV_REMOVE)
    assert other.users == 0
    assert other.mapping.ops.data[:PAGE] == bytes(PAGE)
