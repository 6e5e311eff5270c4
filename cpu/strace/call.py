# SPDX-License-Identifier: GPL-2.0-or-later
"""One system call under trace, and the memory its arguments lead to."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cpu.strace.peek import peek, peek_string
from cpu.strace.text import DEFAULT_STRLEN, pointer, quoted
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.task import Task

PATH_MAX: Final = 4096
MAX_ITEMS: Final = 32
"""Items of an array that are shown."""


@dataclass
class Call:
    """A system call that ``task`` makes. ``result`` is what it returned, negative: an errno; None
    before that.
    """

    task: Task
    name: str
    args: tuple[int, ...]
    result: int | None = None

    @property
    def failed(self) -> bool:
        """Whether it returned an error."""
        return self.result is not None and -4096 < self.result < 0

    def read(self, addr: int, size: int) -> bytes | None:
        """What lies there; None if not all of it can be read."""
        data = peek(self.task.mm, addr, size)
        return data if len(data) == size else None

    def unpack(self, addr: int, layout: struct.Struct) -> tuple[Any, ...] | None:
        """A struct; None if there is none to be read."""
        data = self.read(addr, layout.size) if addr else None
        return None if data is None else layout.unpack(data)

    def path(self, addr: int) -> str:
        """A string that ends with 0, whole."""
        found = peek_string(self.task.mm, addr, PATH_MAX) if addr else None
        return pointer(addr) if found is None else quoted(found[0], more=not found[1])

    def text(self, addr: int) -> str:
        """A string that ends with 0, its beginning."""
        found = peek_string(self.task.mm, addr, DEFAULT_STRLEN + 1) if addr else None
        if found is None:
            return pointer(addr)
        data, ends = found
        return quoted(data[:DEFAULT_STRLEN], more=not ends or len(data) > DEFAULT_STRLEN)

    def buffer(self, addr: int, size: int, *, hexadecimal: bool = False) -> str:
        """The beginning of a buffer of ``size`` bytes."""
        data = self.read(addr, min(size, DEFAULT_STRLEN)) if addr else None
        if data is None:
            return pointer(addr)
        return quoted(data, more=size > DEFAULT_STRLEN, hexadecimal=hexadecimal)

    def items(self, addr: int, count: int, layout: struct.Struct, show: Callable[..., str]) -> str:
        """An array of structs."""
        if not addr:
            return "NULL"
        if self.unpack(addr, layout) is None and count:
            return pointer(addr)
        return f"[{', '.join(self._items(addr, count, layout, show))}]"

    def _items(
        self, addr: int, count: int, layout: struct.Struct, show: Callable[..., str]
    ) -> Iterator[str]:
        for number in range(count):
            found = self.unpack(addr + number * layout.size, layout)
            if found is None or number >= MAX_ITEMS:
                yield "..." if found else f"... /* {addr + number * layout.size:#x} */"
                return
            yield show(*found)


def s32(value: int) -> int:
    """The low half of a register as an int."""
    value &= U32
    return value - (1 << 32) if value >> 31 else value


def s64(value: int) -> int:
    """A register as a long."""
    return value - (1 << 64) if value >> 63 else value
