# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: ``ucmmu stats`` counts what a trace's events say, in all as the run itself did, and gives
each event to one group.
"""

from __future__ import annotations

import json

import pytest

from mmu.events import COUNTERS, KERNEL_COUNTERS, MM_COUNTERS
from mmu.trace.reader import TraceFile
from tests.ucmmu.recorded import EVERYTHING, Script, examples, record
from ucmmu.cli import main
from ucmmu.event_filter import parse_filter
from ucmmu.exit_codes import ExitCode
from ucmmu.reading.groups import GROUPINGS
from ucmmu.reading.stats import count, count_arrays, differences
from ucmmu.reading.stats_text import array_rows, derivations, group_rows, total_text

MM = 0x1000
ARRAYS = [
    {"name": "DTLB", "kind": "dtlb", "first": 0, "sets": 2, "ways": 2},
    {"name": "STLB", "kind": "stlb", "first": 4, "sets": 4, "ways": 2},
    {"name": "PDE cache", "kind": "psc", "first": 12, "sets": 1, "ways": 2},
]


@pytest.fixture
def script(tmp_path):
    script = Script(tmp_path / "a.trace", arrays=ARRAYS, free_tables="refcount")
    script.note("process", pid=7, tgid=7, comm="guest", exe="/bin/g", mm=MM, parent=0)
    script.note("process", pid=8, tgid=7, comm="thread", exe="/bin/g", mm=MM, parent=7)
    where = {"mm": MM, "start": 0x400000, "end": 0x402000, "prot": "r-xp", "offset": 0}
    script.note("map", **where, file="/bin/g", bias=0)
    functions = [[0x400000, 0x10, "main"], [0x400010, 0x10, "touch"]]
    script.note("symbols", file="/bin/g", functions=functions, lines=[])
    return script


def by(trace, name, wanted=EVERYTHING, **how):
    """Groups by their labels."""
    return {group.label: group for group in count(trace, wanted, GROUPINGS[name](trace), **how)}


@pytest.fixture(scope="module", params=[1, 2])
def guest(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("stats") / "a.trace"
    return TraceFile(str(record(path, "dontneed_loop", "2M", "2M", cpus=request.param)))


def test_the_totals_are_the_run_s_own(guest):
    (total,) = count(guest, EVERYTHING)
    report = guest.summary
    own = {**report["counters"], **report["mm_counters"], **report["kernel_counters"]}
    assert {name: total[name] for name in own} == own
    assert set(own) == {*COUNTERS, *MM_COUNTERS, *KERNEL_COUNTERS}
    assert total["event:insn"] == report["instructions"]
    assert differences(guest, total) == {}


@pytest.mark.parametrize("name", ["function", "cpu", "process"])
def test_groups_share_the_total_out(guest, name):
    (total,) = count(guest, EVERYTHING)
    groups = by(guest, name).values()
    for counter in total.counts:
        assert sum(group[counter] for group in groups) == total[counter], counter


def test_hits_of_arrays_and_misses_are_all_look_ups(guest):
    arrays, total = count_arrays(guest, EVERYTHING)
    hits = sum(one.hits for one in arrays if one.kind != "psc")
    look_ups = total.sum("dTLB-loads", "dTLB-stores", "iTLB-loads")
    (events,) = count(guest, EVERYTHING)
    assert hits + events.sum("event:tlb_miss", "event:tlb_deny") == look_ups > 0
    assert sum(one.evictions for one in arrays if one.kind != "psc") == total["tlb_evictions"]
    assert sum(one.hits for one in arrays if one.kind == "psc") == total["walk_cache_hits"]
    for one in arrays:
        assert 0 <= one.fills - one.evictions - one.drops <= one.entries * guest.head["cpus"]


def test_functions_get_what_their_instructions_did(script):
    script.at(1, task=7)
    script.insn(0x400000)
    script.emit("tlb_miss", address=0x9000, access=1)
    script.emit("walk_entry", address=0x9000, entry_pa=8, entry=7, level=1)
    script.at(2, task=8, cpu=1)
    script.insn(0x400014)
    script.insn(0x400015)
    script.emit("tlb_hit", address=0x9000, access=0, array=1)
    groups = by(script.trace(), "function")
    assert set(groups) == {"main", "touch"}
    assert groups["main"]["dtlb_store_misses.miss_causes_a_walk"] == 1
    assert groups["main"]["page_walker_loads"] == 1
    assert groups["touch"]["event:insn"] == 2
    assert groups["touch"]["dtlb_load_misses.stlb_hit"] == 1


def test_threads_are_counted_with_their_process(script):
    for task in (7, 8, 0, 8):
        script.at(1, task=task)
        script.emit("page_fault", address=1, error_code=4)
    groups = by(script.trace(), "process")
    faults = {label: group["page_faults_hw"] for label, group in groups.items()}
    assert faults == {"(no task)": 1, "guest-7": 3}


def test_pages_with_the_most_misses_come_first(script):
    for address, misses in ((0x5008, 1), (0x7FF0, 3), (0x9000, 2)):
        for _ in range(misses):
            script.emit("tlb_miss", address=address, access=0)
    script.emit("pte_get", pfn=1, old=1, count=2)
    groups = by(script.trace(), "page", order=("event:tlb_miss",), top=2)
    assert {label: group["event:tlb_miss"] for label, group in groups.items()} == {
        "0x7000": 3,
        "0x9000": 2,
    }


def test_events_belong_to_the_system_call_their_task_is_in(script):
    script.at(1, task=7)
    script.emit("sys_enter", nr=28)
    script.emit("pte_free", address=0, pfn=1, mm=MM)
    script.at(1, task=8, cpu=1)
    script.emit("pte_alloc", address=0, pfn=2, mm=MM)
    script.emit("sys_enter", nr=0)
    script.at(2, task=7)
    script.emit("pte_free", address=0, pfn=3, mm=MM)
    script.emit("sys_exit", nr=28, ret=0)
    script.emit("pte_alloc", address=0, pfn=1, mm=MM)
    script.at(2, task=8, cpu=1)
    script.emit("sys_exit", nr=0, ret=-14)
    groups = by(script.trace(), "syscall")
    assert set(groups) == {"madvise", "read"}
    assert groups["madvise"]["event:pte_free"] == 2
    assert groups["madvise"]["pte_tables_allocated"] == 0
    assert (groups["read"]["sys_exit.errors"], groups["madvise"]["sys_exit.errors"]) == (1, 0)


def test_groups_are_the_same_however_the_trace_is_cut_into_pieces(script, monkeypatch):
    """What goes on over the edge of a piece is not lost: the instruction, the call, the sums."""
    script.at(1, task=7)
    for round_ in range(50):
        script.insn(0x400000 + 0x10 * (round_ % 2))
        script.emit("sys_enter", nr=round_ % 3)
        script.emit("tlb_miss", address=round_ << 12, access=0)
        script.emit("sys_exit", nr=round_ % 3, ret=0)
        script.emit("rcu_callback", pfn=round_, qlen=round_ % 7)
    trace = script.trace()
    whole = {name: by(trace, name) for name in GROUPINGS}
    batches = trace.batches

    def pieces(where):
        for batch in batches(where):
            for at in range(0, len(batch.records), 7):
                yield type(batch)(batch.numbers[at : at + 7], batch.records[at : at + 7])

    monkeypatch.setattr(trace, "batches", pieces)
    assert {name: by(trace, name) for name in GROUPINGS} == whole


def test_a_filter_counts_only_what_it_keeps(script):
    for address in (0x1000, 0x2000, 0x3000):
        script.emit("tlb_miss", address=address, access=0)
    (total,) = count(script.trace(), parse_filter(["address=0x2000-0x4000"]))
    assert total["dTLB-loads"] == 2


def test_arrays_with_their_hit_rates(script):
    script.emit("tlb_hit", address=1, access=0, array=0, slot=1)
    script.emit("tlb_hit", address=1, access=1, array=1, slot=5)
    script.emit("tlb_miss", address=1, access=0)
    script.emit("walk_cache_hit", address=1, level=2, table=0x1000, slot=13)
    script.emit("tlb_fill", address=1, pa=1, array=0, entry=0)
    script.emit("walk_cache_drop", address=1, table=1, array=2, entry=0)
    names, rows = array_rows(*count_arrays(script.trace(), EVERYTHING))
    assert names[3:] == ["hits", "hit%", "fills", "evictions", "drops"]
    assert rows == [
        ["DTLB", "dtlb", 4, 1, 33.333, 1, 0, 0],
        ["STLB", "stlb", 8, 1, 50.0, 0, 0, 0],
        ["PDE cache", "psc", 2, 1, 100.0, 0, 0, 1],
    ]


def test_rates_that_users_of_tlb_simulators_compare(script):
    for at in range(1000):
        script.at(at)
        script.insn(0x400000)
    for access in (0, 1, 2, 0):
        script.emit("tlb_miss", address=1, access=access)
    script.emit("tlb_hit", address=1, access=0, array=0)
    for level in (2, 1):
        script.emit("walk_entry", address=1, entry_pa=1, entry=1, level=level)
    script.emit("walk_cache_hit", address=1, level=2)
    (total,) = count(script.trace(), EVERYTHING)
    assert derivations(total) == {
        "dTLB miss rate, %": 75.0,
        "iTLB miss rate, %": 100.0,
        "walks per 1000 instructions (MPKI)": 4.0,
        "entries read per walk": 0.5,
        "walks that began at a paging-structure cache, %": 25.0,
    }
    text = total_text("a trace", total, COUNTERS)
    assert "  1,000  instructions" in text
    assert "75.000  dTLB miss rate, %" in text


def test_what_is_divided_by_nothing_is_none(script):
    script.emit("invlpg", address=1)
    (total,) = count(script.trace(), EVERYTHING)
    assert set(derivations(total).values()) == {None}
    total_text("a trace", total, COUNTERS)
    names, rows = group_rows("cpu", list(by(script.trace(), "cpu").values()))
    assert dict(zip(names, rows[0], strict=True))["MPKI"] is None


def test_a_counter_that_the_events_give_otherwise_is_told(script, capfd):
    script.emit("tlb_evict", address=1)
    path = script.close({"counters": {"tlb_evictions": 2, "page_walker_loads": 0}})
    assert main(["stats", str(path)]) == 0
    assert "the run itself counted otherwise for tlb_evictions." in capfd.readouterr().out
    assert main(["stats", "--json", "-", str(path)]) == 0
    value = json.loads(capfd.readouterr().out)
    assert value["differences"] == {"tlb_evictions": {"events": 1, "run": 2}}


@pytest.mark.parametrize("name", ["array", *GROUPINGS])
def test_a_table_and_json_of_each_grouping(script, name, capfd):
    script.at(1, task=7)
    script.insn(0x400000)
    script.emit("sys_enter", nr=1)
    path = script.close()
    assert main(["stats", "--by", name, str(path)]) == 0
    assert capfd.readouterr().out.startswith(name)
    assert main(["stats", "--by", name, "--json", "-", str(path)]) == 0
    rows = json.loads(capfd.readouterr().out)
    assert rows and all(name in row for row in rows)


def test_top_bounds_the_rows_and_0_does_not(script, capfd):
    for at in range(30):
        script.emit("tlb_miss", address=at << 12, access=0)
    path = str(script.close())
    for top, rows in (("3", 3), ("0", 30)):
        assert main(["stats", "--by", "page", "--top", top, path]) == 0
        assert len(capfd.readouterr().out.splitlines()) == 2 + rows


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["--by", "colour"], ExitCode.USAGE, "'colour' is none of array, function"),
        (["--top", "-1"], ExitCode.USAGE, "'-1' is no number of rows"),
        (["--filter", "event=tlb_mis"], ExitCode.USAGE, "tlb_miss"),
        (["--json", "/nowhere/a.json"], ExitCode.NO_OUTPUT, "/nowhere/a.json"),
    ],
)
def test_bad_words_are_refused_in_one_line(script, words, code, complaint, capfd):
    path = str(script.close())
    assert main(["stats", *words, path]) == code
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and complaint in error


def test_what_is_no_trace_is_said_in_one_line(tmp_path, capfd):
    path = tmp_path / "a.txt"
    path.write_text("hello, this is no trace at all, is it?" * 9)
    assert main(["stats", str(path)]) == ExitCode.BAD_TRACE
    assert capfd.readouterr().err.count("\n") == 1


def test_an_empty_trace_has_zeros(tmp_path, capfd):
    path = str(Script(tmp_path / "a.trace").close())
    assert main(["stats", "--json", "-", path]) == 0
    value = json.loads(capfd.readouterr().out)
    assert set(value["counters"].values()) == {0}
    assert main(["stats", "--by", "function", path]) == 0


def test_the_examples_of_the_help_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in examples("stats"):
        assert main(words) == 0, words


@pytest.mark.parametrize("by", [[], ["--by", "function"], ["--by", "array"]])
@pytest.mark.parametrize(
    ("head", "words"),
    [
        ({"filter": ["!event=insn"]}, "recorded with --trace-filter !event=insn"),
        ({"fidelity": "exact"}, "recorded with --fidelity exact: instructions, accesses"),
    ],
)
def test_what_the_figures_are_not_about_is_said(tmp_path, capfd, by, head, words):
    script = Script(tmp_path / "a.trace", arrays=ARRAYS, **head)
    script.trace()
    assert main(["stats", str(tmp_path / "a.trace"), *by]) == 0
    assert words in capfd.readouterr().err
