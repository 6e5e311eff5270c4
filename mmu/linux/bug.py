# SPDX-License-Identifier: GPL-2.0-or-later
"""Broken invariants of the mm: what the kernel would meet with VM_BUG_ON()."""

from __future__ import annotations

from enum import IntEnum

from mmu._native import lib
from mmu.errors import MmuError


class Bug(IntEnum):
    """Which invariant broke (``kernel.bug``)."""

    PTE_REF_UNDERFLOW = lib.BUG_PTE_REF_UNDERFLOW
    PTE_REF_OVERFLOW = lib.BUG_PTE_REF_OVERFLOW
    PTE_REF_FROM_ZERO = lib.BUG_PTE_REF_FROM_ZERO
    PTE_TABLE_NOT_EMPTY = lib.BUG_PTE_TABLE_NOT_EMPTY
    LOCK_HELD = lib.BUG_LOCK_HELD
    LOCK_NOT_HELD = lib.BUG_LOCK_NOT_HELD
    RSS_NEGATIVE = lib.BUG_RSS_NEGATIVE
    PTE_TABLE_LEAKED = lib.BUG_PTE_TABLE_LEAKED
    GATHER_NESTED = lib.BUG_GATHER_NESTED
    RCU_UNBALANCED = lib.BUG_RCU_UNBALANCED
    WAIT_FAILED = lib.BUG_WAIT_FAILED
    IPI_NEVER_ACKNOWLEDGED = lib.BUG_IPI_NEVER_ACKNOWLEDGED
    IPI_IRQS_OFF = lib.BUG_IPI_IRQS_OFF
    IRQS_UNBALANCED = lib.BUG_IRQS_UNBALANCED
    LOCK_ORDER = lib.BUG_LOCK_ORDER
    LOCK_KEPT = lib.BUG_LOCK_KEPT
    SLEEP_IN_ATOMIC = lib.BUG_SLEEP_IN_ATOMIC
    RCU_STALL = lib.BUG_RCU_STALL
    TABLE_REF_UNDERFLOW = lib.BUG_TABLE_REF_UNDERFLOW
    TABLE_REF_OVERFLOW = lib.BUG_TABLE_REF_OVERFLOW
    TABLE_REF_FROM_ZERO = lib.BUG_TABLE_REF_FROM_ZERO
    TABLE_NOT_EMPTY = lib.BUG_TABLE_NOT_EMPTY
    TABLE_LEAKED = lib.BUG_TABLE_LEAKED
    PAGE_CACHE_MAPPED = lib.BUG_PAGE_CACHE_MAPPED
    PTE_TABLE_DEPOSITED = lib.BUG_PTE_TABLE_DEPOSITED


_SENTENCES = {
    Bug.PTE_REF_UNDERFLOW: (
        "more references of a PTE table were dropped than were held (in frame {:#x})"
    ),
    Bug.PTE_REF_OVERFLOW: "the reference count of a PTE table overflowed (in frame {:#x})",
    Bug.PTE_REF_FROM_ZERO: (
        "a reference was taken on a PTE table whose count is 0 (in frame {:#x})"
    ),
    Bug.PTE_TABLE_NOT_EMPTY: "the count of the PTE table of {:#x} reached 0 while entries were set",
    Bug.LOCK_HELD: "a lock was taken that nobody can drop",
    Bug.LOCK_NOT_HELD: "a lock was released that this CPU did not hold",
    Bug.RSS_NEGATIVE: "a resident-set counter became negative",
    Bug.PTE_TABLE_LEAKED: "tearing down met the PTE table of {:#x}: a reference leaked",
    Bug.GATHER_NESTED: "an mmu_gather was begun within another",
    Bug.RCU_UNBALANCED: "rcu_read_unlock without rcu_read_lock",
    Bug.WAIT_FAILED: "a wait ended in an error",
    Bug.IPI_NEVER_ACKNOWLEDGED: (
        "an interprocessor interrupt can never be acknowledged: its CPUs (mask {:#x}) have"
        " interrupts off and nothing turns them on"
    ),
    Bug.IPI_IRQS_OFF: (
        "CPU {:#x} waited for other CPUs to acknowledge an interrupt with its own interrupts off"
    ),
    Bug.IRQS_UNBALANCED: "local_irq_restore without local_irq_save (CPU {:#x})",
    Bug.LOCK_ORDER: "locks are taken in orders that can deadlock",
    Bug.LOCK_KEPT: "something was held on the way out of the kernel",
    Bug.SLEEP_IN_ATOMIC: "a sleep where none is allowed",
    Bug.RCU_STALL: "a grace period is waited for that cannot end",
    Bug.TABLE_REF_UNDERFLOW: (
        "more references of a PMD or PUD table were dropped than were held (in frame {:#x})"
    ),
    Bug.TABLE_REF_OVERFLOW: "the reference count of a PMD or PUD table overflowed (in frame {:#x})",
    Bug.TABLE_REF_FROM_ZERO: (
        "a reference was taken on a PMD or PUD table whose count is 0 (in frame {:#x})"
    ),
    Bug.TABLE_NOT_EMPTY: (
        "the count of the PMD or PUD table of {:#x} reached 0 while entries were set"
    ),
    Bug.TABLE_LEAKED: "tearing down met the PMD or PUD table of {:#x}: a reference leaked",
    Bug.PAGE_CACHE_MAPPED: "a page leaves its file while a PTE maps it (in frame {:#x})",
    Bug.PTE_TABLE_DEPOSITED: (
        "the PTE table of {:#x} is deposited for a huge page while somebody has a reference of it"
    ),
}


class MmBug(MmuError):
    """An invariant of the mm is broken: a defect of the code under test. ``bug`` says which."""

    def __init__(self, bug: Bug, address: int = 0, detail: str = "") -> None:
        """Say which, and where: an address, or a frame number; ``detail``: or how."""
        sentence = _SENTENCES[bug].format(address)
        super().__init__(f"{bug.name}: {sentence}" + (f": {detail}" if detail else ""))
        self.bug = bug
        self.address = address
        self.detail = detail

    def __reduce__(self) -> tuple[type[MmBug], tuple[Bug, int, str]]:
        return MmBug, (self.bug, self.address, self.detail)
