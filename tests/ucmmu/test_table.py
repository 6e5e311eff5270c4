# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: `ucmmu table` tells the whole life of one PTE table, and whether its counts are one
unbroken chain from 1 to 0.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmu.linux.policy import FreeLevels
from mmu.trace.reader import TraceFile
from mmu.trace.where import Where
from tests.ucmmu.recorded import Script, record
from ucmmu.cli import main
from ucmmu.exit_codes import ExitCode

VA = 0x7F00_1220_0000
PGD, PMD_PA, PFN, OTHER = 0x40000, 0x42480, 0x43, 0x44
LINK = 0x67
VISITOR, ENTRIES = 0, 1


def told(trace: Path, *words: str) -> Any:
    """The JSON of a table's life."""
    out = trace.with_suffix(".json")
    assert main(["table", str(trace), *words, "--json", str(out)]) == 0
    return json.loads(out.read_text())


def live(script: Script, pfn: int = PFN, *, ends: bool = True, wrong: int = 0) -> None:
    """One life of a table: an entry is set and cleared, and the table is freed."""
    script.emit("mm_page_alloc", pfn=pfn)
    script.emit("pte_alloc_one", pfn=pfn, mm=PGD)
    script.emit("set_pmd", address=VA, new=pfn << 12 | LINK, entry_pa=PMD_PA)
    script.emit("pte_alloc", address=VA, pfn=pfn, mm=PGD, pmd_pa=PMD_PA)
    script.emit("set_pte", address=VA + 0x3000, new=0x55067, entry_pa=(pfn << 12) + 24)
    script.emit("pte_get", pfn=pfn, old=1, count=2, holder=ENTRIES)
    script.emit("pte_put", pfn=pfn, old=2, count=1, holder=VISITOR)
    if not ends:
        return
    script.emit("set_pte", address=VA + 0x3000, old=0x55067, entry_pa=(pfn << 12) + 24)
    script.emit("pte_put", pfn=pfn, old=1 + wrong, count=wrong, holder=ENTRIES)
    script.emit("set_pmd", address=VA, old=pfn << 12 | LINK, entry_pa=PMD_PA)
    script.emit("pte_free", address=VA, pfn=pfn, mm=PGD, pmd_pa=PMD_PA)
    script.emit("flush_tlb_mm_range", start=VA, end=VA + 4096, freed_tables=1, mm=PGD)
    script.emit("flush_tlb_mm_range", start=0, end=4096, freed_tables=1, mm=PGD)
    script.emit("rcu_callback", pfn=pfn, qlen=1)
    script.emit("rcu_grace_period", gp_seq=4, event=2)
    script.emit("rcu_invoke_callback", pfn=pfn)
    script.emit("mm_page_free", pfn=pfn)


@pytest.fixture
def script(tmp_path: Path) -> Script:
    script = Script(tmp_path / "life.trace", levels=4)
    script.note("process", pid=7, tgid=7, comm="one", exe="/one", mm=PGD, parent=0)
    script.at(9, cpu=1, task=7)
    return script


def test_a_name_cannot_steer_the_terminal(
    script: Script, capfd: pytest.CaptureFixture[str]
) -> None:
    script.note("comm", pid=7, comm="\x1b[31mred")
    live(script)
    assert main(["table", str(script.close()), hex(VA)]) == 0
    out = capfd.readouterr().out
    assert "\\x1b[31mred" in out
    assert "\x1b" not in out


def test_a_whole_life(script: Script, capfd: pytest.CaptureFixture[str]) -> None:
    live(script)
    report = told(script.close(), hex(VA + 0x3000))
    assert [one["kind"] for one in report["events"]] == [
        *("mm_page_alloc", "pte_alloc_one", "set_pmd", "pte_alloc", "set_pte", "pte_get"),
        *("pte_put", "set_pte", "pte_put", "set_pmd", "pte_free", "flush_tlb_mm_range"),
        *("rcu_callback", "rcu_grace_period", "rcu_invoke_callback", "mm_page_free"),
    ]
    assert [one["event"] for one in report["events"]] == [*range(12), 13, 14, 15, 16]
    assert (report["pfn"], report["whose"]) == (PFN, "one-7")
    check = report["check"]
    assert (check["first"], check["last"], check["breaks"]) == (1, 0, [])
    assert check["unhooked"], check["freed"]
    text = capfd.readouterr().out
    assert "one-7" in text
    assert "1 -> 2, of entries" in text
    assert text.endswith(
        "counts are one unbroken chain from 1 to 0: 3 changes, 1 taken, 2 dropped\n"
    )


def test_a_broken_chain(script: Script, capfd: pytest.CaptureFixture[str]) -> None:
    live(script, wrong=1)
    (broken,) = told(script.close(), hex(VA))["check"]["breaks"]
    assert broken == "event 8 changes a count of 2, where it was 1"
    assert f"BROKEN chain of counts: {broken}" in capfd.readouterr().out


