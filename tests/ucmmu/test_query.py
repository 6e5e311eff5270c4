# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: SQL reads a trace's events, tables, processes, maps and counters, and nothing else."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.ucmmu.recorded import EVERYTHING, Script, record

pytest.importorskip("duckdb")
pytest.importorskip("pyarrow")

from mmu.trace.format import TraceError
from mmu.trace.reader import TraceFile
from ucmmu.event_filter import parse_filter
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.reading import query
from ucmmu.reading.child import in_a_child

MM = 0x1000


def ask(trace, sql, form="json", wanted=EVERYTHING):
    pieces = []
    query.answer(trace, wanted, sql, pieces.append, form)
    text = "".join(pieces)
    return json.loads(text) if form == "json" else text


@pytest.fixture
def trace(tmp_path):
    """Two tables live, one dies: with references, a process and its map."""
    script = Script(tmp_path / "a.trace")
    script.note("process", pid=7, tgid=7, comm="guest", exe="/bin/g", mm=MM, parent=1)
    script.note(
        "map", mm=MM, start=0x1000, end=0x5000, prot="rw-p", flags=3, offset=0, name="[heap]"
    )
    script.at(10, task=7)
    script.emit("pte_alloc_one", pfn=20, mm=MM)
    script.emit("pte_alloc", address=0x200000, pfn=20, mm=MM, pmd_pa=0x3008)
    script.emit("pte_get", pfn=20, old=1, count=3, holder=1)
    script.at(15, task=7)
    script.emit("pte_alloc_one", pfn=21, mm=MM)
    script.emit("pte_alloc", address=0x400000, pfn=21, mm=MM, pmd_pa=0x3010)
    script.emit("pte_put", pfn=20, old=3, count=0, holder=1)
    script.at(30, task=7)
    script.emit("pte_free", address=0x200000, pfn=20, mm=MM, pmd_pa=0x3008)
    script.emit("rcu_callback", pfn=20, qlen=1)
    script.note("unmap", mm=MM, start=0x2000, end=0x3000)
    script.at(50)
    script.emit("rcu_invoke_callback", pfn=20)
    script.note("exit", pid=7, tgid=7, code=3, signal=0)
    script.emit("invlpg", address=1)
    return script.trace(
        {"counters": {"tlb_evictions": 12}, "kernel_counters": {"rcu_callbacks": 1}}
    )


def test_rows_of_events_by_kind(trace):
    rows = ask(
        trace, "SELECT event, count(*) AS n FROM events GROUP BY event HAVING n > 1 ORDER BY 1"
    )
    assert rows == [{"event": "pte_alloc", "n": 2}, {"event": "pte_alloc_one", "n": 2}]


def test_lives_of_tables(trace):
    dead, live = ask(trace, "FROM tables ORDER BY pfn")
    assert dead == {
        "pfn": 20,
        "mm": MM,
        "address": 0x200000,
        "task": 7,
        "site": None,
        "allocated": 0,
        "allocated_time": 10,
        "installed": 1,
        "installed_time": 10,
        "unhooked": 6,
        "unhooked_time": 30,
        "freed": 8,
        "freed_time": 50,
        "gets": 2,
        "puts": 3,
        "count": 0,
        "count_max": 3,
    }
    assert (live["pfn"], live["installed"], live["freed"]) == (21, 4, None)


def test_a_frame_that_is_a_table_twice_has_two_lives(tmp_path):
    script = Script(tmp_path / "a.trace")
    for _ in range(2):
        script.emit("pte_alloc_one", pfn=20, mm=MM)
        script.emit("mm_page_free", pfn=20, order=0)
    assert ask(script.trace(), "SELECT allocated, freed FROM tables ORDER BY 1") == [
        {"allocated": 0, "freed": 1},
        {"allocated": 2, "freed": 3},
    ]


def test_processes_with_their_ends(trace):
    (row,) = ask(trace, "SELECT pid, parent, comm, code, from_event, until_event FROM processes")
    assert row == {
        "pid": 7,
        "parent": 1,
        "comm": "guest",
        "code": 3,
        "from_event": 0,
        "until_event": 9,
    }


def test_maps_are_cut_by_an_unmap(trace):
    sql = 'SELECT start, "end", name, from_event, until_event FROM maps ORDER BY from_event, start'
    rows = [tuple(row.values()) for row in ask(trace, sql)]
    assert rows == [
        (0x1000, 0x5000, "[heap]", 0, 8),
        (0x1000, 0x2000, "[heap]", 8, None),
        (0x3000, 0x5000, "[heap]", 8, None),
    ]


