# SPDX-License-Identifier: GPL-2.0-or-later
"""Recording a run of 100 million events, and asking the file: whole commands, by the wall clock.

The peers are the bounds that each is held to. ``BENCH_TRACE_EVENTS=10M`` makes the run short.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import BenchmarkError, Outcome, Result
from mmu.trace.reader import TraceFile
from mmu.trace.where import Where
from ucmmu.sizes import parse_size

ROUND = 9.8e6
"""Events of a round of memory_loop over 16 MiB."""
MIPS = 8.0
BYTES = 4.0
RSS_MIB = 300.0
SECONDS = 2.0


@dataclass(frozen=True)
class Spent:
    """What a command took: seconds, most resident memory in MiB."""

    seconds: float
    mib: float


def trace_record() -> Iterator[Outcome]:
    """Record memory_loop, then read the file with a filter, and look at one table and one address
    in it.
    """
    events = parse_size(os.environ.get("BENCH_TRACE_EVENTS", "100M"))
    rounds = str(max(round(events / ROUND + 0.5), 1))
    with tempfile.TemporaryDirectory() as folder:
        path, report = str(Path(folder, "trace")), Path(folder, "report")
        options = ("--trace", path, "--json", str(report))
        _spend("run", *options, "memory_loop", "16M", rounds)
        said = json.loads(report.read_text())
        with TraceFile(path) as trace:
            nr, end = trace.nr_events, trace.last_time
            faults = Where(events=frozenset(("page_fault",)))
            batch = next(iter(trace.batches(faults)))
            address = hex(int(batch.records["a"][-1]))
            left_out = (trace.summary or {}).get("left_out", {})
        if left_out or trace.torn:
            raise BenchmarkError(f"events are missing: {left_out or trace.torn}")
        more = {"events": nr, "instructions": said["instructions"], "virtual_ns": end}
        note = f"memory_loop 16M {rounds}, trace: {nr:,} events"
        yield _result(
            "trace_record",
            said["instructions"] / said["seconds"] / 1e6,
            MIPS,
            "million instructions/s",
            f"{note}, from the start of the guest to the end of the file; none lost",
            better=">=",
            **more,
        )
        yield _result(
            "trace_size", os.path.getsize(path) / nr, BYTES, "bytes/event", f"{note}: the file"
        )
        yield from _asked(path, address, note)


def _asked(path: str, address: str, note: str) -> Iterator[Outcome]:
    """How long the commands take that ask the file."""
    read = _spend("trace", path, "--filter", "event=pte_alloc,pte_free")
    told = f"{note}: ucmmu trace --filter event=pte_alloc,pte_free"
    yield _result("trace_read_rss", read.mib, RSS_MIB, "MiB", told, seconds=read.seconds)
    wide = _spend("trace", path, "--filter", f"address={address}-{int(address, 16) + 8:#x}")
    told = f"{note}: ucmmu trace --filter address=, eight bytes"
    yield _result("trace_read_address_rss", wide.mib, RSS_MIB, "MiB", told, seconds=wide.seconds)
    table = _spend("table", path, address)
    yield _result("trace_table", table.seconds, SECONDS, "seconds", f"{note}: ucmmu table")
    walk = _spend("walk", path, "--at", "end", address)
    yield _result("trace_walk", walk.seconds, SECONDS, "seconds", f"{note}: ucmmu walk --at end")


def _result(
    name: str, ours: float, bound: float, unit: str, note: str, better: str = "<=", **more: Any
) -> Result:
    ratio = ours / bound
    return Result(
        name=name,
        ours=ours,
        peer=bound,
        unit=unit,
        goal=f"{better} 1",
        ratios=(ratio, ratio),
        note=f"{note}; against its bound",
        more=more,
    )


def _spend(*command: str) -> Spent:
    """Run ucmmu, which must succeed."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "ucmmu", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    said = process.stderr.read().decode(errors="replace")
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchmarkError(f"ucmmu {' '.join(command)}: {said.strip()}")
    return Spent(time.perf_counter() - started, used.ru_maxrss / 1024)
