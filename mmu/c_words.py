# SPDX-License-Identifier: GPL-2.0-or-later
"""Fields of C structs as numbers of a view: quicker to read, and to read together, than by name."""

from __future__ import annotations

from typing import Any


def words(ffi: Any, pointer: Any, field: str, count: int = 1) -> memoryview:
    """A view of ``count`` fields of one size, 4 or 8 bytes, from ``field`` on, in the struct that a
    pointer of ``ffi`` leads to. It may be written. What owns the struct must outlive it.
    """
    struct = ffi.typeof(pointer).item
    at = ffi.offsetof(struct, field)
    size = ffi.sizeof(dict(struct.fields)[field].type)
    part = memoryview(ffi.buffer(pointer)).cast("B")[at : at + count * size]
    return part.cast("Q") if size == 8 else part.cast("I")
