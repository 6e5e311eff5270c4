# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest RAM, struct page and the frame allocator."""

from mmu.memory.frames import PageFlag, describe_page
from mmu.memory.ram import MAX_ORDER, Exchange, Memory

__all__ = ["MAX_ORDER", "Exchange", "Memory", "PageFlag", "describe_page"]
