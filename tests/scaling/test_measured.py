# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what the host measures for the model is plausible, and the documents say what the results
do.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from benchmarks import calm, fault_time, refcount_threads
from benchmarks.callgrind import compiler
from benchmarks.calm import Round
from benchmarks.measure import BenchmarkError
from benchmarks.multi_fault import Row, with_times
from benchmarks.priority import real_time
from benchmarks.refcount import refcount_fault, refcount_refill
from benchmarks.scaling import document, host, threads

ROOT = Path(__file__).resolve().parents[2]
PERFORMANCE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "benchmarks" / "results" / "scaling.json"


def test_a_priority_is_given_back():
    before = os.sched_getscheduler(0)
    with real_time() as allowed:
        assert os.sched_getscheduler(0) == (os.SCHED_FIFO if allowed else before)
    assert os.sched_getscheduler(0) == before


def test_one_thread_is_measured_in_each_design():
    """It takes time, and waits for nobody; how much is a host's affair."""
    quick = functools.partial(refcount_threads.measure, wanted=1, patience=0.1)
    for design in ("none", "RCU", "pmd_lock"):
        measured = quick(refcount_threads.name_of("lookup_put", design), design)
        assert 0 < measured.ns.low <= measured.ns.median <= measured.ns.high
        assert (measured.transfers, measured.waits) == (0, 0)


def test_two_cores_take_the_line_from_each_other_only_where_they_share_it():
    if refcount_threads.cores() < 2:
        pytest.skip("this process may use one core")
    one = functools.partial(
        refcount_threads.measure, "lookup_put", "RCU", 2, wanted=1, patience=0, transfers=True
    )
    alone, shared = one(own=True), one(own=False)
    assert alone.transfers < 0.01 < shared.transfers <= 2
    assert alone.ns.median < shared.ns.median
    assert alone.waits == shared.waits == 0
    locked = refcount_threads.measure("lookup_put", "pmd_lock", 2, wanted=1, patience=0)
    assert locked.waits > 0


def test_work_that_cannot_be_is_refused():
    with pytest.raises(BenchmarkError, match="dance: refcount_threads: unknown operation"):
        refcount_threads.measure("dance")
    with pytest.raises(BenchmarkError, match="refuses the measurement: Invalid argument"):
        host.refill(512, False, 1)


def test_the_time_of_the_count_is_held_against_a_fault_of_the_host():
    results = list(fault_time.refcount_fault_time(3, 0.1))
    assert [each.name for each in results] == [
        "refcount_fault_time_refcount",
        "refcount_fault_time_refcount-pmdlock",
    ]
    for each in results:
        assert 0 < each.ours < each.peer
        assert each.ratios[0] <= each.ratio <= each.ratios[1]
        assert each.met == (each.ratio <= 0.012)


def test_the_host_tells_times_of_both_ways_to_give_back():
    quick = functools.partial(host.refill, 1, number=50, wanted=1, patience=0)
    kept, freed = (quick(freed=each) for each in (False, True))
    assert len(kept.zap_ns) == len(freed.touch_ns) == 50
    assert 0 < kept.zap_ns[0] <= kept.median.median <= kept.zap_ns[-1]
    assert kept.lost_ns == 0


def test_threads_of_the_host_work_each_on_its_cpu_and_share_what_they_are_told_to():
    before = os.sched_getaffinity(0)
    for shares in host.SHARINGS:
        rate = host.rate(min(2, len(before)), shares, pages=8, wanted=1, patience=0)
        assert 0 < rate.fault_ns.median + rate.zap_ns.median <= rate.ns.median * 1.2
    assert os.sched_getaffinity(0) == before


def test_rounds_that_another_hyperthread_disturbed_do_not_count(monkeypatch):
    monkeypatch.setattr(calm, "fastest_probe", lambda: 1.0)
    rounds = iter([2.0, 1.0, 1.1, 1.6, 1.0, 1.05, 1.14, 9.0, 1.0])

    def once():
        probe = next(rounds)
        yield Round((100 * probe,), probe)

    (spread,) = calm.measure(once, wanted=6, patience=60)
    assert (spread.rounds, spread.of) == (6, 9)
    assert 100 <= spread.low <= spread.median <= spread.high <= 114
    assert not spread.noisy


def test_the_bar_is_the_usual_speed_and_not_a_moment_of_a_faster_one():
    assert calm.usual_fastest([0.77] * 20 + [0.93] * 60 + [1.3] * 40) == 0.93
    assert calm.usual_fastest([0.93] * 30 + [1.3] * 90) == 0.93
    assert calm.usual_fastest([1.3] * 4) == 1.3
    assert calm.usual_fastest([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]) == 3.0


def test_a_figure_without_calm_rounds_is_said_to_be_noise(monkeypatch):
    monkeypatch.setattr(calm, "fastest_probe", lambda: 1.0)
    probes = iter([2.0, 3.0, 1.9, 2.5])
    found, good = calm.gather(lambda: [Round((each,), each) for each in probes], 1, 0)
    (spread,) = calm.spreads(found, good)
    assert good == [] and spread.noisy
    assert spread.median == 1.9  # the least disturbed
    lost = [Round((1.0,), 1.0, busy=0.5)] * 6
    assert not any(calm.is_calm(each, 1.0) for each in lost)
    wide = [Round((each,), 1.0) for each in (1.0, 1.0, 2.0, 4.0, 5.0, 6.0)]
    assert calm.spreads(wide, wide)[0].noisy


