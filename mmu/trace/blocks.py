# SPDX-License-Identifier: GPL-2.0-or-later
"""The blocks of a file: by its index, by going through them, or as they come out of a pipe."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import zstandard

from mmu.trace.format import (
    BLOCK_HEADER,
    CHUNK,
    END,
    FILE_HEADER,
    HEAD,
    INDEX,
    MAGIC,
    MAX_BLOCK,
    NOTES,
    SITES,
    SUMMARY,
    TRAILER,
    VERSION,
    TraceError,
    checksum,
    trailer,
)
from mmu.trace.index import ChunkInfo

OnValue = Callable[[bytes, Any], object]
_KINDS = {HEAD, NOTES, CHUNK, SITES, SUMMARY, INDEX}
_MOST_INFO = 1 << 20


class _Torn(Exception):
    """What follows in the file is no block; its text says why."""


@dataclass(frozen=True)
class Chunk:
    """A chunk at byte ``offset``, and how to get the stored bytes of a part."""

    offset: int
    info: ChunkInfo
    part: Callable[[int], bytes]


@dataclass(frozen=True)
class _Block:
    kind: bytes
    offset: int
    stored: int
    size: int
    covered: bytes


class Blocks:
    """The blocks of an open file that begins as a trace; TraceError if it does not."""

    def __init__(self, path: str, file: BinaryIO) -> None:
        self.chunks: list[Chunk] = []
        """The chunks; of a pipe, those that were read."""
        self.torn: str | None = None
        self._path = path
        self._file = file
        self._seekable = file.seekable()
        self._at = 0
        self._length = 0
        self._zstd = zstandard.ZstdDecompressor()
        self._read_once = False
        self._check(self._bytes(FILE_HEADER.size))
        if self._seekable:
            self._length = file.seek(0, os.SEEK_END)
            self._seek(FILE_HEADER.size)

    def _check(self, raw: bytes) -> None:
        if not raw:
            raise TraceError(f"{self._path}: empty: a trace is made by ucmmu run --trace FILE")
        if raw[: len(MAGIC)] != MAGIC[: len(raw)]:
            raise TraceError(f"{self._path}: not a trace: those are made by ucmmu run --trace FILE")
        if len(raw) < FILE_HEADER.size:
            raise TraceError(f"{self._path}: ends in its first {FILE_HEADER.size} bytes")
        _, version, reserved = FILE_HEADER.unpack(raw)
        if version != VERSION or reserved:
            raise TraceError(
                f"{self._path}: a trace of version {version}.{reserved}, and this ucmmu reads"
                f" version {VERSION}: read it with the ucmmu that recorded it, or a newer one"
            )

    def head(self) -> Any:
        """What the block HEAD says; TraceError: it cannot be read."""
        try:
            block = self._block()
            if block is not None and block.kind == HEAD:
                return self._json(block)
            why = "its first block is missing"
        except _Torn as torn:
            why = str(torn)
        raise TraceError(f"{self._path}: nothing can be read of it: {why}")

    def values(self) -> Iterator[tuple[bytes, Any]]:
        """The JSON of the blocks that are no events, after head(); nothing if it is a pipe."""
        if not self._seekable:
            return
        after_head = self._at
        offsets = self._by_index()
        if offsets is None:
            self._seek(after_head)
            self.chunks.clear()
            yield from self._scan()
            return
        for offset in offsets:
            self._seek(offset)
            try:
                block = self._block()
                if block is None or block.kind not in (NOTES, SITES, SUMMARY):
                    raise _Torn(f"no block where its index says, at byte {offset}")
                value = self._json(block)
            except _Torn as torn:
                self.torn = self.torn or str(torn)
                continue
            yield block.kind, value

    def read(self, on_value: OnValue) -> Iterator[Chunk]:
        """Each chunk in order; out of a pipe, what comes between them goes to ``on_value``."""
        if self._seekable:
            yield from self.chunks
            return
        if self._read_once:
            raise TraceError(f"{self._path}: a pipe can be read once only: record to a file")
        self._read_once = True
        try:
            while (block := self._block()) is not None:
                if block.kind == CHUNK:
                    info = self._info(block.covered)
                    self._fit(block, info)
                    parts = [self._exactly(part.stored) for part in info.parts]
                    self.chunks.append(Chunk(block.offset, info, _no_part))
                    yield Chunk(block.offset, info, parts.__getitem__)
                elif block.kind == INDEX:
                    return
                else:
                    on_value(block.kind, self._json(block))
            self.torn = f"ends at byte {self._at} without an index"
        except _Torn as torn:
            self.torn = str(torn)

    def fraction(self, chunk: Chunk) -> float:
        """How much of the file lies before the end of the chunk, 0 to 1; 0 of a pipe."""
        end = chunk.offset + BLOCK_HEADER.size + sum(part.stored for part in chunk.info.parts)
        return min(end / self._length, 1.0) if self._length else 0.0

    def _by_index(self) -> list[int] | None:
        """Take the chunks from the index; returns where the other blocks are. None: no index."""
        if self._length < FILE_HEADER.size + TRAILER.size:
            return None
        self._seek(self._length - TRAILER.size)
        raw = self._bytes(TRAILER.size)
        at = int.from_bytes(raw[len(END) : len(END) + 8], "little")
        if raw != trailer(at) or at >= self._length:
            return None
        try:
            self._seek(at)
            block = self._block()
            if block is None or block.kind != INDEX:
                return None
            return self._unpack_index(self._decompressed(block))
        except (_Torn, struct.error):
            return None

    def _unpack_index(self, raw: bytes) -> list[int]:
        nr_chunks, nr_blocks = struct.unpack_from("<QQ", raw)
        at = 16
        for _ in range(nr_chunks):
            offset, size = struct.unpack_from("<QI", raw, at)
            info = self._info(raw[at + 12 : at + 12 + size])
            self._add(offset, info, size)
            at += 12 + size
        return list(struct.unpack_from(f"<{nr_blocks}Q", raw, at))

    def _scan(self) -> Iterator[tuple[bytes, Any]]:
        """Go through all blocks of a file without an index."""
        try:
            while (block := self._block()) is not None:
                if block.kind == CHUNK:
                    info = self._info(block.covered)
                    self._fit(block, info)
                    self._add(block.offset, info, block.size)
                    self._seek(block.offset + BLOCK_HEADER.size + block.stored)
                elif block.kind != INDEX:
                    yield block.kind, self._json(block)
            self.torn = f"ends at byte {self._at} without an index"
        except _Torn as torn:
            self.torn = str(torn)

    def _add(self, offset: int, info: ChunkInfo, size: int) -> None:
        begin = offset + BLOCK_HEADER.size + size

        def part(number: int) -> bytes:
            self._seek(begin + sum(part.stored for part in info.parts[:number]))
            return self._bytes(info.parts[number].stored)

        self.chunks.append(Chunk(offset, info, part))

    def _block(self) -> _Block | None:
        """The header of the block that follows, and what its checksum covers; None at the end."""
        offset = self._at
        raw = self._bytes(BLOCK_HEADER.size)
        if not raw:
            return None
        if len(raw) < BLOCK_HEADER.size:
            raise _Torn(f"ends in the middle of a block, at byte {offset}")
        kind, crc, stored, size = BLOCK_HEADER.unpack(raw)
        limit = _MOST_INFO if kind == CHUNK else MAX_BLOCK
        if kind not in _KINDS or size > limit or (kind == CHUNK and size > stored):
            raise _Torn(f"damaged at byte {offset}")
        if self._seekable and stored > self._length - self._at:
            raise _Torn(f"ends in the middle of a block, at byte {offset}")
        nr = size if kind == CHUNK else stored
        if nr > MAX_BLOCK:
            raise _Torn(f"damaged at byte {offset}")
        covered = self._bytes(nr)
        if len(covered) < nr:
            raise _Torn(f"ends in the middle of a block, at byte {offset}")
        if checksum(kind, stored, size, covered) != crc:
            raise _Torn(f"damaged at byte {offset}")
        return _Block(kind, offset, stored, size, covered)

    def _info(self, raw: bytes) -> ChunkInfo:
        try:
            info = ChunkInfo.unpack(raw)
        except ValueError as error:
            raise _Torn(f"damaged before byte {self._at}: {error}") from None
        if self.chunks and info.first != self.chunks[-1].info.first + self.chunks[-1].info.nr:
            raise _Torn(f"damaged before byte {self._at}: events are missing")
        return info

    def _fit(self, block: _Block, info: ChunkInfo) -> None:
        if block.size + sum(part.stored for part in info.parts) != block.stored:
            raise _Torn(f"damaged at byte {block.offset}")

    def _decompressed(self, block: _Block) -> bytes:
        try:
            raw = self._zstd.decompress(block.covered, max_output_size=block.size)
        except zstandard.ZstdError as error:
            raise _Torn(f"damaged at byte {block.offset}: {error}") from None
        if len(raw) != block.size:
            raise _Torn(f"damaged at byte {block.offset}")
        return raw

    def _json(self, block: _Block) -> Any:
        try:
            return json.loads(self._decompressed(block))
        except (ValueError, RecursionError):
            raise _Torn(f"damaged at byte {block.offset}") from None

    def _seek(self, at: int) -> None:
        self._file.seek(at)
        self._at = at

    def _bytes(self, most: int) -> bytes:
        """The next bytes, fewer at the end of the file."""
        data = b""
        while len(data) < most and (more := self._file.read(most - len(data))):
            data = data + more if data else more
        self._at += len(data)
        return data

    def _exactly(self, nr: int) -> bytes:
        data = self._bytes(nr)
        if len(data) < nr:
            raise _Torn(f"ends in the middle of a block, before byte {self._at}")
        return data


def _no_part(_number: int) -> bytes:
    raise EOFError
