# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run leaves: gathered from the task and its mm, and told as JSON takes it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from cpu.notes import UnknownSyscall
from cpu.samples import Sample, Samples
from cpu.signals import SignalReport, signal_name
from cpu.task import Task, TaskEnd
from cpu.vcpu import Fidelity
from mmu.x86.check import StaleUse


@dataclass
class RunResult:
    """What a run leaves: figures as they were when the guest ended, before its address space
    went.
    """

    exit_code: int
    """As a shell shows it: the status, or 128 + the signal's number."""
    ended: str
    """"exit", "signal" or "stopped"."""
    report: SignalReport | None
    vm: dict[str, int]
    """/proc/self/status's Vm and Rss lines, VmPTE_peak; kB."""
    pte_tables_allocated: int
    pte_tables_freed: int
    """With those that went with the address space: as many as were allocated, or ``problems`` says
    so. Those freed before, as long as ``checks_finished`` is not set."""
    pte_tables_freed_before_exit: int
    """Tables freed while the guest ran."""
    page_faults: int
    instructions: int | None
    """None if they were not counted."""
    syscalls: int
    seconds: float
    """Wall clock, loading and teardown included."""
    samples: list[Sample]
    unknown_syscalls: list[UnknownSyscall]
    counters: dict[str, int]
    """The TLB model's; empty in fast."""
    mm_counters: dict[str, int]
    notes: list[str] = field(default_factory=list)
    """What a user should know: signals that were not handled, and so on."""
    problems: list[str] = field(default_factory=list)
    """Checks that failed: empty, or ucmmu is wrong."""
    stale_translations: list[StaleUse] | None = None
    """What the stale-translation checker found; None if it was not asked."""
    checks_finished: bool = False
    """Whether the tables were walked and the address space given back, so that ``problems`` is all
    there is.
    """

    @classmethod
    def of(cls, task: Task, end: TaskEnd, samples: Samples, started: float) -> RunResult:
        """Gather the figures of this moment, from any thread; the run began at ``started``
        (time.perf_counter()).
        """
        mm, vcpu, system = task.mm, task.vcpu, task.system
        counters = mm.counters()
        count = vcpu.instructions
        check = vcpu.mmu.check
        notes = system.notes.lines(vcpu.shared.limits)
        return cls(
            exit_code=end.exit_code,
            ended=end.ended,
            report=end.report,
            vm=mm.vm_stats(),
            pte_tables_allocated=counters["pte_tables_allocated"],
            pte_tables_freed=counters["pte_tables_freed"],
            pte_tables_freed_before_exit=counters["pte_tables_freed"],
            page_faults=counters["pgfault"],
            instructions=count,
            syscalls=system.nr_syscalls,
            seconds=time.perf_counter() - started,
            samples=[] if count is None else samples.series(mm, count),
            unknown_syscalls=system.notes.unknown_syscalls(),
            counters={} if vcpu.fidelity is Fidelity.FAST else vcpu.mmu.counters(),
            mm_counters=counters,
            notes=notes if end.report is None else [*notes, str(end.report)],
            stale_translations=None if check is None else check.uses(),
        )

    def finish(self, problems: list[str], pte_tables_freed: int, started: float) -> None:
        """Add what the checks and the teardown of the address space found."""
        self.problems += problems
        self.pte_tables_freed = pte_tables_freed
        self.checks_finished = True
        self.seconds = time.perf_counter() - started

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
            "exit_code": self.exit_code,
            "ended": self.ended,
            "signal": signal_name(self.report.signo) if self.report else None,
            "signal_report": str(self.report) if self.report else None,
            "seconds": round(self.seconds, 6),
            "samples": [sample._asdict() for sample in self.samples],
            "unknown_syscalls": [vars(call) for call in self.unknown_syscalls],
            "counters": self.counters,
            "mm_counters": self.mm_counters,
            "notes": self.notes,
            "problems": self.problems,
            "checks_finished": self.checks_finished,
            "stale_translations": None
            if self.stale_translations is None
            else [{**use.as_dict(), "text": str(use)} for use in self.stale_translations],
        }
