# SPDX-License-Identifier: GPL-2.0-or-later
"""The bytes of a trace file: a magic number, then blocks, each readable by itself."""

from __future__ import annotations

import struct
from typing import Final

from mmu.errors import MmuError

MAGIC: Final = b"UCMMUTRC"
VERSION: Final = 1
FILE_HEADER: Final = struct.Struct("<8sII")
"""MAGIC, VERSION, 0."""
BLOCK_HEADER: Final = struct.Struct("<4sIQQ")
"""Kind, crc32 of what is stored, its size, its size before compression (bytes)."""
HEAD: Final = b"HEAD"
"""JSON: the event table, geometry, parameters of the run."""
NOTE: Final = b"NOTE"
"""JSON: a Note."""
EVENTS: Final = b"EVTS"
"""Number of the first event (u64), then records."""
SITES: Final = b"SITE"
"""JSON: names of kernel functions, as of here."""
SUMMARY: Final = b"SUMM"
"""JSON: the run's report, last."""


class TraceError(MmuError):
    """A trace file that cannot be read, or not be written: which, why, what to do; one line."""
