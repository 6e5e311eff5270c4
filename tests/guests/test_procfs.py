# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: /proc and /sys tell of the machine's own CPUs, processes and threads, in Linux's forms."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.guests.build import build
from tests.guests.machine import Run, run


def cat(path: str, **options: object) -> str:
    done = run("faults", "cat", path, **options)
    assert done.result.exit_code == 0, done.stderr
    return done.text


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/sys/devices/system/cpu/online", "0-3\n"),
        ("/sys/devices/system/cpu/possible", "0-3\n"),
        ("/sys/devices/system/cpu/cpu3/topology/core_id", "3\n"),
        ("/proc/sys/kernel/pid_max", "32768\n"),
        ("/proc/sys/kernel/osrelease", "6.18.0\n"),
        ("/proc/self/comm", "faults\n"),
        ("/proc/1000/cmdline", "{program}\0cat\0/proc/1000/cmdline\0"),
        ("/proc/self/environ", "A=b\0"),
        ("/proc/thread-self/comm", "faults\n"),
        ("/proc/self/task/1000/comm", "faults\n"),
    ],
)
def test_files_of_one_line(path: str, text: str) -> None:
    from tests.guests.machine import BUILD

    assert cat(path, cpus=4, env={"A": "b"}) == text.format(program=BUILD / "faults")


def test_cpuinfo_has_a_block_for_each_cpu() -> None:
    blocks = cat("/proc/cpuinfo", cpus=3).split("\n\n")[:-1]
    assert [block.splitlines()[0] for block in blocks] == [f"processor\t: {n}" for n in range(3)]
    assert all(" sse4_2 " in block and " avx" not in block for block in blocks)


def test_stat_has_the_host_s_number_of_fields() -> None:
    line = cat("/proc/self/stat")
    host = Path("/proc/self/stat").read_text()
    assert len(line.split()) == len(host.split()) == 52
    assert line.startswith("1000 (faults) R 1 1000 1000 0 -1 ")


def test_status_has_the_host_s_lines_in_their_order() -> None:
    ours = re.findall(r"^(\w+):", cat("/proc/self/status", cpus=2), re.MULTILINE)
    host = re.findall(r"^(\w+):", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert set(ours) <= {*host, "Kthread", "untag_mask", "THP_enabled"}
    assert [name for name in host if name in ours] == [name for name in ours if name in host]


def test_status_tells_of_cpus() -> None:
    status = cat("/proc/self/status", cpus=6)
    assert "Cpus_allowed:\t3f\nCpus_allowed_list:\t0-5\n" in status
    assert re.search(r"^voluntary_ctxt_switches:\t\d+$", status, re.MULTILINE)


@pytest.mark.parametrize(
    "path",
    ["/proc/1", "/proc/999/status", "/proc/01000/status", "/proc/self/task/7", "/proc/nosuch"],
)
def test_what_is_not_there(path: str) -> None:
    done = run("faults", "cat", path)
    assert b"No such file" in done.stderr


def shootdowns(cpus: int) -> Run:
    return run(build("proc_cpus.c", "-static", "-O1"), cpus=cpus)


def test_interrupts_and_vmstat_count_shootdowns() -> None:
    """Two threads on two CPUs, one of which unmaps: each is asked as often as it tells."""
    done = shootdowns(2)
    assert done.result.exit_code == 0
    counts = re.search(r"^TLB: +(\d+) +(\d+)   TLB shootdowns$", done.text, re.MULTILINE)
    assert counts is not None
    received = re.search(r"^nr_tlb_remote_flush_received (\d+)$", done.text, re.MULTILINE)
    assert received is not None
    assert sum(map(int, counts.groups())) == int(received[1]) >= 20
    assert re.search(r"^CAL: +\d+ +\d+   Function call interrupts$", done.text, re.MULTILINE)
    assert done.text.startswith("           CPU0       CPU1       \n")


def test_one_cpu_is_asked_by_nobody() -> None:
    assert re.search(r"^TLB: +0   TLB shootdowns$", shootdowns(1).text, re.MULTILINE)
