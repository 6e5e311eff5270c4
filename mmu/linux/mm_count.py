# SPDX-License-Identifier: GPL-2.0-or-later
"""Who keeps an mm's PGD: all its users together, and each CPU that has it loaded (kernel/fork.c,
v6.18).

A CPU goes on translating by the PGD that its CR3 names, also in lazy mode and after the mm has
exited, so the frame may go only when the last such CPU has loaded another.
"""

from __future__ import annotations

from mmu.errors import MmuError
from mmu.linux.global_asid import mm_free_global_asid
from mmu.linux.state import MmStruct
from mmu.units import PAGE_SHIFT


def mmgrab(mm: MmStruct) -> None:
    """Keep the PGD, whatever becomes of the users."""
    mm.mm_count += 1


def mmdrop(mm: MmStruct) -> None:
    """Keep it no longer; the last one gives the global ASID back and frees the PGD (__mmdrop()).

    Raises MmuError if pages or tables are still counted then (check_mm()).
    """
    mm.mm_count -= 1
    if mm.mm_count:
        return
    c = mm.c
    mm_free_global_asid(mm)
    mm.memory.free_pages(c.pgd >> PAGE_SHIFT)
    c.pgd = 0
    mm.check()
    if c.pgtables_bytes or any(c.rss_stat):
        raise MmuError(
            f"after exit {c.pgtables_bytes} bytes of tables and {list(c.rss_stat)} pages are still"
            " counted"
        )
