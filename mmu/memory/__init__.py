# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest RAM, struct page and the frame allocator."""

from mmu.memory.frames import PageFlag, describe_page
from mmu.memory.ram import MAX_ORDER, Memory

__all__ = ["MAX_ORDER", "Memory", "PageFlag", "describe_page"]
