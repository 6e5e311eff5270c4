# SPDX-License-Identifier: GPL-2.0-or-later
"""Sizes that everything here counts in: the page, an instruction, and the widths of registers."""

from __future__ import annotations

from typing import Final

PAGE_SHIFT: Final = 12
PAGE_SIZE: Final = 1 << PAGE_SHIFT
"""Bytes of the smallest page, and of a paging structure (SDM 4.1.1)."""
PAGE_MASK: Final = ~(PAGE_SIZE - 1)
"""Clears the offset within a page."""

MAX_INSTRUCTION: Final = 15
"""Bytes of the longest instruction (SDM vol. 2 2.3.11)."""

U32: Final = (1 << 32) - 1
U64: Final = (1 << 64) - 1
