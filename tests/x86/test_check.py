# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a changed entry that a processor may still use is told at its first use, until an
invalidation the manuals call sufficient (SDM 4.10.4.2); changes that need none are never told (SDM
4.10.4.3).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mmu._native import lib
from mmu.errors import MmuError
from mmu.memory import Memory
from mmu.x86 import Access, Mmu, Outcome, Vendor, WalkMode
from mmu.x86.check import ChangedBy, StaleUse, TlbCheck
from mmu.x86.entries import (
    X86_A,
    X86_ADDR_MASK,
    X86_D,
    X86_G,
    X86_P,
    X86_PAT,
    X86_PCD,
    X86_PK_SHIFT,
    X86_PS,
    X86_PWT,
    X86_RW,
    X86_US,
    X86_XD,
)
from mmu.x86.invalidate import INVLPGB_FINAL_ONLY, INVLPGB_VA
from mmu.x86.registers import CR0_WP, CR4_PGE, EFER_TCE
from ucmmu.testing.tables import USER, VA, Tables

FAR = VA + (1 << 21)
"""Under another PDE."""


@pytest.fixture(params=["c", "python"])
def mmu(request: pytest.FixtureRequest) -> Iterator[Mmu]:
    memory = Memory(64 << 20)
    mmu = Mmu(memory, geometry="tiny", engine=request.param, exact=True, check=True)
    mmu.c.vendor = Vendor.AMD  # which makes no spurious faults
    yield mmu
    assert mmu.check is not None
    assert mmu.check.lost == 0
    mmu.check.close()
    memory.close()


def uses(mmu: Mmu) -> list[StaleUse]:
    assert mmu.check is not None
    return mmu.check.uses()


def ranges(mmu: Mmu) -> int:
    """How many stale ranges there are: what has changed and needs a flush that has not come."""
    assert mmu.check is not None
    lib.check_sync(mmu.c)
    return int(mmu.check.c.nr_ranges)


def evict(tables: Tables, mmu: Mmu) -> None:
    """Push whatever there is out of every array, the paging-structure caches included."""
    for i in range(1, 12):
        va = VA - (i << 39)
        tables.map(va)
        mmu.translate(va, Access.READ)
        mmu.translate(va, Access.FETCH)
    assert mmu.resident(VA) is None


def test_nothing_changed_nothing_told(tables: Tables, mmu: Mmu) -> None:
    for va in (VA, VA + 4096, FAR):
        tables.map(va)
        for access in (Access.READ, Access.WRITE, Access.FETCH):
            mmu.translate(va, access)
    assert uses(mmu) == []


