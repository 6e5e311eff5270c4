# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the benchmark of several vCPUs runs every policy, and its rows are what the reports say."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.multi_fault import markdown, measure


def test_a_row_is_exact_and_tells_the_policies_apart():
    refcount = measure("refcount", 2, 8, 2, "own")
    again = measure("refcount", 2, 8, 2, "own")
    assert replace(again, seconds=refcount.seconds) == refcount
    scan = measure("scan", 2, 8, 2, "own")
    never = measure("never", 2, 8, 2, "own")
    assert never.tables_freed == scan.tables_freed == 0 < 2 * 8 * 2 <= refcount.tables_freed
    assert refcount.vmpte < never.vmpte
    assert refcount.interrupts >= refcount.remote_flushes > 0
    head, rule, *rows = markdown([never, refcount])
    assert {line.count("|") for line in (head, rule, *rows)} == {12}
    assert rows[0].startswith(f"| 2 | never | {never.faults:,} | ")
