# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of a chunk without reading it, and which chunks may hold what is wanted."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmu._native import ffi, lib
from mmu.events import EventDesc
from mmu.trace.where import Where

if TYPE_CHECKING:
    from mmu._native import struct_digest_ptr

_HEAD = struct.Struct("<QIQQHHH")
_PART = struct.Struct("<IQQI")
_KIND = struct.Struct("<BI")
_CPU = struct.Struct("<BQQQ")
_MANY_TASKS = 0xFFFF
_MANY_PAGES = 1 << 20


@dataclass(frozen=True)
class Part:
    """A part of a chunk: ``nr`` events in ``stored`` bytes, ``size`` before compression."""

    nr: int
    stored: int
    size: int
    crc: int


@dataclass(frozen=True)
class NumberSet:
    """Numbers by their hashes: may hold one that was not put in, never the contrary."""

    nr_bits: int
    bits: bytes

    def may_hold(self, first: int, last: int) -> bool:
        """Whether a number from first to last may be in it; true for a great range."""
        if not self.nr_bits:
            return False
        if last - first > _MANY_PAGES:
            return True
        bits = ffi.from_buffer("u64[]", self.bits)
        return lib.digest_may_hold(bits, self.nr_bits, first, last)


@dataclass(frozen=True)
class ChunkInfo:
    """A chunk: events [first, first + nr), ``times`` and instructions by ``cpus`` from least to
    greatest, events by number of their ``kinds``; ``tasks`` None: too many to list.
    ``pages_insns`` are pages with addresses of insn, access and tlb_hit, ``pages`` those of other
    events, ``tables`` frames of page tables.
    """

    first: int
    nr: int
    times: tuple[int, int]
    parts: tuple[Part, ...]
    kinds: Mapping[int, int]
    cpus: Mapping[int, tuple[int, int, int]]
    """Events, least and greatest instruction."""
    tasks: frozenset[int] | None
    pages_insns: NumberSet
    pages: NumberSet
    frames: NumberSet

    def pack(self) -> bytes:
        """Its bytes in the file."""
        tasks = sorted(self.tasks or ())
        out = [
            _HEAD.pack(
                self.first,
                self.nr,
                *self.times,
                len(self.kinds),
                len(self.cpus),
                _MANY_TASKS if self.tasks is None else len(tasks),
            )
        ]
        out += (_PART.pack(p.nr, p.stored, p.size, p.crc) for p in self.parts)
        out += (_KIND.pack(kind, nr) for kind, nr in self.kinds.items())
        out += (_CPU.pack(cpu, *values) for cpu, values in self.cpus.items())
        out.append(struct.pack(f"<{len(tasks)}I", *tasks))
        for numbers in (self.pages_insns, self.pages, self.frames):
            out.append(struct.pack("<I", numbers.nr_bits) + numbers.bits)
        return b"".join(out)

    @classmethod
    def unpack(cls, raw: bytes) -> ChunkInfo:
        """From its bytes; ValueError if they are none."""
        try:
            return cls._unpack(raw)
        except struct.error as error:
            raise ValueError(str(error)) from None

    @classmethod
    def _unpack(cls, raw: bytes) -> ChunkInfo:
        first, nr, begin, end, nr_kinds, nr_cpus, nr_tasks = _HEAD.unpack_from(raw)
        at = _HEAD.size
        parts = []
        for _ in range(lib.TRACE_PARTS):
            parts.append(Part(*_PART.unpack_from(raw, at)))
            at += _PART.size
        kinds, cpus = {}, {}
        for _ in range(nr_kinds):
            kind, count = _KIND.unpack_from(raw, at)
            kinds[kind] = count
            at += _KIND.size
        for _ in range(nr_cpus):
            cpu, *values = _CPU.unpack_from(raw, at)
            cpus[cpu] = (values[0], values[1], values[2])
            at += _CPU.size
        tasks: frozenset[int] | None = None
        if nr_tasks != _MANY_TASKS:
            tasks = frozenset(struct.unpack_from(f"<{nr_tasks}I", raw, at))
            at += 4 * nr_tasks
        sets = []
        for _ in range(lib.DIGEST_SETS):
            (nr_bits,) = struct.unpack_from("<I", raw, at)
            size = nr_bits // 8
            if nr_bits & (nr_bits - 1) or nr_bits % 64 or len(raw) < at + 4 + size:
                raise ValueError("a set of numbers with an odd size")
            sets.append(NumberSet(nr_bits, raw[at + 4 : at + 4 + size]))
            at += 4 + size
        if at != len(raw):
            raise ValueError("more bytes than a chunk's description has")
        return cls(first, nr, (begin, end), tuple(parts), kinds, cpus, tasks, *sets)