class TestUsed:
    """The model itself translated by the old entry."""

    def test_an_unmapped_page(self, tables: Tables, mmu: Mmu) -> None:
        pa = tables.map(VA)
        mmu.translate(VA, Access.READ)
        old = tables.get(VA, 1)
        tables.put(VA, 1, 0)
        assert mmu.translate(VA + 8, Access.READ).pa == pa + 8
        (use,) = uses(mmu)
        assert use.used and use.va == VA + 8 and use.access == Access.READ
        assert (use.level, use.table, use.old, use.new) == (1, False, old, 0)
        assert use.entry_pa == tables.entry_pa(VA, 1)
        assert not use.freed
        assert use.missing.startswith(f"INVLPG {VA:#x}, or MOV CR3, for PCID 0x0 on CPU 0")

    def test_a_remapped_page(self, tables: Tables, mmu: Mmu) -> None:
        tables.map(VA)
        mmu.translate(VA, Access.WRITE)
        tables.map(VA)
        mmu.translate(VA, Access.WRITE)
        assert [use.used for use in uses(mmu)] == [True]

    def test_a_page_made_read_only(self, tables: Tables, mmu: Mmu) -> None:
        """The write is told; a read, which both allow, is not."""
        tables.map(VA)
        mmu.translate(VA, Access.WRITE)
        tables.change(VA, 1, clear=X86_RW)
        mmu.translate(VA, Access.READ)
        assert uses(mmu) == []
        mmu.translate(VA, Access.WRITE)
        assert [use.access for use in uses(mmu)] == [Access.WRITE]

    def test_a_cleared_dirty_bit(self, tables: Tables, mmu: Mmu) -> None:
        """The write goes through the entry that has D, and memory is not told: the page's data will
        be lost.
        """
        tables.map(VA)
        mmu.translate(VA, Access.WRITE)
        tables.change(VA, 1, clear=X86_D)
        mmu.translate(VA, Access.WRITE)
        assert not tables.get(VA, 1) & X86_D
        assert [use.used for use in uses(mmu)] == [True]

    def test_a_read_modify_write_through_it(self, tables: Tables, mmu: Mmu) -> None:
        tables.map(VA)
        mmu.translate(VA, Access.RMW)
        tables.change(VA, 1, clear=X86_D)
        mmu.translate(VA, Access.RMW)
        (use,) = uses(mmu)
        assert use.used and str(use).startswith(
            f"stale translation used: read-modify-write of {VA:#x}\n"
        )

    def test_a_cleared_dirty_bit_and_a_read_modify_write(self, tables: Tables, mmu: Mmu) -> None:
        tables.map(VA)
        mmu.translate(VA, Access.WRITE)
        tables.change(VA, 1, clear=X86_D)
        mmu.translate(VA, Access.RMW)
        assert [use.access for use in uses(mmu)] == [Access.RMW]

    @pytest.mark.parametrize(
        ("access", "set_", "clear"), [(Access.READ, 0, X86_US), (Access.FETCH, X86_XD, 0)]
    )
    @pytest.mark.parametrize("level", [1, 2])
    def test_a_right_taken(
        self, tables: Tables, mmu: Mmu, level: int, access: Access, set_: int, clear: int
    ) -> None:
        tables.map(VA)
        mmu.translate(VA, access)
        tables.change(VA, level, set=set_, clear=clear)
        assert mmu.translate(VA, access).ok
        assert [use.used for use in uses(mmu)] == [True]

    def test_a_large_page_that_became_a_table(self, tables: Tables, mmu: Mmu) -> None:
        """Of all its bits only PS is another."""
        pa = tables.map(VA, 2 << 20, level=2)
        mmu.translate(VA, Access.READ)
        tables.change(VA, 2, clear=X86_PS)
        assert mmu.translate(VA, Access.READ).pa == pa + VA % (2 << 20)
        assert [(use.used, use.table) for use in uses(mmu)] == [(True, False)]

    def test_the_oldest_translation_is_told(self, tables: Tables, mmu: Mmu) -> None:
        """Changed twice without a flush: what was there before the first change may still be in
        use.
        """
        tables.map(VA)
        mmu.translate(VA, Access.READ)
        first = tables.get(VA, 1)
        for _ in range(2):
            tables.map(VA)
            assert ranges(mmu) == 1
        mmu.translate(VA, Access.READ)
        assert [use.old for use in uses(mmu)] == [first]

    def test_through_a_paging_structure_cache(self, tables: Tables, mmu: Mmu) -> None:
        """The PDE leads elsewhere now; the cached one still leads to the old table."""
        tables.map(VA)
        old = tables.map(VA + 4096)
        mmu.translate(VA, Access.READ)
        tables.put(VA, 2, 0)
        tables.map(VA + 4096)
        assert mmu.translate(VA + 4096, Access.READ).pa == old
        used = [use for use in uses(mmu) if use.used]
        assert used, "the walk that began at the stale PDE"

    def test_a_freed_frame(self, tables: Tables, mmu: Mmu) -> None:
        pa = tables.map(VA)
        mmu.translate(VA, Access.READ)
        tables.put(VA, 1, 0)
        mmu.memory.free_pages(pa >> 12)
        mmu.translate(VA, Access.READ)
        (use,) = uses(mmu)
        assert use.used and use.freed
        assert "whose frame was freed" in str(use)

    def test_a_freed_table(self, tables: Tables, mmu: Mmu) -> None:
        tables.map(VA)
        mmu.translate(VA, Access.READ)
        table = tables.get(VA, 2) & X86_ADDR_MASK
        tables.put(VA, 2, 0)
        mmu.memory.free_pages(table >> 12)
        mmu.translate(VA + 4096, Access.READ)
        assert [(use.table, use.freed) for use in uses(mmu)] == [(True, True)]

    @pytest.mark.parametrize("level", [2, 3])
    def test_large_pages(self, tables: Tables, mmu: Mmu, level: int) -> None:
        tables.map(VA, level=level)
        mmu.translate(VA, Access.READ)
        tables.put(VA, level, 0)
        mmu.translate(VA + 4096, Access.READ)
        assert [(use.level, use.used) for use in uses(mmu)] == [(level, True)]


