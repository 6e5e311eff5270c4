# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: munmap() takes out exactly the range: VMAs are split, pages freed, tables of empty spans
freed.
"""

from __future__ import annotations

import errno
import time

import pytest

from mmu.linux import procfs
from mmu.linux.filemap import MappedFile
from mmu.linux.layout import TASK_SIZE
from mmu.linux.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE

PAGE = 4096
BASE = 0x10_0000_0000
ANON = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED


def extents(mm):
    return [
        tuple(int(n, 16) - BASE >> 12 for n in line.split()[0].split("-"))
        for line in procfs.maps(mm).splitlines()
    ]


@pytest.mark.parametrize(
    ("start", "pages", "left"),
    [
        (0, 8, []),
        (0, 3, [(3, 8)]),
        (5, 3, [(0, 5)]),
        (2, 4, [(0, 2), (6, 8)]),
        (-4, 6, [(2, 8)]),
        (6, 100, [(0, 6)]),
        (-2, 100, []),
        (20, 4, [(0, 8)]),
    ],
)
def test_the_range_goes_and_the_rest_stays(mm, touch, assert_refcounts, start, pages, left):
    mm.mmap(BASE, 8 * PAGE, 3, ANON)
    for page in range(8):
        mm.copy_to_user(BASE + page * PAGE, bytes([page + 1]))
    mm.munmap(BASE + start * PAGE, pages * PAGE)
    assert extents(mm) == left
    for first, end in left:
        for page in range(first, end):
            assert mm.copy_from_user(BASE + page * PAGE, 1) == bytes([page + 1])
    nr = sum(end - first for first, end in left)
    assert mm.vm_stats()["VmRSS"] == mm.vm_stats()["VmSize"] == nr * 4
    assert_refcounts(mm, {BASE: nr})


def test_an_unmapped_address_faults(mm, touch, assert_fault):
    mm.mmap(BASE, PAGE, 3, ANON)
    touch(BASE)
    mm.munmap(BASE, PAGE)
    assert_fault(BASE, "read", code=4)
    assert str(touch(BASE)) == f"SIGSEGV (SEGV_MAPERR) at {BASE:#x}"


def test_several_vmas_and_holes_at_once(mm, touch):
    for i, prot in enumerate([3, 1, 3, 0, 7]):
        mm.mmap(BASE + 2 * i * PAGE, PAGE, prot, ANON)
    mm.munmap(BASE, 9 * PAGE)
    assert mm.c.vmas.nr == 0
    assert mm.vm_stats()["VmPeak"] == 20


def test_tables_go_with_the_last_neighbour(mm, touch):
    """PTE, PMD and PUD tables of a span that maps nothing are freed, under every policy; not a
    neighbour's.
    """
    mm.mmap(BASE, 4 << 20, 3, ANON)
    touch(BASE)
    touch(BASE + (2 << 20))
    assert mm.vm_stats()["VmPTE"] == 16
    mm.munmap(BASE, 2 << 20)
    assert mm.vm_stats()["VmPTE"] == 12
    mm.munmap(BASE + (2 << 20), 2 << 20)
    assert mm.vm_stats()["VmPTE"] == 0
    assert mm.vm_stats()["VmPTE_peak"] == 16


def test_tables_of_far_apart_vmas_in_one_call(mm, touch):
    """One munmap() over VMAs gigabytes apart frees all upper tables too."""
    for gib in range(0, 1024, 300):
        mm.mmap(BASE + (gib << 30), PAGE, 3, ANON)
        touch(BASE + (gib << 30))
    mm.munmap(BASE, 1 << 40)
    assert mm.vm_stats()["VmPTE"] == 0


@pytest.mark.ucmmu(engine="c", policy="refcount")
@pytest.mark.parametrize(
    ("addr", "length"),
    [
        (BASE + 1, PAGE),
        (BASE, 0),
        (BASE, (1 << 64) - 1),
        (TASK_SIZE, PAGE),
        (TASK_SIZE - PAGE, 2 * PAGE),
        ((1 << 64) - PAGE, PAGE),
    ],
)
def test_impossible_ranges_are_einval(mm, raises_errno, addr, length):
    mm.mmap(BASE, PAGE, 3, ANON)
    with raises_errno(errno.EINVAL):
        mm.munmap(addr, length)
    assert mm.c.vmas.nr == 1


@pytest.mark.ucmmu(engine="c", policy="refcount")
def test_a_split_over_max_map_count_is_enomem(mm, raises_errno):
    """A hole in the middle needs one VMA more; cutting off an end does not."""
    mm.mmap(BASE, 8 * PAGE, 3, ANON)
    mm.kernel.max_map_count = 1
    with raises_errno(errno.ENOMEM):
        mm.munmap(BASE + 2 * PAGE, PAGE)
    assert extents(mm) == [(0, 8)]
    mm.munmap(BASE, PAGE)
    mm.munmap(BASE + 7 * PAGE, PAGE)
    assert extents(mm) == [(1, 7)]


@pytest.mark.ucmmu(engine="c", policy="refcount", fidelity="fast")
def test_twenty_times_the_vmas_of_a_file_take_no_longer_each(mm):
    """Each is looked for in its file's i_mmap, not among all."""
    file, times = MappedFile(b"page"), []
    for nr in (250, 5000):
        for number in range(nr):
            mm.mmap(BASE + 2 * number * PAGE, PAGE, 1, MAP_PRIVATE | MAP_FIXED, file)
        started = time.process_time()
        mm.munmap(BASE, 2 * nr * PAGE)
        times.append((time.process_time() - started) / nr)
    assert times[1] < 2 * times[0], times
