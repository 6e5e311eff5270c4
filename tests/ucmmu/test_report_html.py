# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: `ucmmu report` makes one page that needs nothing but itself and shows the trace's figures;
what a guest is called cannot change the page.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mmu.events import EVENT_ID
from mmu.trace.writer import TraceWriter
from tests.ucmmu.chromium import look_at
from ucmmu.cli import main

PGD = 0x5000
HOSTILE = "<script>console.error('guest')</script>$x$"
SUMMARY: dict[str, Any] = {
    "VmPeak": 1_234_568,
    "VmHWM": 8,
    "VmPTE": 4,
    "VmPTE_peak": 8,
    "pte_tables_allocated": 2,
    "pte_tables_freed_before_exit": 1,
    "page_faults": 2,
    "instructions": 70,
}


def write_trace(path: Path, *, policy: str = "refcount", program: str = "prog") -> Path:
    """Two tables: at 2 MiB with two entries, at 1 GiB with one; the second one is freed."""
    head = {
        "program": program,
        "args": ["a b"],
        "free_tables": policy,
        "cpus": 2,
        "arrays": [{"name": "L1 dTLB"}, {"name": "STLB"}],
    }
    with path.open("wb") as file:
        writer = TraceWriter(file, head)
        ring = writer.ring
        ring.enable()

        def emit(name: str, *values: int, at: int) -> None:
            ring.c.instruction = at
            ring.emit(EVENT_ID[name], *values)

        emit("insn", 0x401000, 1, 0x90, 0, at=0)
        emit("total_vm", PGD, 100, at=1)
        emit("tlb_miss", 0x200000, 0, at=2)
        emit("page_fault", 0x200000, 4, at=2)
        for pfn, address, at in ((0x10, 0x200000, 3), (0x11, 0x40000000, 10)):
            emit("pte_alloc", address, pfn, PGD, 0x7000, at=at)
        emit("set_pte", 0x200000, 0, 0x8067, 0x10000, at=12)
        emit("set_pte", 0x201000, 0, 0x9067, 0x10008, at=13)
        emit("set_pte", 0x40000000, 0, 0xA067, 0x11000, at=14)
        emit("rss_stat", PGD, 1, 3, at=15)
        for _ in range(3):
            emit("tlb_hit", 0x200000, 0, 1, 0, at=20)
        emit("set_pte", 0x40000000, 0xA067, 0, 0x11000, at=30)
        emit("pte_free", 0x40000000, 0x11, PGD, 0x7008, at=31)
        emit("tlb_flush", 3, 1, PGD, at=32)
        emit("csd_queue_cpu", 1, 1, at=33)
        emit("mm_page_free", 0x11, 0, at=60)
        writer.close(SUMMARY)
    return path


