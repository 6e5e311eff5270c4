# SPDX-License-Identifier: GPL-2.0-or-later
"""The writing thread: no event is lost while the file can be written, every failure is told once,
and nothing goes on after the end.
"""

from __future__ import annotations

import errno
import gc
import io
import os
import threading
import time

import numpy as np
import pytest

from mmu.events import EVENT_ID
from mmu.trace.format import TraceError
from mmu.trace.reader import TraceFile
from mmu.trace.where import Around, From, Where
from mmu.trace.writer import TraceWriter
from tests.trace.records import emit, opened, read, run_like, written

RECORDS = run_like(2000)


def threads() -> int:
    """Writing threads that run."""
    return sum(thread.name == "trace-writer" for thread in threading.enumerate())


class Slow(io.BytesIO):
    """A file that takes its time."""

    def write(self, data, /):
        time.sleep(0.002)
        return super().write(data)


def test_a_slow_file_makes_the_guest_wait_and_loses_nothing():
    out = Slow()
    writer = TraceWriter(out, {}, capacity=32, segments=2)
    writer.ring.enable()
    emit(writer, RECORDS)
    assert writer.waits > 10
    writer.close()
    assert (writer.ring.lost, writer.left_out) == (0, {})
    assert (read(opened(out.getvalue())) == RECORDS).all()


class Grudging(io.RawIOBase):
    """A file that takes few bytes at a time, as a pipe or a terminal may."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def write(self, data, /):
        self.data += bytes(data[:100])
        return min(len(data), 100)


def test_a_file_that_takes_few_bytes_at_a_time():
    out = Grudging()
    writer = TraceWriter(out, {}, capacity=256)
    writer.ring.enable()
    emit(writer, RECORDS)
    writer.close()
    assert (read(opened(out.data)) == RECORDS).all()


class Failing(io.BytesIO):
    """A file that is full after so many bytes."""

    def __init__(self, room: int, number: int = errno.ENOSPC) -> None:
        super().__init__()
        self.room, self.number, self.failures = room, number, 0

    def write(self, data, /):
        if self.tell() + len(data) > self.room:
            self.failures += 1
            super().write(bytes(data)[: self.room - self.tell()])
            raise OSError(self.number, os.strerror(self.number))
        return super().write(data)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE, errno.EIO])
@pytest.mark.parametrize("more", [0, 1000, 4000])
def test_a_file_that_fails(number, more):
    """Whole chunks can be read; the guest goes on; it is told once, to on_error or by close()."""
    room = len(written(RECORDS[:0])) + more
    for tell in (False, True):
        errors: list[OSError] = []
        out = Failing(room, number)
        writer = TraceWriter(out, {}, capacity=64, on_error=errors.append if tell else None)
        writer.ring.enable()
        emit(writer, RECORDS)
        if tell:
            writer.flush()
            writer.close({})
        else:
            with pytest.raises(TraceError, match=os.strerror(number)):
                writer.close({})
        writer.close({})
        assert [error.errno for error in errors] == [number] * tell
        assert writer.error is not None
        assert writer.error.errno == number
        assert out.failures == 1
        trace = opened(out.getvalue())
        got = read(trace)
        assert (got == RECORDS[: len(got)]).all()
        assert len(got) % 64 == 0
        assert trace.torn
    assert threads() == 0


def test_a_file_that_fails_at_once():
    with pytest.raises(OSError, match="No space"):
        TraceWriter(Failing(10), {})


def test_a_full_device():
    with (
        pytest.raises(TraceError, match="/dev/full: No space left on device"),
        TraceWriter.open("/dev/full", {}) as writer,
    ):
        writer.ring.enable()
        emit(writer, RECORDS)


def test_a_path_that_cannot_be_made(tmp_path):
    with (
        pytest.raises(TraceError, match="no/such: No such file or directory"),
        TraceWriter.open(str(tmp_path / "no" / "such"), {}),
    ):
        pass


def test_the_thread_begins_with_the_first_segment_and_ends_with_close():
    """The walls of a child hold only threads that start after them."""
    writer = TraceWriter(io.BytesIO(), {}, capacity=64)
    writer.note("before")
    writer.flush()
    writer.ring.enable()
    emit(writer, RECORDS[:63])
    assert threads() == 0
    emit(writer, RECORDS[63:65])
    assert threads() == 1
    writer.close()
    assert threads() == 0


def test_a_writer_that_is_forgotten_ends_its_thread():
    writer = TraceWriter(io.BytesIO(), {}, capacity=16)
    writer.ring.enable()
    emit(writer, RECORDS[:100])
    assert threads() == 1
    del writer
    gc.collect()
    for _ in range(500):
        if not threads():
            break
        time.sleep(0.01)
    assert threads() == 0


def test_flush_has_everything_in_the_file():
    """A run that is killed later leaves what was flushed."""
    out = io.BytesIO()
    writer = TraceWriter(out, {}, capacity=256)
    writer.ring.enable()
    emit(writer, RECORDS[:300])
    writer.note("here")
    writer.flush()
    trace = opened(out.getvalue())
    assert (read(trace) == RECORDS[:300]).all()
    assert [(n.event, n.kind) for n in trace.notes] == [(300, "here")]
    assert trace.torn
    writer.flush()
    writer.close()


def test_a_fork_writes_nothing(tmp_path):
    """What a child of the process records is lost, and counted; the parent's trace is whole."""
    path = tmp_path / "a.trace"
    with path.open("wb", buffering=0) as file:
        writer = TraceWriter(file, {}, capacity=64, segments=2)
        writer.ring.enable()
        emit(writer, RECORDS[:100])
        pid = os.fork()
        if not pid:
            emit(writer, RECORDS)
            writer.flush()
            writer.close()
            os._exit(0 if writer.ring.lost > 1900 else 1)
        assert os.waitpid(pid, 0)[1] == 0
        emit(writer, RECORDS[100:])
        writer.close()
    assert (read(TraceFile(str(path))) == RECORDS).all()