def test_the_nearest_and_the_farthest_distance_of_the_cores_are_kept():
    near = {"transfer": 25.0, "lock_handoff": 30.0, "spread": 0.01}
    slower = {"transfer": 29.0, "lock_handoff": 50.0, "spread": 0.01}
    far = {"transfer": 125.0, "lock_handoff": 80.0, "spread": 0.3}
    within = {"transfer": 25.0, "lock_handoff": 30.0}
    assert threads.ends([slower, far, near]) == [near, far]
    assert threads.of_distances([far, near]) == {**within, "far": 5.0}
    assert threads.of_distances([slower, near]) == within
    assert threads.of_distances([far]) == {"transfer": 125.0, "lock_handoff": 80.0, "far": 1.0}
    moves = iter([25.0, 120.0, 120.0, 121.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refcount_threads, "distance", lambda: next(moves))
        calls = []
        found = refcount_threads.at_one_distance(lambda: calls.append(0) or len(calls))
    assert found == (2, 120.5)


def test_percentiles_are_of_the_list():
    assert host.percentiles([float(each) for each in range(101)]) == {
        "p50": 50,
        "p90": 90,
        "p99": 99,
        "p99.9": 100,
        "max": 100,
    }


def test_a_free_is_timed_from_its_pmd_to_the_allocator():
    row = Row("refcount", 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0.0)

    def event(name, time_ns, pfn="0x1"):
        return {"event": name, "time_ns": time_ns, "fields": {"pfn": pfn}}

    events = [
        event("rcu_invoke_callback", 5, "0x9"),
        event("pte_free", 10),
        event("rcu_invoke_callback", 70),
        event("pte_free", 90),
    ]
    assert (with_times(row, events).free_ns, with_times(row, events).virtual_ns) == ((60,), 90)


def test_rows_of_both_distances_are_kept():
    keys = {"pair": "fault", "design": "RCU", "threads": 2, "own_tables": False}
    keys |= {"ns": 1.0, "noisy": False}
    far, near = ({**keys, "distance": distance} for distance in (120.0, 23.0))
    alone = {**keys, "threads": 1, "distance": None}
    assert threads.both_ways([], [alone, far]) == [alone, far]
    again = {**near, "ns": 2.0}
    assert threads.both_ways([alone, far], [alone, again]) == [alone, again, far]
    assert threads.both_ways([alone, again, far], [alone, near]) == [alone, near, far]
    other = {**near, "design": "none"}
    assert threads.both_ways([far], [other]) == [other]
    assert threads.both_ways([{**far, "noisy": True}], [near]) == [near]


def test_tables_are_put_between_their_markers_and_the_text_stays():
    results = {
        "threads": {
            "pairs": [
                {
                    "pair": "lookup_put",
                    "design": "RCU",
                    "threads": 2,
                    "own_tables": False,
                    "ns": 29.3,
                    "operations_per_s": 68e6,
                    "distance": 25.0,
                    "transfers": 0.085,
                    "waits": 0.0,
                    "spread": 0.2,
                    "noisy": True,
                },
            ]
        }
    }
    text = "before\n<!-- table threads -->\nold\n<!-- end -->\nafter\n"
    made = document.with_tables(text, results)
    assert made.startswith("before\n<!-- table threads -->\n| operation | design | CPUs |")
    row = "| lookup and put | RCU | 2, one table | 29.30 | ±20.0% (noise) | 68.00 | 25.00 |"
    assert f"{row} 0.085 | 0.000 |" in made
    assert made.endswith("<!-- end -->\nafter\n") and "old" not in made
    assert document.with_tables(made, results) == made
    assert document.with_tables(text, {}) == text
    with pytest.raises(ValueError, match="asks for a table other"):
        document.with_tables(text.replace("threads", "other"), results)


def test_the_page_has_each_table_once_and_says_what_the_results_do():
    text = PERFORMANCE.read_text(encoding="utf-8")
    assert sorted(re.findall(r"<!-- table (\S+) -->", text)) == sorted(document.TABLES)
    assert "-->\n<!-- end" not in text
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert document.with_tables(text, results) == text


@pytest.mark.stress
def test_the_instructions_that_the_page_calls_exact_are_those_of_a_fresh_run():
    """Else the C code changed since: `python -m benchmarks.scaling --only refill --only fault`."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed")
    if results["refill"]["compiler"] != compiler():
        pytest.skip(f"the page has those of {results['refill']['compiler']}")
    recorded = {row["name"]: row["ours"] for row in results["fault"] if row["unit"] != "ns"}
    recorded |= {row["name"]: row["ours"] for row in results["refill"]["instructions"]}
    fresh = {each.name: each.ours for each in (*refcount_refill(), *refcount_fault())}
    assert fresh == pytest.approx(recorded, abs=0.005)
