# SPDX-License-Identifier: GPL-2.0-or-later
"""Sizes and kinds of accesses as tests write them."""

from __future__ import annotations

from typing import Final

from mmu.errors import MmuError
from mmu.linux.mman import PROT_EXEC, PROT_READ, PROT_WRITE
from mmu.x86 import Access
from ucmmu.sizes import parse_size

ACCESS: Final = {"read": Access.READ, "write": Access.WRITE, "fetch": Access.FETCH}


def access_of(kind: str | int) -> Access:
    """An access by its name: "read", "write", "fetch"; or an Access. Raises MmuError."""
    if isinstance(kind, str):
        if kind not in ACCESS:
            raise MmuError(f"no access {kind!r}: known are {', '.join(ACCESS)}")
        return ACCESS[kind]
    if kind not in set(Access):
        raise MmuError(f"no access {kind!r}: known are {', '.join(ACCESS)}")
    return Access(kind)


def size_of(size: int | str) -> int:
    """Bytes: a number, or a text as "8K", "2M". Raises MmuError."""
    if isinstance(size, int):
        return size
    try:
        return parse_size(size)
    except ValueError as error:
        raise MmuError(f"size {size!r}: {error}") from None


def prot_of(prot: int | str) -> int:
    """PROT_*: a number, or letters of "rwx", "-" for nothing. Raises MmuError."""
    if isinstance(prot, int):
        return prot
    letters = {"r": PROT_READ, "w": PROT_WRITE, "x": PROT_EXEC, "-": 0}
    bits = 0
    for letter in prot:
        if letter not in letters:
            raise MmuError(f"protection {prot!r}: no {letter!r}; known are r, w, x and -")
        bits |= letters[letter]
    return bits