def test_nothing_is_recorded_after_close():
    out = io.BytesIO()
    writer = TraceWriter(out, {}, capacity=64)
    writer.ring.enable()
    emit(writer, RECORDS[:10])
    writer.close()
    size = len(out.getvalue())
    emit(writer, RECORDS)
    writer.close()
    assert len(out.getvalue()) == size


def test_a_limit_below_the_size_of_a_chunk():
    """What fits of a large chunk is written, notes counted; numbers and records are right."""
    records = run_like(20000)
    whole = len(written(records, capacity=65536))
    out = io.BytesIO()
    limit = whole + 1000
    writer = TraceWriter(out, {}, capacity=65536, limit=limit)
    writer.ring.enable()
    writer.note("remark", names=os.urandom(4000).hex())
    emit(writer, records)
    writer.close()
    trace = opened(out.getvalue())
    got = read(trace)
    assert 250 <= len(got) < len(records)
    assert (got == records[: len(got)]).all()
    assert writer.left_out == {"limit": len(records) - len(got)}
    assert len(out.getvalue()) <= limit


def test_a_limit_of_bytes():
    """The file is no longer, but for its end; the run goes on; it is said in the trace."""
    whole = len(written(RECORDS, capacity=64))
    limit = whole * 2 // 3
    out = io.BytesIO()
    writer = TraceWriter(out, {}, capacity=64, limit=limit)
    writer.ring.enable()
    emit(writer, RECORDS)
    writer.note("late")
    writer.close()
    trace = opened(out.getvalue())
    got = read(trace)
    assert writer.limited
    assert 64 < len(got) < 2000
    assert (got == RECORDS[: len(got)]).all()
    assert writer.left_out == {"limit": 2000 - len(got)}
    assert trace.summary == {"left_out": {"limit": 2000 - len(got)}}
    assert [(n.kind, n.event) for n in trace.notes] == [("limit", len(got)), ("late", len(got))]
    assert len(out.getvalue()) <= limit
    assert trace.torn is None


