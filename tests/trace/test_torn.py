# SPDX-License-Identifier: GPL-2.0-or-later
"""A damaged trace is read up to the damage, or refused in one line: never wrong, never a crash."""

from __future__ import annotations

import random
import struct
import zlib

import numpy as np
import pytest
import zstandard

from mmu.trace.format import (
    BLOCK_HEADER,
    CHUNK,
    FILE_HEADER,
    HEAD,
    MAGIC,
    NOTES,
    SITES,
    SUMMARY,
    TRAILER,
    TraceError,
    block_header,
    json_block,
)
from mmu.trace.reader import TraceFile
from tests.trace.records import Records, opened, read, run_like, written
from tests.trace.test_round_trip import pipe

RECORDS = run_like(400)
DATA = written(RECORDS, capacity=64)


def blocks(data: bytes) -> list[tuple[bytes, int, int]]:
    """Kind, offset and length of each block."""
    out, at = [], FILE_HEADER.size
    while at < len(data) - TRAILER.size:
        kind, _, stored, _ = BLOCK_HEADER.unpack_from(data, at)
        out.append((kind, at, BLOCK_HEADER.size + stored))
        at += BLOCK_HEADER.size + stored
    assert at == len(data) - TRAILER.size
    return out


HEAD_END = blocks(DATA)[1][1]


def what_is_read(data: bytes, stream: bool = False) -> tuple[int, str]:
    """How many events are read before the damage, and what is said of it, "" for nothing. They
    must be the right ones, and what is said one line.
    """
    said, got = "", 0
    try:
        trace = TraceFile("-", pipe(data)) if stream else opened(data)
        for batch in trace.batches():
            numbers = batch.numbers.astype(np.int64)
            assert (numbers == np.arange(got, got + len(numbers))).all()
            assert (batch.records == RECORDS[numbers]).all()
            got += len(numbers)
        said = trace.torn or ""
    except TraceError as error:
        said = str(error)
        assert said.startswith(("test.trace: ", "-: "))
    assert "\n" not in said
    return got, said


def check_cut(length: int) -> None:
    """Whole chunks before the cut are read, and it is said."""
    ends = [at + size for kind, at, size in blocks(DATA) if kind == CHUNK]
    got, said = what_is_read(DATA[:length])
    assert got == min(64 * sum(end <= length for end in ends), len(RECORDS))
    assert said


def test_cut_at_and_beside_each_block_and_here_and_there():
    for _, at, size in blocks(DATA):
        for length in (at - 1, at, at + 1, at + BLOCK_HEADER.size, at + size - 1):
            check_cut(length)
    for length in random.Random(5).sample(range(len(DATA)), 60):
        check_cut(length)
    assert what_is_read(DATA) == (len(RECORDS), "")


@pytest.mark.fuzz
def test_cut_anywhere():
    for length in range(len(DATA)):
        check_cut(length)


def test_cut_in_a_pipe():
    ends = [at + size for kind, at, size in blocks(DATA) if kind == CHUNK]
    index = blocks(DATA)[-1][1]
    for length in random.Random(1).sample(range(len(DATA)), 60):
        got, said = what_is_read(DATA[:length], stream=True)
        assert got == min(64 * sum(end <= length for end in ends), len(RECORDS))
        assert said or length > index


def flip(at: int, bit: int, data: bytes = DATA) -> bytes:
    """The bytes with one bit changed."""
    return data[:at] + bytes((data[at] ^ 1 << bit,)) + data[at + 1 :]


def test_a_flipped_bit():
    """Of 400 bytes here and there; what is not said to be damaged is right."""
    rng = random.Random(2)
    for at in rng.sample(range(len(DATA)), 400):
        what_is_read(flip(at, rng.randrange(8)))


@pytest.mark.fuzz
def test_a_bit_of_each_byte_flipped():
    rng = random.Random()
    for at in range(len(DATA)):
        data = flip(at, rng.randrange(8))
        what_is_read(data)
        what_is_read(data, stream=True)


def test_a_flipped_bit_in_events_is_told_with_their_numbers():
    chunks = [(at, size) for kind, at, size in blocks(DATA) if kind == CHUNK]
    at, size = chunks[2]
    got, said = what_is_read(flip(at + size - 1, 0))
    assert got == 128
    assert said == (
        f"test.trace: damaged at byte {at}: its events from number 128 to 191 cannot be read"
    )


def test_a_damaged_index_is_done_without():
    at = blocks(DATA)[-1][1]
    got, said = what_is_read(flip(at + 30, 0))
    assert (got, said) == (len(RECORDS), f"damaged at byte {at}")
    got, said = what_is_read(flip(len(DATA) - 1, 0))
    assert got == len(RECORDS)
    assert said


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"UCMM", "ends in its first 16 bytes"),
        (b"\x7fELF" + bytes(100), "not a trace"),
        (b"U" * 4000, "not a trace"),
        (FILE_HEADER.pack(MAGIC, 2, 0), "version 2.0, and this ucmmu reads version 1"),
        (FILE_HEADER.pack(MAGIC, 1, 7), "version 1.7"),
        (FILE_HEADER.pack(MAGIC, 1, 0), "nothing can be read of it: its first block is missing"),
        (DATA[: HEAD_END - 1], "nothing can be read of it: ends in the middle of a block"),
    ],
)
def test_what_is_no_trace(data, said):
    with pytest.raises(TraceError, match=said):
        opened(data)
    with pytest.raises(TraceError, match=said):
        TraceFile("-", pipe(data))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(TraceError, match="No such file"):
        TraceFile(str(tmp_path / "none"))
    with pytest.raises(TraceError, match="Is a directory"):
        TraceFile(str(tmp_path))


