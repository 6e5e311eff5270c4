# SPDX-License-Identifier: GPL-2.0-or-later
"""The bytes of a trace file: a header, then blocks, each with its checksum; docs/trace.md draws it.

+-------------+------+------+------+------+------+-----+------+------+------+---------+
| FILE_HEADER | HEAD | NOTE | SITE | CHNK | CHNK | ... | SITE | SUMM | INDX | TRAILER |
+-------------+------+------+------+------+------+-----+------+------+------+---------+
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import zstandard

from mmu._native import ffi, lib
from mmu.errors import MmuError
from mmu.events import EVENT_ID, EVENTS, EventDesc

if TYPE_CHECKING:
    from mmu._native import struct_event_roles_ptr

MAGIC: Final = b"UCMMUTRC"
VERSION: Final = 1
FILE_HEADER: Final = struct.Struct("<8sII")
"""MAGIC, VERSION, 0."""
BLOCK_HEADER: Final = struct.Struct("<4sIQQ")
"""Kind, crc32 of the rest of the header and of what it covers, bytes that follow, and: of JSON and
INDEX, which it covers whole, the bytes before compression; of CHUNK, the bytes of the ChunkInfo at
its beginning, which is all that it covers."""
HEAD: Final = b"HEAD"
"""JSON: the table of events, geometry, parameters of the run."""
NOTES: Final = b"NOTE"
"""JSON: a list of what the run said of itself before the next chunk."""
CHUNK: Final = b"CHNK"
"""A ChunkInfo, then events, in parts."""
SITES: Final = b"SITE"
"""JSON: names of kernel functions, from number 1 on, as of here."""
SUMMARY: Final = b"SUMM"
"""JSON: the run's report."""
INDEX: Final = b"INDX"
"""Where each block is, and the ChunkInfo of each chunk."""
TRAILER: Final = struct.Struct("<8sQI")
"""END, where the block INDEX begins, crc32 of the two."""
END: Final = b"UCMMUEND"
MAX_RECORDS: Final = 1 << 20
"""Events that a chunk may have."""
MAX_BLOCK: Final = 1 << 30
"""Bytes that a block other than CHUNK may have before compression."""

RECORD: Final = np.dtype(
    [
        ("id", "u1"),
        ("cpu", "u1"),
        ("site", "<u2"),
        ("task", "<u4"),
        ("instruction", "<u8"),
        ("time", "<u8"),
        ("a", "<u8"),
        ("b", "<u8"),
        ("c", "<u8"),
        ("d", "<u8"),
    ]
)
"""struct event of native/trace/ring.h."""

_ROLES = {"insn": 1, "access": 2, "tlb_hit": 3}
_ENTRY_PA = {"entry_pa", "pmd_pa", "table"}


class TraceError(MmuError):
    """A trace file that cannot be read, or not be written: which, why, what to do; one line."""


def checksum(kind: bytes, stored: int, size: int, covered: bytes) -> int:
    """What BLOCK_HEADER holds."""
    return zlib.crc32(covered, zlib.crc32(BLOCK_HEADER.pack(kind, 0, stored, size)))


def block_header(kind: bytes, stored: int, size: int, covered: bytes) -> bytes:
    """A block's header."""
    return BLOCK_HEADER.pack(kind, checksum(kind, stored, size, covered), stored, size)


def json_block(kind: bytes, value: object, zstd: zstandard.ZstdCompressor) -> bytes:
    """A whole block of JSON."""
    raw = json.dumps(value, separators=(",", ":")).encode()
    stored = zstd.compress(raw)
    return block_header(kind, len(stored), len(raw), stored) + stored


def trailer(index: int) -> bytes:
    """The end of a file, the block INDEX of which begins there."""
    return TRAILER.pack(END, index, zlib.crc32(END + index.to_bytes(8, "little")))


def event_table() -> list[dict[str, Any]]:
    """What HEAD says of each kind of event: name, fields, meaning, and the part of a chunk that it
    is in.
    """
    return [
        {"name": k.name, "fields": k.fields, "meaning": k.meaning, "part": _part(k)} for k in EVENTS
    ]


def _part(kind: EventDesc) -> int:
    if kind.name in _ROLES:
        return 0
    return 1 if kind.id < EVENT_ID["page_fault_user"] else 2


def roles_of(descs: Sequence[EventDesc], parts: Sequence[int]) -> struct_event_roles_ptr:
    """What C must know of each kind, by the numbers of ``descs``."""
    roles = ffi.new("struct event_roles *")
    for number in range(256):
        roles.part[number] = lib.TRACE_PART_KERNEL
        roles.address[number] = lib.TRACE_NO_FIELD
    for desc, part in zip(descs, parts, strict=True):
        roles.part[desc.id] = part
        if part == lib.TRACE_PART_INSNS:
            roles.role[desc.id] = _ROLES[desc.name]
        for field, name in enumerate(desc.fields):
            if name in ("address", "ip", "start") and roles.address[desc.id] == lib.TRACE_NO_FIELD:
                roles.address[desc.id] = field
            if name == "pfn":
                roles.pfn[desc.id] |= 1 << field
            if name in _ENTRY_PA and desc.name != "walk_entry" and part:
                roles.entry_pa[desc.id] |= 1 << field
    return roles
