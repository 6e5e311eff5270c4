# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a user's bytes lie: what mmu.linux.user_range fills in."""

from __future__ import annotations

from mmu._native import ffi


class UserRange:
    """Stretches of guest RAM that hold consecutive user bytes; ``c`` is the ``struct user_range *``
    that both engines fill: ``nr`` stretches (``pa``, ``size``), ``done`` bytes in all, and what the
    access after them came to (``result``, ``error_code``).
    """

    __slots__ = ("c",)

    def __init__(self) -> None:
        self.c = ffi.new("struct user_range *")

    def stretches(self) -> list[tuple[int, int]]:
        """(guest-physical address, bytes) of each."""
        c, nr = self.c, self.c.nr
        return list(zip(ffi.unpack(c.pa, nr), ffi.unpack(c.size, nr), strict=True))
