# SPDX-License-Identifier: GPL-2.0-or-later
"""Records to the bytes of a chunk, and back."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import zstandard

from mmu._native import ffi, lib
from mmu.trace.filter import Numbers, Records
from mmu.trace.format import CHUNK, MAX_RECORDS, RECORD, block_header
from mmu.trace.index import ChunkInfo, Part, info_of

if TYPE_CHECKING:
    from mmu._native import struct_event_ptr, struct_event_roles_ptr

LEVEL = 1
"""zstd's: the columns are short already, and higher levels cost more than they save."""

_MOST = 256
"""Bytes that no event exceeds before compression."""


class Encoder:
    """Makes chunks of up to ``max_records``."""

    def __init__(self, roles: struct_event_roles_ptr, max_records: int) -> None:
        c = lib.encoder_create(max_records)
        if c == ffi.NULL:
            raise MemoryError
        self._c = ffi.gc(c, lib.encoder_destroy)
        self._roles = roles
        self._parts = ffi.new("struct encoded_part[]", lib.TRACE_PARTS)
        self._digest = ffi.new("struct digest *")
        self._zstd = zstandard.ZstdCompressor(level=LEVEL, write_content_size=False)

    def chunk(self, records: struct_event_ptr, nr: int, first: int) -> tuple[bytes, bytes]:
        """The block of nr records (one at least), the first of which has number ``first``; and
        its ChunkInfo.
        """
        lib.encode_chunk(self._c, self._roles, records, nr, self._parts, self._digest)
        stored, parts = [], []
        for part in self._parts:
            raw = memoryview(ffi.buffer(part.bytes, part.size))
            data = self._zstd.compress(raw) if part.size else b""
            stored.append(data)
            parts.append(Part(part.nr, len(data), part.size, zlib.crc32(data)))
        packed = info_of(first, nr, parts, self._digest).pack()
        size = len(packed) + sum(map(len, stored))
        header = block_header(CHUNK, size, len(packed), packed)
        return b"".join((header, packed, *stored)), packed


@dataclass
class Pieces:
    """Which parts of a chunk are there, as stored: None is left out."""

    stored: Sequence[bytes | None]


class Decoder:
    """Reads chunks. ValueError where the bytes are not what the encoder writes."""

    def __init__(self, roles: struct_event_roles_ptr) -> None:
        self._max = 0
        self._c = ffi.NULL
        self._roles = roles
        self._zstd = zstandard.ZstdDecompressor()

    def records(self, info: ChunkInfo, pieces: Pieces) -> tuple[Records, Numbers]:
        """The events of these parts, in order, and their numbers."""
        if not 0 < info.nr <= MAX_RECORDS or sum(part.nr for part in info.parts) != info.nr:
            raise ValueError("an impossible number of events")
        if info.nr > self._max:
            c = lib.decoder_create(info.nr)
            if c == ffi.NULL:
                raise MemoryError
            self._c, self._max = ffi.gc(c, lib.decoder_destroy), info.nr
        wanted = [
            n for n, data in enumerate(pieces.stored) if data is not None and info.parts[n].nr
        ]
        whole = sum(info.parts[n].nr for n in wanted) == info.nr
        records = np.empty(info.nr if whole else sum(info.parts[n].nr for n in wanted), RECORD)
        places = np.empty(len(records), np.uint32)
        at = 0
        for n in wanted:
            nr = info.parts[n].nr
            out = records if whole else records[at : at + nr]
            self._part(info, n, pieces.stored[n] or b"", whole, out, places[at : at + nr])
            at += nr
        if whole:
            if len(wanted) > 1 and not _is_all(places, info.nr):
                raise ValueError("two events have one place")
            return records, np.arange(info.first, info.first + info.nr, dtype=np.uint64)
        if len(wanted) > 1:
            order = np.argsort(places, kind="stable")
            records, places = records[order], places[order]
        return records, places.astype(np.uint64) + np.uint64(info.first)

    def _part(
        self,
        info: ChunkInfo,
        n: int,
        data: bytes,
        scatter: bool,
        records: Records,
        places: npt.NDArray[np.uint32],
    ) -> None:
        part = info.parts[n]
        if zlib.crc32(data) != part.crc:
            raise ValueError("a wrong checksum")
        if part.size > _MOST * (part.nr + 1):
            raise ValueError("an impossible size")
        try:
            raw = self._zstd.decompress(data, max_output_size=part.size)
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from None
        if len(raw) != part.size or not lib.decode_part(
            self._c,
            self._roles,
            n,
            ffi.from_buffer("u8[]", raw),
            len(raw),
            part.nr,
            info.nr,
            scatter,
            ffi.from_buffer("struct event[]", records, require_writable=True),
            ffi.from_buffer("u32[]", places, require_writable=True),
        ):
            raise ValueError("no events")


def _is_all(places: npt.NDArray[np.uint32], nr: int) -> bool:
    return bool((np.bincount(places, minlength=nr) == 1).all())
