# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a machine of several CPUs is deterministic, one seed gives one run, bit for bit; and none
of its CPUs is left with a stale translation.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest

from mmu.linux import tlbflush
from mmu.linux.tlbflush import FlushTlbInfo, flush_tlb_func
from mmu.trace.reader import TraceFile
from tests.guests.machine import POLICIES, Run, guest_machine, run

GUESTS = {
    "threads": ("threads", "4", "400"),
    "fork_tree": ("fork_tree", "2", "512K"),
    "multi_fault": ("multi_fault", "4", "6", "2"),
    "multi_fault one": ("multi_fault", "4", "6", "2", "one"),
    "multi_fault all": ("multi_fault", "4", "6", "2", "all"),
}
"""Small runs of the guests that use several CPUs."""
RIGHT = {
    "threads": [
        "mutex: 200 of 200",
        "queue: 12 items, sum 78",
        "thread-local sums: 2400, main's 0",
    ],
    "fork_tree": ["7 processes, each with its own memory"],
}


def right(name: str, ran: Run) -> None:
    """The guest's results are those of any right run, and so is what it leaves (run() looks at the
    tables and the frames).
    """
    assert ran.result.exit_code == 0, ran.stderr
    for line in RIGHT.get(name, []):
        assert line in ran.text.splitlines()
    for process in ran.result.processes:
        assert process.exit_code == 0


@pytest.mark.parametrize("name", GUESTS)
@pytest.mark.parametrize("cpus", [2, 3, 8])
def test_every_schedule_is_right(name: str, cpus: int) -> None:
    for seed, policy in enumerate(POLICIES):
        ran = run(*GUESTS[name], cpus=cpus, seed=seed, quantum=150, policy=policy)
        right(name, ran)


@pytest.mark.parametrize("name", ["threads", "fork_tree"])
def test_the_trace_is_the_same_in_two_processes(name: str, tmp_path: Path) -> None:
    small = {"threads": ("2", "8"), "fork_tree": ("1", "64K")}
    command = [sys.executable, "-m", "ucmmu", "run", "--cpus", "3", "--seed", "7"]
    command += ["--quantum", "90"]
    files = [tmp_path / "0.trace", tmp_path / "1.trace"]
    runs = [
        subprocess.Popen([*command, "--trace", str(file), name, *small[name]], stderr=PIPE)
        for file in files
    ]
    for process in runs:
        assert process.communicate(timeout=60)[1] is not None
        assert process.returncode == 0
    traces = [file.read_bytes() for file in files]
    assert traces[0] == traces[1]
    trace = TraceFile(str(files[0]))
    assert trace.torn is None and trace.nr_events > 10_000
    cpus = {int(cpu) for batch in trace.batches() for cpu in batch.records["cpu"]}
    assert cpus == {0, 1, 2}


@pytest.mark.parametrize("cpus", [1, 2, 4, 8])
@pytest.mark.parametrize("name", ["threads", "fork_tree", "multi_fault one"])
def test_no_flush_is_forgotten(name: str, cpus: int) -> None:
    """check() of every CPU's TLB finds nothing, whoever frees, and whoever runs meanwhile."""
    ran = run(*GUESTS[name], cpus=cpus, seed=cpus, quantum=200, fidelity="exact", check_tlb=True)
    right(name, ran)
    assert ran.result.stale_translations == []


def flush_this_cpu_only(_mask: int, info: FlushTlbInfo) -> None:
    """A defect: no other CPU is asked."""
    if info.mm.kernel.this_cpu.loaded_mm is info.mm:
        flush_tlb_func(info)


def test_a_remote_flush_that_is_left_out_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tlbflush, "flush_tlb_multi", flush_this_cpu_only)
    with (
        open(os.devnull, "w") as null,
        guest_machine(
            *("multi_fault", "4", "6", "2", "one"),
            cpus=4,
            quantum=150,
            fidelity="exact",
            check_tlb=True,
            streams=(0, null.fileno(), 2),
        ) as machine,
    ):
        uses = machine.run().stale_translations
    assert uses
    text = str(uses[0])
    assert "changed by system call 28" in text, text
    assert "missing: INVLPG of any address" in text and " on CPU " in text, text
