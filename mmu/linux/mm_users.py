# SPDX-License-Identifier: GPL-2.0-or-later
"""Who keeps an mm: tasks that use it, and whoever needs its PGD only (include/linux/sched/mm.h,
kernel/fork.c, v6.18).

::

    mm_users   threads, vfork, who looks at another's memory      the last one: exit_mmap()
    mm_count   all users together (1), a CPU that is lazy with it the last one: the PGD is freed
"""

from __future__ import annotations

from mmu.errors import MmuError
from mmu.linux.mmap import exit_mmap
from mmu.linux.state import MmStruct
from mmu.linux.tlbflush import leave_mm
from mmu.units import PAGE_SHIFT


def mmget(mm: MmStruct) -> None:
    """One more user of an mm that has one: CLONE_VM, vfork(). Raises MmuError if it has exited."""
    if not mmget_not_zero(mm):
        raise MmuError(f"{mm!r} has exited: nobody can use it any more")


def mmget_not_zero(mm: MmStruct) -> bool:
    """One more user, unless the last one has gone; whether there is one more."""
    if not mm.mm_users:
        return False
    mm.mm_users += 1
    return True


def mmput(mm: MmStruct) -> None:
    """One user less; the last one unmaps everything, and drops what all users held.

    May wait; no lock is held. Raises MmuError if there is no user, and what exit_mmap() and
    mmdrop() raise; a user for whom exit_mmap() failed is still one.
    """
    if not mm.mm_users:
        raise MmuError(f"{mm!r} has exited: its last user has gone already")
    mm.mm_users -= 1
    if mm.mm_users:
        return
    try:
        exit_mmap(mm)
    except MmuError:
        mm.mm_users = 1
        raise
    mmdrop(mm)


def mmgrab(mm: MmStruct) -> None:
    """Keep the PGD, whatever becomes of the users: a CPU that is lazy with it
    (mmgrab_lazy_tlb()).
    """
    mm.mm_count += 1


def mmdrop(mm: MmStruct) -> None:
    """Keep it no longer; the last one has every CPU leave the mm, and frees the PGD (__mmdrop()).

    Raises MmuError if pages or tables are still counted then (check_mm()).
    """
    mm.mm_count -= 1
    if mm.mm_count:
        return
    c = mm.c
    leave_mm(mm)
    mm.memory.free_pages(c.pgd >> PAGE_SHIFT)
    c.pgd = 0
    mm.check()
    if c.pgtables_bytes or any(c.rss_stat):
        raise MmuError(
            f"after exit {c.pgtables_bytes} bytes of tables and {list(c.rss_stat)} pages are still"
            " counted"
        )
