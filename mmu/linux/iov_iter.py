# SPDX-License-Identifier: GPL-2.0-or-later
"""The user memory of one read or write, however many vectors it has (lib/iov_iter.c, v6.18)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mmu.linux.uaccess import user_pieces
from mmu.x86 import Access

if TYPE_CHECKING:
    from mmu.linux.state import MmStruct

CHUNK: Final = 1 << 20
"""Bytes that are moved at a time: what waits is looked at between."""


class IovIter:
    """A struct iov_iter over ``vectors``, (base, length) pairs of the mm's user addresses: what is
    read from there (Access.READ) or written (Access.WRITE), ``count`` bytes still, at most
    ``limit`` in all.
    """

    def __init__(
        self, mm: MmStruct, vectors: Sequence[tuple[int, int]], access: Access, limit: int
    ) -> None:
        self._mm = mm
        self._access = access
        if len(vectors) == 1:
            self._rest = list(vectors)
            self.count = min(vectors[0][1], limit)
            return
        self._rest = [(base, length) for base, length in reversed(vectors) if length]
        self.count = min(sum(length for _, length in vectors), limit)

    def pieces(self, limit: int) -> list[memoryview]:
        """The next bytes, at most ``limit``, in guest RAM, to be moved before anything waits; they
        end before a page that is not there, and where a vector ends. [] is EFAULT. May wait.
        """
        base, length = self._rest[-1]
        return user_pieces(self._mm, base, min(length, limit, self.count, CHUNK), self._access)

    def advance(self, n: int) -> None:
        """``n`` bytes are moved."""
        self.count -= n
        while n:
            base, length = self._rest.pop()
            if n < length:
                self._rest.append((base + n, length - n))
                return
            n -= length