def test_counters_of_the_run(trace):
    assert ask(trace, "FROM counters ORDER BY name") == [
        {"scope": "kernel", "name": "rcu_callbacks", "value": 1},
        {"scope": "cpu", "name": "tlb_evictions", "value": 12},
    ]


def test_the_events_may_be_read_more_than_once(trace):
    """A statement that needs them twice gets them twice, and no empty second time."""
    sql = """WITH born AS (FROM events WHERE event = 'pte_alloc_one'),
                  died AS (FROM events WHERE event = 'rcu_invoke_callback')
             SELECT died.time - born.time AS life FROM born JOIN died USING (pfn)"""
    assert ask(trace, sql) == [{"life": 40}]
    sql = "SELECT (SELECT count(*) FROM events) AS a, (SELECT count(*) FROM events) AS b"
    assert ask(trace, sql) == [{"a": 10, "b": 10}]


@pytest.mark.parametrize(
    "table",
    ["EVENTS", '"Events"', "main.Events", "query_table('events')", "query('FROM Events')"],
)
def test_a_table_has_its_rows_however_it_is_named(trace, table):
    """SQL's names have no case: no spelling may give an empty table in silence."""
    assert ask(trace, f"SELECT count(*) AS n FROM {table}") == [{"n": 10}]
    table = table.lower().replace("events", "Tables")
    assert ask(trace, f"SELECT count(*) AS n FROM {table}") == [{"n": 2}]


def test_names_that_are_not_utf8_are_written_out(tmp_path):
    script = Script(tmp_path / "a.trace")
    name = "g\udcff"
    script.note("process", pid=7, tgid=7, comm=name, exe=f"/{name}", mm=MM, parent=1)
    script.note("map", mm=MM, start=0x1000, end=0x2000, file=f"/{name}", bias=0)
    script.at(10, task=7)
    script.emit("invlpg", address=1)
    trace = script.trace()
    assert ask(trace, "SELECT comm, exe FROM processes") == [
        {"comm": "g\\udcff", "exe": "/g\\udcff"}
    ]
    assert ask(trace, "SELECT file FROM maps") == [{"file": "/g\\udcff"}]
    assert ask(trace, "SELECT comm FROM events") == [{"comm": "g\\udcff"}]


def test_a_column_by_its_place_is_that_of_the_whole_table(trace):
    assert ask(trace, "SELECT #2 AS t FROM events WHERE event = 'pte_put'") == [{"t": 15}]


def test_counts_can_be_subtracted(trace):
    sql = "SELECT sum(count - old_count) AS n FROM events WHERE event IN ('pte_get', 'pte_put')"
    assert ask(trace, sql) == [{"n": -1}]


@pytest.mark.parametrize(
    "where",
    [
        "event = 'pte_put'",
        "'pte_put' = event",
        "event IN ('pte_put')",
        "event = 'pte_put' AND task = 7",
    ]
    + ["event = 'pte_put' OR 1 = 0", "NOT event <> 'pte_put'", "event LIKE 'pte_pu%'"],
)
def test_conditions_on_the_kind_keep_what_they_say(trace, where):
    assert ask(trace, f"SELECT number FROM events WHERE {where}") == [{"number": 5}]


def test_a_condition_that_two_kinds_fulfil_keeps_both(trace):
    sql = "SELECT number FROM events WHERE event = 'pte_put' OR number = 0 ORDER BY 1"
    assert ask(trace, sql) == [{"number": 0}, {"number": 5}]
    sql = "SELECT number FROM events WHERE event = 'pte_put' AND event = 'invlpg'"
    assert ask(trace, sql) == []


def test_a_filter_holds_for_sql_too(trace):
    sql = "SELECT count(*) AS n FROM events"
    assert ask(trace, sql, wanted=parse_filter(["event=pte_*"])) == [{"n": 7}]
    sql = "SELECT count(*) AS n FROM events WHERE event = 'invlpg'"
    assert ask(trace, sql, wanted=parse_filter(["event=pte_*"])) == [{"n": 0}]


