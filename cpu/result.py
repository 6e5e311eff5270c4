# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run leaves: a report of each process, and their total, told as JSON takes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from cpu.notes import UnknownSyscall
from cpu.samples import Sample
from cpu.signals import SignalReport, signal_name
from mmu.x86.check import StaleUse


@dataclass
class ProcessResult:
    """What a process leaves: figures as they were when it ended, before its address space went."""

    pid: int
    ppid: int
    """Of its parent when it was made; 0 for the first."""
    program: str
    args: list[str]
    exit_code: int
    """As a shell shows it: the status, or 128 + the signal's number."""
    ended: str
    """"exit", "signal" or "stopped"."""
    report: SignalReport | None
    vm: dict[str, int]
    """/proc/self/status's Vm and Rss lines, VmPTE_peak; kB."""
    instructions: int | None
    """None if they were not counted."""
    syscalls: int
    calls: dict[str, int]
    """Of which so many of each name."""
    threads: int
    """Threads that it ever had."""
    samples: list[Sample]
    mm_counters: dict[str, int]
    """Of all its address spaces: exec() gives it a new one."""
    pte_tables_freed_before_exit: int
    """Tables freed while it ran."""
    shares_mm: bool = False
    """Its last address space was another process's too (vfork(), CLONE_VM): counted there."""

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON takes it."""
        return {
            "pid": self.pid,
            "ppid": self.ppid,
            "program": self.program,
            "args": self.args,
            **self.vm,
            "pte_tables_allocated": self.mm_counters["pte_tables_allocated"],
            "pte_tables_freed": self.mm_counters["pte_tables_freed"],
            "pte_tables_freed_before_exit": self.pte_tables_freed_before_exit,
            "page_faults": self.mm_counters["pgfault"],
            "instructions": self.instructions,
            "syscalls": self.syscalls,
            "calls": self.calls,
            "threads": self.threads,
            "shares_mm": self.shares_mm,
            **_ending(self.exit_code, self.ended, self.report),
            "samples": [sample._asdict() for sample in self.samples],
            "mm_counters": self.mm_counters,
        }


@dataclass
class RunResult:
    """What a run leaves: the end of its first process, the reports of all, and their total."""

    exit_code: int
    """The first process's, as a shell shows it: the status, or 128 + the signal's number."""
    ended: str
    """"exit", "signal" or "stopped"."""
    report: SignalReport | None
    vm: dict[str, int]
    """/proc/self/status's Vm and Rss lines, VmPTE_peak; kB: sums over all processes, each as it was
    at its end.
    """
    pte_tables_allocated: int
    pte_tables_freed: int
    """With those that went with the address spaces: as many as were allocated, or ``problems`` says
    so. Those freed before, as long as ``checks_finished`` is not set."""
    pte_tables_freed_before_exit: int
    """Tables freed while their process ran."""
    page_faults: int
    instructions: int | None
    """None if they were not counted."""
    syscalls: int
    seconds: float
    """Wall clock, loading and teardown included."""
    samples: list[Sample]
    """The first process's."""
    unknown_syscalls: list[UnknownSyscall]
    counters: dict[str, int]
    """The TLB models', of all CPUs; empty in fast."""
    mm_counters: dict[str, int]
    kernel_counters: dict[str, int]
    """What no mm counts: locks, RCU, interrupts."""
    processes: list[ProcessResult]
    """One for each process, in the order of their making."""
    policy: dict[str, int] = field(default_factory=dict)
    """What a policy of one's own says of itself, by name (FreeTablesPolicy.figures()), and how many
    bytes it kept at most.
    """
    notes: list[str] = field(default_factory=list)
    """What a user should know: signals that were not handled, and so on."""
    problems: list[str] = field(default_factory=list)
    """Checks that failed: empty, or ucmmu is wrong."""
    stale_translations: list[StaleUse] | None = None
    """What the stale-translation checker found; None if it was not asked."""
    checks_finished: bool = False
    """Whether the tables were walked and the address spaces given back, so that ``problems`` is all
    there is.
    """

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON takes it."""
        return {
            **self.vm,
            "pte_tables_allocated": self.pte_tables_allocated,
            "pte_tables_freed": self.pte_tables_freed,
            "pte_tables_freed_before_exit": self.pte_tables_freed_before_exit,
            "page_faults": self.page_faults,
            "instructions": self.instructions,
            "syscalls": self.syscalls,
            **_ending(self.exit_code, self.ended, self.report),
            "seconds": round(self.seconds, 6),
            "samples": [sample._asdict() for sample in self.samples],
            "unknown_syscalls": [vars(call) for call in self.unknown_syscalls],
            "counters": self.counters,
            "mm_counters": self.mm_counters,
            "kernel_counters": self.kernel_counters,
            "policy": self.policy,
            "processes": [process.as_dict() for process in self.processes],
            "notes": self.notes,
            "problems": self.problems,
            "checks_finished": self.checks_finished,
            "stale_translations": None
            if self.stale_translations is None
            else [{**use.as_dict(), "text": str(use)} for use in self.stale_translations],
        }


def _ending(exit_code: int, ended: str, report: SignalReport | None) -> dict[str, Any]:
    return {
        "exit_code": exit_code,
        "ended": ended,
        "signal": signal_name(report.signo) if report else None,
        "signal_report": str(report) if report else None,
    }


def total(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Sums by name; the names in the order of the first that has them."""
    sums: dict[str, int] = {}
    for part in parts:
        for name, value in part.items():
            sums[name] = sums.get(name, 0) + value
    return sums
