# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the traces of a forty-line guest and of hello are, event by event, what the SDM and Linux
say; why is written above each step of the golden files in tests/trace_golden.

`python -m tests.trace_golden` writes them anew after a change that is meant.
"""

from __future__ import annotations

import difflib

import pytest

from mmu.trace.reader import TraceFile
from tests.trace_golden.golden import FILES, Golden, place, recorded


@pytest.fixture(scope="module")
def directory():
    with place() as found:
        yield found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_trace_is_as_it_was_checked(path, directory):
    golden = Golden.load(path)
    if wrong := golden.wrong_build():
        pytest.skip(wrong)
    found = golden.now(directory)
    difference = difflib.unified_diff(golden.lines, found, path.name, "now", lineterm="")
    assert found == golden.lines, "\n".join(difference)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_golden_trace_says_why(path):
    """There is a reason above at least every twentieth line, and the head has one."""
    golden = Golden.load(path)
    places = [at for at, text in golden.comments.items() if any(line[1:] for line in text)]
    assert 0 in places
    gaps = zip(places, [*places[1:], len(golden.lines)], strict=True)
    assert max(end - begin for begin, end in gaps) <= 20, places


def test_the_totals_of_hello_are_those_of_its_run(directory):
    """Whatever compiler built it: what is listed once is counted once."""
    with TraceFile(str(recorded("hello", "", directory))) as trace:
        count, summary = trace.kinds_count(), trace.summary
    counters = summary["counters"]
    assert count["insn"] == summary["instructions"]
    assert count["sys_enter"] == summary["syscalls"]
    assert count["page_fault"] == summary["page_faults"] == counters["page_faults_hw"]
    assert count["pte_alloc"] == count["pte_free"] == summary["pte_tables_allocated"]
    assert count["walk_entry"] == counters["page_walker_loads"]
    assert count["walk_cache_hit"] == counters["walk_cache_hits"]
    looked_up = sum(counters[name] for name in ("dTLB-loads", "dTLB-stores", "iTLB-loads"))
    assert count["tlb_hit"] + count["tlb_miss"] + count["tlb_deny"] == looked_up
