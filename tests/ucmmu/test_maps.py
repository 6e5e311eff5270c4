# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: `ucmmu maps` tells what an address space maps as of an event, merged by rights, with the
memory behind it, and how full its tables are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.ucmmu.recorded import Script, record
from ucmmu.cli import main
from ucmmu.exit_codes import ExitCode

PGD, PUD, PMD = 0x40000, 0x41000, 0x42000
BASE = 0x4000_0000
LINK = 0x67
MIB = 1 << 20


def mapped(trace: str | Path, *words: str, json_file: Path) -> Any:
    """The JSON of an address space."""
    assert main(["maps", str(trace), *words, "--json", str(json_file)]) == 0
    return json.loads(json_file.read_text())


def link(script: Script, pmd: int = 0) -> int:
    """The upper tables, and a PTE table in PMD entry number ``pmd``; where its entries lie."""
    if not pmd:
        script.emit("set_p4d", address=BASE, new=PUD | LINK, entry_pa=PGD)
        script.emit("set_pud", address=BASE, new=PMD | LINK, entry_pa=PUD + 8)
    table = 0x43000 + pmd * 4096
    va = BASE + pmd * 2 * MIB
    script.emit("set_pmd", address=va, new=table | LINK, entry_pa=PMD + 8 * pmd)
    script.emit("pte_alloc", address=va, pfn=table >> 12, mm=PGD, pmd_pa=PMD + 8 * pmd)
    return table


def set_pte(script: Script, table: int, index: int, value: int) -> None:
    script.emit("set_pte", address=BASE + index * 4096, new=value, entry_pa=table + 8 * index)


@pytest.fixture
def script(tmp_path: Path) -> Script:
    script = Script(tmp_path / "space.trace", levels=4)
    script.note("process", pid=7, tgid=7, comm="one", exe="/one", mm=PGD, parent=0)
    script.at(9, task=7)
    return script


def test_a_range_ends_where_a_vma_ends(script: Script, tmp_path: Path) -> None:
    for start, end in ((0, 2), (2, 3)):
        where = {"start": BASE + start * 4096, "end": BASE + end * 4096}
        script.note("map", mm=PGD, **where, prot="rwxp", flags=0, offset=0, file=None, name=None)
    table = link(script)
    for index in range(4):
        set_pte(script, table, index, 0x50067 + index * 4096)
    report = mapped(script.close(), "--at", "end", json_file=tmp_path / "o")
    assert [(r["start"] - BASE, r["end"] - BASE, r["pa"]) for r in report["ranges"]] == [
        (0, 0x2000, 0x50000),
        (0x2000, 0x3000, 0x52000),
        (0x3000, 0x4000, 0x53000),
    ]


def test_ranges_of_equal_rights_are_one(script: Script, tmp_path: Path) -> None:
    table = link(script)
    for index, value in enumerate((0x50067, 0x51067, 0x52065, 0x53065, 0x60065)):
        set_pte(script, table, index, value)
    set_pte(script, table, 8, 0x70067 | 1 << 63)
    set_pte(script, table, 9, 0x123 << 9)  # not present
    report = mapped(script.close(), "--at", "end", json_file=tmp_path / "o")
    assert [(r["start"] - BASE, r["end"] - BASE, r["rights"]) for r in report["ranges"]] == [
        (0, 0x2000, "rwxu"),
        (0x2000, 0x5000, "r-xu"),
        (0x8000, 0x9000, "rw-u"),
    ]
    assert [r["pa"] for r in report["ranges"]] == [0x50000, None, 0x70000]
    assert [r["runs"] for r in report["ranges"]] == [1, 2, 1]
    assert (report["pages"], report["entries"], report["not_present"]) == (6, 7, 1)


def test_rights_of_upper_levels_count(script: Script, tmp_path: Path) -> None:
    table = link(script)
    set_pte(script, table, 0, 0x50067)
    value = table & ~0xFFF | 0x65 | 1 << 63
    script.emit("set_pmd", address=BASE, new=value, entry_pa=PMD)
    (one,) = mapped(script.close(), "--at", "end", json_file=tmp_path / "o")["ranges"]
    assert one["rights"] == "r--u"