def test_a_table_in_use(script: Script, capfd: pytest.CaptureFixture[str]) -> None:
    live(script, ends=False)
    assert told(script.close(), hex(VA))["check"]["last"] == 1
    assert "the table is in use at the end" in capfd.readouterr().out


def test_several_lives(script: Script, capfd: pytest.CaptureFixture[str]) -> None:
    """Of one address, in one frame or another: the last is told unless --life names one."""
    live(script)
    live(script, OTHER)
    live(script, ends=False)
    trace = script.close()
    report = told(trace, hex(VA))
    assert [one["pfn"] for one in report["lives"]] == [PFN, OTHER, PFN]
    assert (report["life"], report["pfn"]) == (3, PFN)
    assert not report["check"]["unhooked"]
    text = capfd.readouterr().out
    assert "life 1: frame 0x43" in text
    first = told(trace, "--life", "1", hex(VA))
    assert first["check"]["freed"]
    assert first["events"][-1]["event"] == 16
    assert told(trace, "--life", "2", hex(VA))["pfn"] == OTHER
    by_frame = told(trace, f"pfn={PFN:#x}")
    assert [one["pfn"] for one in by_frame["lives"]] == [PFN, PFN]
    assert told(trace, "--life", "1", f"pfn={PFN}")["events"] == first["events"]


def test_a_table_that_moves(script: Script) -> None:
    """mremap() hooks it elsewhere; its life is one."""
    live(script, ends=False)
    script.emit("set_pmd", address=VA, old=PFN << 12 | LINK, entry_pa=PMD_PA)
    there = VA + (2 << 20)
    script.emit("set_pmd", address=there, new=PFN << 12 | LINK, entry_pa=PMD_PA + 8)
    trace = script.close()
    here, moved = told(trace, hex(VA)), told(trace, hex(there))
    assert here["lives"][0]["end"] == 7
    assert moved["events"] == here["events"]
    assert moved["mm"] is None


