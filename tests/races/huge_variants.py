# SPDX-License-Identifier: GPL-2.0-or-later
"""Wrong ways to collapse, deposit, withdraw and split. Each is a small change of ours, and names a
scenario in which it shows and what it shows as.
"""

from __future__ import annotations

from typing import Any

from mmu.linux import engine, free_tables, huge_memory, khugepaged
from mmu.linux.free_tables import Holder
from mmu.linux.mmu_gather import Gather, tlb_remove_tlb_entry
from mmu.linux.pgtable import PMD_MASK, PMD_SHIFT, PMD_SIZE, PS, P, entry_pfn, mm_find_pmd, xchg_pmd
from mmu.linux.policy import FreeTables
from mmu.linux.pt_reclaim import pte_ref_is_enabled
from mmu.linux.tracepoint import emit
from mmu.units import PAGE_SHIFT, PAGE_SIZE
from ucmmu.race.variant import Variant, replaces


class _Wrong(Variant):
    policies = (FreeTables.REFCOUNT,)


class CopiedBeforeTheFlush(_Wrong):
    """The pages are copied, and the old translations flushed after that: what another CPU writes in
    between is lost.
    """

    scenarios = ("collapse-store",)
    seen = "a free frame is used"

    @replaces(khugepaged)
    def pmdp_collapse_flush(mm: Any, pmd: Any, haddr: int) -> int:
        """No flush yet."""
        engine.pmd_lock(mm, pmd)
        pmdval = xchg_pmd(mm, haddr, pmd, 0)
        engine.pmd_unlock(mm, pmd)
        return pmdval

    @replaces(khugepaged)
    def _let_go(mm: Any, table: int, haddr: int) -> None:
        """The flush, after the copy."""
        mm.kernel.point("copied")
        engine.flush_tlb_mm_range(mm, haddr, haddr + PMD_SIZE, PAGE_SHIFT, 1)
        _let_go(mm, table, haddr)


class CopiedAfterThePmd(_Wrong):
    """The bytes are copied when the PMD is huge already: over what a user writes there by then."""

    scenarios = ("collapse-store",)
    seen = "the byte that was written is lost"

    @replaces(khugepaged)
    def _copy(mm: Any, table: int, haddr: int, pfn: int) -> None:
        """Only what is counted; the bytes are kept."""
        mm.late = pfn, mm.memory.read(entry_pfn(_pte(mm, table)) << PAGE_SHIFT, PAGE_SIZE)
        _copy(mm, table, haddr, pfn)

    @replaces(khugepaged)
    def _collapse_pmd(mm: Any, vma: Any, pmd: Any, haddr: int, pfn: int) -> Any:
        """The bytes, when mmap_lock is held still."""
        result = _collapse_pmd(mm, vma, pmd, haddr, pfn)
        mm.kernel.point("collapsed")
        mm.memory.write(mm.late[0] << PAGE_SHIFT, mm.late[1])
        return result


class D3Collapse(_Wrong):
    """The flush of a collapse does not say that a table goes (Linux before 6.14): a lazy CPU keeps
    the way through it, and the small translations.
    """

    scenarios = ("collapse-lazy",)
    seen = "cached of the other size"

    @replaces(khugepaged)
    def pmdp_collapse_flush(mm: Any, pmd: Any, haddr: int) -> int:
        """As flush_tlb_range() was."""
        engine.pmd_lock(mm, pmd)
        pmdval = xchg_pmd(mm, haddr, pmd, 0)
        engine.flush_tlb_mm_range(mm, haddr, haddr + PMD_SIZE, PAGE_SHIFT, 0)
        engine.pmd_unlock(mm, pmd)
        return pmdval


class D3Split(_Wrong):
    """So does the flush of a split."""

    scenarios = ("split-lazy",)
    seen = "cached of the other size"

    @replaces(huge_memory)
    def pmdp_invalidate(mm: Any, pmd: Any, addr: int) -> int:
        """Lazy CPUs are spared."""
        old = xchg_pmd(mm, addr, pmd, mm.memory.read_u64(pmd) & ~P)
        engine.flush_tlb_mm_range(mm, addr, addr + PMD_SIZE, PMD_SHIFT, 0)
        return old


class FreedAtOnce(_Wrong):
    """A zap of a huge PMD frees the deposited table at once, as Linux does: here nobody has waited
    for those who looked it up before the collapse.
    """

    scenarios = ("deposit-rcu-reader",)
    seen = "a free frame is used"

    @replaces(huge_memory)
    def _gather_table(tlb: Gather, table: int, addr: int) -> None:
        """pte_free()."""
        tlb_remove_tlb_entry(tlb, addr)
        tlb.mm.memory.page(table).flags = 0
        tlb.mm.memory.put_page(table)


def _pte(mm: Any, table: int) -> int:
    return int(mm.memory.read_u64(table << PAGE_SHIFT))


_copy = khugepaged._copy
_collapse_pmd = khugepaged._collapse_pmd
_let_go = khugepaged._let_go
_collapse = khugepaged._collapse
_collapse_huge_page = khugepaged.collapse_huge_page


