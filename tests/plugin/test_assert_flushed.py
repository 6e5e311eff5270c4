# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: assert_flushed() passes just when nothing that the CPU has cached leads to the address, nor
to a table that was freed.
"""

from __future__ import annotations

import pytest

from ucmmu.testing import MmUnderTest, MmuUnderTest, assert_flushed

VA = 0x7F12_3456_7000
BASE = 0x10_0000_0000


def test_an_entry_of_the_tlb(mmu: MmuUnderTest) -> None:
    mmu.map(VA)
    mmu.access(VA)
    with pytest.raises(AssertionError, match=f"CPU 0 still has . entries for {VA:#x}"):
        assert_flushed(0, VA)
    mmu.invlpg(VA)
    assert_flushed(0, VA)
    assert_flushed(mmu, VA)


def test_a_large_page(mmu: MmuUnderTest) -> None:
    mmu.map(4 << 20, size="2M")
    mmu.access(4 << 20)
    with pytest.raises(AssertionError, match="TLB DTLB"):
        assert_flushed(0, (4 << 20) + 0x12345)


def test_a_paging_structure_cache(mmu: MmuUnderTest) -> None:
    """An access near by leaves an entry that leads to va's table too."""
    mmu.map(VA)
    mmu.map(VA + 0x1000)
    mmu.access(VA + 0x1000)
    with pytest.raises(AssertionError, match="PDE cache"):
        assert_flushed(0, VA)
    assert_flushed(0, VA, tables=False)
    mmu.write_entry(VA, 2, mmu.tables.frame() | 7)
    with pytest.raises(AssertionError, match="stale PDE cache"):
        assert_flushed(0, VA, tables=False)


@pytest.mark.ucmmu(policy="refcount")
def test_a_freed_table(mm: MmUnderTest) -> None:
    """An entry of the caches for another address that leads to a frame which is no table."""
    mm.vma(BASE, "4K")
    mm.touch(BASE)
    page = mm.memory.page(mm.pte_table(BASE))
    flags, page.flags = page.flags, 0
    with pytest.raises(AssertionError, match="freed table PDE cache"):
        assert_flushed(0, BASE + (1 << 30))
    page.flags = flags
    assert_flushed(0, BASE + (1 << 40))


@pytest.mark.ucmmu(cpus=2, policy="refcount")
def test_each_cpu_has_its_own(mm: MmUnderTest) -> None:
    mm.vma(BASE, "8K")
    mm.touch(BASE)
    assert_flushed(1, BASE)
    mm.touch(BASE, "read", cpu=1)
    for cpu in (0, 1, mm.kernel.cpus[1]):
        with pytest.raises(AssertionError):
            assert_flushed(cpu, BASE)
    mm.munmap(BASE, 8192)
    for cpu in (0, 1):
        assert_flushed(cpu, BASE)
    with pytest.raises(AssertionError, match="no CPU 2: there are 2"):
        assert_flushed(2, BASE)