def test_random_bytes():
    rng = random.Random(3)
    for _ in range(300):
        what_is_read(FILE_HEADER.pack(MAGIC, 1, 0) + rng.randbytes(rng.randrange(200)))
        what_is_read(DATA[: HEAD_END + 20] + rng.randbytes(300))


def with_crc(kind: bytes, value: object) -> bytes:
    return json_block(kind, value, zstandard.ZstdCompressor())


@pytest.mark.parametrize(
    "head",
    [
        [],
        {},
        {"events": 3},
        {"events": [{}]},
        {"events": [{"name": "odd", "fields": [], "meaning": "", "part": 0}]},
        {"events": [{"name": "odd", "fields": [], "meaning": "", "part": 2}] * 300},
        {"events": [{"name": "odd", "fields": [], "meaning": "", "part": "x"}]},
        {"events": [{"name": 3, "fields": "abcde", "meaning": "", "part": 1}]},
    ],
)
def test_a_forged_head(head):
    """Right checksums, wrong contents."""
    with pytest.raises(TraceError, match="record it again"):
        opened(FILE_HEADER.pack(MAGIC, 1, 0) + with_crc(HEAD, head))


def test_forged_blocks():
    begin = DATA[:HEAD_END]
    notes = ([1, 2], {"event": 1}, "text", None, [{}], [{"event": []}])
    for kind, values in ((b"NOTE", notes), (b"SITE", ("text", [1], {}))):
        for value in values:
            with pytest.raises(TraceError, match="record it again"):
                opened(begin + with_crc(kind, value))
    nested = zstandard.compress(b"[" * 100_000)
    deep = block_header(SUMMARY, len(nested), 100_000, nested) + nested
    assert opened(begin + deep).torn


def forged(records: Records, rng: random.Random) -> bytes:
    """A chunk whose columns are changed, with right checksums."""
    data = bytearray(written(records, capacity=64))
    kind, at, _ = next(block for block in blocks(bytes(data)) if block[0] == CHUNK)
    *_, covered = BLOCK_HEADER.unpack_from(data, at)
    info = bytearray(data[at + BLOCK_HEADER.size :][:covered])
    parts, offset = [], at + BLOCK_HEADER.size + covered
    for number in range(3):
        place = 34 + 24 * number
        nr, length, raw, _ = struct.unpack_from("<IQQI", info, place)
        part = bytearray(
            zstandard.ZstdDecompressor().decompress(data[offset:][:length], raw) if nr else b""
        )
        offset += length
        for _ in range(rng.randrange(4) if part else 0):
            part[rng.randrange(len(part))] = rng.randrange(256)
        packed = zstandard.compress(bytes(part)) if nr else b""
        struct.pack_into("<IQQI", info, place, nr, len(packed), raw, zlib.crc32(packed))
        parts.append(packed)
    for _ in range(rng.randrange(2)):
        info[rng.randrange(len(info))] = rng.randrange(256)
    body = bytes(info) + b"".join(parts)
    header = block_header(kind, len(body), len(info), bytes(info))
    return bytes(data[:at]) + header + body


def test_forged_columns():
    """Columns that nobody wrote, with right checksums: other events, or one line."""
    rng = random.Random(4)
    for _ in range(200):
        try:
            trace = opened(forged(RECORDS[:64], rng))
            read(trace)
            list(trace.events())
            trace.kinds_count()
        except TraceError as error:
            assert "\n" not in str(error)


NOTE = {"event": 0, "kind": "process", "pid": 1, "comm": "a", "args": [], "mm": 4096}
MAP = {"event": 0, "kind": "map", "mm": 4096, "start": 0, "end": 4096, "prot": "r--p"}


@pytest.mark.parametrize(
    "note",
    [
        {**NOTE, "pid": 1 << 31},
        {**NOTE, "pid": True},
        {**NOTE, "comm": 1},
        {**NOTE, "args": [1]},
        {**MAP, "end": float("inf")},
        {**MAP, "start": None},
        {**MAP, "prot": "\x1b[31m"},
        {"event": 0, "kind": "map", "mm": 4096},
        {"event": 0, "kind": "symbols", "file": "/a", "functions": [[1, "b", 2]]},
        {"event": -1, "kind": "exit", "pid": 1},
    ],
)
def test_a_note_with_values_that_no_recorder_writes(note):
    """Checksums hold for forged files too, and readers must be able to rely on a note."""
    opened(with_notes([NOTE, MAP]))
    with pytest.raises(TraceError, match="block NOTE is not as a trace's"):
        opened(with_notes([NOTE, note]))


def with_notes(notes: list[dict[str, object]]) -> bytes:
    block = json_block(NOTES, notes, zstandard.ZstdCompressor())
    return DATA[:HEAD_END] + block + DATA[HEAD_END : blocks(DATA)[-1][1]]


@pytest.mark.parametrize("sites", [["\x1b[31m"], ["\udcff"], ["a\nb"]])
def test_names_of_kernel_functions_are_plain(sites):
    block = json_block(SITES, sites, zstandard.ZstdCompressor())
    with pytest.raises(TraceError, match="block SITE is not as a trace's"):
        opened(DATA[:HEAD_END] + block)
