# SPDX-License-Identifier: GPL-2.0-or-later
"""The end of a task, and of a process with its last one (kernel/exit.c, v6.18)."""

from __future__ import annotations

from cpu.result import ProcessResult, total
from cpu.signal_send import signal_wake_up
from cpu.signal_state import exit_signals
from cpu.task import Process, Task, TaskEnd
from mmu.errors import MmuError


def do_exit(task: Task, end: TaskEnd) -> None:
    """End the task that runs; ``end`` says how. Its process ends with its last task, or at once
    with all, if ``end.group`` is set.
    """
    process = task.process
    if end.group and process.end is None:
        process.end = end
        for other in process.threads:
            if other is not task:
                signal_wake_up(other)
    exit_signals(task)
    last = process.threads == [task]
    if last:
        if process.end is None:
            process.end = end
        process.result = result_of(process)
    exit_mm(task, last=last)
    if last:
        task.files.close_all()
        task.fs.close()
        process.image.put()
    process.dead_instructions += task.system.scheduler.executed(task)
    process.threads.remove(task)
    del task.system.tasks[task.pid]


def exit_mm(task: Task, *, last: bool) -> None:
    """Let go of the address space; with its last user it is checked and torn down."""
    if not last:
        return
    mm, system = task.mm, task.system
    problems = system.problems
    system.before_teardown(task.process)
    problems += [f"{task}: {line}" for line in mm.check_tables().problems]
    try:
        mm.exit_mmap()
    except MmuError as error:
        problems.append(f"{task}: {error}")
    counters = mm.counters()
    made, freed = counters["pte_tables_allocated"], counters["pte_tables_freed"]
    if made != freed:
        problems.append(f"{task}: {made} PTE tables were allocated, {freed} freed")
    result = task.process.result
    if result is not None:
        result.mm_counters = total([task.process.past_counters, counters])


def result_of(process: Process) -> ProcessResult:
    """Gather the figures of this moment, from any thread."""
    task, system = process.leader, process.system
    counting = system.scheduler.counting
    end = process.end
    executed = process.executed() if counting else None
    mm = task.mm
    counters = total([process.past_counters, mm.counters()])
    return ProcessResult(
        pid=process.pid,
        ppid=0 if process.parent is None else process.parent.pid,
        program=process.exe.path,
        args=process.args,
        exit_code=0 if end is None else end.exit_code,
        ended="stopped" if end is None else end.ended,
        report=None if end is None else end.report,
        vm=mm.vm_stats(),
        instructions=executed,
        syscalls=process.nr_syscalls,
        threads=process.nr_threads,
        samples=[] if executed is None else process.samples.series(mm, executed),
        mm_counters=counters,
        pte_tables_freed_before_exit=counters["pte_tables_freed"],
    )
