# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: `ucmmu walk` tells each level of an address's walk as of an event, what the walk would
answer, what is cached where, and marks what is stale.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmu.x86.entries import X86_ADDR_MASK
from tests.ucmmu.recorded import Script, record
from ucmmu.cli import main
from ucmmu.exit_codes import ExitCode
from ucmmu.reading.walk_text import drawn

PGD, PUD, PMD, PTE = 0x40000, 0x41000, 0x42000, 0x43000
VA = 0x7F00_1234_5000
LINK = 0x67
FILL_4K = 1 << 32 | 1 << 36 | 2 << 16
"""The entry word of a fill of a 4 KiB page, PCID 2."""


def walked(trace: Path, *words: str) -> Any:
    """The JSON of a walk."""
    out = trace.with_suffix(".json")
    assert main(["walk", str(trace), *words, "--json", str(out)]) == 0
    return json.loads(out.read_text())


def offset(level: int) -> int:
    return (VA >> 12 + 9 * (level - 1) & 511) * 8


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """A trace of one page: four tables, one translation in the TLB and in each cache."""
    arrays = [{"name": "DTLB", "first": 0, "sets": 4, "ways": 2}]
    script = Script(tmp_path / "one.trace", levels=4, ram=1 << 20, arrays=arrays)
    script.note("process", pid=7, tgid=7, comm="one", exe="/one", mm=PGD, parent=0)
    script.at(5, task=7)
    for table in (PGD, PUD, PMD, PTE):
        script.emit("mm_page_alloc", pfn=table >> 12)
    script.emit("switch_mm", next=PGD, cr3=PGD | 2)
    links = (("set_p4d", PGD, 4, PUD), ("set_pud", PUD, 3, PMD), ("set_pmd", PMD, 2, PTE))
    for kind, table, level, to in links:
        script.emit(kind, address=VA, new=to | LINK, entry_pa=table + offset(level))
    script.emit("set_pte", address=VA, new=0x55067, entry_pa=PTE + offset(1))
    script.emit("pte_get", pfn=PTE >> 12, old=1, count=2, holder=1)
    script.emit("tlb_fill", address=VA, pa=0x55000, array=0, entry=3 | FILL_4K | 0x17 << 48)
    return script


def test_each_level(script: Script) -> None:
    report = walked(script.close(), "--at", "end", hex(VA + 0x10))
    assert [one["name"] for one in report["entries"]] == ["PML4E", "PDPTE", "PDE", "PTE"]
    assert [one["address"] & ~0xFFF for one in report["entries"]] == [PGD, PUD, PMD, PTE]
    assert [one["value"] & X86_ADDR_MASK for one in report["entries"]] == [PUD, PMD, PTE, 0x55000]
    assert [one["index"] * 8 for one in report["entries"]] == [offset(n) for n in (4, 3, 2, 1)]
    assert report["entries"][3]["bits"] == ["P", "R/W", "U/S", "A", "D"]
    assert report["page"]["pa"] == 0x55010
    assert report["page"]["memory_type"] == "WB"
    assert report["rights"] == {"user": True, "writable": True, "executable": True}
    assert report["answers"]["write"] == {"result": "ok", "pa": 0x55010}
    assert report["task"], report["comm"] == (7, "one")


def test_the_table_its_count_and_who_holds_it(script: Script) -> None:
    table = walked(script.close(), "--at", "end", hex(VA))["table"]
    assert (table["pfn"], table["entries"], table["count"]) == (PTE >> 12, 1, 2)
    assert table["references_of_entries"] == 1
    assert [one["task"] for one in table["visitors"]] == [7]


