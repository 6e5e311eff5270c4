# SPDX-License-Identifier: GPL-2.0-or-later
"""Who keeps an mm: tasks that use it, and whoever needs its PGD only (include/linux/sched/mm.h,
kernel/fork.c, v6.18).

::

    mm_users   threads, vfork, who looks at another's memory      the last one: exit_mmap()
    mm_count   all users together (1), each CPU that has it loaded  the last one: mmdrop()
"""

from __future__ import annotations

from mmu.errors import MmuError
from mmu.linux.mm_count import mmdrop
from mmu.linux.munmap import exit_mmap
from mmu.linux.state import MmStruct


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
