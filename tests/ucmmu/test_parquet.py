# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a Parquet file of a trace has one row an event, and one column a field."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import islice

import pytest

from mmu.events import EVENTS
from tests.ucmmu.recorded import EVERYTHING, Script, record

pl = pytest.importorskip("polars")
pytest.importorskip("pyarrow")

from ucmmu.event_filter import parse_filter  # noqa: E402
from ucmmu.reading import parquet  # noqa: E402

MM = 0x1000


def frame(trace, wanted=EVERYTHING):
    out = io.BytesIO()
    parquet.write(trace, wanted, out)
    out.seek(0)
    return pl.read_parquet(out)


@pytest.fixture
def script(tmp_path):
    script = Script(tmp_path / "a.trace")
    maps = {"mm": MM, "end": 0x402000, "prot": "r-xp", "offset": 0, "file": "/bin/g", "bias": 0}
    script.note("process", pid=7, tgid=7, comm="guest", exe="/bin/g", mm=MM, parent=0)
    script.note("map", start=0x400000, **maps)
    functions = [[0x400000, 0x10, "main"], [0x400010, 0x10, "touch"]]
    script.note("symbols", file="/bin/g", functions=functions, lines=[])
    return script


def test_each_row_has_number_place_name_and_fields(script):
    script.at(41, time=1041, cpu=2, task=7)
    script.insn(0x400004)
    script.emit("pte_get", pfn=9, old=3, count=4, holder=1)
    script.at(42, time=1042, cpu=2, task=7)
    script.emit("sys_exit", nr=0, ret=-14)
    rows = frame(script.trace()).to_dicts()
    places = ["number", "time", "instruction", "cpu", "task", "comm", "event", "ip", "function"]
    assert [[row[name] for name in places] for row in rows] == [
        [0, 1041, 41, 2, 7, "guest", "insn", 0x400004, "main"],
        [1, 1041, 41, 2, 7, "guest", "pte_get", 0x400004, "main"],
        [2, 1042, 42, 2, 7, "guest", "sys_exit", 0x400004, "main"],
    ]
    assert (rows[1]["pfn"], rows[1]["old_count"], rows[1]["count"], rows[1]["holder"]) == (
        9,
        3,
        4,
        1,
    )
    assert rows[1]["old"] is None
    assert rows[2]["ret"] == -14


def test_a_field_that_an_event_does_not_have_is_null(script):
    script.emit("mm_page_alloc", pfn=5, order=0)
    (row,) = frame(script.trace()).to_dicts()
    assert row["order"] == 0
    own = {"pfn", "order", "number", "time", "instruction", "cpu", "task", "event"}
    assert {name for name, value in row.items() if value is not None} == own


def test_a_column_of_every_event_is_not_hidden_by_a_field(script):
    script.at(0, cpu=1)
    script.emit("ipi_send_cpu", cpu=3)
    script.emit("rcu_grace_period", gp_seq=8, event=2)
    one, other = frame(script.trace()).to_dicts()
    assert (one["cpu"], one["target_cpu"]) == (1, 3)
    assert (other["event"], other["gp_event"]) == ("rcu_grace_period", 2)


def test_every_field_of_every_event_has_a_column():
    columns = parquet.schema(EVENTS).names
    assert len(columns) == len(set(columns))
    for desc in EVENTS:
        own = [parquet.column_of(desc.name, field) for field in desc.fields]
        assert len(set(own)) == len(own)
        assert set(own) <= set(columns)


def test_what_a_fetch_finds_belongs_to_the_function_it_is_of(script):
    """A fetch is translated before its instruction begins."""
    script.at(1, task=7)
    script.insn(0x400004)
    script.emit("tlb_miss", address=0x400010, access=2)
    script.emit("walk_entry", address=0x400010, entry_pa=8, entry=0x25, level=1)
    script.insn(0x400010)
    script.emit("tlb_miss", address=0x400004, access=0)
    rows = frame(script.trace())["function"].to_list()
    assert rows == ["main", "touch", "touch", "touch", "touch"]


def test_each_task_has_an_instruction_of_its_own(script):
    script.note("process", pid=8, tgid=7, comm="thread", exe="/bin/g", mm=MM, parent=0)
    script.at(1, task=7)
    script.insn(0x400000)
    script.at(1, task=8)
    script.insn(0x400018)
    script.at(2, task=7)
    script.emit("invlpg", address=1)
    script.at(2, task=0, cpu=1)
    script.emit("invlpg", address=1)
    rows = frame(script.trace())
    assert rows["function"].to_list() == ["main", "touch", "main", None]
    assert rows["comm"].to_list() == ["guest", "thread", "guest", None]