def test_what_is_cached_where(script: Script) -> None:
    (cached,) = walked(script.close(), "--at", "end", hex(VA))["cached"]
    assert (cached["cpu"], cached["array"], cached["set"], cached["way"]) == (0, "DTLB", 1, 1)
    assert (cached["ours"], cached["stale"], cached["pcid"]) == (True, None, 2)


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (0, "map no page"),
        (0x66067, "say 0x66000"),
        (0x55065, "differ in R/W"),
        (0x55063, "differ in U/S"),
        (0x55027, "differ in D"),
        (0x55067 | 1 << 63, "differ in XD"),
    ],
)
def test_an_entry_that_disagrees_is_stale(
    script: Script, now: int, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    script.emit("set_pte", address=VA, old=0x55067, new=now, entry_pa=PTE + offset(1))
    trace = script.close()
    (cached,) = walked(trace, "--at", "end", hex(VA))["cached"]
    assert says in cached["stale"]
    assert "STALE: " in capfd.readouterr().out


def test_a_stale_entry_of_a_paging_structure_cache(script: Script) -> None:
    word = 5 | 2 << 32 | 2 << 36 | 2 << 16 | 0x87 << 48
    script.emit("walk_cache_fill", address=VA & -(2 << 20), table=0x99000, array=0, entry=word)
    (_, cached) = walked(script.close(), "--at", "end", hex(VA))["cached"]
    assert (cached["paging_structure"], cached["name"]) == (True, "PDE")
    assert cached["stale"] == f"the tables refer to {PTE:#x}"


def test_an_entry_of_another_address_space_is_not_judged(script: Script) -> None:
    script.emit("switch_mm", prev=PGD, next=0x90000, cr3=0x90003)
    word = 6 | 1 << 32 | 1 << 36 | 3 << 16 | 0x17 << 48
    script.emit("tlb_fill", address=VA, pa=0x77000, array=0, entry=word)
    report = walked(script.close(), "--at", "end", "--task", "7", hex(VA))
    assert [(one["pcid"], one["ours"], one["stale"]) for one in report["cached"]] == [
        (2, True, None),
        (3, False, None),
    ]


def test_a_dropped_entry_is_not_there(script: Script) -> None:
    script.emit("tlb_drop", address=VA, pa=0x55000, array=0, entry=3 | FILL_4K)
    assert walked(script.close(), "--at", "end", hex(VA))["cached"] == []


def test_the_state_is_that_of_the_event(script: Script) -> None:
    trace = script.close()
    assert walked(trace, "--at", "8", hex(VA))["entries"][3]["value"] == 0x55067
    before = walked(trace, "--at", "7", hex(VA))
    assert before["entries"][3]["value"] == 0
    assert before["entries"][3]["since"]["kind"] == "mm_page_alloc"
    assert before["answers"]["write"]["error_code"] == 6
    assert before["cached"] == []
    assert len(walked(trace, "--at", "4", hex(VA))["entries"]) == 1


def test_an_entry_of_which_no_event_tells(tmp_path: Path) -> None:
    script = Script(tmp_path / "late.trace", levels=4)
    script.emit("mov_cr3", value=PGD)
    report = walked(script.close(), "--at", "end", hex(VA))
    assert [one["value"] for one in report["entries"]] == [None]
    assert report["answers"] is None


def test_tables_that_no_kernel_of_ours_wrote(tmp_path: Path) -> None:
    """A guest's own, under attach(): what a walk read last."""
    script = Script(tmp_path / "own.trace", levels=4, ram=1 << 20)
    script.emit("mov_cr3", value=PGD)
    for level, table, value in ((4, PGD, PUD | 7), (3, PUD, PMD | 7), (2, PMD, 0x200087)):
        pa = table + offset(level)
        script.emit("walk_entry", address=VA, entry_pa=pa, entry=value, level=level)
    report = walked(script.close(), "--at", "end", hex(VA))
    assert report["page"]["size"] == "2 MiB"
    assert [one["since"]["kind"] for one in report["entries"]] == ["walk_entry"] * 3


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--at", "99", "0"], ExitCode.USAGE, "no event 99"),
        (["--at", "x", "0"], ExitCode.USAGE, "'x' is none of"),
        (["--at", "insn=77", "0"], ExitCode.USAGE, "CPU 0 executed no instruction number 77"),
        (["--at", "time=1000000", "0"], ExitCode.USAGE, "ends before 1,000,000 ns"),
        (["--at", "end", "0x800000000000"], ExitCode.USAGE, "is not canonical: bits 63 to 48"),
        (["--at", "end", "no_such"], ExitCode.USAGE, "is no number and no function"),
        (["--at", "end", "--task", "9", "0"], ExitCode.USAGE, "no task 9"),
        (["--at", "end", "--cpu", "3", "0"], ExitCode.USAGE, "what CPU 3 has loaded"),
        (["--at", "end", "--cpus", "2", "0"], ExitCode.USAGE, "--cpus: a run is asked for by"),
        (["--at", "end", "0", "--", "x"], ExitCode.USAGE, "arguments behind --"),
        (["0"], ExitCode.USAGE, "needs --at EVENT"),
    ],
)
def test_bad_words(
    script: Script, words: list[str], code: int, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["walk", str(script.close()), *words]) == code
    error = capfd.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_what_is_no_trace(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").write_text("x" * 100)
    assert main(["walk", str(tmp_path / "x"), "--at", "end", "0"]) == ExitCode.BAD_TRACE
    assert main(["walk", str(tmp_path / "y"), "--at", "end", "0"]) == ExitCode.BAD_TRACE
    assert capfd.readouterr().err.count("\n") == 2


def test_an_entry_drawn() -> None:
    lines = drawn(0x8000_0000_0005_5067, 1)
    assert len({len(line) for line in lines[1:4]}) == 1
    assert lines[4].split() == [
        *("XD", "PK", "ignored", "address", "ign", "G", "PAT", "D", "A"),
        *("PCD", "PWT", "U/S", "R/W", "P"),
    ]
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == [
        *("1", "0", "0x0", "0x55000", "0", "0", "0", "1", "1", "0", "0", "1", "1", "1"),
    ]
    assert lines[0].split() == [
        *("63", "62..59", "58..52", "51..12", "11..9"),
        *map(str, range(8, -1, -1)),
    ]


def test_a_function_at_exit(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "walk.json"
    words = ["walk", "hello", "--at-exit", "--bits", "--json", str(out), "main"]
    assert main(words) == 0
    report = json.loads(out.read_text())
    assert report["symbol"] == "main"
    assert report["table"]["count"] == report["table"]["entries"]
    assert report["answers"]["fetch"]["result"] == "ok"
    assert report["answers"]["write"]["error_code"] == 7
    text = capfd.readouterr().out
    assert "hello, world" not in text
    assert " U/S R/W P" in text


def test_a_program_that_is_not_there(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["walk", "no_such_program", "--at-exit", "0"]) == ExitCode.NO_PROGRAM
    assert "no program" in capfd.readouterr().err


def test_a_recorded_guest(tmp_path: Path) -> None:
    """Its stack is writable and not executable, whenever it is looked at."""
    trace = record(tmp_path / "hello.trace", "hello")
    report = walked(trace, "--at", "insn=5000", "0x7fffffffe000")
    assert report["mapping"]["name"] == "[stack]"
    assert report["answers"]["write"]["result"] == "ok"
    assert report["answers"]["fetch"]["error_code"] == 0x15
    assert any(one["stale"] is None and one["ours"] for one in report["cached"])
