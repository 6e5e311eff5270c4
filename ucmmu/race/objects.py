# SPDX-License-Identifier: GPL-2.0-or-later
"""The objects that a step touches: what they are called, and what kind of field one is.

::

    0x5008                          a word of RAM, by its guest-physical address
    ("word", 0x5008, 1)             the same as CPU 1 sees it, where there are store buffers
    ("page", 0x5, "ptl")            a field of a struct page; of a count also its parts, by CPU
    ("frame", 0x5)                  whether the frame is in use
    ("mm", 2, "tlb_gen")            a field of an mm, by its ctx_id, or a group of them
    ("cpu", 1, "is_lazy")           the same of a CPU
    ("tlb", 1)                      a CPU's TLB
    ("flushes", 1)                  what it was told to drop: whether it may still come to a table
    ("cr3", 1)                      what else it may come to: its CR3, and CR4
    ("buffer", 1, 7)                store number 7 of CPU 1 waits
    ("qs", 1, 3)                    CPU 1 has been quiet, as the end of grace period 3 asks for
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

Object = Hashable
"""What a step touches: the address of a word of RAM, or a tuple."""
Objects = frozenset[Object]

CELLS: Final = frozenset(
    ["flags", "_refcount", "_mapcount", "ptl", "pte_refcount", "page_table_lock"]
)
"""Fields that are read and written by one locked instruction where one step does both."""

COUNTS: Final = frozenset(["pte_refcount", "_refcount"])
"""Fields that count references: of a table, of a frame."""

LOCKS: Final = frozenset(["ptl", "page_table_lock"])
"""Fields that are a spinlock: 0, or the number of the CPU that has it and 1."""


def describe(what: Object) -> str:
    """An object in words."""
    if isinstance(what, int):
        return f"the word at {what:#x}"
    kind, *rest = what if isinstance(what, tuple) else (what,)
    if kind == "page":
        field, *part = rest[1:]
        return f"{field} of frame {rest[0]:#x}" + (f" ({part[0]} of CPU {part[1]})" if part else "")
    if kind == "word":
        return f"the word at {rest[0]:#x} as CPU {rest[1]} sees it"
    if kind == "frame":
        return f"frame {rest[0]:#x} being in use"
    if kind in ("mm", "cpu"):
        return f"{rest[1]} of {kind if kind == 'mm' else 'CPU'} {rest[0]}"
    if kind in ("tlb", "flushes"):
        return f"the {'TLB' if kind == 'tlb' else kind} of CPU {rest[0]}"
    return " ".join(map(str, (kind, *rest)))


def seen_by(cpu: int, word: int) -> Object:
    """What a CPU's own loads get of a word."""
    return ("word", word, cpu)


def field_of(what: Object) -> str:
    """Which field of a struct page or an mm it is; "": of neither."""
    if not isinstance(what, tuple) or len(what) < 3 or what[0] not in ("page", "mm"):
        return ""
    return str(what[2])


def is_lock(what: Object) -> bool:
    """Whether it is a spinlock."""
    return field_of(what) in LOCKS
