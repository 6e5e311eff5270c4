# SPDX-License-Identifier: GPL-2.0-or-later
"""What changed among an mm's VMAs since the last look, for whoever writes a run down.

Whatever changes VMAs holds mmap_lock for writing, so a look before each unlock sees every change
(``MmapLock.before_write_unlock``). What both looks have in common is skipped as bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mmu._native import ffi, lib
from mmu.linux.layout import TASK_SIZE
from mmu.linux.procfs import perms, vma_name
from mmu.linux.state import MmStruct
from mmu.units import PAGE_SHIFT

_FACTS: Final = struct.Struct("<QQQQII")
"""struct vma_facts of native/mm/mm.h."""


@dataclass(frozen=True, slots=True)
class Unmapped:
    """[start, end) is mapped no more, or otherwise from now on."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Mapped:
    """A VMA over [start, end): ``perms`` as /proc/PID/maps has them, ``flags`` its vm_flags,
    ``offset`` bytes into the file whose vm_file is ``file`` (0: none), ``name`` what /proc calls
    memory without a file.
    """

    start: int
    end: int
    perms: str
    flags: int
    offset: int
    file: int
    name: str


class VmaChanges:
    """Compares the VMAs of ``mm`` with those at the last call of changes(); none at first."""

    def __init__(self, mm: MmStruct) -> None:
        self._mm = mm
        self._known = b""
        self._names: dict[int, str] = {}

    def changes(self) -> list[Unmapped | Mapped]:
        """What goes, then what comes, each in order of address. The mmap_lock is held."""
        old, new = self._known, _facts(self._mm)
        if new == old:
            return []
        self._known = new
        if not new:
            self._names.clear()
            return [Unmapped(0, TASK_SIZE)]
        first, last = _common(old, new)
        gone = list(_FACTS.iter_unpack(old[first : len(old) - last]))
        come = list(_FACTS.iter_unpack(new[first : len(new) - last]))
        stays = set(gone) & set(come)
        told: list[Unmapped | Mapped] = [Unmapped(f[0], f[1]) for f in gone if f not in stays]
        return told + [self._mapped(f) for f in come if f not in stays]

    def renamed(self) -> list[Unmapped | Mapped]:
        """The VMAs that have another name now than when they were told of: the stack and the heap
        get theirs late in exec().
        """
        told: list[Unmapped | Mapped] = []
        for facts in _FACTS.iter_unpack(self._known):
            start, end, _, _, file, _ = facts
            if not file and self._names.get(start, "") != vma_name(self._mm, start, end):
                told += [Unmapped(start, end), self._mapped(facts)]
        return told

    def _mapped(self, facts: tuple[int, ...]) -> Mapped:
        start, end, flags, pgoff, file, _ = facts
        name = "" if file else vma_name(self._mm, start, end)
        self._names[start] = name
        offset = pgoff << PAGE_SHIFT if file else 0
        return Mapped(start, end, perms(flags), flags, offset, file, name)


def _facts(mm: MmStruct) -> bytes:
    nr = mm.c.vmas.nr
    out = ffi.new("struct vma_facts[]", nr)
    lib.vma_tell(mm.c, out)
    return bytes(ffi.buffer(out))


def _common(old: bytes, new: bytes) -> tuple[int, int]:
    """Bytes of whole records that both begin with, and of those that both end with, which do not
    overlap.
    """
    size, most = _FACTS.size, min(len(old), len(new)) // _FACTS.size
    first = _largest(most, lambda n: old[: n * size] == new[: n * size])
    last = _largest(most - first, lambda n: not n or old[-n * size :] == new[-n * size :])
    return first * size, last * size


def _largest(most: int, holds: Callable[[int], bool]) -> int:
    """The largest number up to ``most`` for which it holds; it holds for all below that."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low
