# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: process_vm_readv() and process_vm_writev() copy what both sides allow, whole pieces in
order, and say how much (mm/process_vm_access.c, v6.18).
"""

from __future__ import annotations

import pytest

from mmu.errors import LinuxError
from mmu.linux.filemap import AddressSpace, MappedFile
from mmu.linux.mm import Mm
from mmu.linux.mman import MAP_FIXED, MAP_SHARED, MS_SYNC
from mmu.linux.process_vm_access import process_vm_rw
from mmu.linux.rcupdate import rcu_barrier
from mmu.linux.uaccess import raw_copy_from_user
from mmu.units import PAGE_SIZE
from tests.linux.cpus import BASE, Cpus
from tests.linux.disk import Disk

END = BASE + 512 * PAGE_SIZE


@pytest.fixture(params=["c", "python"])
def mms(request: pytest.FixtureRequest) -> tuple[Mm, Mm]:
    """The caller's mm and another, each with 512 pages at BASE; the other is loaded nowhere."""
    cpus = Cpus(request.param, nr=1)
    other = Mm(cpus.kernel)
    other.mmap(BASE, 512 * PAGE_SIZE, 3, 0x32)
    return cpus.mm, other


def test_read_and_write_across_pages(mms: tuple[Mm, Mm]) -> None:
    mine, other = mms
    data = bytes(range(256)) * 40
    mine.copy_to_user(BASE + 100, data)
    there = [(BASE + 4000, 5000), (BASE + 20000, 5240)]
    assert process_vm_rw(mine, [(BASE + 100, len(data))], other, there, write=True) == len(data)
    back = [(BASE + 50000, 7), (BASE + 60001, len(data) - 7)]
    assert process_vm_rw(mine, back, other, there, write=False) == len(data)
    got = mine.copy_from_user(BASE + 50000, 7) + mine.copy_from_user(BASE + 60001, len(data) - 7)
    assert got == data
    assert other.check_tables().ok and mine.check_tables().ok


def test_a_page_that_is_written_back_meanwhile_is_dirty_again(
    mms: tuple[Mm, Mm], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller's fault waits while the page is held, and somebody calls msync()."""
    mine, other = mms
    disk, at = Disk(PAGE_SIZE), BASE + (1 << 30)
    file = MappedFile(AddressSpace(disk), writable=True)
    other.mmap(at, PAGE_SIZE, 3, MAP_SHARED | MAP_FIXED, file)
    mine.copy_to_user(BASE, b"late")

    def copy(mm: Mm, addr: int, n: int) -> bytes:
        other.msync(at, PAGE_SIZE, MS_SYNC)
        return raw_copy_from_user(mm, addr, n)

    monkeypatch.setattr("mmu.linux.process_vm_access.raw_copy_from_user", copy)
    assert process_vm_rw(mine, [(BASE, 4)], other, [(at, 4)], write=True) == 4
    assert disk.written == [0]
    other.msync(at, PAGE_SIZE, MS_SYNC)
    assert disk.data[:4] == b"late"


def test_the_shorter_side_ends_it(mms: tuple[Mm, Mm]) -> None:
    mine, other = mms
    assert process_vm_rw(mine, [(BASE, 10)], other, [(BASE, 100)], write=False) == 10
    assert process_vm_rw(mine, [(BASE, 100)], other, [(BASE, 10)], write=False) == 10
    assert process_vm_rw(mine, [(BASE, 100)], other, [], write=False) == 0


def test_it_ends_where_the_other_has_nothing(mms: tuple[Mm, Mm]) -> None:
    mine, other = mms
    assert process_vm_rw(mine, [(BASE, 100)], other, [(END - 40, 100)], write=False) == 40
    with pytest.raises(LinuxError, match="EFAULT"):
        process_vm_rw(mine, [(BASE, 100)], other, [(END, 100)], write=False)


def test_it_ends_where_the_caller_has_nothing(mms: tuple[Mm, Mm]) -> None:
    mine, other = mms
    for write in (False, True):
        assert process_vm_rw(mine, [(END - 40, 100)], other, [(BASE, 100)], write=write) == 40
        with pytest.raises(LinuxError, match="EFAULT"):
            process_vm_rw(mine, [(END, 100)], other, [(BASE, 100)], write=write)


def test_rights_are_those_of_the_other_side(mms: tuple[Mm, Mm]) -> None:
    mine, other = mms
    other.mprotect(BASE, PAGE_SIZE, 1)
    assert process_vm_rw(mine, [(BASE, 8)], other, [(BASE, 8)], write=False) == 8
    with pytest.raises(LinuxError, match="EFAULT"):
        process_vm_rw(mine, [(BASE, 8)], other, [(BASE, 8)], write=True)


def test_no_page_stays_held(mms: tuple[Mm, Mm]) -> None:
    mine, other = mms
    frames = mine.memory.frames_in_use
    process_vm_rw(mine, [(BASE, 300000)], other, [(BASE, 300000)], write=True)
    for mm in mms:
        mm.munmap(BASE, 512 * PAGE_SIZE)
    rcu_barrier(mine.kernel)
    assert mine.memory.frames_in_use == frames