def test_a_range_goes_on_over_tables_and_a_large_page_stands_alone(
    script: Script, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = link(script), link(script, 1)
    set_pte(script, first, 511, 0x50067)
    set_pte(script, second, 0, 0x51067)
    script.emit("set_pmd", address=BASE + 4 * MIB, new=0x800000 | LINK | 0x80, entry_pa=PMD + 16)
    ranges = mapped(script.close(), "--at", "end", json_file=tmp_path / "o")["ranges"]
    assert [(r["end"] - r["start"], r["page_size"], r["pa"]) for r in ranges] == [
        (0x2000, 4096, 0x50000),
        (2 * MIB, 2 * MIB, 0x800000),
    ]
    assert "2M in pages of 2M -> 0x800000-0xa00000" in capfd.readouterr().out


def test_empty_sparse_and_full_tables(script: Script, tmp_path: Path) -> None:
    full, sparse = link(script), link(script, 1)
    link(script, 2)
    for index in range(512):
        set_pte(script, full, index, (0x1000 + index) << 12 | LINK)
    set_pte(script, sparse, 3, 0x50067)
    report = mapped(script.close(), "--at", "end", json_file=tmp_path / "o")
    tables = report["tables"]
    assert [tables[level] for level in ("PTE", "PMD", "PUD", "P4D")] == [3, 1, 1, 0]
    assert [tables[kind] for kind in ("empty", "sparse", "full")] == [1, 1, 1]
    assert report["VmPTE"] == 20
    assert report["tables_by_events"] == 3


def test_events_that_disagree_are_told(
    script: Script, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    link(script)
    script.emit("pte_alloc", address=BASE + 2 * MIB, pfn=0x99, mm=PGD, pmd_pa=PMD + 8)
    mapped(script.close(), "--at", "end", json_file=tmp_path / "o")
    assert "DISAGREES: by pte_alloc and pte_free there are 2" in capfd.readouterr().out


def test_vmas_with_what_is_mapped_in_them(script: Script, tmp_path: Path) -> None:
    table = link(script)
    for index in (0, 1, 5):
        set_pte(script, table, index, (0x50 + index) << 12 | LINK)
    for name, start, end in (("", 0, 4), ("[heap]", 4, 1024)):
        fields = {"start": BASE + start * 4096, "end": BASE + end * 4096, "name": name}
        script.note("map", mm=PGD, prot="rw-p", flags=0, offset=0, file="", bias=None, **fields)
    script.emit("rss_stat", mm=PGD)
    vmas = mapped(script.close(), "--at", "end", json_file=tmp_path / "o")["vmas"]
    assert [(v["name"], v["mapped"], v["pages"], v["tables"]) for v in vmas] == [
        ("", 0x2000, 2, 1),
        ("[heap]", 0x1000, 1, 1),
    ]


def test_totals_are_the_runs_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """VmPTE and VmRSS at exit, under a policy that leaves empty tables."""
    options = ["--free-tables", "never"]
    words = ["--at-exit", *options, "--json", str(tmp_path / "maps"), "--", "16M"]
    assert main(["maps", "sparse", *words]) == 0
    capfd.readouterr()
    assert main(["run", *options, "--json", str(tmp_path / "run"), "sparse", "16M"]) == 0
    report = json.loads((tmp_path / "maps").read_text())
    run = json.loads((tmp_path / "run").read_text())
    assert report["VmPTE"] == run["VmPTE"]
    assert report["tables"]["PTE"] == report["tables_by_events"]
    assert report["tables"]["empty"] >= 8


def test_a_recorded_guest(tmp_path: Path) -> None:
    trace = record(tmp_path / "hello.trace", "hello")
    report = mapped(trace, "--at", "insn=5000", json_file=tmp_path / "o")
    names = [vma["name"] for vma in report["vmas"]]
    assert "[stack]" in names
    assert sum(vma["pages"] for vma in report["vmas"]) == report["pages"]
    assert all(r["rights"].endswith("u") for r in report["ranges"])


@pytest.mark.parametrize("words", [["--at", "77"], ["--at", "end", "--task", "8"], []])
def test_bad_words(script: Script, words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    link(script)
    assert main(["maps", str(script.close()), *words]) == ExitCode.USAGE
    assert capfd.readouterr().err.count("\n") == 1
