# SPDX-License-Identifier: GPL-2.0-or-later
"""What is recorded is what is read: every bit of every event, in its order, and nothing else."""

from __future__ import annotations

import io
from typing import BinaryIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmu._native import lib
from mmu.events import EVENT_ID, EVENTS
from mmu.trace.format import TraceError
from mmu.trace.reader import TraceFile
from mmu.trace.where import Where
from mmu.trace.writer import TraceWriter
from tests.trace.records import any_records, emit, opened, read, run_like, written


@settings(max_examples=25)
@given(records=any_records(), capacity=st.sampled_from((2, 16, 64)))
def test_any_events_come_back(records, capacity):
    trace = opened(written(records, capacity=capacity))
    assert (read(trace) == records).all()
    assert (trace.nr_events, trace.torn) == (len(records), None)
    assert trace.summary == {"done": True}


def test_events_as_of_a_run_come_back_and_are_short():
    records = run_like(20_000)
    data = written(records, capacity=1 << 12)
    assert (read(opened(data)) == records).all()
    head = len(written(records[:1]))
    assert (len(data) - head) / len(records) < 3


def test_reading_parts_reading_backwards_and_from_a_pipe_agree():
    records = run_like(3000)
    data = written(records)
    kernel = frozenset(("pte_get", "set_pte"))
    ids = [EVENT_ID[name] for name in kernel]
    expected = records[np.isin(records["id"], ids)]
    assert (read(opened(data), Where(events=kernel)) == expected).all()
    mixed = kernel | {"walk_entry"}
    expected = records[np.isin(records["id"], [*ids, EVENT_ID["walk_entry"]])]
    assert (read(opened(data), Where(events=mixed)) == expected).all()
    batches = list(opened(data).batches(reverse=True))
    assert (np.concatenate([b.records for b in reversed(batches)]) == records).all()
    numbers = np.concatenate([b.numbers for b in reversed(batches)])
    assert (numbers == np.arange(len(records))).all()
    assert (read(TraceFile("-", pipe(data))) == records).all()


def pipe(data: bytes) -> BinaryIO:
    """A file that cannot seek and gives what it likes."""

    class Pipe(io.RawIOBase):
        rest = data

        def seekable(self) -> bool:
            return False

        def read(self, size: int = -1, /) -> bytes:
            out, self.rest = self.rest[: min(size, 1000)], self.rest[min(size, 1000) :]
            return out

    return Pipe()  # type: ignore[return-value]


def test_a_pipe_tells_notes_and_sites_as_it_goes_and_can_be_read_once():
    out = io.BytesIO()
    writer = TraceWriter(out, {}, capacity=64)
    writer.ring.enable()
    site = lib.ring_site(writer.ring.c, b"do_anonymous_page")
    for number in range(5):
        writer.note("turn", number=number)
        records = run_like(50, seed=number)
        records["site"][records["site"] > 0] = site
        emit(writer, records)
    writer.close({})
    trace = TraceFile("-", pipe(out.getvalue()))
    assert trace.notes == []
    seen = []
    for batch in trace.batches():
        last = int(batch.numbers[-1])
        seen = [note.event for note in trace.notes]
        assert all(at in seen for at in range(0, last + 1, 50))
        if (batch.records["site"] == site).any():
            assert trace.sites == ["", "do_anonymous_page"]
    assert seen == [0, 50, 100, 150, 200]
    assert (trace.torn, trace.summary, trace.nr_events) == (None, {}, 250)
    with pytest.raises(TraceError, match="once"):
        list(trace.batches())


def test_the_same_run_gives_the_same_bytes():
    """Whatever the thread was doing when: here it writes at once, there when all was recorded."""
    records = run_like(1500)

    def recorded(segments: int, flush: bool) -> bytes:
        out = io.BytesIO()
        writer = TraceWriter(out, {}, capacity=128, segments=segments)
        writer.ring.enable()
        for at in range(0, len(records), 100):
            writer.note("at", at=at)
            emit(writer, records[at : at + 100])
            if flush and at % 500 == 0:
                writer.flush()
        writer.close({})
        return out.getvalue()

    assert recorded(2, False) == recorded(64, False) == recorded(3, False)
    assert recorded(2, True) == recorded(64, True)
    assert opened(recorded(2, True)).notes == opened(recorded(2, False)).notes


def test_notes_stand_before_the_event_they_were_said_at():
    out = io.BytesIO()
    writer = TraceWriter(out, {"cpus": 2}, capacity=8)
    writer.ring.enable()
    records = run_like(40)
    for at in range(0, 40, 4):
        writer.note("at", at=at)
        emit(writer, records[at : at + 4])
        assert writer.nr_events == at + 4
    writer.note("end")
    writer.close({"pages": 3})
    trace = opened(out.getvalue())
    assert [(n.event, n.kind, n.fields.get("at")) for n in trace.notes] == [
        *((at, "at", at) for at in range(0, 40, 4)),
        (40, "end", None),
    ]
    assert trace.head["cpus"] == 2
    assert [desc.name for desc in trace.descs] == [desc.name for desc in EVENTS]


def test_a_trace_without_events():
    trace = opened(written(run_like(1)[:0]))
    assert (list(trace.events()), trace.nr_events, trace.last_time) == ([], 0, None)
    assert trace.torn is None
    assert set(trace.kinds_count().values()) == {0}


def test_events_have_their_names(tmp_path):
    path = str(tmp_path / "a.trace")
    with TraceWriter.open(path, {"a": 1}, capacity=16) as writer:
        writer.ring.enable()
        writer.ring.c.cpu, writer.ring.c.task, writer.ring.c.instruction = 3, 7, 100
        writer.ring.c.ahead_ns = 11
        emit(writer, run_like(1))
        writer.ring.c.site = lib.ring_site(writer.ring.c, b"zap_pte_range")
        lib.ring_emit(writer.ring.c, EVENT_ID["pte_get"], (5, 1, 2, 1))
    with TraceFile(path) as trace:
        _, got = trace.events()
        last = trace.last_before(2)
        first = trace.last_before(1)
    assert (got.number, got.event.name, got.event["pfn"], got.event["count"]) == (
        1,
        "pte_get",
        5,
        2,
    )
    assert got.event.site == "zap_pte_range"
    assert last == got
    assert first is not None and first.event.name == "insn"


def test_how_far_reading_is():
    data = written(run_like(2000), capacity=64)
    for reverse in (False, True):
        trace = opened(data)
        seen = []
        for _ in trace.batches(reverse=reverse):
            seen.append(trace.fraction)
        assert seen == sorted(seen)
        assert all(0 <= fraction <= 1 for fraction in seen)
        assert trace.fraction == 1