def info_of(first: int, nr: int, parts: Sequence[Part], digest: struct_digest_ptr) -> ChunkInfo:
    """What the encoder found in a chunk, the first event of which has number ``first``."""
    kinds = np.frombuffer(memoryview(ffi.buffer(digest.kinds)), np.uint32)
    tasks = None
    if digest.nr_tasks <= lib.DIGEST_TASKS:
        tasks = frozenset(digest.tasks[i] for i in range(digest.nr_tasks))
    cpus = {}
    for cpu in (
        np.frombuffer(memoryview(ffi.buffer(digest.cpu)), np.uint64)[::3].nonzero()[0].tolist()
    ):
        counted = digest.cpu[cpu]
        cpus[cpu] = (counted.nr, counted.first, counted.last)
    sets = []
    for numbers in digest.set:
        bits = bytes(ffi.buffer(numbers.bits, numbers.nr_bits // 8))
        sets.append(NumberSet(numbers.nr_bits, bits))
    return ChunkInfo(
        first,
        nr,
        (digest.first_time, digest.last_time),
        tuple(parts),
        {kind: int(kinds[kind]) for kind in kinds.nonzero()[0].tolist()},
        cpus,
        tasks,
        *sets,
    )


class Wanted:
    """Which parts of which chunks may hold events for which ``where`` holds."""

    def __init__(self, where: Where, descs: Sequence[EventDesc], parts: Sequence[int]) -> None:
        self._where = where
        self._kinds: tuple[frozenset[int], ...] = tuple(
            frozenset(
                desc.id
                for desc, in_part in zip(descs, parts, strict=True)
                if in_part == part and (not where.events or desc.name in where.events)
            )
            for part in range(lib.TRACE_PARTS)
        )

    def parts(self, chunk: ChunkInfo) -> tuple[int, ...]:
        """The numbers of the parts of a chunk that must be read; () if none."""
        where = self._where
        if where.end is not None and chunk.first >= where.end:
            return ()
        if where.code is not None:  # whether an event is in code depends on those before it
            return tuple(part for part in range(lib.TRACE_PARTS) if chunk.parts[part].nr)
        if chunk.first + chunk.nr <= where.begin or not self._is_time(chunk):
            return ()
        if where.tasks and chunk.tasks is not None and not where.tasks & chunk.tasks:
            return ()
        return tuple(part for part in range(lib.TRACE_PARTS) if self._is_in(chunk, part))

    def _is_time(self, chunk: ChunkInfo) -> bool:
        where = self._where
        if where.times and not _meet(where.times, chunk.times):
            return False
        cpus = [n for n in chunk.cpus if not where.cpus or n in where.cpus]
        if where.instructions is None:
            return bool(cpus)
        return any(_meet(where.instructions, chunk.cpus[n][1:]) for n in cpus)

    def _is_in(self, chunk: ChunkInfo, part: int) -> bool:
        where = self._where
        if not chunk.parts[part].nr or not any(kind in chunk.kinds for kind in self._kinds[part]):
            return False
        if where.frames and (
            not part or not any(chunk.frames.may_hold(pfn, pfn) for pfn in where.frames)
        ):
            return False
        pages = chunk.pages if part else chunk.pages_insns
        return not where.addresses or any(
            pages.may_hold(begin >> lib.PAGE_SHIFT, end - 1 >> lib.PAGE_SHIFT)
            for begin, end in where.addresses
            if begin < end
        )


def _meet(wanted: tuple[int, int], there: tuple[int, int]) -> bool:
    """Whether [begin, end) and [first, last] have a number in common."""
    return wanted[0] <= there[1] and there[0] < wanted[1]