def test_a_function_is_that_of_the_program_of_then(script):
    """After another program is mapped at an address, it is its function."""
    script.at(1, task=7)
    script.insn(0x400000)
    script.note("unmap", mm=MM, start=0x400000, end=0x402000)
    script.insn(0x400000)
    maps = {"mm": MM, "start": 0x400000, "end": 0x402000, "prot": "r-xp", "offset": 0}
    script.note("map", **maps, file="/bin/h", bias=0x400000)
    script.note("symbols", file="/bin/h", functions=[[0, 4, "other"]], lines=[])
    script.insn(0x400000)
    script.insn(0x400008)
    assert frame(script.trace())["function"].to_list() == ["main", "[unknown]", "other", "[h]"]


def test_a_filter_does_not_take_the_instruction_from_what_is_left(script):
    script.at(1, task=7)
    for ip in (0x400000, 0x400010, 0x400001):
        script.insn(ip)
        script.emit("page_fault", address=ip + 0x1000, error_code=4)
    trace = script.trace()
    rows = frame(trace, parse_filter(["event=page_fault"]))
    assert rows["number"].to_list() == [1, 3, 5]
    assert rows["function"].to_list() == ["main", "touch", "main"]
    rows = frame(trace, parse_filter(["function=touch"]))
    assert rows["number"].to_list() == [2, 3]


def test_row_groups_are_bounded(tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    monkeypatch.setattr(parquet, "ROW_GROUP", 1000)
    script = Script(tmp_path / "a.trace")
    for i in range(3500):
        script.emit("invlpg", address=i)
    path = tmp_path / "a.parquet"
    with path.open("wb") as file:
        parquet.write(script.trace(), EVERYTHING, file)
    metadata = pq.ParquetFile(path).metadata
    assert metadata.num_rows == 3500
    assert max(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)) <= 1000


def test_a_trace_without_events_is_a_file_without_rows(script):
    assert frame(script.trace()).shape == (0, len(parquet.schema(EVENTS)))


def test_a_guest_s_trace_comes_back_whole(tmp_path):
    from mmu.trace.reader import TraceFile

    trace = TraceFile(str(record(tmp_path / "a.trace", "hello")))
    rows = frame(trace)
    events = [one.event for one in islice(trace.events(), 0, None, 97)]
    assert rows.height == trace.nr_events
    sample = rows.gather_every(97).iter_rows(named=True)
    for row, event in zip(sample, events, strict=True):
        assert (row["event"], row["cpu"], row["task"]) == (event.name, event.cpu, event.task)
        for name, value in event.fields.items():
            told = row[parquet.column_of(event.name, name)]
            assert told is not None and told & (1 << 64) - 1 == value
    assert "main" in rows["function"].to_list()
    assert "hello" in rows["comm"].to_list()


def test_only_the_columns_that_are_asked_for_are_made(script):
    script.emit("mm_page_alloc", pfn=5, order=0)
    out = io.BytesIO()
    parquet.write(script.trace(), EVERYTHING, out, columns=frozenset({"number", "pfn"}))
    out.seek(0)
    assert pl.read_parquet(out).to_dicts() == [{"number": 0, "pfn": 5}]


def test_a_filter_on_numbers_keeps_only_those(script):
    for i in range(10):
        script.emit("invlpg", address=i)
    where = replace(EVERYTHING.where, begin=3, end=5)
    rows = frame(script.trace(), replace(EVERYTHING, where=where))
    assert rows["address"].to_list() == [3, 4]


def test_what_was_written_when_the_user_interrupts_can_be_read(script, monkeypatch):
    for i in range(10):
        script.emit("invlpg", address=i)
    trace = script.trace()
    monkeypatch.setattr(parquet, "ROW_GROUP", 4)
    batches = trace.batches

    def interrupted(where):
        (batch,) = batches(where)
        yield type(batch)(batch.numbers[:4], batch.records[:4])
        raise KeyboardInterrupt

    monkeypatch.setattr(trace, "batches", interrupted)
    out = io.BytesIO()
    with pytest.raises(KeyboardInterrupt):
        parquet.write(trace, EVERYTHING, out)
    assert pl.read_parquet(io.BytesIO(out.getvalue()))["address"].to_list() == [0, 1, 2, 3]
