# SPDX-License-Identifier: GPL-2.0-or-later
"""Robust futexes: what a thread leaves locked when it ends (kernel/futex/core.c, v6.18).

::

    struct robust_list_head        in user memory, one a thread
      list.next ──> entry.next ──> … ──> back to the head      bit 0: a PI futex
      futex_offset                       from an entry to its futex word
      list_op_pending                    the one that is being taken or given back
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from cpu.futex.keys import FUTEX_SIZE, get_user_u32
from cpu.futex.waitwake import futex_wake
from mmu.errors import LinuxError
from mmu.linux.uaccess import user_atomic_u32
from mmu.units import U64

if TYPE_CHECKING:
    from cpu.task import Task

FUTEX_WAITERS: Final = 0x80000000
FUTEX_OWNER_DIED: Final = 0x40000000
FUTEX_TID_MASK: Final = 0x3FFFFFFF
ROBUST_LIST_LIMIT: Final = 2048
ROBUST_LIST_HEAD_SIZE: Final = 24
_POINTER: Final = struct.Struct("<Q")
_OFFSET: Final = struct.Struct("<q")
_PI: Final = 1


def exit_robust_list(task: Task) -> None:
    """Mark every futex of the task's list that it holds with FUTEX_OWNER_DIED, and wake a waiter of
    each. What cannot be read ends the walk. May wait.
    """
    head = task.robust_list
    try:
        entry, pi = _fetch(task, head)
        (offset,) = _OFFSET.unpack(task.mm.copy_from_user(head + 8 & U64, 8))
        pending, pending_pi = _fetch(task, head + 16 & U64)
    except LinuxError:
        return
    for _ in range(ROBUST_LIST_LIMIT):
        if entry == head:
            break
        following: tuple[int, bool] | None
        try:
            following = _fetch(task, entry)
        except LinuxError:
            following = None
        if entry != pending and not _handle_death(task, entry + offset & U64, pi, pending=False):
            return
        if following is None:
            return
        entry, pi = following
    if pending:
        _handle_death(task, pending + offset & U64, pending_pi, pending=True)


def _fetch(task: Task, addr: int) -> tuple[int, bool]:
    (entry,) = _POINTER.unpack(task.mm.copy_from_user(addr, 8))
    return entry & ~_PI, bool(entry & _PI)


def _handle_death(task: Task, addr: int, pi: bool, *, pending: bool) -> bool:
    """handle_futex_death(): False if the futex cannot be reached."""
    if addr % FUTEX_SIZE:
        return False

    def died(value: int) -> int | None:
        if value & FUTEX_TID_MASK != task.pid:
            return None
        return value & FUTEX_WAITERS | FUTEX_OWNER_DIED

    try:
        value = get_user_u32(task.mm, addr)
        owner = value & FUTEX_TID_MASK
        if pending and not pi and not owner:
            futex_wake(task, addr, 1, shared=True)
            return True
        if owner != task.pid:
            return True
        value = user_atomic_u32(task.mm, addr, died)
        if value & FUTEX_TID_MASK == task.pid and not pi and value & FUTEX_WAITERS:
            futex_wake(task, addr, 1, shared=True)
    except LinuxError:
        return False
    return True
