# SPDX-License-Identifier: GPL-2.0-or-later
"""Wrong ways to free PMD and PUD tables: defects of the PTE tables' list, one level up. Each is
a small change of mmu.linux.pmd_ref, and names a scenario in which it shows and what it shows as.
"""

from __future__ import annotations

from typing import Any

from mmu.linux import pmd_ref
from mmu.linux.pgtable import P, entry_pfn
from mmu.linux.policy import FreeTables
from ucmmu.race.variant import Variant, replaces

COUNTED = (FreeTables.REFCOUNT, FreeTables.REFCOUNT_PMDLOCK)


class _Wrong(Variant):
    policies = COUNTED


class NotCounted(_Wrong):
    """A PTE table that is installed is no entry to its PMD table (F2)."""

    scenarios = ("pmd-fault-fault",)
    seen = "TABLE_NOT_EMPTY|TABLE_REF_UNDERFLOW"

    @replaces(pmd_ref)
    def pmd_entry_set(mm: Any, pmd: Any) -> None:
        """Nothing."""


class NotDropped(_Wrong):
    """The reference of a PTE table that left is not dropped (D10)."""

    scenarios = ("pmd-zap-zap",)
    seen = "references|TABLE_LEAKED"

    @replaces(pmd_ref)
    def pmd_entry_cleared_tlb(tlb: Any, pmd: Any, addr: int) -> None:
        """Nothing."""


class Revived(_Wrong):
    """A lookup takes a reference of a table whose count is 0 (F6)."""

    scenarios = ("pmd-install-zap", "pmd-fault-zap")
    seen = "."

    @replaces(pmd_ref, name="_get_unless_zero")
    def get(mm: Any, table: int, level: int, site: str) -> bool:
        """Whatever the count is."""
        mm.memory.page(table).pte_refcount += 1
        return True


class Waits(_Wrong):
    """Who finds a count of 0 waits for the freer, who may be preempted (D2)."""

    scenarios = ("pmd-install-zap",)
    seen = "more than 500 steps"

    @replaces(pmd_ref, name="_free_table")
    def look_again(mm: Any, entry: int, addr: int, level: int) -> None:
        """Let the freer do it."""
        mm.kernel.point("cpu_relax")


class Twice(_Wrong):
    """Who comes to free a table does not look whether another did (F8)."""

    scenarios = ("pmd-install-zap", "pmd-fault-zap")
    seen = "."

    @replaces(pmd_ref, name="_detach")
    def detach(mm: Any, entry: Any, addr: int, level: int) -> int | None:
        """Take whatever stands there."""
        value = mm.memory.read_u64(entry)
        if not value & P:
            return None
        mm.memory.write_u64(entry, 0)
        return int(entry_pfn(value))


VARIANTS = (NotCounted, NotDropped, Revived, Waits, Twice)