@pytest.mark.parametrize(
    ("sql", "complaint"),
    [
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("", "takes one SELECT statement, not 0"),
        ("SELECT 1; SELECT 2", "takes one SELECT statement, not 2"),
        ("DELETE FROM events", "takes a SELECT statement only"),
        ("COPY events TO '/tmp/stolen'", "takes a SELECT statement only"),
        ("SET threads = 8", "takes a SELECT statement only"),
        ("SELECT adress FROM events", '"address"'),
        ("FROM event", "does not exist"),
        ("FROM '/etc/passwd'", "/etc/passwd"),
        ("SELECT * FROM read_text('/etc/passwd')", "disabled by configuration"),
        ("SELECT * FROM glob('/*')", "disabled by configuration"),
        ("SELECT trace FROM trace", "does not exist"),
        ("SELECT 'x'::INTEGER", "Could not convert"),
        ("SELECT CAST(event AS INTEGER) FROM events", "Could not convert"),
        ("SELECT '\udcff'", "not UTF-8"),
        (f"SELECT {'[' * 900}1{']' * 900}", "nested too deeply"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(trace, sql, complaint):
    with pytest.raises(Failure) as caught:
        ask(trace, sql)
    assert caught.value.code == ExitCode.USAGE
    assert caught.value.line.startswith("--query: ")
    assert complaint in caught.value.line
    assert "\n" not in caught.value.line


def test_no_file_can_be_read_or_written(trace, tmp_path):
    """Not even those beside the events that DuckDB itself keeps."""
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    for sql in (f"FROM '{secret}'", f"SELECT * FROM read_csv('{secret}')"):
        with pytest.raises(Failure):
            ask(trace, sql)


def test_a_table_is_aligned_and_shows_addresses_in_hexadecimal(trace):
    sql = "SELECT event, address, count FROM events WHERE number IN (1, 2) ORDER BY number"
    assert ask(trace, sql, "table").splitlines() == [
        "event       address  count",
        "---------  --------  -----",
        "pte_alloc  0x200000      –",
        "pte_get           –      3",
    ]


def test_csv_is_what_csv_readers_read(trace):
    text = ask(
        trace, "SELECT 'a,\"b' AS x, address FROM events WHERE number < 2 ORDER BY number", "csv"
    )
    assert list(csv.reader(io.StringIO(text))) == [
        ["x", "address"],
        ['a,"b', ""],
        ['a,"b', str(0x200000)],
    ]


def test_json_of_no_rows_is_an_empty_array(trace):
    assert ask(trace, "SELECT number FROM events WHERE false") == []


def test_json_is_valid_whatever_the_values_are(trace):
    (row,) = ask(trace, "SELECT 'nan'::DOUBLE AS a, DATE '2020-01-02' AS b, [1, 2] AS c, 1.5 AS d")
    assert row == {"a": None, "b": "2020-01-02", "c": [1, 2], "d": 1.5}


def test_nothing_is_left_in_the_temporary_directory(trace, tmp_path, monkeypatch):
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr("tempfile.tempdir", None)
    ask(trace, "SELECT count(*) FROM events a, events b")
    assert list(place.iterdir()) == []


def test_functions_of_a_guest_by_their_misses(tmp_path):
    trace = TraceFile(str(record(tmp_path / "a.trace", "hello")))
    rows = ask(
        trace,
        """SELECT function, count(*) AS misses FROM events WHERE event = 'tlb_miss'
           GROUP BY function ORDER BY misses DESC""",
    )
    (total,) = ask(trace, "SELECT count(*) AS n FROM events WHERE event = 'tlb_miss'")
    assert sum(row["misses"] for row in rows) == total["n"] > 0
    assert {"main", "_start"} & {row["function"] for row in rows}


def test_the_examples_of_the_documentation_run(trace):
    text = (Path(__file__).parents[2] / "docs" / "exporting.md").read_text()
    statements = [piece.split("```")[0] for piece in text.split("```sql\n")[1:]]
    assert len(statements) >= 5
    for statement in statements:
        ask(trace, statement)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), TraceError("a.trace: damaged at byte 9")])
def test_what_goes_wrong_with_the_trace_is_no_error_of_the_statement(
    trace, monkeypatch, error, times
):
    """DuckDB itself would tell it in a text of its own."""

    def batches(where):
        raise error
        yield

    monkeypatch.setattr(trace, "batches", batches)
    tables = ", ".join(["events"] * times)
    with pytest.raises(type(error)):
        ask(trace, f"SELECT count(*) FROM {tables.replace(', events', ', events b')}")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM range(10000000000000) a",
        "SELECT sum(length(repeat('x', CAST(range + 100000000 AS INT)))) FROM range(100000)",
    ],
)
def test_a_question_without_end_hears_an_interrupt(trace, tmp_path, sql):
    """It is killed in the middle of whatever DuckDB does, and leaves no file."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ucmmu", "trace", trace.path, "--query", sql],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("ucmmu-*/ucmmu-query-*/events.duckdb*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=120)[1] == "ucmmu: interrupted\n"
    assert process.returncode == 130
    assert not list(tmp_path.glob("ucmmu-*"))


def test_a_child_that_dies_is_told_in_a_line():
    with pytest.raises(Failure, match="the process that did the work died: killed by SIGKILL"):
        in_a_child(lambda: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(Failure, match="internal error: ZeroDivisionError"):
        in_a_child(lambda: 1 // 0)
    in_a_child(lambda: None)
