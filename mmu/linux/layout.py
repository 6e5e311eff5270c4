# SPDX-License-Identifier: GPL-2.0-or-later
"""How a process's address space is laid out (arch/x86/mm/mmap.c, asm/page_64_types.h, v6.18).

Address-space randomisation is off::

    0        TASK_UNMAPPED_BASE                     mmap_base    stack      TASK_SIZE
    |   text, data, brk |  (bottom-up, if the rest is full) <--- | gap |  <-- |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mmu.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, U64

TASK_SIZE: Final = 0x7FFF_FFFF_F000
"""End of user addresses with 4-level paging, bytes: one page below 2^47."""

STACK_GUARD_GAP: Final = 256 * PAGE_SIZE
"""Bytes kept free below a stack: the kernel parameter stack_guard_gap, 256 pages."""

MMAP_GAP_MIN: Final = 128 << 20
"""Bytes below TASK_SIZE that are kept free for the stack, at least (MIN_GAP)."""
_MMAP_GAP_MAX: Final = TASK_SIZE // 6 * 5


def page_align(length: int) -> int:
    """PAGE_ALIGN(): ``length`` bytes rounded up to whole pages, modulo 2^64 as in the kernel."""
    return (length + PAGE_SIZE - 1) & PAGE_MASK & U64


TASK_UNMAPPED_BASE: Final = page_align(TASK_SIZE // 3)
"""Where the bottom-up search begins."""


def mmap_base(stack_limit: int) -> int:
    """Return where the top-down search begins, in bytes, for an RLIMIT_STACK of that many bytes.

    The stack is left its limit and a guard gap of 1 MiB, but at least 128 MiB and at most 5/6 of
    the address space (mmap_base(), arch/x86/mm/mmap.c).
    """
    gap = stack_limit + (256 << PAGE_SHIFT)
    return page_align(TASK_SIZE - min(max(gap, MMAP_GAP_MIN), _MMAP_GAP_MAX))


UNKNOWN: Final = U64
"""Hole.length when nothing is known."""


@dataclass(slots=True)
class Hole:
    """What the last top-down search found: no gap of length bytes or more in [below, mmap_base)."""

    length: int
    below: int

    def forget_below(self, end: int, mmap_base: int) -> None:
        """Forget what is known if what was unmapped, up to ``end``, lies above ``below``."""
        if end > self.below:
            self.length, self.below = UNKNOWN, mmap_base
