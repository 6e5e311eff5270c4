# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m benchmarks.multi_fault``: what a fault of the series' benchmark costs the machine, on
1 to 8 vCPUs under each policy: interrupts, flushes, waits for locks.

Areas are given back by 1 MiB, half of what a table maps, so that a scan frees none. Everything but
the seconds is exact: it follows from the program, the options and the seed. A thread for each vCPU
runs ``multi_fault``; the table is in Markdown, a row for each run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory
from typing import Any

from ucmmu.options import POLICIES

CPUS = (1, 2, 4, 8)
TIMED = ("pte_free", "rcu_invoke_callback")
"""Events that times are taken from: the last ones are those of the exit, which frees all."""
LOCKS = (
    "pte_lock_contended",
    "pmd_lock_contended",
    "page_table_lock_contended",
    "mmap_lock_contended",
    "vma_lock_contended",
)


@dataclass(frozen=True)
class Row:
    """One run. Counts are of the whole run, its start and end included."""

    policy: str
    cpus: int
    faults: int
    interrupts: int
    """Function-call interrupts that a CPU handled: those of TLB flushes and of RCU's readers."""
    full_flushes: int
    """Of a whole address space, by the CPU that asked for them."""
    page_flushes: int
    """Pages (INVLPG) that the CPU that asked for a flush flushed singly."""
    remote_flushes: int
    """Flushes for which other CPUs may have been asked."""
    lock_waits: int
    tables_freed: int
    """Before the exit."""
    vmpte: int
    """At the end, kB."""
    pending_max: int
    """Table frames that waited for a grace period at once, at most."""
    instructions: int
    seconds: float
    virtual_ns: int = 0
    """What the machine's clocks showed at the end: a nanosecond an instruction of the guest, on
    CPUs that run side by side, and waits. 0: not asked for."""
    free_ns: tuple[int, ...] = ()
    """For each table freed before the exit by RCU, sorted: virtual time from leaving its PMD to its
    frame's return to the allocator. The clocks of two CPUs differ by a slice at most; below 0 is
    0."""

    def per_fault(self, count: int) -> float:
        """Of ``count``, how many fall to a fault."""
        return count / self.faults if self.faults else 0.0


def measure(
    policy: str,
    cpus: int,
    areas: int,
    rounds: int,
    who: str,
    chunk: str = "1M",
    seed: int = 0,
    *,
    times: bool = False,
) -> Row:
    """Run the benchmark on so many vCPUs with as many threads; ``times``: with virtual times, which
    a trace tells. Raises CalledProcessError.
    """
    machine = ["--cpus", str(cpus), "--seed", str(seed), "--free-tables", policy]
    guest = ["multi_fault", str(cpus), str(areas), str(rounds), who, chunk]
    with TemporaryDirectory() as folder:
        trace = f"{folder}/trace"
        if times:
            machine += ["--trace", trace, "--trace-filter", f"event={','.join(TIMED)}"]
        row = row_of(policy, cpus, json.loads(_ucmmu("run", "--json", "-", *machine, *guest)))
        if not times:
            return row
        lines = _ucmmu("trace", "--json", "-", trace).splitlines()
    return with_times(row, [json.loads(line) for line in lines])


def _ucmmu(*arguments: str) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "ucmmu", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def with_times(row: Row, events: Iterable[dict[str, Any]]) -> Row:
    """The row with the times that the events of its run tell."""
    taken_out: dict[str, int] = {}
    frees: list[int] = []
    now = 0
    for event in events:
        now = max(now, event["time_ns"])
        pfn = event["fields"]["pfn"]
        if event["event"] == "pte_free":
            taken_out[pfn] = event["time_ns"]
        elif pfn in taken_out:
            frees.append(max(0, event["time_ns"] - taken_out.pop(pfn)))
    return replace(row, virtual_ns=now, free_ns=tuple(sorted(frees[: row.tables_freed])))


def row_of(policy: str, cpus: int, report: dict[str, Any]) -> Row:
    """What a run's report says."""
    mm, kernel = report["mm_counters"], report["kernel_counters"]
    return Row(
        policy=policy,
        cpus=cpus,
        faults=report["page_faults"],
        interrupts=kernel.get("irq_call_count", 0),
        full_flushes=mm["nr_tlb_local_flush_all"],
        page_flushes=mm["nr_tlb_local_flush_one"],
        remote_flushes=mm["nr_tlb_remote_flush"],
        lock_waits=sum(kernel.get(name, 0) for name in LOCKS),
        tables_freed=report["pte_tables_freed_before_exit"],
        vmpte=report["VmPTE"],
        pending_max=kernel.get("rcu_pending_max", 0),
        instructions=report["instructions"],
        seconds=report["seconds"],
    )


def markdown(rows: list[Row]) -> Iterator[str]:
    """The lines of the table."""
    per_fault = ("interrupts", "remote flushes", "pages flushed", "full flushes", "lock waits")
    figures = " | ".join(f"{name} a fault" for name in per_fault)
    yield f"| vCPUs | policy | faults | {figures} | tables freed | VmPTE at the end, kB | s |"
    yield "|--:|---|" + "--:|" * (len(per_fault) + 4)
    for row in rows:
        counts = (
            row.interrupts,
            row.remote_flushes,
            row.page_flushes,
            row.full_flushes,
            row.lock_waits,
        )
        each = " | ".join(f"{row.per_fault(count):.3f}" for count in counts)
        yield (
            f"| {row.cpus} | {row.policy} | {row.faults:,} | {each} | {row.tables_freed:,} |"
            f" {row.vmpte:,} | {row.seconds:.2f} |"
        )


def main() -> int:
    """Measure what the command line asks for, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.multi_fault", description=__doc__)
    parser.add_argument("--cpus", type=int, nargs="+", default=list(CPUS))
    parser.add_argument("--policy", nargs="+", default=list(POLICIES), choices=list(POLICIES))
    parser.add_argument("--areas", type=int, default=64, help="of 2 MiB, a thread (default: 64)")
    parser.add_argument("--rounds", type=int, default=8, help="default: 8")
    parser.add_argument("--who", default="own", choices=["own", "one", "all"])
    parser.add_argument("--chunk", default="1M", help="of MADV_DONTNEED, up to 2M (default: 1M)")
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    rows = [
        measure(policy, cpus, wanted.areas, wanted.rounds, wanted.who, wanted.chunk, wanted.seed)
        for cpus in wanted.cpus
        for policy in wanted.policy
    ]
    print("\n".join(markdown(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