class D11Collapse(_Wrong):
    """The last put of a collapse comes when the PMD is huge, and reads there whose count to drop:
    it is a data page's.
    """

    scenarios = ("collapse-zap",)
    seen = "PTE_REF_UNDERFLOW"

    @replaces(khugepaged)
    def _let_go(mm: Any, table: int, haddr: int) -> None:
        """Not yet."""

    @replaces(khugepaged)
    def _collapse(mm: Any, haddr: int, pfn: int) -> Any:
        """The put, of what the PMD names now."""
        result = _collapse(mm, haddr, pfn)
        table = entry_pfn(mm.memory.read_u64(mm_find_pmd(mm, haddr)))
        engine.pte_put(mm, table, haddr)
        return result


class PutAfterTheLock(_Wrong):
    """The last put of a collapse comes after mmap_lock was dropped: by then the table may have been
    withdrawn, and its count be that of 512 entries.
    """

    scenarios = ("collapse-zap",)
    seen = "the count is not what is there"

    @replaces(khugepaged)
    def _let_go(mm: Any, table: int, haddr: int) -> None:
        """Not yet."""

    @replaces(khugepaged)
    def collapse_huge_page(mm: Any, address: int) -> Any:
        """The put, of the right table, too late."""
        result = _collapse_huge_page(mm, address)
        mm.kernel.point("unlocked")
        deposited = mm.pmd_huge_pte.get(address & PMD_MASK)
        table = deposited or entry_pfn(mm.memory.read_u64(mm_find_pmd(mm, address)))
        engine.pte_put(mm, table, address)
        return result


class PinsNotCounted(_Wrong):
    """A collapse does not look who else has a reference of a page: a walk without a lock goes on
    with the old one.
    """

    scenarios = ("collapse-pin",)
    seen = "the pinned page is not the one that is mapped"

    @replaces(khugepaged)
    def _may_go(mm: Any, pte: int) -> Any:
        """Every page may."""
        return khugepaged.ScanResult.SUCCEED


class SplitBesideTheLarge(_Wrong):
    """The table comes into the PMD before the large translation is flushed."""

    scenarios = ("split-load",)
    policies = (*FreeTables,)
    seen = "cached of the other size"

    @replaces(huge_memory)
    def pmdp_invalidate(mm: Any, pmd: Any, addr: int) -> int:
        """Left present, and not flushed."""
        return int(mm.memory.read_u64(pmd))

    @replaces(huge_memory)
    def split_huge_pmd(mm: Any, addr: int) -> None:
        """The flush, afterwards."""
        _split_huge_pmd(mm, addr)
        engine.flush_tlb_mm_range(mm, addr, addr + PMD_SIZE, PMD_SHIFT, 0)


_split_huge_pmd = huge_memory.split_huge_pmd


class CountedAfterThePmd(_Wrong):
    """The table that a split withdraws gets its count after the PMD names it: as D1."""

    scenarios = ("split-zap",)
    seen = "entries are not counted yet"

    @replaces(huge_memory)
    def _split_huge_pmd_locked(mm: Any, pmd: Any, addr: int) -> None:
        """pmd_populate() first."""
        old = huge_memory.pmdp_invalidate(mm, pmd, addr)
        table = mm.pmd_huge_pte[addr]
        huge_memory._set_ptes(mm, table, old, addr)
        xchg_pmd(mm, addr, pmd, table << PAGE_SHIFT | huge_memory.TABLE)
        huge_memory.pgtable_trans_huge_withdraw(mm, addr)
        mm.kernel.point("published")
        engine.pte_ref_init(mm, table, pmd, 512)


class WithdrawnFirst(_Wrong):
    """The table is withdrawn before the PMD names it: who looks for huge PMDs meanwhile finds none,
    and none of its pages.
    """

    scenarios = ("split-zap-2M",)
    policies = (FreeTables.NEVER, FreeTables.SCAN, FreeTables.REFCOUNT)
    seen = "a page is left of what was zapped"

    @replaces(huge_memory)
    def _split_huge_pmd_locked(mm: Any, pmd: Any, addr: int) -> None:
        """As it was here."""
        old = huge_memory.pmdp_invalidate(mm, pmd, addr)
        table = huge_memory.pgtable_trans_huge_withdraw(mm, addr)
        if pte_ref_is_enabled(mm):
            engine.pte_ref_init(mm, table, pmd, 512)
        huge_memory._set_ptes(mm, table, old, addr)
        if pte_ref_is_enabled(mm):
            emit(mm.kernel, huge_memory._PTE_GET, table, 0, 512, Holder.ENTRIES)
        mm.kernel.point("pmd_populate")
        xchg_pmd(mm, addr, pmd, table << PAGE_SHIFT | huge_memory.TABLE)


class NotPresentIsATable(_Wrong):
    """pmd_huge() asks for P as well: while a split has the PMD not present, a fault takes the huge
    page for a table.
    """

    scenarios = ("split-fault",)
    seen = "a free frame is used"

    @replaces(free_tables)
    def pmd_huge(value: int) -> bool:
        """Present and large."""
        return value & (P | PS) == P | PS


class NothingOwed(_Wrong):
    """A zap of a huge PMD frees the deposited table apart from the gather, so that nobody knows of
    the flush that is owed for the slot.
    """

    scenarios = ("huge-zap-fault",)
    seen = "cached of the other size"

    @replaces(huge_memory)
    def _gather_table(tlb: Gather, table: int, addr: int) -> None:
        """zap_deposited_table()."""
        engine.call_rcu(tlb.mm.kernel, table)
        tlb_remove_tlb_entry(tlb, addr)


def _is_variant(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Variant) and bool(value.scenarios)


VARIANTS = {name: value for name, value in list(globals().items()) if _is_variant(value)}
