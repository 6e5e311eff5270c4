# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``struct page`` says about one frame, readable.

::

     31       24 23         11 10   9   8   7   6   5   4   3   2   1   0
    +-----------+-------------+---+---+---+---+---+---+---+---+---+---+---+
    |   order   |      0      |UPR|EXC|DTY|SWB|HST|ANO|RSV|COD|TBL|BUD|ZER|
    +-----------+-------------+---+---+---+---+---+---+---+---+---+---+---+
"""

from __future__ import annotations

from enum import IntFlag
from typing import TYPE_CHECKING

from mmu._native import lib

if TYPE_CHECKING:
    from mmu._native import struct_page


class PageFlag(IntFlag):
    """Bits of ``struct page.flags``; native/memory/frames.h says what each means."""

    ZERO = lib.PG_zero
    BUDDY = lib.PG_buddy
    TABLE = lib.PG_table
    CODE = lib.PG_code
    RESERVED = lib.PG_reserved
    ANON = lib.PG_anon
    HOST = lib.PG_host
    SWAPBACKED = lib.PG_swapbacked
    DIRTY = lib.PG_dirty
    ANON_EXCLUSIVE = lib.PG_anon_exclusive
    UPPER = lib.PG_upper


def describe_page(page: struct_page) -> str:
    """One line about a ``struct page``: owners, flags, and the order of a free block."""
    flags = PageFlag(page.flags & ((1 << lib.PG_order_shift) - 1))
    names = "|".join(str(flag.name).lower() for flag in PageFlag if flag in flags)
    text = f"refcount={page._refcount} flags={names or 'none'}"
    if flags & PageFlag.BUDDY:
        text += f" order={page.flags >> lib.PG_order_shift}"
    return text
