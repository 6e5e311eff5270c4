# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the first touch of anonymous memory brings a zeroed page (or, read, the zero page) and
costs what it costs.
"""

from __future__ import annotations

import pytest

from mmu._native import lib
from mmu.errors import BadTable
from mmu.linux.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE

PAGE = 4096
BASE = 0x10_0000_0000
ANON = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED


def test_a_write_brings_a_page_of_its_own(mm, touch, assert_fault, assert_walk, assert_refcounts):
    mm.mmap(BASE, 2 * PAGE, 3, ANON)
    assert_fault(BASE, "write", code=6)
    assert touch(BASE, "write") is None
    walk = assert_walk(BASE, "write", dirty=True, xd=True, level=1)
    page = mm.memory.page(walk.pa >> 12)
    assert page.flags & lib.PG_anon
    assert (page._refcount, page._mapcount) == (1, 1)
    assert mm.memory.read(walk.pa, PAGE) == bytes(PAGE)
    assert mm.vm_stats()["VmRSS"] == 4
    assert mm.vm_stats()["VmPTE"] == 12
    assert mm.counters()["pgfault"] == 1
    assert_refcounts(mm, {BASE: 1})


def test_a_read_maps_the_zero_page(mm, touch, assert_walk, assert_fault, assert_refcounts):
    mm.mmap(BASE, 2 * PAGE, 3, ANON)
    assert touch(BASE, "read", pages=2) is None
    for page in range(2):
        assert_walk(BASE + page * PAGE, "read", pa=mm.memory.zero_pfn << 12)
    assert_fault(BASE, "write", code=7)
    assert mm.vm_stats()["VmRSS"] == 0
    assert_refcounts(mm, {BASE: 2})


def test_a_write_to_the_zero_page_copies_it(mm, touch, assert_walk, assert_refcounts):
    mm.mmap(BASE, PAGE, 3, ANON)
    touch(BASE, "read")
    mm.copy_to_user(BASE, b"mine")
    assert assert_walk(BASE, "write").pa != mm.memory.zero_pfn << 12
    assert mm.memory.read(mm.memory.zero_pfn << 12, PAGE) == bytes(PAGE)
    assert mm.vm_stats()["VmRSS"] == 4
    assert_refcounts(mm, {BASE: 1})


def test_tables_are_made_where_they_are_needed(mm, touch, assert_refcounts):
    for addr in (BASE, BASE + (2 << 20), BASE + (1 << 30), BASE + (512 << 30)):
        mm.mmap(addr, PAGE, 3, ANON)
        touch(addr)
    assert mm.vm_stats()["VmPTE"] == (4 + 3 + 2) * 4
    assert_refcounts(mm, {BASE: 1, BASE + (2 << 20): 1, BASE + (1 << 30): 1, BASE + (512 << 30): 1})


@pytest.mark.parametrize(
    ("prot", "access", "error_code"),
    [
        (0, "read", 4),
        (0, "write", 6),
        (0, "fetch", 0x14),
        (1, "write", 6),
        (1, "fetch", 0x14),
        (3, "fetch", 0x14),
    ],
)
@pytest.mark.ucmmu(policy="refcount")
def test_what_the_vma_forbids_is_an_access_error(mm, touch, assert_fault, prot, access, error_code):
    mm.mmap(BASE, PAGE, prot, ANON)
    assert_fault(BASE, access, code=error_code)
    segv = touch(BASE, access)
    assert (segv.signal, segv.code, segv.address) == (11, 2, BASE)


@pytest.mark.ucmmu(policy="refcount")
@pytest.mark.parametrize("addr", [0, BASE, 0x7FFFFFFFF000, 0xFFFF_8000_0000_0000])
def test_where_nothing_is_mapped_is_a_mapping_error(mm, touch, addr):
    segv = touch(addr)
    assert (segv.signal, segv.code, segv.address) == (11, 1, addr)


@pytest.mark.ucmmu(policy="refcount")
def test_a_reserved_bit_is_a_bad_table(mm, touch, assert_walk):
    mm.mmap(BASE, PAGE, 3, ANON)
    touch(BASE)
    pte = assert_walk(BASE).entry_pa[1]
    mm.memory.write_u64(pte, mm.memory.read_u64(pte) | 1 << 51)
    mm.kernel.this_cpu.mmu.flush_all()
    with pytest.raises(BadTable):
        touch(BASE)
    mm.memory.write_u64(pte, mm.memory.read_u64(pte) & ~(1 << 51))


@pytest.mark.ucmmu(policy="refcount")
def test_a_fault_that_is_no_more_is_no_error(mm, touch):
    """The entry allows the access by the time the handler looks: it flushes and lets it be tried
    again.
    """
    mm.mmap(BASE, PAGE, 3, ANON)
    touch(BASE)
    assert mm.handle_user_fault(BASE, 7) is None
    assert mm.vm_stats()["VmRSS"] == 4
