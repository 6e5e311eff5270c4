# SPDX-License-Identifier: GPL-2.0-or-later
"""Sizes that everything here counts in: the page, and the widths of registers."""

from __future__ import annotations

from typing import Final

PAGE_SHIFT: Final = 12
PAGE_SIZE: Final = 1 << PAGE_SHIFT
"""Bytes of the smallest page, and of a paging structure (SDM 4.1.1)."""
PAGE_MASK: Final = ~(PAGE_SIZE - 1)
"""Clears the offset within a page."""

U32: Final = (1 << 32) - 1
U64: Final = (1 << 64) - 1
