# SPDX-License-Identifier: GPL-2.0-or-later
"""Wrong counts of PMD tables that the invariants of the explorer must tell: each is a small change
of ours, and names a scenario in which it shows and what it shows as.
"""

from __future__ import annotations

from typing import Any

from mmu.events import EVENT_ID
from mmu.linux import move_page_tables, pmd_ref, pte_ref
from mmu.linux.locks import pmd_lock, pmd_lock_nested, pmd_unlock
from mmu.linux.pgtable import PMD_SIZE, entry_pfn, pmd_none, xchg_pmd
from mmu.linux.policy import FreeTables
from mmu.linux.tlbflush import flush_tlb_mm_range
from mmu.linux.tracepoint import emit
from mmu.units import PAGE_SHIFT, PAGE_SIZE
from ucmmu.race.invariants import Reason
from ucmmu.race.variant import Variant, replaces


class _Wrong(Variant):
    policies = (FreeTables.REFCOUNT,)


class PutTwice(_Wrong):
    """A PTE table that left is put twice as an entry of its PMD table."""

    scenarios = ("pmd-zap-zap",)
    seen = Reason.UNCOUNTED.value

    @replaces(pmd_ref)
    def pmd_entry_cleared_tlb(tlb: Any, pmd: Any, addr: int) -> None:
        """Once, and once more."""
        _cleared_tlb(tlb, pmd, addr)
        _cleared_tlb(tlb, pmd, addr)


_cleared_tlb = pmd_ref.pmd_entry_cleared_tlb


class LostIncrement(_Wrong):
    """The count of a PMD table is read and written apart: what another CPU did between is lost."""

    scenarios = ("pmd-zap-zap",)
    seen = Reason.COUNT.value

    @replaces(pmd_ref)
    def _get_unless_zero(mm: Any, table: int, level: int, site: str) -> bool:
        """Read, add, write."""
        page = mm.memory.page(table)
        old = page.pte_refcount
        if not old:
            return False
        mm.kernel.point("count_read")
        page.pte_refcount = old + 1
        emit(mm.kernel, EVENT_ID["pmd_get"], table, old, old + 1, 0, site)
        return True


class NotTakenAtAMove(_Wrong):
    """A PTE table that moves is no entry to the PMD table where it comes."""

    scenarios = ("pmd-mremap-zap",)
    seen = Reason.UNCOUNTED.value

    @replaces(move_page_tables)
    def move_normal_pmd(mm: Any, old_pmd: Any, old_addr: int, new_pmd: Any, new_addr: int) -> bool:
        """Without pmd_entry_set()."""
        if not pmd_none(mm.memory.read_u64(new_pmd)):
            return False
        result, table = pte_ref.pte_try_get(mm, old_pmd)
        if result != pte_ref.TryGet.SUCCEEDED:
            return False
        same = old_pmd & -PAGE_SIZE == new_pmd & -PAGE_SIZE
        pmd_lock(mm, old_pmd)
        if not same:
            pmd_lock_nested(mm, new_pmd)
        value = xchg_pmd(mm, old_addr, old_pmd, 0)
        xchg_pmd(mm, new_addr, new_pmd, value)
        mm.memory.page(table).pmd = new_pmd
        flush_tlb_mm_range(mm, old_addr, old_addr + PMD_SIZE, PAGE_SHIFT, 1)
        if not same:
            pmd_unlock(mm, new_pmd)
        pmd_unlock(mm, old_pmd)
        pmd_ref.pmd_entry_cleared(mm, old_pmd, old_addr)
        pte_ref.pte_put(mm, table, new_addr)
        return True


class FreedInUse(_Wrong):
    """A PMD table is freed with its last entry, whoever visits it still."""

    scenarios = ("pmd-fault-zap",)
    seen = Reason.FREED_IN_USE.value

    @replaces(pmd_ref)
    def _put(mm: Any, tlb: Any, table: int, addr: int, level: int, holder: int, site: str) -> None:
        """Whatever is left."""
        _put(mm, tlb, table, addr, level, holder, site)
        page = mm.memory.page(table)
        if holder == 1 and page.pte_refcount == 1:
            entry = page.pmd
            value = mm.memory.xchg_u64(entry, 0)
            emit(mm.kernel, EVENT_ID["set_pud"], addr, value, 0, entry, site)
            emit(mm.kernel, EVENT_ID["pmd_free"], addr, entry_pfn(value), mm.c.pgd, entry, site)


_put = pmd_ref._put


class FreedTwice(_Wrong):
    """Who frees a PMD table does not look whether another did."""

    scenarios = ("pmd-install-zap",)
    seen = Reason.FREED_TWICE.value

    @replaces(pmd_ref)
    def _detach(mm: Any, entry: Any, addr: int, level: int) -> int | None:
        """Told again."""
        table = _detach(mm, entry, addr, level)
        if table is not None:
            emit(mm.kernel, EVENT_ID["pmd_free"], addr, table, mm.c.pgd, entry, "free_pmd_table")
        return table


_detach = pmd_ref._detach


def _is_variant(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Variant) and bool(value.scenarios)


VARIANTS = {name: value for name, value in list(globals().items()) if _is_variant(value)}
