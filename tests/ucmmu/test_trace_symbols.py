# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what was mapped, who ran and which function it was are told as of the event asked about."""

from __future__ import annotations

import io

import pytest

from mmu.events import EVENT_ID
from mmu.trace.format import TraceError
from mmu.trace.reader import TraceFile
from mmu.trace.writer import TraceWriter
from ucmmu.reading.symbols import History

PGD, CHILD = 0x1000, 0x9000


@pytest.fixture
def record():
    """Writes notes and events into a trace; history() reads it."""

    class Recording:
        def __init__(self):
            self.file = io.BytesIO()
            self.writer = TraceWriter(self.file, {})
            self.writer.ring.enable()
            self.note = self.writer.note

        def events(self, count=10):
            for _ in range(count):
                self.writer.ring.emit(EVENT_ID["invlpg"])

        def history(self):
            self.writer.close()
            self.file.seek(0)
            return History(TraceFile("a trace", self.file))

    return Recording()


def test_a_mapping_is_there_from_its_note_to_its_unmapping(record):
    record.note("process", pid=1, comm="a", mm=PGD)
    record.events()
    record.note("map", mm=PGD, start=0x4000, end=0x8000, prot="rw-p", name="[heap]")
    record.events()
    record.note("unmap", mm=PGD, start=0x5000, end=0x6000)
    history = record.history()
    assert [history.mapping(PGD, 0x5000, at) is not None for at in (9, 10, 19, 20)] == [
        *(False, True, True, False)
    ]
    ranges = [(m.start, m.end) for m in history.mappings(PGD, 20)]
    assert ranges == [(0x4000, 0x5000), (0x6000, 0x8000)]
    assert history.mapping(PGD, 0x5000, 15).name == "[heap]", "an earlier event, asked later"


def test_a_cut_mapping_keeps_its_places_in_the_file(record):
    record.note("map", mm=PGD, start=0x4000, end=0x8000, file="/lib/a", offset=0x1000)
    record.note("map", mm=PGD, start=0x5000, end=0x6000, file="/lib/b")
    history = record.history()
    found = [(m.start, m.end, m.file, m.offset) for m in history.mappings(PGD, 0)]
    assert found == [
        (0x4000, 0x5000, "/lib/a", 0x1000),
        (0x5000, 0x6000, "/lib/b", 0),
        (0x6000, 0x8000, "/lib/a", 0x3000),
    ]


def test_each_address_space_has_its_own_mappings(record):
    record.note("map", mm=PGD, start=0x4000, end=0x5000, name="[heap]")
    record.note("map", mm=CHILD, start=0x4000, end=0x5000, name="[heap]")
    record.events()
    record.note("unmap", mm=CHILD, start=0, end=1 << 47)
    history = record.history()
    assert history.mapping(CHILD, 0x4000, 5).name == "[heap]"
    assert history.mapping(CHILD, 0x4000, 10) is None
    assert history.mapping(PGD, 0x4000, 10).name == "[heap]"


def test_a_task_has_the_mm_and_the_name_that_it_had_last(record):
    record.note("process", pid=1, comm="a", mm=PGD)
    record.note("process", pid=3, tgid=1, comm="a", mm=PGD, parent=1)
    record.events()
    record.note("exec", pid=1, comm="b", mm=CHILD)
    record.events()
    record.note("comm", pid=1, comm="c")
    record.note("exit", pid=3)
    history = record.history()
    assert [str(history.process(1, at)) for at in (0, 10, 20)] == ["a-1", "b-1", "c-1"]
    assert [history.mm_of(1, at) for at in (0, 10)] == [PGD, CHILD]
    assert [history.mm_of(3, at) for at in (0, 20)] == [PGD, 0]
    assert [one.pid for one in history.processes(20)] == [1, 3]
    assert history.process(9, 20) is None


def test_a_function_is_found_by_the_files_own_addresses(record):
    record.note("process", pid=1, comm="a", mm=PGD)
    record.note("map", mm=PGD, start=0x7000, end=0x9000, file="/bin/a", offset=0x1000, bias=0x5000)
    record.note(
        "symbols",
        file="/bin/a",
        functions=[[0x2100, 0x20, "touch"], [0x2000, 0x100, "main"], [0x2200, 0, "start"]],
        lines=[[0x2000, "a.c", 7], [0x2010, "a.c", 8], [0x2100, "", 0]],
    )
    history = record.history()
    names = [str(history.symbol(PGD, va, 0)) for va in (0x7000, 0x7012, 0x7100, 0x7120, 0x7240)]
    assert names == ["main", "main+0x12", "touch", "a+0x1120", "start+0x40"]
    assert history.line(PGD, 0x7012, 0) == ("a.c", 8)
    assert history.line(PGD, 0x7100, 0) is None
    assert history.symbol(PGD, 0x6FFF, 0) is None
    assert history.functions_named("main") == [("/bin/a", 0x2000, 0x2100)]
    assert history.function_names() == {"main", "touch", "start"}


def test_a_damaged_note_is_told_in_one_line(record):
    record.note("map", mm=PGD, start="nowhere")
    with pytest.raises(TraceError, match=r"a trace: its block NOTE is not as a trace's"):
        record.history()
