# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: brk() moves the end of the heap, or tells the old end."""

from __future__ import annotations

import errno

import pytest

from mmu.linux import procfs
from mmu.linux.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_GROWSDOWN, MAP_PRIVATE, MCL_FUTURE

PAGE = 4096
HEAP = 0x60_0000
ANON = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED

pytestmark = pytest.mark.ucmmu(engine="c")


@pytest.fixture
def heap(mm):
    mm.c.start_brk = mm.c.brk = HEAP
    return mm


def test_grow_use_and_shrink(heap, touch, assert_refcounts):
    assert heap.brk(0) == HEAP
    assert heap.brk(HEAP + 3 * PAGE + 5) == HEAP + 3 * PAGE + 5
    assert touch(HEAP, pages=4) is None
    assert procfs.maps(heap).endswith("[heap]\n")
    assert heap.brk(HEAP + PAGE) == HEAP + PAGE
    assert heap.vm_stats()["VmRSS"] == 4
    assert_refcounts(heap, {HEAP: 1})
    assert touch(HEAP + PAGE).code == 1
    assert heap.brk(HEAP) == HEAP
    assert heap.c.vmas.nr == 0


def test_within_one_page_nothing_is_mapped(heap):
    heap.brk(HEAP + 1)
    assert heap.vm_stats()["VmSize"] == 4
    heap.brk(HEAP + 4000)
    assert heap.vm_stats()["VmSize"] == 4


def test_growing_grows_one_vma(heap):
    for pages in range(1, 5):
        heap.brk(HEAP + pages * PAGE)
    assert heap.c.vmas.nr == 1
    assert heap.vm_stats()["VmData"] == 16


def test_a_locked_heap_is_brought_in(heap):
    heap.mlockall(MCL_FUTURE)
    assert heap.brk(HEAP + 2 * PAGE) == HEAP + 2 * PAGE
    assert (heap.vm_stats()["VmLck"], heap.vm_stats()["RssAnon"]) == (8, 8)
    heap.rlimit.memlock = 3 * PAGE
    assert heap.brk(HEAP + 4 * PAGE) == HEAP + 2 * PAGE
    assert heap.brk(HEAP + 3 * PAGE) == HEAP + 3 * PAGE


def test_without_a_lock_nothing_is_locked(heap):
    heap.brk(HEAP + 2 * PAGE)
    assert (heap.vm_stats()["VmLck"], heap.vm_stats()["RssAnon"]) == (0, 0)


def test_heap_and_bss_stay_apart(mm):
    mm.vm_brk_flags(HEAP - 2 * PAGE, 2 * PAGE)
    mm.c.start_brk = mm.c.brk = HEAP
    mm.brk(HEAP + PAGE)
    assert mm.c.vmas.nr == 2


@pytest.mark.parametrize("brk", [HEAP - 1, 0, 1, (1 << 64) - 1, 1 << 47, 0x7FFFFFFFF001])
def test_impossible_ends_are_refused(heap, brk):
    heap.brk(HEAP + PAGE)
    assert heap.brk(brk) == HEAP + PAGE


def test_another_mapping_or_a_stacks_gap_in_the_way(heap):
    heap.mmap(HEAP + 4 * PAGE, PAGE, 3, ANON)
    assert heap.brk(HEAP + 5 * PAGE) == HEAP
    assert heap.brk(HEAP + 4 * PAGE) == HEAP
    assert heap.brk(HEAP + 3 * PAGE + 1) == HEAP
    assert heap.brk(HEAP + 3 * PAGE) == HEAP + 3 * PAGE
    heap.munmap(HEAP + 4 * PAGE, PAGE)
    heap.mmap(HEAP + (1 << 20) + 6 * PAGE, PAGE, 3, ANON | MAP_GROWSDOWN)
    assert heap.brk(HEAP + 6 * PAGE) == HEAP + 3 * PAGE
    assert heap.brk(HEAP + 5 * PAGE) == HEAP + 5 * PAGE


def test_limits(heap):
    heap.rlimit.data = 2 * PAGE
    assert heap.brk(HEAP + 3 * PAGE) == HEAP
    assert heap.brk(HEAP + 2 * PAGE) == HEAP + 2 * PAGE
    heap.rlimit.data = 1 << 60
    heap.rlimit.address_space = 3 * PAGE
    assert heap.brk(HEAP + 4 * PAGE) == HEAP + 2 * PAGE
    heap.rlimit.address_space = 1 << 60
    heap.kernel.overcommit_memory = 0
    assert heap.brk(HEAP + heap.memory.size + (1 << 20)) == HEAP + 2 * PAGE
    heap.kernel.max_map_count = 0
    assert heap.brk(HEAP + 3 * PAGE) == HEAP + 2 * PAGE
    heap.kernel.max_map_count = 1
    assert heap.brk(HEAP + 3 * PAGE) == HEAP + 3 * PAGE


def test_vm_brk_flags_replaces(mm, raises_errno):
    mm.mmap(HEAP, 4 * PAGE, 1, ANON)
    mm.vm_brk_flags(HEAP + PAGE, PAGE + 1)
    assert [line.split()[1] for line in procfs.maps(mm).splitlines()] == ["r--p", "rw-p", "r--p"]
    mm.vm_brk_flags(HEAP, 0)
    with raises_errno(errno.EINVAL):
        mm.vm_brk_flags(HEAP + 1, PAGE)
    with raises_errno(errno.EINVAL):
        mm.vm_brk_flags(HEAP, PAGE, 2)
