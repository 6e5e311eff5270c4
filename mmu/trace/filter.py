# SPDX-License-Identifier: GPL-2.0-or-later
"""Conditions on events, as C applies them to whole arrays of records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mmu._native import ffi, lib
from mmu.events import EventDesc
from mmu.trace.where import Ranges, Where

if TYPE_CHECKING:
    from mmu._native import struct_event_roles_ptr

_LAST = (1 << 64) - 1
Records = npt.NDArray[np.void]
Numbers = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]


class Filter:
    """Tells which records are wanted. With ``where.code`` it goes from one array to the next in the
    order of the events; else it has no state.
    """

    def __init__(
        self, where: Where, descs: Sequence[EventDesc], roles: struct_event_roles_ptr
    ) -> None:
        self.where = where
        self._roles = roles
        self._keep: dict[str, Any] = {}
        self._c = ffi.new("struct event_filter *")
        for desc in descs:
            self._c.kind[desc.id] = not where.events or desc.name in where.events
        for cpu in range(256):
            self._c.cpu[cpu] = not where.cpus or cpu in where.cpus
        _set_range(self._c.number, (where.begin, where.end))
        _set_range(self._c.instruction, where.instructions or (0, None))
        _set_range(self._c.time, where.times or (0, None))
        self._c.nr_tasks = len(where.tasks)
        self._c.task = self._array("task", "u32[]", sorted(where.tasks))
        self._c.nr_frames = len(where.frames)
        self._c.frame = self._array("frame", "u64[]", sorted(where.frames))
        self._c.nr_addresses = len(where.addresses)
        self._c.address = self._array("address", "struct number_range[]", _limited(where.addresses))
        self._c.by_code = where.code is not None
        self.add_code(where.code or ())

    def _array(self, name: str, kind: str, values: object) -> Any:
        self._keep[name] = ffi.new(kind, values)
        return self._keep[name]

    def add_code(self, ranges: Ranges) -> None:
        """Add to ``where.code``, if that is a condition."""
        if self._c.by_code:
            code = [*self._keep.get("ranges", ()), *_limited(ranges)]
            self._keep["ranges"] = code
            self._c.code = self._array("code", "struct number_range[]", code)
            self._c.nr_code = len(code)

    def know_sites(self, sites: Sequence[str]) -> None:
        """Names of the kernel functions, by number; None of them is wanted before."""
        if self.where.sites:
            wanted = bytearray(1 << 16)
            for number, name in enumerate(sites):
                wanted[number] = name in self.where.sites
            self._c.site = self._array("site", "u8[]", bytes(wanted))

    def mask(self, records: Records, numbers: Numbers) -> Mask:
        """For each record, whether it is wanted."""
        mask = np.empty(len(records), np.uint8)
        lib.filter_mask(
            self._c,
            self._roles,
            ffi.from_buffer("struct event[]", records),
            ffi.from_buffer("u64[]", numbers),
            len(records),
            ffi.from_buffer("u8[]", mask, require_writable=True),
        )
        return mask.view(np.bool_)


def keep(records: Records, numbers: Numbers, mask: Mask) -> tuple[Records, Numbers]:
    """The records that ``mask`` names; the arrays given are overwritten."""
    kept = lib.filter_keep(
        ffi.from_buffer("struct event[]", records, require_writable=True),
        ffi.from_buffer("u64[]", numbers, require_writable=True),
        len(records),
        ffi.from_buffer("u8[]", mask),
    )
    if kept * 4 < len(records):  # who keeps few does not hold the memory of many
        return records[:kept].copy(), numbers[:kept].copy()
    return records[:kept], numbers[:kept]


def _set_range(c_range: Any, wanted: tuple[int, int | None]) -> None:
    begin, end = wanted
    c_range.begin = min(max(begin, 0), _LAST)
    c_range.end = _LAST if end is None else min(max(end, 0), _LAST)


def _limited(ranges: Ranges) -> list[tuple[int, int]]:
    return [(max(begin, 0), min(end, _LAST)) for begin, end in ranges]
