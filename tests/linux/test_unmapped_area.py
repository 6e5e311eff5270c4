# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: without a usable hint a mapping goes to the highest free place below mmap_base that keeps
stacks' gaps free.
"""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmu.linux.filemap import MappedFile
from mmu.linux.layout import TASK_UNMAPPED_BASE, mmap_base
from mmu.linux.mman import (
    MAP_32BIT,
    MAP_ABOVE4G,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_GROWSDOWN,
    MAP_PRIVATE,
)
from ucmmu.testing.mm import make_mm
from ucmmu.testing.options import MachineOptions

PAGE = 4096
MIB = 1 << 20
ANON = MAP_PRIVATE | MAP_ANONYMOUS
TOP = 0x7FFFF7FFF000

pytestmark = pytest.mark.ucmmu(engine="c", policy="refcount")


def test_mmap_base_follows_the_stack_limit():
    """Values of arch/x86/mm/mmap.c: at least 128 MiB, at most 5/6 of the address space, else limit
    + 1 MiB.
    """
    assert mmap_base(8 * MIB) == TOP
    assert mmap_base(0) == TOP
    assert mmap_base(1 << 30) == 0x7FFFFFFFF000 - (1 << 30) - MIB
    assert mmap_base((1 << 64) - 1) == 0x1555_5555_6000


def test_top_down(mm):
    assert mm.mmap(0, PAGE, 3, ANON) == TOP - PAGE
    assert mm.mmap(0, 3 * PAGE, 1, ANON) == TOP - 4 * PAGE
    assert mm.mmap(0, PAGE, 3, ANON) == TOP - 5 * PAGE


def test_the_highest_hole_that_fits(mm):
    mm.mmap(0, 16 * PAGE, 3, ANON)
    mm.munmap(TOP - 10 * PAGE, 2 * PAGE)
    mm.munmap(TOP - 15 * PAGE, 3 * PAGE)
    assert mm.mmap(0, 3 * PAGE, 3, ANON) == TOP - 15 * PAGE
    assert mm.mmap(0, 2 * PAGE, 3, ANON) == TOP - 10 * PAGE
    assert mm.mmap(0, PAGE, 3, ANON) == TOP - 17 * PAGE


def test_whole_2_mib_are_aligned(mm):
    assert mm.mmap(0, 2 * MIB, 3, ANON) == 0x7FFFF7C00000
    assert mm.mmap(0, 4 * MIB, 3, ANON) == 0x7FFFF7800000
    assert mm.mmap(0, 4 * MIB + PAGE, 3, ANON) == 0x7FFFF7800000 - 4 * MIB - PAGE


@pytest.mark.parametrize("page", [0, 3, 511])
def test_a_file_lies_as_its_offset_does(mm, page):
    """So that huge pages of the file would fit: address and offset are congruent modulo 2 MiB."""
    file = MappedFile(bytes(8 * MIB))
    addr = mm.mmap(0, 4 * MIB, 1, MAP_PRIVATE, file, page)
    assert (addr - page * PAGE) % (2 * MIB) == 0
    assert TOP - 4 * MIB >= addr > TOP - 8 * MIB


def test_a_free_hint_is_taken_at_its_page(mm):
    assert mm.mmap(0x1234567, PAGE, 3, ANON) == 0x1234000
    assert mm.mmap(0x1234567, PAGE, 3, ANON) == TOP - PAGE
    assert mm.mmap(PAGE, PAGE, 3, ANON) == mm.kernel.mmap_min_addr
    assert mm.mmap(1, PAGE, 3, ANON) == TOP - 2 * PAGE
    assert mm.mmap(1 << 47, PAGE, 3, ANON) == TOP - 3 * PAGE
    assert mm.mmap(0x7FFFFFFFE000, 2 * PAGE, 3, ANON) == TOP - 5 * PAGE


def test_a_gap_of_1_mib_stays_below_stacks(mm):
    stack = mm.mmap(0, 4 * PAGE, 3, ANON | MAP_GROWSDOWN)
    assert mm.mmap(0, PAGE, 3, ANON) == stack - MIB - PAGE
    assert mm.mmap(stack - PAGE, PAGE, 3, ANON) == stack - MIB - 2 * PAGE


def test_map_32bit_and_above4g(mm):
    assert mm.mmap(0, PAGE, 3, ANON | MAP_32BIT) == 0x40000000
    assert mm.mmap(0, PAGE, 1, ANON | MAP_32BIT) == 0x40001000
    assert mm.mmap(0x50000000, PAGE, 3, ANON | MAP_32BIT) == 0x50000000
    assert mm.mmap(0, PAGE, 3, ANON | MAP_ABOVE4G) == TOP - PAGE


def test_when_the_rest_is_full_it_goes_above_mmap_base(mm, raises_errno):
    """The fallback searches bottom-up from a third of the address space, and past mmap_base."""
    mm.mmap(mm.kernel.mmap_min_addr, TOP - mm.kernel.mmap_min_addr, 0, ANON | MAP_FIXED)
    assert mm.mmap(0, PAGE, 3, ANON) == TOP
    mm.munmap(TASK_UNMAPPED_BASE, 2 * PAGE)
    assert mm.mmap(0, 2 * PAGE, 3, ANON) == TASK_UNMAPPED_BASE
    with raises_errno(errno.ENOMEM):
        mm.mmap(0, 1 << 40, 3, ANON)
    with raises_errno(errno.ENOMEM):
        mm.mmap(0, 1 << 31, 3, ANON | MAP_32BIT)


@pytest.mark.ucmmu(policy="refcount")
def test_a_place_is_told_and_not_taken(mm, raises_errno):
    assert mm.get_unmapped_area(1) == TOP - PAGE
    assert mm.get_unmapped_area(1) == TOP - PAGE
    assert mm.mmap(0, PAGE, 3, ANON) == TOP - PAGE
    assert mm.get_unmapped_area(PAGE) == TOP - 2 * PAGE
    with raises_errno(errno.ENOMEM):
        mm.get_unmapped_area(1 << 47)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.integers(1, 4)), max_size=60))
def test_what_a_search_remembers_never_hides_a_hole(steps):
    """The remembered hole is a short cut: a fresh mm with the same mappings answers the same."""
    mm = make_mm(MachineOptions(policy="never", ram=1 << 20, fidelity="fast"))
    for unmap, page, pages in steps:
        if unmap:
            mm.munmap(TOP - (page + pages) * PAGE, pages * PAGE)
            continue
        free = {TOP - (n + 1) * PAGE for n in range(256)}
        for vma in mm.c.vmas.vma[0 : mm.c.vmas.nr]:
            free -= set(range(vma.vm_start, vma.vm_end, PAGE))
        starts = [addr for addr in free if all(addr + n * PAGE in free for n in range(pages))]
        assert mm.mmap(0, pages * PAGE, 3, ANON) == max(starts)
    mm.exit_mmap()
