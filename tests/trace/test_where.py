# SPDX-License-Identifier: GPL-2.0-or-later
"""Conditions on events hold as their description says, when a trace is read and when written; the
index only saves time.
"""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmu._native import lib
from mmu.errors import MmuError
from mmu.events import EVENTS
from mmu.trace.where import ALL, Where
from mmu.trace.writer import TraceWriter
from tests.trace.records import Records, any_records, emit, opened, read, run_like, written

SITES = ["", "one", "two", "three"]


def fields(record: tuple[int, ...]) -> dict[str, int]:
    """A record's fields by name."""
    return dict(zip(EVENTS[record[0]].fields, record[6:], strict=False))


def holds(where: Where, record: tuple[int, ...], number: int, in_code: bool) -> bool:
    """Whether where holds, as it is described."""
    kind, cpu, site, task, instruction, time, *_ = record
    named = fields(record)
    address = next((v for k, v in named.items() if k in ("address", "ip", "start")), None)
    frames = {v for k, v in named.items() if k == "pfn"}
    if EVENTS[kind].name != "walk_entry":
        frames |= {v >> 12 for k, v in named.items() if k in ("entry_pa", "pmd_pa", "table")}
    return all(
        (
            not where.events or EVENTS[kind].name in where.events,
            not where.cpus or cpu in where.cpus,
            not where.tasks or task in where.tasks,
            not where.sites or (site < len(SITES) and SITES[site] in where.sites),
            not where.frames or bool(frames & where.frames),
            not where.addresses
            or (address is not None and any(b <= address < e for b, e in where.addresses)),
            number >= where.begin,
            where.end is None or number < where.end,
            where.instructions is None
            or where.instructions[0] <= instruction < where.instructions[1],
            where.times is None or where.times[0] <= time < where.times[1],
            where.code is None or in_code,
        )
    )


def chosen(records: Records, where: Where) -> Records:
    """The records for which where holds."""
    in_code: dict[int, bool] = {}
    keep = []
    for number, record in enumerate(records.tolist()):
        if EVENTS[record[0]].name == "insn":
            in_code[record[1]] = any(b <= record[6] < e for b, e in where.code or ())
        keep.append(holds(where, record, number, in_code.get(record[1], False)))
    return records[np.array(keep, dtype=bool)]