def test_a_trace_that_left_events_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It is said, and what is there is told."""
    script = Script(tmp_path / "less.trace", levels=4, filter=["event=set_*"])
    script.emit("set_pmd", address=VA, new=PFN << 12 | LINK, entry_pa=PMD_PA)
    report = told(script.close(), hex(VA))
    assert [one["kind"] for one in report["events"]] == ["set_pmd"]
    output = capfd.readouterr()
    assert "recorded with --trace-filter event=set_*" in output.err
    assert "no count is told" in output.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["0x1000"], "no PTE table was ever installed for 0x1000"),
        (["--mm", "0x5000", hex(VA)], "in the mm at 0x5000"),
        (["--task", "8", hex(VA)], "no task 8"),
        (["--life", "2", hex(VA)], "there are lives 1 to 1, no 2"),
        (["--life", "0", hex(VA)], "there are lives 1 to 1, no 0"),
        (["pfn=0x99"], "frame 0x99 was never a PTE table"),
        (["pfn=x"], "'x' is no frame"),
        (["no_such"], "is no number and no function"),
    ],
)
def test_bad_words(
    script: Script, words: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    live(script)
    assert main(["table", str(script.close()), *words]) == ExitCode.USAGE
    error = capfd.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_a_pipe_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "-", "0"]) == ExitCode.BAD_TRACE
    assert capfd.readouterr().err.count("\n") == 1


def test_every_table_of_a_guest(tmp_path: Path) -> None:
    """Each is told from its allocation to its end, its counts in one chain."""
    path = record(tmp_path / "guest.trace", "sparse", "16M")
    trace = TraceFile(str(path))
    tables = {
        (one.event["address"], one.event["mm"])
        for one in trace.events(Where(events=frozenset(("pte_alloc",))))
    }
    assert len(tables) > 8
    for address, mm in tables:
        check = told(path, "--mm", hex(mm), hex(address))["check"]
        assert (check["first"], check["last"], check["breaks"]) == (1, 0, [])
        assert check["unhooked"]
        assert check["freed"]


def test_a_pmd_table_is_no_pte_table(script: Script, capfd: pytest.CaptureFixture[str]) -> None:
    """Tables come to entries in its frame, and go: that makes it none of them."""
    frame = PMD_PA >> 12
    script.emit("mm_page_alloc", pfn=frame)
    live(script)
    assert main(["table", str(script.close()), f"pfn={frame:#x}"]) == ExitCode.USAGE
    assert f"frame {frame:#x} was never a PTE table" in capfd.readouterr().err


PUD_PA, PMD_FRAME = 0x41440, PMD_PA >> 12


def upper(script: Script) -> None:
    """The life of a PMD table: it gets a PTE table as its entry, and goes with it."""
    gib = VA & -(1 << 30)
    script.emit("mm_page_alloc", pfn=PMD_FRAME)
    script.emit("set_pud", address=gib, new=PMD_FRAME << 12 | LINK, entry_pa=PUD_PA)
    script.emit("pmd_alloc", address=gib, pfn=PMD_FRAME, mm=PGD, pud_pa=PUD_PA)
    script.emit("set_pmd", address=VA, new=PFN << 12 | LINK, entry_pa=PMD_PA)
    script.emit("pte_alloc", address=VA, pfn=PFN, mm=PGD, pmd_pa=PMD_PA)
    script.emit("pmd_get", pfn=PMD_FRAME, old=1, count=2, holder=ENTRIES)
    script.emit("pmd_put", pfn=PMD_FRAME, old=2, count=1, holder=VISITOR)
    script.emit("set_pmd", address=VA, old=PFN << 12 | LINK, entry_pa=PMD_PA)
    script.emit("pmd_put", pfn=PMD_FRAME, old=1, count=0, holder=ENTRIES)
    script.emit("set_pud", address=gib, old=PMD_FRAME << 12 | LINK, entry_pa=PUD_PA)
    script.emit("pmd_free", address=gib, pfn=PMD_FRAME, mm=PGD, pud_pa=PUD_PA)
    script.emit("flush_tlb_mm_range", start=VA, end=VA + 4096, freed_tables=1, mm=PGD)
    script.emit("rcu_callback", pfn=PMD_FRAME, qlen=1)
    script.emit("rcu_invoke_callback", pfn=PMD_FRAME)
    script.emit("mm_page_free", pfn=PMD_FRAME)


def test_the_life_of_a_pmd_table(script: Script, capfd: pytest.CaptureFixture[str]) -> None:
    """Its entries are PTE tables; an address anywhere in its 1 GiB names it, as its frame does."""
    upper(script)
    trace = script.close()
    report = told(trace, "--level", "pmd", hex(VA + (3 << 21)))
    assert (report["level"], report["pfn"]) == ("PMD", PMD_FRAME)
    assert [one["kind"] for one in report["events"]] == [
        *("mm_page_alloc", "set_pud", "pmd_alloc", "set_pmd", "pmd_get", "pmd_put", "set_pmd"),
        *("pmd_put", "set_pud", "pmd_free", "flush_tlb_mm_range", "rcu_callback"),
        *("rcu_invoke_callback", "mm_page_free"),
    ]
    check = report["check"]
    assert (check["first"], check["last"], check["breaks"]) == (1, 0, [])
    assert check["unhooked"] and check["freed"]
    text = capfd.readouterr().out
    assert text.startswith(f"PMD table in frame {PMD_FRAME:#x}, for {VA & -(1 << 30):#x} of one-7")
    assert "the PUD entry of" in text and "-> table 0x43000" in text
    assert told(trace, "--level", "pmd", f"pfn={PMD_FRAME}")["events"] == report["events"]


def test_a_pmd_table_that_is_not_counted(script: Script, capfd: pytest.CaptureFixture[str]) -> None:
    """The stores to entries are told, and that no count is."""
    gib = VA & -(1 << 30)
    script.emit("mm_page_alloc", pfn=PMD_FRAME)
    script.emit("set_pud", address=gib, new=PMD_FRAME << 12 | LINK, entry_pa=PUD_PA)
    live(script)
    report = told(script.close(), "--level", "pmd", hex(VA))
    kinds = [one["kind"] for one in report["events"]]
    assert kinds == ["mm_page_alloc", "set_pud", "set_pmd", "set_pmd"]
    assert "no count is told: PMD tables are counted with --free-levels" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--level", "pud", hex(VA)], f"no PUD table was ever installed for {VA:#x}"),
        ([f"pfn={PMD_FRAME:#x}"], "was never a PTE table: --level pmd shows it as one"),
        (["--level", "pmd", f"pfn={PFN:#x}"], f"frame {PFN:#x} was never a PMD table"),
    ],
)
def test_a_table_of_another_level(
    script: Script, words: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    upper(script)
    assert main(["table", str(script.close()), *words]) == ExitCode.USAGE
    error = capfd.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_every_upper_table_of_a_guest(tmp_path: Path) -> None:
    """Each that is counted is told from its allocation to its end, its counts in one chain."""
    path = record(tmp_path / "upper.trace", "hello", free_levels=FreeLevels.PUD)
    trace = TraceFile(str(path))
    for level in ("pmd", "pud"):
        tables = {
            (one.event["address"], one.event["mm"])
            for one in trace.events(Where(events=frozenset((f"{level}_alloc",))))
        }
        assert tables
        for address, mm in tables:
            words = ("--level", level, "--mm", hex(mm), hex(address))
            check = told(path, *words)["check"]
            assert (check["first"], check["last"], check["breaks"]) == (1, 0, [])
            assert check["unhooked"]
            assert check["freed"]