class TestMay:
    """The model walked, or had evicted its entry: another processor may not have."""

    def test_an_evicted_entry(self, tables: Tables, mmu: Mmu) -> None:
        tables.map(VA)
        mmu.translate(VA, Access.READ)
        evict(tables, mmu)
        tables.map(VA)
        mmu.translate(VA, Access.READ)
        assert [use.used for use in uses(mmu)] == [False]
        assert str(uses(mmu)[0]).startswith("stale translation may be used: read of")

    def test_a_speculative_entry(self, tables: Tables, mmu: Mmu) -> None:
        """Never accessed, but its table was walked: a processor may have filled it ahead (SDM
        4.10.2.3).
        """
        tables.map(VA)
        tables.map(VA + 4096)
        mmu.translate(VA, Access.READ)
        tables.map(VA + 4096)
        mmu.translate(VA + 4096, Access.READ)
        assert [(use.used, use.va) for use in uses(mmu)] == [(False, VA + 4096)]

    def test_an_upper_entry(self, tables: Tables, mmu: Mmu) -> None:
        """The PDE was cleared without a flush; the model keeps nothing of it any more."""
        tables.map(VA)
        mmu.translate(VA, Access.READ)
        evict(tables, mmu)
        tables.put(VA, 2, 0)
        assert mmu.translate(VA + 4096, Access.READ).result == Outcome.PAGE_FAULT
        assert [(use.used, use.level, use.table) for use in uses(mmu)] == [(False, 2, True)]
        assert "paging-structure caches" in uses(mmu)[0].missing

    def test_pages_below_an_upper_entry(self, tables: Tables, mmu: Mmu) -> None:
        """INVLPG of one page drops the cached PDE, but not the other pages that were reached
        through it.
        """
        for i in range(3):
            tables.map(VA + (i << 12))
        mmu.translate(VA, Access.READ)
        tables.put(VA, 2, 0)
        mmu.invlpg(VA)
        mmu.translate(VA, Access.READ)
        assert uses(mmu) == []
        mmu.translate(VA + 8192, Access.READ)
        assert [(use.level, use.va) for use in uses(mmu)] == [(1, VA + 8192)]

    @pytest.mark.parametrize("level", [2, 3, 4])
    def test_pages_far_below_an_upper_entry(self, tables: Tables, mmu: Mmu, level: int) -> None:
        for i in range(2):
            tables.map(VA + (i << 12))
        mmu.translate(VA, Access.READ)
        tables.put(VA, level, 0)
        mmu.invlpg(VA)
        mmu.translate(VA + 4096, Access.READ)
        assert [(use.level, use.table) for use in uses(mmu)] == [(1, False)]

    def test_pages_below_a_table_that_was_freed(self, tables: Tables, mmu: Mmu) -> None:
        """Taken out, freed and cleared before anyone looked: its pages can still be cached."""
        tables.map(VA)
        tables.map(VA + 4096)
        mmu.translate(VA, Access.READ)
        table = tables.get(VA, 2) & X86_ADDR_MASK
        tables.put(VA, 2, 0)
        mmu.memory.free_pages(table >> 12)
        mmu.invlpg(VA)
        mmu.translate(VA + 4096, Access.READ)
        assert [(use.level, use.table) for use in uses(mmu)] == [(1, False)]

    def test_a_global_page_below_an_upper_entry(self, tables: Tables, mmu: Mmu) -> None:
        tables.map(VA)
        tables.map(VA + 4096, flags=USER | X86_G)
        mmu.translate(VA, Access.READ)
        tables.put(VA, 2, 0)
        tables.load()
        mmu.translate(VA + 4096, Access.READ)
        assert [(use.level, use.is_global) for use in uses(mmu)] == [(1, True)]

    def test_a_change_before_a_walk_sets_a_and_d(self, tables: Tables, mmu: Mmu) -> None:
        """A walk that takes no notice of the TLB comes first, and marks the new page accessed."""
        tables.map(VA)
        mmu.translate(VA, Access.READ)
        new = tables.map(VA)
        assert mmu.walk(VA, Access.WRITE, mode=WalkMode.QUIET).pa == new
        mmu.translate(VA, Access.READ)
        assert [use.used for use in uses(mmu)] == [True]

    def test_a_table_in_a_reused_frame(self, tables: Tables, mmu: Mmu) -> None:
        """The same frame, level and address; it is followed as the new table that it is."""
        tables.map(VA)
        mmu.translate(VA, Access.READ)
        pde = tables.get(VA, 2)
        tables.put(VA, 2, 0)
        mmu.invlpg(VA)
        mmu.memory.free_pages((pde & X86_ADDR_MASK) >> 12)
        while tables.frame() != pde & X86_ADDR_MASK:
            pass
        tables.put(VA, 2, pde)
        tables.map(VA)
        assert mmu.walk(VA, mode=WalkMode.HARDWARE).ok
        tables.map(VA)
        mmu.translate(VA, Access.READ)
        assert [use.used for use in uses(mmu)] == [False]


