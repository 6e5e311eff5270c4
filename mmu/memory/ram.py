# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest RAM: one flat, lazily backed mapping that C, Python and Unicorn share.

Addresses are guest-physical, in bytes; a pfn is such an address divided by 4096. Frames that
were never written cost no host memory, nor does their ``struct page``.
"""

from __future__ import annotations

import errno
import os
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from mmu._native import ffi, lib
from mmu.errors import MmuError, OutOfMemory
from mmu.memory.frames import PageFlag, describe_page
from mmu.units import PAGE_SHIFT, U64

if TYPE_CHECKING:
    from mmu._native import struct_page
    from mmu.events import EventRing

MAX_ORDER: int = lib.NR_PAGE_ORDERS - 1


class Exchange(IntEnum):
    """What a compare-and-exchange of a word of guest memory ended in."""

    DONE = lib.EXCHANGE_DONE
    CHANGED = lib.EXCHANGE_CHANGED
    """The word is another by now, and stays."""
    READ_ONLY = lib.EXCHANGE_READ_ONLY
    """The store has no effect, as with ROM; also where no memory is."""


_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def _size_text(size: int) -> str:
    unit = 0
    while size and size % 1024 == 0 and unit < len(_UNITS) - 1:
        size //= 1024
        unit += 1
    return f"{size} {_UNITS[unit]}"


class Memory:
    """``size`` bytes of guest RAM from guest-physical ``base`` on, with their frame allocator.

    Both are multiples of 4096; pfn 0 and the zero page are never handed out. The host maps all of
    it at once and backs what is written, so 1 TiB costs nothing until it is used. Raises MmuError
    when the host refuses the mapping or the numbers are impossible.
    """

    def __init__(self, size: int = 16 << 30, *, base: int = 0) -> None:
        """Map RAM and its ``struct page`` array."""
        c = ffi.new("struct memory *")
        error = lib.memory_init(c, size, base) if _fit(size, base) else -errno.EINVAL
        if error == -errno.EINVAL:
            raise MmuError(
                "guest RAM must be whole pages of 4096 bytes, at least 8 KiB and less than 16 TiB,"
                f" below physical address 2^52: not {_size_text(size)} at {base:#x}"
            )
        if error:
            raise MmuError(
                f"the host cannot map {_size_text(size)} of guest RAM: {os.strerror(-error)}"
            )
        self.c = ffi.gc(c, lib.memory_destroy)
        self.size = size
        self.base = base
        self._bytes: memoryview = memoryview(ffi.buffer(self.c.ram, size))
        self.words: memoryview = self._bytes.cast("Q")

    def __repr__(self) -> str:
        """Size and place, for people."""
        return f"<Memory {_size_text(self.size)} at {self.base:#x}>"

    @property
    def zero_pfn(self) -> int:
        """The frame that is always zero and never freed (the kernel's ZERO_PAGE)."""
        return self.c.zero_pfn

    @property
    def free_frames(self) -> int:
        """Frames that can still be handed out; those waiting for memory_take_code() are not among
        them.
        """
        return self.c.nr_free

    @property
    def frames_in_use(self) -> int:
        """Frames handed out and not yet freed."""
        return self.c.allocs - self.c.frees

    def close(self) -> None:
        """Unmap everything now. No pointer into this RAM, and nothing built on it, may be used
        afterwards.
        """
        self.words.release()
        self._bytes.release()
        ffi.release(self.c)
        self.size = 0

    def holds(self, pa: int, n: int = 1) -> bool:
        """Whether all n bytes from guest-physical pa on are RAM."""
        return self.base <= pa and pa + n <= self.base + self.size

    def read_u64(self, pa: int) -> int:
        """The aligned 64-bit word at guest-physical pa."""
        return self.words[self._word(pa)]

    def write_u64(self, pa: int, value: int) -> None:
        """Set the aligned 64-bit word at guest-physical pa."""
        self.words[self._word(pa)] = value

    def xchg_u64(self, pa: int, value: int) -> int:
        """LOCK XCHG of the aligned 64-bit word at guest-physical pa; returns what it was."""
        word = self._word(pa)
        old = self.words[word]
        self.words[word] = value
        return old

    def cmpxchg_u64(self, pa: int, old: int, value: int) -> bool:
        """LOCK CMPXCHG of the aligned 64-bit word at guest-physical pa; whether it was ``old``."""
        word = self._word(pa)
        if self.words[word] != old:
            return False
        self.words[word] = value
        return True

    def load(self, pa: int) -> int | None:
        """The aligned 64-bit word at guest-physical pa, in RAM or in the memory beyond that the bus
        reaches; None if there is no memory.
        """
        if self.holds(pa, 8):
            return self.read_u64(pa)
        value = ffi.new("u64 *")
        return int(value[0]) if lib.memory_load(self.c, pa, value) else None

    def exchange(self, pa: int, old: int, value: int) -> Exchange:
        """LOCK CMPXCHG of the aligned word at guest-physical pa, in RAM or beyond.

        One step: nothing runs in between here.
        """
        if not self.holds(pa, 8):
            return Exchange(lib.memory_exchange(self.c, pa, old, value))
        if self.read_u64(pa) != old:
            return Exchange.CHANGED
        self.write_u64(pa, value)
        return Exchange.DONE

    def mark_table(self, pa: int) -> None:
        """A walk has read a table in pa's frame, in RAM or beyond; nothing where no memory is."""
        flags = lib.memory_flags(self.c, pa)
        if flags != ffi.NULL and not flags[0] & PageFlag.TABLE:
            flags[0] |= PageFlag.TABLE
            self.c.tables_met += 1

    def connect(self, bus: Any) -> None:
        """Reach memory outside RAM through this ``struct bus *``, which the caller keeps alive;
        None: there is none.
        """
        self.c.bus = ffi.NULL if bus is None else bus

    def read(self, pa: int, n: int) -> bytes:
        """Copy n bytes out, from guest-physical pa on."""
        return bytes(ffi.buffer(self.c.ram + self._offset(pa, n), n))

    def nr_zero_words(self, pa: int, nr: int) -> int:
        """How many aligned words from guest-physical pa on are 0 before one that is not, or nr."""
        data = ffi.buffer(self.c.ram + self._offset(pa, nr * 8), nr * 8)[:]
        return (len(data) - len(data.lstrip(b"\0"))) >> 3

    def view(self, pa: int, n: int) -> memoryview:
        """The n bytes from guest-physical pa on, to be read and written in place."""
        offset = self._offset(pa, n)
        return self._bytes[offset : offset + n]

    def write(self, pa: int, data: bytes) -> None:
        """Copy bytes in, from guest-physical pa on."""
        ffi.memmove(self.c.ram + self._offset(pa, len(data)), data, len(data))

    def alloc_pages(self, order: int = 0, *, zero: bool = True) -> int:
        """Take 2^order frames, naturally aligned, each with one owner; returns the first one's pfn.

        With zero their bytes are 0, else whatever they held. Raises OutOfMemory when no such block
        is free, MmuError for an order above 10 (Linux's MAX_PAGE_ORDER).
        """
        if not 0 <= order <= MAX_ORDER:
            raise MmuError(f"frames come in blocks of 2^0 to 2^{MAX_ORDER}, not 2^{order}")
        pfn = lib.alloc_pages(self.c, order, zero)
        if not pfn:
            frames = "frame" if order == 0 else f"block of {1 << order} frames"
            raise OutOfMemory(f"guest RAM of {_size_text(self.size)} is out: no free {frames} left")
        return pfn

    def free_pages(self, pfn: int, order: int = 0, *, zero: bool = False) -> None:
        """Give back 2^order frames that alloc_pages() handed out together and that have one owner
        each.

        With zero the caller knows that their bytes are all 0, which spares the clearing later.
        Raises MmuError, and changes nothing, if one of them is free, shared or reserved.
        """
        for frame in range(pfn, pfn + (1 << order)):
            page = self.page(frame)
            if page._refcount != 1 or page.flags & lib.PG_reserved:
                raise MmuError(f"frame {frame:#x} cannot be freed: {describe_page(page)}")
        lib.free_pages(self.c, pfn, order, zero)

    def put_page(self, pfn: int) -> None:
        """Drop one owner of a frame; the last one frees it. MmuError if it has none."""
        if not self.page(pfn)._refcount:
            raise MmuError(f"frame {pfn:#x} has no owner to drop")
        lib.put_page(self.c, pfn)

    def page(self, pfn: int) -> struct_page:
        """The ``struct page`` of a frame, by reference; MmuError if the frame is not RAM."""
        index = pfn - (self.base >> PAGE_SHIFT)
        if not 0 <= index < self.c.nr_pages:
            raise MmuError(f"frame {pfn:#x} is not guest RAM")
        return self.c.pages[index]

    def record(self, ring: EventRing) -> None:
        """Tell frames handed out and taken back to this ring, from now on."""
        self._ring = ring
        self.c.ring = ring.c

    def trim(self, keep: int = 0) -> int:
        """Give host memory of free frames back until at most ``keep`` such frames are left; returns
        bytes.
        """
        return lib.memory_trim(self.c, keep)

    def release_if_zero(self, pfn: int) -> bool:
        """If all bytes of the frame are 0, give its host memory back; it goes on reading as 0."""
        self.page(pfn)
        return lib.memory_release_if_zero(self.c, pfn)

    def take_code(self) -> int | None:
        """The next freed frame whose code must go before free_code(); None if there is none."""
        return lib.memory_take_code(self.c) or None

    def free_code(self, pfn: int) -> None:
        """Make a frame from take_code() free for good."""
        lib.memory_free_code(self.c, pfn)

    def _offset(self, pa: int, n: int) -> int:
        if not self.holds(pa, n):
            raise MmuError(f"{n} bytes at guest-physical {pa:#x} are not all guest RAM")
        return pa - self.base

    def _word(self, pa: int) -> int:
        offset = self._offset(pa, 8)
        if offset & 7:
            raise MmuError(f"guest-physical {pa:#x} is not aligned to 8 bytes")
        return offset >> 3


def _fit(*numbers: int) -> bool:
    return all(0 <= number <= U64 for number in numbers)
