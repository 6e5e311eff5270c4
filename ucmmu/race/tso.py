# SPDX-License-Identifier: GPL-2.0-or-later
"""The store buffer of an x86 processor: why a store is seen by its own CPU first (x86-TSO).

A plain store goes into a buffer that only its own CPU looks into, and from there to memory, the
oldest first, at any later time::

    CPU 0:  store ──> [ x = 1 | y = 1 ] ──drain──> memory      other CPUs see x, then y
            load  <── the newest store to that address, else memory

A locked instruction, MFENCE, MOV to CR3, INVLPG, IRET and an interrupt wait until the buffer of
their CPU is empty. The page walker reads memory, not the buffer (SDM vol. 3A 13.3: a store to a
table may reach it late). Sewell, Sarkar, Owens, Zappa Nardelli, Myreen: x86-TSO, CACM 53 (2010).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

A = TypeVar("A", bound=Hashable)


class StoreBuffer(Generic[A]):
    """The stores of one CPU that no other CPU sees yet, oldest first: pairs (address, value)."""

    __slots__ = ("_stores",)

    def __init__(self) -> None:
        self._stores: deque[tuple[A, int]] = deque()

    def __len__(self) -> int:
        """How many stores wait."""
        return len(self._stores)

    def __iter__(self) -> Iterator[tuple[A, int]]:
        """The stores that wait, oldest first."""
        return iter(self._stores)

    def store(self, address: A, value: int) -> None:
        """A plain store of this CPU."""
        self._stores.append((address, value))

    def load(self, address: A) -> int | None:
        """What this CPU's own load of address gets from the buffer; None: memory has it."""
        for stored, value in reversed(self._stores):
            if stored == address:
                return value
        return None

    def drain(self) -> tuple[A, int]:
        """Take the oldest store out, for memory; IndexError if none waits."""
        return self._stores.popleft()

    def drain_all(self, commit: Callable[[A, int], object]) -> int:
        """What a fence waits for: give every store to ``commit``, oldest first; how many."""
        count = len(self._stores)
        while self._stores:
            commit(*self._stores.popleft())
        return count