class TestLegal:
    """What needs no invalidation, or had one."""

    @pytest.mark.parametrize("before", [0, X86_P])
    def test_a_page_that_was_absent(self, tables: Tables, mmu: Mmu, before: int) -> None:
        tables.map(VA + 4096)
        mmu.translate(VA + 4096, Access.READ)
        tables.put(VA, 1, X86_RW | X86_US if before else 0)
        mmu.translate(VA, Access.READ)
        tables.map(VA)
        assert mmu.translate(VA, Access.READ).ok
        assert uses(mmu) == []

    @pytest.mark.parametrize(
        ("flags", "set_", "clear"),
        [
            (X86_P | X86_US, X86_RW, 0),
            (X86_P | X86_RW, X86_US, 0),
            (USER | X86_XD, 0, X86_XD),
            (USER, 0, X86_A),
            (USER, 1 << 9, 0),
            (USER, X86_D, 0),
        ],
    )
    @pytest.mark.parametrize("level", [1, 2])
    def test_rights_given(
        self, tables: Tables, mmu: Mmu, flags: int, set_: int, clear: int, level: int
    ) -> None:
        """SDM 4.10.4.3; at worst a spurious fault, or an A that is not set."""
        tables.map(VA, flags=flags, level=level)
        mmu.translate(VA, Access.READ)
        tables.change(VA, level, set=set_, clear=clear)
        assert ranges(mmu) == 0
        for access in (Access.READ, Access.WRITE, Access.FETCH):
            mmu.translate(VA, access)
        assert uses(mmu) == []

    @pytest.mark.parametrize("bit", [X86_PWT, X86_PCD, X86_D, X86_G, 1 << X86_PK_SHIFT])
    @pytest.mark.parametrize("level", [4, 3, 2])
    def test_what_an_upper_entry_ignores(
        self, tables: Tables, mmu: Mmu, level: int, bit: int
    ) -> None:
        """Where an entry refers to a table D, G and a key mean nothing; PWT and PCD are of the
        table's own memory.
        """
        tables.map(VA)
        tables.change(VA, level, set=bit)
        mmu.translate(VA, Access.READ)
        tables.change(VA, level, clear=bit)
        mmu.translate(VA, Access.READ)
        assert ranges(mmu) == 0

    def test_a_right_taken_and_flushed(self, tables: Tables, mmu: Mmu) -> None:
        tables.map(VA)
        mmu.translate(VA, Access.WRITE)
        tables.change(VA, 1, clear=X86_RW)
        mmu.invlpg(VA)
        for _ in range(2):
            assert not mmu.translate(VA, Access.WRITE).ok
        assert uses(mmu) == []

    @pytest.mark.parametrize("gone", [False, True])
    def test_a_read_where_d_was_lost(self, tables: Tables, mmu: Mmu, gone: bool) -> None:
        """The range is there, for writes; a read by it harms nobody."""
        tables.map(VA)
        mmu.translate(VA, Access.WRITE)
        if gone:
            evict(tables, mmu)
        tables.change(VA, 1, clear=X86_D)
        mmu.translate(VA, Access.READ)
        assert uses(mmu) == []
        assert ranges(mmu) == 1

    def test_what_was_absent_below_an_upper_entry(self, tables: Tables, mmu: Mmu) -> None:
        tables.map(VA)
        mmu.translate(VA, Access.READ)
        tables.put(VA, 2, 0)
        mmu.invlpg(VA)
        tables.map(VA + 4096)
        assert mmu.translate(VA + 4096, Access.READ).ok
        assert uses(mmu) == []

    def test_a_table_that_became_something_else(self, tables: Tables, mmu: Mmu) -> None:
        """Flushed, freed, used for data: what is written there is no change of an entry."""
        tables.map(VA)
        mmu.translate(VA, Access.READ)
        table = tables.get(VA, 2) & X86_ADDR_MASK
        tables.put(VA, 2, 0)
        mmu.invlpg(VA)
        mmu.memory.free_pages(table >> 12)
        mmu.memory.write_u64(table + (VA >> 12 & 511) * 8, 0)
        tables.map(FAR + (1 << 30))
        mmu.translate(FAR + (1 << 30), Access.READ)
        mmu.translate(FAR + (1 << 30), Access.READ)
        assert ranges(mmu) == 0

    def test_a_table_of_several_lives(self, tables: Tables, mmu: Mmu) -> None:
        """Its frame was freed before it became this table, or page: that is past."""
        page, other = tables.frame(), tables.frame()
        tables.map(VA, other)
        mmu.translate(VA, Access.READ)
        mmu.memory.free_pages(page >> 12)
        tables.put(VA, 1, page | USER)
        mmu.invlpg(VA)
        mmu.translate(VA, Access.READ)
        tables.put(VA, 1, other | USER)
        mmu.translate(VA, Access.READ)
        assert [use.freed for use in uses(mmu)] == [False]

    @pytest.mark.parametrize("kind", [2, 3])
    def test_all_pcids_at_once(self, tables: Tables, mmu: Mmu, kind: int) -> None:
        """What was flushed may change, under whichever PCID it was known."""
        for pcid in (1, 2):
            tables.load(pcid, keep=True)
            tables.map(VA)
            mmu.invlpg(VA)
            mmu.translate(VA, Access.READ)
        mmu.invpcid(kind)
        tables.map(VA)
        for pcid in (1, 2):
            tables.load(pcid, keep=True)
            mmu.translate(VA, Access.READ)
        assert uses(mmu) == []

    def test_global_pages_flushed(self, tables: Tables, mmu: Mmu) -> None:
        tables.map(VA, flags=USER | X86_G)
        mmu.translate(VA, Access.READ)
        mmu.invpcid(2)
        tables.map(VA, flags=USER | X86_G)
        mmu.translate(VA, Access.READ)
        assert uses(mmu) == []

    @pytest.mark.parametrize("flush", [lambda mmu: mmu.invlpg(VA), lambda mmu: mmu.invpcid(2)])
    def test_a_global_page_changed_and_flushed(
        self, tables: Tables, mmu: Mmu, flush: object
    ) -> None:
        tables.map(VA, flags=USER | X86_G)
        mmu.translate(VA, Access.READ)
        tables.map(VA, flags=USER | X86_G)
        flush(mmu)  # type: ignore[operator]
        mmu.translate(VA, Access.READ)
        assert uses(mmu) == []
        assert ranges(mmu) == 0

    def test_an_upper_entry_of_every_pcid(self, tables: Tables, mmu: Mmu) -> None:
        """INVLPGB that names no PCID is for all of them."""
        tables.load(1)
        tables.map(VA)
        mmu.translate(VA, Access.READ)
        tables.put(VA, 1, 0)
        mmu.invlpg(VA)
        tables.put(VA, 2, 0)
        mmu.invlpgb(VA | INVLPGB_VA)
        mmu.translate(VA, Access.READ)
        assert uses(mmu) == []

    @pytest.mark.parametrize("first", ["changed", "flushed"])
    def test_g_without_pge(self, tables: Tables, mmu: Mmu, first: str) -> None:
        """Then MOV to CR3 drops those pages as any other."""
        mmu.write_cr4(mmu.c.cr4 & ~CR4_PGE)
        tables.map(VA, flags=USER | X86_G)
        mmu.translate(VA, Access.READ)
        if first == "flushed":
            tables.load()
        tables.map(VA, flags=USER | X86_G)
        if first == "changed":
            tables.load()
        mmu.translate(VA, Access.READ)
        assert uses(mmu) == []

    def test_beside_a_global_page(self, tables: Tables, mmu: Mmu) -> None:
        """MOV to CR3 left the table's global pages; its others may change until a walk comes by
        again.
        """
        tables.map(VA, flags=USER | X86_G)
        tables.map(VA + 4096)
        for va in (VA, VA + 4096):
            mmu.translate(va, Access.READ)
        tables.load()
        tables.map(VA + 4096)
        mmu.translate(VA + 4096, Access.READ)
        assert uses(mmu) == []
        tables.map(VA + 4096)
        mmu.translate(VA + 4096, Access.READ)
        assert [use.va for use in uses(mmu)] == [VA + 4096]

    def test_the_same_address_of_another_pcid(self, tables: Tables, mmu: Mmu) -> None:
        """What is stale under one PCID is nothing to another, which has tables of its own."""
        other = Tables(mmu)
        other.map(VA)
        tables.load(1)
        tables.map(VA)
        mmu.translate(VA, Access.READ)
        tables.map(VA)
        other.load(2, keep=True)
        mmu.translate(VA, Access.READ)
        assert uses(mmu) == []
        assert ranges(mmu) == 1

    @pytest.mark.parametrize(
        "flush",
        [
            lambda mmu: mmu.invlpg(VA + 0xFFF),
            lambda mmu: mmu.invpcid(0, 0, VA),
            lambda mmu: mmu.invpcid(1, 0),
            lambda mmu: mmu.invpcid(2),
            lambda mmu: mmu.invpcid(3),
            lambda mmu: mmu.write_cr3(mmu.c.cr3),
            lambda mmu: mmu.write_cr4(mmu.c.cr4 ^ CR4_PGE),
            lambda mmu: mmu.invlpgb(VA | INVLPGB_VA | INVLPGB_FINAL_ONLY),
            lambda mmu: mmu.page_fault(VA, 0),
        ],
    )
    def test_flushed(self, tables: Tables, mmu: Mmu, flush: object) -> None:
        tables.map(VA)
        mmu.translate(VA, Access.WRITE)
        tables.map(VA)
        flush(mmu)  # type: ignore[operator]
        mmu.translate(VA, Access.WRITE)
        assert uses(mmu) == []

    @pytest.mark.parametrize(
        ("flush", "enough"),
        [
            (lambda mmu: mmu.invlpg(VA), True),
            (lambda mmu: mmu.invlpg(FAR), True),
            (lambda mmu: mmu.invpcid(0, 0, VA), True),
            (lambda mmu: mmu.invpcid(0, 0, FAR), False),
            (lambda mmu: mmu.write_cr3(mmu.c.cr3), True),
            (lambda mmu: mmu.invlpgb(VA | INVLPGB_VA), True),
            (lambda mmu: mmu.invlpgb(VA | INVLPGB_VA | INVLPGB_FINAL_ONLY), False),
        ],
    )
    def test_an_upper_entry_flushed(
        self, tables: Tables, mmu: Mmu, flush: object, enough: bool
    ) -> None:
        """Its pages were none; INVLPG of any address drops all paging-structure caches (SDM
        4.10.4.1).
        """
        tables.map(VA)
        mmu.translate(VA, Access.READ)
        tables.put(VA, 1, 0)
        mmu.invlpg(VA)
        tables.put(VA, 2, 0)
        flush(mmu)  # type: ignore[operator]
        mmu.translate(VA, Access.READ)
        assert (uses(mmu) == []) == enough

    def test_under_tce_the_address_matters(self, tables: Tables, mmu: Mmu) -> None:
        mmu.write_efer(mmu.c.efer | EFER_TCE)
        tables.map(VA)
        mmu.translate(VA, Access.READ)
        tables.put(VA, 1, 0)
        mmu.invlpg(VA)
        tables.put(VA, 2, 0)
        mmu.invlpg(FAR)
        mmu.translate(VA, Access.READ)
        assert [(use.level, use.table) for use in uses(mmu)] == [(2, True)]


