# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: ftrace's lines have Linux's own formats, and trace-cmd reads the same from a trace.dat."""

from __future__ import annotations

import io
import re
import shutil
import subprocess

import pytest

from mmu.events import EVENTS
from tests.ucmmu.trace_files import PGD, Recording, event, insn, process
from ucmmu.event_filter import parse_filter
from ucmmu.reading.ftrace import HEADER, FtraceLines, print_ftrace
from ucmmu.reading.outlet import Outlet
from ucmmu.reading.printing import Request
from ucmmu.reading.trace_dat import write_trace_dat

ALL = Request(parse_filter([]))
ALL_PAGES = (1 << 64) - 1


@pytest.fixture
def recording():
    found = Recording()
    process(found, functions=[[0x401000, 0x20, "main"]])
    return found


def lines(recording):
    out = io.BytesIO()
    outlet = Outlet(out, "a file")
    print_ftrace(recording.read(), ALL, outlet, None)
    outlet.flush()
    return out.getvalue().decode().removeprefix(HEADER).splitlines()


def test_formats_of_the_kernel(recording):
    recording.add(
        insn(0x401004, b"\xc6\x00\x01", task=1, cpu=1, instruction=5, time=1_234_567_891),
        event("page_fault_user", 0x7000, 6, PGD, task=1, time=2_000),
        event("tlb_flush", 0, ALL_PAGES, PGD, cpu=1),
        event("sys_enter", 9, 0x1000, 0x2000, 3, task=1),
        event("sys_exit", 9, ALL_PAGES - 11, task=1),
        event("sched_switch", 0, 1),
        event("contention_begin", 0x5, 1, 1),
        event("mmap_lock_acquire_returned", PGD, 1, 1),
        event("call_function_entry", 0xFB),
        event("csd_function_entry", 3),
        event("call_function_exit", 0xFB),
        event("rss_stat", PGD, 1, 3, task=1),
        event("rcu_grace_period", 8, 2),
        event("call_function_entry", 0xFC),
    )
    assert lines(recording) == [
        "           guest-1       [001] .....     1.234567: insn: ip=0x401004 size=3"
        " <main+0x4> mov byte ptr [rax], 1",
        "           guest-1       [000] .....     0.000002: page_fault_user:"
        " address=0x7000 ip=0x401004 error_code=0x6",
        "          <idle>-0       [001] .....     0.000000: tlb_flush:"
        " pages:-1 reason:flush on task switch (0)",
        "           guest-1       [000] .....     0.000000: sys_enter: NR 9 (1000, 2000, 3)",
        "           guest-1       [000] .....     0.000000: sys_exit: NR 9 = -12",
        "          <idle>-0       [000] .....     0.000000: sched_switch:"
        " prev_comm=<idle> prev_pid=0 prev_prio=120 prev_state=R"
        " ==> next_comm=guest next_pid=1 next_prio=120",
        "          <idle>-0       [000] .....     0.000000: contention_begin: 0x5 (flags=SPIN)",
        "          <idle>-0       [000] .....     0.000000: mmap_lock_acquire_returned:"
        " mm=0x1000 write=true success=true",
        "          <idle>-0       [000] d.h..     0.000000: call_function_single_entry: vector=251",
        "          <idle>-0       [000] d.h..     0.000000: csd_function_entry: csd=0x3",
        "          <idle>-0       [000] d.h..     0.000000: call_function_single_exit: vector=251",
        "           guest-1       [000] .....     0.000000: rss_stat:"
        " mm_id=1 curr=1 type=MM_ANONPAGES size=12288B",
        "          <idle>-0       [000] .....     0.000000: rcu_grace_period: rcu_preempt 8 end",
        "          <idle>-0       [000] d.h..     0.000000: call_function_entry: vector=252",
    ]


def test_kernel_functions_are_shown_as_function_graph_shows_them(recording):
    printer = FtraceLines(recording.read())
    events = [
        event("funcgraph_entry", 0, 0, 0, task=1, site="do_madvise", time=1_000),
        event("funcgraph_entry", 0, 0, 0, task=1, site="zap_page_range", time=2_000),
        event("funcgraph_entry", 0, 0, 0, task=2, site="do_exit", time=2_500),
        event("funcgraph_exit", 0, task=1, site="zap_page_range", time=2_750),
        event("funcgraph_exit", 0, task=1, site="do_madvise", time=5_000),
        event("funcgraph_exit", 0, task=1, site="never_begun", time=6_000),
    ]
    text = [printer.line(0, one).partition(": funcgraph_")[2].partition(": ")[2] for one in events]
    assert text == [
        "                   |   do_madvise() {",
        "                   |     zap_page_range() {",
        "                   |   do_exit() {",
        "       0.750 us    |     } /* zap_page_range */",
        "       4.000 us    |   } /* do_madvise */",
        "       0.000 us    |   } /* never_begun */",
    ]


def test_trace_cmd_reads_the_same_from_a_trace_dat(recording, tmp_path):
    """Every kind of event, with small, large and negative values, on two CPUs, some far apart."""
    command = shutil.which("trace-cmd")
    if command is None:
        pytest.skip("no trace-cmd: apt-get install trace-cmd")
    times = iter(range(1_000, 10**15, 7_000_001))
    for values in ((1, 2, 3, 4), (0, 0, 0, 0), (ALL_PAGES, 0x8000000000005067, 5, 1 << 40)):
        for desc in EVENTS:
            one = event(desc.name, *values, cpu=desc.id % 2, task=desc.id % 3, time=next(times))
            if not desc.name.startswith("funcgraph_"):
                recording.add(one)
    path = tmp_path / "trace.dat"
    with open(path, "wb") as file:
        out = Outlet(file, "a file")
        write_trace_dat(recording.read(), ALL, out, None)
        out.flush()
    done = subprocess.run(
        [command, "report", "-N", path], capture_output=True, text=True, timeout=30, check=True
    )
    read = [line for line in done.stdout.splitlines() if not line.startswith("cpus=")]
    flags = re.compile(r"(\] )[.dh]{5}( )")
    wanted = [flags.sub(r"\1\2", line) for line in lines(recording)]
    assert [line.split() for line in read] == [
        re.sub(r"^ *(\S+-\d+)", r"\1", w).split() for w in wanted
    ]


def test_an_empty_trace_is_a_trace_dat_too(recording, tmp_path):
    command = shutil.which("trace-cmd")
    if command is None:
        pytest.skip("no trace-cmd: apt-get install trace-cmd")
    path = tmp_path / "trace.dat"
    with open(path, "wb") as file:
        out = Outlet(file, "a file")
        write_trace_dat(recording.read(), ALL, out, None)
        out.flush()
    subprocess.run([command, "report", path], capture_output=True, timeout=30, check=True)
