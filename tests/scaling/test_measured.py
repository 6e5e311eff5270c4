# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what the host measures for the model is plausible, and the documents say what the results
do.
"""

from __future__ import annotations

import functools
import json
import os
import re
from pathlib import Path

import pytest

from benchmarks import fault_time, refcount_threads
from benchmarks.measure import BenchmarkError
from benchmarks.multi_fault import Row, with_times
from benchmarks.priority import real_time
from benchmarks.scaling import document, host

ROOT = Path(__file__).resolve().parents[2]
PERFORMANCE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "benchmarks" / "results" / "scaling.json"


def test_a_priority_is_given_back():
    before = os.sched_getscheduler(0)
    with real_time() as allowed:
        assert os.sched_getscheduler(0) == (os.SCHED_FIFO if allowed else before)
    assert os.sched_getscheduler(0) == before


def test_times_of_one_cpu_are_ordered_as_their_work_is():
    times = {  # the least: other work of the host takes time from some
        work: min(refcount_threads.measure(work, rounds=1).ns for _ in range(5))
        for work in ("WORK_PAIR_NONE", "WORK_PAIR_PER_CPU", "WORK_PAIR_RCU", "WORK_PAIR_PMD_LOCK")
    }
    assert sorted(times, key=times.__getitem__) == list(times)


def test_two_cpus_take_the_line_from_each_other_only_where_they_share_it():
    if refcount_threads.cpus() < 2:
        pytest.skip("this host has one CPU")
    one = functools.partial(refcount_threads.measure, "WORK_PAIR_PMD_LOCK", 2, rounds=1)
    alone = [one(shared=False) for _ in range(3)]
    assert max(times.transfers for times in alone) < 0.01
    tries = (one(shared=True) for _ in range(20))  # where other work lets both run at once
    shared = next(times for times in tries if times.transfers > 0.1)
    assert min(times.ns for times in alone) < shared.ns
    assert refcount_threads.measure("WORK_PAIR_PER_CPU", 2, rounds=3).transfers == 0


def test_work_that_cannot_be_is_refused():
    with pytest.raises(BenchmarkError, match="WORK_TURNS on 1 threads: Invalid argument"):
        refcount_threads.measure("WORK_TURNS", 1)
    with pytest.raises(BenchmarkError, match="refuses the measurement: Invalid argument"):
        host.refill(512, False, 1)


def test_the_time_of_the_count_is_held_against_a_fault_of_the_host():
    results = list(fault_time.refcount_fault_time(3))
    assert [each.name for each in results] == [
        "refcount_fault_time_refcount",
        "refcount_fault_time_refcount-pmdlock",
    ]
    for each in results:
        assert 0 < each.ours < each.peer
        assert each.ratios[0] <= each.ratio <= each.ratios[1]
        assert each.met == (each.ratio <= 0.012)


def test_the_host_tells_times_of_both_ways_to_give_back():
    kept, freed = (host.refill(1, each, 50) for each in (False, True))
    assert len(kept.zap_ns) == len(freed.touch_ns) == 50
    assert 0 < kept.zap_ns[0] <= kept.zap_ns[-1]
    rate = host.rate(1, 8, host.AREA // 2, rounds=2)
    assert 0 < rate.fault_ns + rate.zap_ns <= rate.ns * 1.2


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


def test_tables_are_put_between_their_markers_and_the_text_stays():
    results = {
        "threads": {
            "pairs": [
                {
                    "design": "RCU",
                    "threads": 2,
                    "shared": True,
                    "ns": 29.3,
                    "operations_per_s": 68e6,
                    "transfers": 0.085,
                },
            ]
        }
    }
    text = "before\n<!-- table threads -->\nold\n<!-- end -->\nafter\n"
    made = document.with_tables(text, results)
    assert made.startswith("before\n<!-- table threads -->\n| design | CPUs |")
    assert "| RCU | 2, one table | 29.30 | 68.00 | 0.085 |" in made
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
