# SPDX-License-Identifier: GPL-2.0-or-later
"""Kinds of locks, and what is told and counted when one is waited for
(include/trace/events/lock.h, v6.18).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from mmu._native import lib
from mmu.events import EVENT_ID, KERNEL_COUNTER_ID

if TYPE_CHECKING:
    from mmu.events import EventRing

LOCK_PTE: Final = lib.LOCK_PTE
LOCK_PMD: Final = lib.LOCK_PMD
LOCK_PAGE_TABLE: Final = lib.LOCK_PAGE_TABLE
LOCK_MMAP: Final = lib.LOCK_MMAP
LOCK_VMA: Final = lib.LOCK_VMA
LOCK_FOLIO: Final = lib.LOCK_FOLIO
LOCK_I_MMAP: Final = lib.LOCK_I_MMAP

LOCK_NAMES: Final = (
    *("PTE lock", "PMD lock", "page_table_lock", "mmap_lock", "VMA lock"),
    *("folio lock", "i_mmap_rwsem"),
)
"""By kind of lock, for people."""

LCB_F_SPIN: Final = lib.LCB_F_SPIN
LCB_F_READ: Final = lib.LCB_F_READ
LCB_F_WRITE: Final = lib.LCB_F_WRITE

_BEGIN: Final = EVENT_ID["contention_begin"]
_END: Final = EVENT_ID["contention_end"]
_CONTENDED: Final = KERNEL_COUNTER_ID["pte_lock_contended"]


class Recorder(Protocol):
    """What of a Kernel is needed here: its counters and its event ring."""

    c: Any
    ring: EventRing | None


def contention_begin(kernel: Recorder, lock: int, kind: int, flags: int) -> None:
    """The lock of this kind (LOCK_*) is held and is waited for: count it and tell it.

    ``lock`` names it: a table's frame, or an address. flags: LCB_F_*.
    """
    kernel.c.counter[_CONTENDED + kind] += 1
    if kernel.ring is not None:
        kernel.ring.emit(_BEGIN, lock, kind, flags)


def contention_end(kernel: Recorder, lock: int, kind: int, ret: int) -> None:
    """The wait is over; ret 0: the lock is had."""
    if kernel.ring is not None:
        kernel.ring.emit(_END, lock, kind, ret)
