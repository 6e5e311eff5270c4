# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory outside RAM that tests own: frames in a row, which a bus of Python functions reaches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmu._native import ffi, lib
from mmu.memory import Memory

WORDS = 512


class OtherMemory:
    """So many zeroed frames from guest-physical ``base`` on, connected to ``memory``.

    ``in_place``: whether the bus tells where they lie. Stores to the frames (by address) in
    ``read_only`` have no effect. ``before_exchange`` is called with the address of each word that
    is about to be compared and exchanged.
    """

    def __init__(self, memory: Memory, base: int, frames: int, *, in_place: bool = True) -> None:
        self.base, self.frames, self.in_place = base, frames, in_place
        self.read_only: set[int] = set()
        self.before_exchange: Callable[[int], None] = lambda pa: None
        self.words = ffi.new("u64[]", frames * WORDS)
        self.flags = ffi.new("u32[]", frames)
        functions = {
            "read": ffi.callback("bool(void *, u64, void *, u32)", self._read),
            "exchange": ffi.callback("u32(void *, u64, u64, u64)", self._exchange),
            "host": ffi.callback("u64 *(void *, u64)", self._host),
            "flags": ffi.callback("u32 *(void *, u64)", self._flags),
        }
        self.bus = ffi.new("struct bus *", {"self": ffi.NULL, **functions})
        self._keep = functions
        self._memory = memory
        self._free = base
        memory.connect(self.bus)

    def holds(self, pa: int) -> bool:
        """Whether the word at pa is one of these frames'."""
        return self.base <= pa < self.base + (self.frames << 12)

    def alloc_pages(self) -> int:
        """A frame that was not given out before, as Memory.alloc_pages() does it."""
        assert self.holds(self._free)
        self._free += 4096
        return self._free - 4096 >> 12

    def read_u64(self, pa: int) -> int:
        """The word at pa, here or in RAM."""
        return int(self.words[pa - self.base >> 3]) if self.holds(pa) else self._memory.read_u64(pa)

    def write_u64(self, pa: int, value: int) -> None:
        """Set the word at pa, here or in RAM."""
        if self.holds(pa):
            self.words[pa - self.base >> 3] = value
        else:
            self._memory.write_u64(pa, value)

    def take_away(self) -> None:
        """From now on there is no memory here."""
        self.frames = 0

    def _read(self, _self: Any, pa: int, out: Any, n: int) -> bool:
        if not self.holds(pa):
            return False
        ffi.memmove(out, self.words + (pa - self.base >> 3), n)
        return True

    def _exchange(self, _self: Any, pa: int, old: int, value: int) -> int:
        self.before_exchange(pa)
        if not self.holds(pa) or pa & -4096 in self.read_only:
            return int(lib.EXCHANGE_READ_ONLY)
        if self.read_u64(pa) != old:
            return int(lib.EXCHANGE_CHANGED)
        self.write_u64(pa, value)
        return int(lib.EXCHANGE_DONE)

    def _host(self, _self: Any, pa: int) -> Any:
        if not self.in_place or not self.holds(pa):
            return ffi.NULL
        return self.words + ((pa & -4096) - self.base >> 3)

    def _flags(self, _self: Any, pa: int) -> Any:
        return self.flags + (pa - self.base >> 12) if self.holds(pa) else ffi.NULL