@pytest.mark.parametrize("limit", [0, 1, 63, 64, 65, 1999, 2000, 2001])
def test_a_limit_of_events(limit):
    out = io.BytesIO()
    writer = TraceWriter(out, {}, capacity=64, limit_events=limit)
    writer.ring.enable()
    emit(writer, RECORDS)
    writer.close()
    got = read(opened(out.getvalue()))
    assert (got == RECORDS[:limit]).all()
    assert writer.left_out.get("limit", 0) == max(2000 - limit, 0)
    assert writer.limited == (limit <= 2000)


def test_kinds_that_are_not_wanted_are_not_recorded():
    out = io.BytesIO()
    writer = TraceWriter(out, {}, where=Where(events=frozenset(("pte_get",))), capacity=64)
    writer.ring.enable()
    emit(writer, RECORDS)
    wanted = RECORDS[RECORDS["id"] == EVENT_ID["pte_get"]]
    assert writer.nr_events == len(wanted) > 0
    writer.close()
    assert (read(opened(out.getvalue())) == wanted).all()


def near(records, kinds, instructions):
    """What Around wants, as its description says."""
    wanted = np.zeros(len(records), dtype=bool)
    for trigger in np.isin(records["id"], kinds).nonzero()[0].tolist():
        cpu, at = records["cpu"][trigger], int(records["instruction"][trigger])
        mine = (records["cpu"] == cpu).nonzero()[0]
        counts = records["instruction"][mine].astype(int)
        inside = mine[(counts >= at - instructions) & (counts <= at + instructions)]
        later = mine[counts > at + instructions]
        end = later[0] if len(later) else len(records)
        wanted[inside[0] : end] = True
    return wanted


@pytest.mark.parametrize("instructions", [0, 3, 20, 100, 5000])
@pytest.mark.parametrize("capacity", [32, 256, 4096])
def test_around(instructions, capacity):
    """From the first event of the CPU within reach to the last, with what others did meanwhile."""
    records = run_like(3000, seed=7)
    kinds = frozenset(("page_fault",))
    out = io.BytesIO()
    window = Around(kinds, instructions)
    writer = TraceWriter(out, {}, windows=(window,), capacity=capacity)
    writer.ring.enable()
    for at in range(0, len(records), 500):
        writer.note("at", at=at)
        emit(writer, records[at : at + 500])
    writer.close()
    wanted = near(records, [EVENT_ID["page_fault"]], instructions)
    trace = opened(out.getvalue())
    assert (read(trace) == records[wanted]).all()
    assert writer.left_out.get("window", 0) == len(records) - wanted.sum()
    assert [n.event for n in trace.notes] == [
        int(wanted[:at].sum()) for at in range(0, len(records), 500)
    ]


def test_around_two_kinds_from_the_third_fault_on_and_a_filter():
    records = run_like(3000, seed=8)
    out = io.BytesIO()
    windows = (
        Around(frozenset(("pte_get",)), 10),
        Around(frozenset(("walk_entry",)), 1),
        From(frozenset(("page_fault",)), 3),
    )
    writer = TraceWriter(out, {}, windows=windows, where=Where(cpus=frozenset((1,))), capacity=128)
    writer.ring.enable()
    emit(writer, records)
    writer.close()
    wanted = near(records, [EVENT_ID["pte_get"]], 10) | near(records, [EVENT_ID["walk_entry"]], 1)
    wanted[: (records["id"] == EVENT_ID["page_fault"]).nonzero()[0][2]] = False
    wanted &= records["cpu"] == 1
    assert (read(opened(out.getvalue())) == records[wanted]).all()
    assert sum(writer.left_out.values()) == len(records) - wanted.sum()


def test_from_more_faults_than_there_are():
    out = io.BytesIO()
    writer = TraceWriter(out, {}, windows=(From(frozenset(("page_fault",)), 10**6),), capacity=64)
    writer.ring.enable()
    emit(writer, RECORDS)
    writer.close()
    trace = opened(out.getvalue())
    assert (trace.nr_events, writer.left_out) == (0, {"window": 2000})
    assert trace.torn is None