class TestNotEnough:
    """An invalidation that does not reach what was changed."""

    def test_another_page(self, tables: Tables, mmu: Mmu) -> None:
        tables.map(VA)
        mmu.translate(VA, Access.READ)
        tables.map(VA)
        mmu.invlpg(VA + 4096)
        mmu.translate(VA, Access.READ)
        assert len(uses(mmu)) == 1

    def test_another_pcid(self, tables: Tables, mmu: Mmu) -> None:
        tables.load(1)
        tables.map(VA)
        mmu.translate(VA, Access.READ)
        tables.map(VA)
        mmu.invpcid(1, 2)
        mmu.translate(VA, Access.READ)
        assert [use.pcid for use in uses(mmu)] == [1]

    def test_bit_63(self, tables: Tables, mmu: Mmu) -> None:
        tables.load(1)
        tables.map(VA)
        mmu.translate(VA, Access.READ)
        tables.map(VA)
        tables.load(1, keep=True)
        mmu.translate(VA, Access.READ)
        assert len(uses(mmu)) == 1

    @pytest.mark.parametrize("va", [VA, 0xFFFF_8000_0123_4000])
    def test_a_pcid_given_to_other_tables_with_bit_63(
        self, tables: Tables, mmu: Mmu, va: int
    ) -> None:
        """What bit 63 keeps is of the tables that the PCID had before."""
        tables.load(1)
        tables.map(va)
        mmu.translate(va, Access.READ)
        other = Tables(mmu)
        other.map(va)
        other.load(1, keep=True)
        mmu.translate(va, Access.READ)
        (use,) = uses(mmu)
        assert use.used and use.pcid == 1
        assert f"CR3 was loaded with {other.root:#x} and bit 63 set" in str(use)

    def test_a_pcid_that_comes_back_to_its_tables(self, tables: Tables, mmu: Mmu) -> None:
        tables.load(1)
        tables.map(VA)
        mmu.translate(VA, Access.READ)
        other = Tables(mmu)
        other.map(VA)
        other.load(2, keep=True)
        mmu.translate(VA, Access.READ)
        tables.load(1, keep=True)
        mmu.translate(VA, Access.READ)
        assert uses(mmu) == []

    @pytest.mark.parametrize("kind", [1, 3])
    def test_a_global_page(self, tables: Tables, mmu: Mmu, kind: int) -> None:
        tables.map(VA, flags=USER | X86_G)
        mmu.translate(VA, Access.READ)
        tables.map(VA, flags=USER | X86_G)
        mmu.invpcid(kind, 0)
        mmu.translate(VA, Access.READ)
        (use,) = uses(mmu)
        assert use.is_global
        assert "MOV CR3 keeps global pages" in use.missing

    def test_a_global_page_that_changed_later(self, tables: Tables, mmu: Mmu) -> None:
        """MOV to CR3 did not drop it, so a change after it needs a flush too."""
        tables.map(VA, flags=USER | X86_G)
        mmu.translate(VA, Access.READ)
        tables.load()
        tables.map(VA, flags=USER | X86_G)
        mmu.translate(VA, Access.READ)
        assert [use.is_global for use in uses(mmu)] == [True]

    def test_a_global_page_under_another_pcid(self, tables: Tables, mmu: Mmu) -> None:
        tables.load(1)
        tables.map(VA, flags=USER | X86_G)
        mmu.translate(VA, Access.READ)
        tables.map(VA, flags=USER | X86_G)
        tables.load(2)
        mmu.translate(VA, Access.READ)
        assert [use.is_global for use in uses(mmu)] == [True]

    def test_one_of_two_pcids(self, tables: Tables, mmu: Mmu) -> None:
        """Both know the tables; the flush was for one."""
        tables.map(VA)
        for pcid in (1, 2):
            tables.load(pcid, keep=True)
            mmu.translate(VA, Access.READ)
        tables.map(VA)
        mmu.invpcid(1, 1)
        mmu.translate(VA, Access.READ)
        assert [use.pcid for use in uses(mmu)] == [2]

    def test_mov_cr3_of_another_pcid(self, tables: Tables, mmu: Mmu) -> None:
        tables.load(1)
        tables.map(VA)
        mmu.translate(VA, Access.READ)
        tables.load(2)
        tables.map(VA)
        tables.load(1, keep=True)
        mmu.translate(VA, Access.READ)
        assert [use.pcid for use in uses(mmu)] == [1]

    @pytest.mark.parametrize("bit", [X86_PWT, X86_PCD, X86_PAT, X86_G, 1 << X86_PK_SHIFT])
    def test_memory_type_and_key(self, tables: Tables, mmu: Mmu, bit: int) -> None:
        """They must be flushed too, but a use does this access no harm: it is not told."""
        tables.map(VA)
        mmu.translate(VA, Access.READ)
        tables.change(VA, 1, set=bit)
        mmu.translate(VA, Access.READ)
        assert uses(mmu) == []
        assert ranges(mmu) == 1


