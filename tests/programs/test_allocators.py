# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of allocators (`make allocators`), small: python3 on jemalloc that gives memory back at
once, in pieces smaller than what a table maps.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.allocators.document import write_document
from benchmarks.allocators.runs import ALLOCATORS, POLICIES, PROGRAMS, run


def test_the_table_tells_the_policies_apart(tmp_path: Path) -> None:
    """The count frees what `scan` and `never` keep, and the document says so."""
    (python,) = (program for program in PROGRAMS if program.name == "python3")
    (allocator,) = (one for one in ALLOCATORS if one.name == "jemalloc, decay 0")
    if python.missing() or allocator.path() is None:
        pytest.skip("python3 or libjemalloc.so.2 is not installed")
    small = replace(python, command=(*python.command[:2], "0.04"))
    rows = [run(small, allocator, policy) for policy in POLICIES]
    never, scan, refcount = rows
    assert refcount["VmPTE"] < min(scan["VmPTE"], never["VmPTE"])
    assert refcount["tables_freed"] > scan["tables_freed"] >= never["tables_freed"]
    assert refcount["VmPTE_peak"] <= never["VmPTE_peak"]
    assert {row["VmRSS"] for row in rows} == {never["VmRSS"]}
    assert never["madvise"] > 100
    write_document(rows, tmp_path / "allocators.md")
    text = " ".join((tmp_path / "allocators.md").read_text().split())
    verdict = f"{never['VmPTE']} kB under `never`, {scan['VmPTE']} kB under `scan`"
    assert f"{verdict}, {refcount['VmPTE']} kB under `refcount`" in text
    assert text.count("| jemalloc, decay 0 |") == len(POLICIES)