def range_of(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    """A range that is not empty."""
    return st.tuples(st.integers(low, high), st.integers(1, high)).map(
        lambda r: (r[0], r[0] + r[1])
    )


PAGES = range_of(0x7F00_0000_0000 >> 12, 0x7F00_0004_0000 >> 12)
WHERES = st.builds(
    Where,
    events=st.frozensets(
        st.sampled_from(("insn", "access", "tlb_hit", "walk_entry", "pte_get", "set_pte"))
    ),
    cpus=st.frozensets(st.integers(0, 2), max_size=2),
    tasks=st.frozensets(st.sampled_from((100, 101, 5)), max_size=2),
    sites=st.frozensets(st.sampled_from(("one", "two", "nothing")), max_size=2),
    frames=st.one_of(st.just(frozenset[int]()), st.frozensets(st.integers(0, 40), max_size=9)),
    addresses=st.one_of(
        st.just(()),
        st.lists(
            st.one_of(
                range_of(0, 63).map(
                    lambda p: (0x7F00_0000_0000 + p[0] * 4096, 0x7F00_0000_0000 + p[1] * 4096)
                ),
                st.just((0x40_0000, 0x40_0080)),
            ),
            max_size=3,
        ).map(tuple),
    ),
    begin=st.integers(0, 600),
    end=st.one_of(st.none(), st.integers(0, 900)),
    instructions=st.one_of(st.none(), range_of(0, 300)),
    times=st.one_of(st.none(), range_of(0, 3000)),
    code=st.one_of(st.none(), st.lists(range_of(0x40_0000, 0x40_0180), max_size=2).map(tuple)),
)


def simplified(where: Where, keep: frozenset[str]) -> Where:
    """Only some of the conditions: all together hold for nothing."""
    return Where(**{name: getattr(where, name) for name in keep})


NAMES = st.frozensets(
    st.sampled_from([f.name for f in dataclasses.fields(Where)]), min_size=1, max_size=3
)
RECORDS = run_like(1200)


def with_sites(records: Records, **how: Any) -> bytes:
    """A file of these, whose sites have the names of SITES."""
    out = io.BytesIO()
    writer = TraceWriter(out, {}, **{"capacity": 64, **how})
    writer.ring.enable()
    for name in SITES[1:]:
        lib.ring_site(writer.ring.c, name.encode())
    emit(writer, records)
    writer.close({})
    return out.getvalue()


DATA = with_sites(RECORDS)


@settings(max_examples=25)
@given(where=WHERES, keep=NAMES)
def test_reading(where, keep):
    where = simplified(where, keep)
    trace = opened(DATA)
    assert (read(trace, where) == chosen(RECORDS, where)).all()
    if where.code is None:
        whole = next(iter(opened(with_sites(RECORDS[:500], capacity=512)).batches()))
        mask = trace.holds(whole.records, whole.numbers, where)
        assert (whole.records[mask] == chosen(RECORDS[:500], where)).all()


@settings(max_examples=15)
@given(where=WHERES, keep=NAMES)
def test_writing(where, keep):
    """Of what is left out nothing is lost sight of: it is counted, unless its kind is unwanted."""
    where = simplified(where, keep)
    out = io.BytesIO()
    writer = TraceWriter(out, {}, where=where, capacity=64)
    writer.ring.enable()
    for name in SITES[1:]:
        lib.ring_site(writer.ring.c, name.encode())
    seen = RECORDS
    if where.events:
        kinds = where.events | ({"insn"} if where.code is not None else set())
        seen = RECORDS[[EVENTS[kind].name in kinds for kind in RECORDS["id"].tolist()]]
    emit(writer, RECORDS)
    assert writer.nr_events == len(seen)
    writer.close({})
    got = read(opened(out.getvalue()))
    assert (got == chosen(seen, where)).all()
    assert len(got) + sum(writer.left_out.values()) == len(seen)


@settings(max_examples=12)
@given(records=any_records(), where=WHERES)
def test_any_values(records, where):
    where = simplified(where, frozenset(("frames", "addresses", "times")))
    assert (read(opened(written(records, capacity=8)), where) == chosen(records, where)).all()


def test_the_index_leaves_chunks_out():
    """What happened in one place only is looked for in few chunks."""
    trace = opened(DATA)
    frames = {int(r["a"]) for r in read(trace, Where(events=frozenset(("pte_get",))))}
    once = [
        frame
        for frame in frames
        if len(read(trace, Where(frames=frozenset((frame,))))) and frame < 40
    ]
    assert once
    assert min(len(trace.chunks_for(Where(frames=frozenset((f,))))) for f in once) <= 3
    last = int(RECORDS["time"].max())
    assert len(trace.chunks_for(Where(times=(last, last + 1)))) <= 3
    assert trace.chunks_for(Where(tasks=frozenset((9999,)))) == []
    assert trace.chunks_for(Where(begin=1100, end=1150))[0].first == 1088
    assert len(trace.chunks_for(Where(instructions=(0, 1), cpus=frozenset((0,))))) == 1
    assert trace.kinds_count()["insn"] == int((RECORDS["id"] == 0).sum())
    assert trace.last_time == last


def test_code_is_added_when_it_becomes_known():
    out = io.BytesIO()
    writer = TraceWriter(out, {}, code=(), capacity=64)
    writer.ring.enable()
    emit(writer, RECORDS[:640])
    writer.flush()
    writer.add_code([(0x40_0000, 0x40_0040)])
    emit(writer, RECORDS[640:])
    writer.close()
    later = Where(code=((0x40_0000, 0x40_0040),), begin=640)
    assert (read(opened(out.getvalue())) == chosen(RECORDS, later)).all()


def test_an_event_that_does_not_exist():
    with pytest.raises(MmuError, match="no event 'pte_gte'"):
        TraceWriter(io.BytesIO(), {}, where=Where(events=frozenset(("pte_gte",))))


def test_backwards_and_code_exclude_each_other():
    with pytest.raises(ValueError, match="before"):
        list(opened(DATA).batches(Where(code=()), reverse=True))
    assert (read(opened(DATA), ALL) == RECORDS).all()