def test_another_address_space_is_left_alone(tables: Tables, mmu: Mmu) -> None:
    """Tables that a MOV to CR3 left behind are nobody's: they change as they like."""
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    other = Tables(mmu)
    other.map(VA)
    other.load()
    mmu.translate(VA, Access.READ)
    tables.put(VA, 1, 0)
    mmu.translate(VA, Access.READ)
    tables.load()
    mmu.translate(VA, Access.READ)
    assert uses(mmu) == []


def test_each_range_is_told_once(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    tables.map(VA)
    for _ in range(5):
        mmu.translate(VA, Access.READ)
    assert mmu.check is not None
    assert (len(uses(mmu)), mmu.check.nr_used) == (1, 5)


def test_changed_by_a_store_of_the_guests(tables: Tables, mmu: Mmu) -> None:
    """What whoever runs the guest said of its stores to tables; another entry's store is not this
    one's.
    """
    assert mmu.check is not None
    tables.map(VA)
    tables.map(VA + 4096)
    for va in (VA, VA + 4096):
        mmu.translate(va, Access.READ)
    store = mmu.check.c.store[0]
    store.rip, store.instruction, store.by, store.detail = (
        0x401000,
        7,
        ChangedBy.STORE,
        tables.entry_pa(VA, 1),
    )
    mmu.check.c.nr_stores = 1
    for va in (VA, VA + 4096):
        tables.map(va)
        mmu.translate(va, Access.READ)
    assert [use.changed and use.changed.by for use in uses(mmu)] == [
        ChangedBy.STORE,
        ChangedBy.HOST,
    ]


def test_where_and_by_whom(tables: Tables, mmu: Mmu) -> None:
    """What whoever runs the guest said before each step; a copy into the first level keeps its
    origin.
    """
    assert mmu.check is not None
    now = mmu.check.c.now
    tables.map(VA)
    now.rip, now.instruction = 0x401000, 10
    mmu.translate(VA, Access.READ)
    now.rip, now.instruction = 0x401003, 11
    mmu.translate(VA, Access.FETCH)
    mmu.check.enter(ChangedBy.SYSCALL, 28, 0x401006, 12)
    tables.map(VA)
    assert mmu.check.c.nr_ranges == 0
    mmu.translate(VA, Access.FETCH)
    (use,) = uses(mmu)
    assert (use.filled and use.filled.rip, use.filled and use.filled.instruction) == (0x401000, 10)
    assert use.changed and use.changed.who() == "by system call 28 (ip 0x401006, instruction 12)"
    assert "cached at ip 0x401000, instruction 10" in str(use)
    assert f"by the old PTE at {use.entry_pa:#x} to a 4 KiB page\n" in str(use)
    assert use.as_dict()["changed"]["by"] == "syscall"


def test_a_closed_checker_knows_nothing(tables: Tables, mmu: Mmu) -> None:
    """Its memory is gone: translations go on without it, and another may begin."""
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    tables.put(VA, 1, 0)
    mmu.translate(VA, Access.READ)
    first = mmu.check
    assert first is not None and len(first.uses()) == 1
    with pytest.raises(MmuError, match="already"):
        TlbCheck(mmu)
    first.close()
    assert mmu.translate(VA, Access.READ).ok
    first.enter(ChangedBy.HOST, 0, 0, None)
    assert (first.uses(), first.nr_used, first.nr_may, first.lost) == ([], 0, 0, 0)
    mmu.check = TlbCheck(mmu)
    assert mmu.check.uses() == []


class TestForbiddenByTheOldEntryToo:
    """Nobody gets through by it, so nothing is told."""

    @pytest.mark.parametrize(
        ("flags", "access", "told"),
        [
            (USER & ~X86_US, Access.READ, False),
            (USER & ~X86_RW, Access.WRITE, False),
            (USER & ~X86_RW, Access.RMW, False),
            (USER | X86_XD, Access.FETCH, False),
            (USER, Access.SHSTK_READ, False),
            (USER & ~X86_RW | X86_D, Access.SHSTK_READ, True),
            (USER & ~X86_RW, Access.READ, True),
            (USER, Access.WRITE, True),
            (USER, Access.FETCH, True),
        ],
    )
    @pytest.mark.parametrize("level", [1, 2])
    def test_an_unmapped_page(
        self, tables: Tables, mmu: Mmu, flags: int, access: Access, told: bool, level: int
    ) -> None:
        tables.map(VA, flags=flags, level=level)
        mmu.walk(VA, mode=WalkMode.HARDWARE, user=False)
        tables.put(VA, level, 0)
        assert mmu.translate(VA, access).result == Outcome.PAGE_FAULT
        assert [use.used for use in uses(mmu)] == [False] * told

    def test_a_supervisor_write_without_wp(self, tables: Tables, mmu: Mmu) -> None:
        mmu.write_cr0(mmu.c.cr0 & ~CR0_WP)
        tables.map(VA, flags=X86_P)
        mmu.walk(VA, mode=WalkMode.HARDWARE, user=False)
        tables.put(VA, 1, 0)
        mmu.translate(VA, Access.WRITE, user=False)
        assert [use.used for use in uses(mmu)] == [False]

    def test_rights_taken_above_a_page_that_came_later(self, tables: Tables, mmu: Mmu) -> None:
        """The old PDE leads to the same table, hence a read to the same page; a write would pass by
        it.
        """
        tables.map(VA)
        mmu.translate(VA, Access.READ)
        tables.change(VA, 2, clear=X86_RW)
        tables.map(VA + 4096)
        assert mmu.translate(VA + 4096, Access.READ).ok
        assert uses(mmu) == []
        mmu.translate(VA + 4096, Access.WRITE)
        assert [(use.level, use.access) for use in uses(mmu)] == [(2, Access.WRITE)]


class TestGlobalPagesUnderTablesThatChange:
    """MOV to CR3 keeps global translations, so the tables that lead to them matter after it too."""

    @pytest.mark.parametrize("level", [2, 3, 4])
    def test_an_upper_entry_taken_away(self, tables: Tables, mmu: Mmu, level: int) -> None:
        tables.map(VA, flags=USER | X86_G)
        mmu.translate(VA, Access.READ)
        tables.load()
        tables.put(VA, level, 0)
        assert mmu.translate(VA, Access.READ).ok
        (use,) = uses(mmu)
        assert use.used and use.is_global and use.level == 1

    def test_pages_that_are_not_global_are_gone(self, tables: Tables, mmu: Mmu) -> None:
        tables.map(VA, flags=USER | X86_G)
        tables.map(VA + 4096)
        mmu.translate(VA, Access.READ)
        mmu.translate(VA + 4096, Access.READ)
        tables.load()
        tables.put(VA, 2, 0)
        assert mmu.translate(VA + 4096, Access.READ).result == Outcome.PAGE_FAULT
        assert uses(mmu) == []

    def test_invlpg_is_enough(self, tables: Tables, mmu: Mmu) -> None:
        tables.map(VA, flags=USER | X86_G)
        mmu.translate(VA, Access.READ)
        tables.load()
        tables.put(VA, 2, 0)
        mmu.invlpg(VA)
        assert mmu.translate(VA, Access.READ).result == Outcome.PAGE_FAULT
        assert uses(mmu) == []