def report_json(capfd: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    assert main(["report", *words, "--json", "-"]) == 0
    value: list[dict[str, Any]] = json.loads(capfd.readouterr().out)
    return value


def test_data_behind_the_page(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    [run] = report_json(capfd, str(write_trace(tmp_path / "a.trace")))
    assert run["label"] == "refcount"
    assert run["pte"] == {"time": [3.0, 10.0, 31.0], "kB": [4.0, 8.0, 4.0]}
    assert run["rss"]["kB"] == [12.0]
    assert run["size"]["kB"] == [400.0]
    assert [(t["address"], t["entries"]) for t in run["peak"]] == [(0x200000, 0), (0x40000000, 0)]
    assert [(t["address"], t["entries"]) for t in run["last"]] == [(0x200000, 2)]
    assert [(t["installed"], t["unhooked"], t["freed"]) for t in run["lives"]] == [
        (3, None, None),
        (10, 31, 60),
    ]
    assert [(a["name"], a["hits"]) for a in run["arrays"]] == [("STLB", 3)]
    assert run["misses"] == 1
    assert [
        (f["instructions"], f["lookups"], f["misses"], f["faults"]) for f in run["functions"]
    ] == [(1, 4, 1, 1)]
    assert run["cpus"] == [{"cpu": 0, "sent": 1, "received": 0}]
    assert run["pages_flushed"] == {"1": 1}


def test_an_address_space_is_called_by_its_process_and_each_run_by_its_file(tmp_path: Path) -> None:
    for name, cpus in (("one", 1), ("two", 2)):
        head = {"program": name, "cpus": cpus, "arrays": []}
        with (tmp_path / name).open("wb") as file:
            writer = TraceWriter(file, head)
            writer.ring.enable()
            for pid in (1000, 1003):
                writer.note("process", pid=pid, tgid=1000, comm="many", mm=PGD, parent=0)
            writer.ring.emit(EVENT_ID["pte_alloc"], 0x200000, 0x10, PGD, 0x7000)
            writer.close(SUMMARY)
    page = tmp_path / "page.html"
    traces = [str(tmp_path / name) for name in ("one", "two")]
    assert main(["report", *traces, "-o", str(page)]) == 0
    text = page.read_text()
    assert "PID 1000, many" in text
    assert "PID 1003" not in text
    assert re.search(r"one: [^;<]*CPUs 1; two: [^;<]*CPUs 2", text)


def test_an_array_that_no_processor_has(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A number that the head does not name, however large, is shown as a number."""
    path = tmp_path / "a.trace"
    with path.open("wb") as file:
        writer = TraceWriter(file, {"arrays": [{"name": "L1 dTLB"}]})
        writer.ring.enable()
        writer.ring.emit(EVENT_ID["tlb_hit"], 0x1000, 0, 1 << 47, 0)
        writer.close(SUMMARY)
    [run] = report_json(capfd, str(path))
    assert [(a["name"], a["hits"]) for a in run["arrays"]] == [(f"array {1 << 47}", 1)]


def test_one_page_in_a_browser(tmp_path: Path) -> None:
    """Both runs' figures are there, the console is silent, nothing is asked for."""
    traces = [
        write_trace(tmp_path / "a.trace", program=HOSTILE),
        write_trace(tmp_path / "b.trace", policy="never"),
    ]
    page = tmp_path / "report.html"
    assert main(["report", *map(str, traces), "-o", str(page)]) == 0
    seen = look_at(page, tmp_path)
    assert seen.console == []
    assert [url for url in seen.requests if not url.startswith(("file:", "data:"))] == []
    for section in ("summary", "memory", "space", "lives", "tlb", "shootdowns", "faults"):
        assert f'<section id="{section}">' in seen.dom
    row = re.search(r"<tr><td>VmSize at its peak</td>(.*?)</tr>", seen.dom)
    assert row is not None and row[1] == "<td>1,234,568 kB</td>" * 2
    assert "&lt;script&gt;console.error" in seen.dom
    assert seen.dom.count("<figure>") >= 5
    assert 'class="sparse" title="0x200000: 2 of 512 entries, frame 0x10"' in seen.dom


def test_a_page_that_asks_and_complains_is_seen(tmp_path: Path) -> None:
    """That the test above can fail."""
    page = tmp_path / "bad.html"
    page.write_text(
        '<img src="http://127.0.0.1:9/x.png"><script>console.error("boom"); nobody();</script>'
    )
    seen = look_at(page, tmp_path)
    assert any("boom" in line for line in seen.console)
    assert any("nobody is not defined" in line for line in seen.console)
    assert "http://127.0.0.1:9/x.png" in seen.requests


def test_light_and_dark(tmp_path: Path) -> None:
    """Every colour of the page and its plots is a variable that both schemes set."""
    page = tmp_path / "report.html"
    assert main(["report", str(write_trace(tmp_path / "a.trace")), "-o", str(page)]) == 0
    text = page.read_text()
    used = set(re.findall(r"var\(--([a-z0-9]+)\)", text))
    light, dark = (
        set(re.findall(r"--([a-z0-9]+):", block))
        for block in re.findall(r'^:root(?:\[data-theme="dark"\])? \{(.*?)\}', text, re.S | re.M)
    )
    assert used <= light
    assert light - {"scheme"} == dark - {"scheme"}
    svg = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert not re.findall(r"(?:fill|stroke): #", svg)


def test_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "plots"
    assert main(["report", str(write_trace(tmp_path / "a.trace")), "--png", str(folder)]) == 0
    names = {file.name for file in folder.iterdir()}
    assert {"vmpte.png", "vmrss.png", "vmsize.png", "lives.png"} <= names
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in folder.iterdir())


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["{trace}"], 64, "nothing to write: say -o PAGE, --png DIR or --json FILE"),
        (["{trace}", "-o", "/nowhere/x.html"], 73, "--output /nowhere/x.html: No such file"),
        (["{trace}", "-o", "/dev/full"], 73, "--output /dev/full: No space left on device"),
        (["{trace}", "--png", "/dev/null/x"], 73, "--png /dev/null/x: Not a directory"),
        (["{trace}", "--png", "/dev/null"], 73, "--png /dev/null: is no directory"),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], code: int, line: str
) -> None:
    trace = write_trace(tmp_path / "a.trace")
    assert main(["report", *(word.format(trace=trace) for word in words)]) == code
    error = capfd.readouterr().err
    assert error.startswith(f"ucmmu: {line}") and error.count("\n") == 1


def test_same_trace_same_page(tmp_path: Path) -> None:
    trace = str(write_trace(tmp_path / "a.trace"))
    pages = [tmp_path / "1.html", tmp_path / "2.html"]
    for page in pages:
        assert main(["report", trace, "-o", str(page)]) == 0
    assert pages[0].read_bytes() == pages[1].read_bytes()
