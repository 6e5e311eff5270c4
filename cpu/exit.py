# SPDX-License-Identifier: GPL-2.0-or-later
"""The end of a task, and of a process with its last one (kernel/exit.c, v6.18).

::

    do_exit(task, end)
      exit_signals()          it takes no signal any more
      exit_mm()               futexes, clear_child_tid, vfork(); the address space
      files, fs               let go of
      exit_notify()
        forget_original_parent()   its children get another parent
        do_notify_parent()         the last thread: the process is a zombie, and its parent hears
      release_task()          a thread at once; a process when it was waited for
"""

from __future__ import annotations

import select
import signal

from cpu.mm_release import exit_mm_release
from cpu.pgrp import kill_orphaned_pgrp
from cpu.result import ProcessResult, total
from cpu.siginfo import SI_USER, SigInfo
from cpu.signal_send import do_notify_parent, group_send_sig_info, signal_wake_up
from cpu.signal_state import exit_signals
from cpu.syscalls.numbers import calls_by_name
from cpu.task import Process, Task, TaskEnd
from cpu.traced import exit_ptrace
from cpu.tty_jobctrl import disassociate_ctty
from mmu.errors import MmuError
from mmu.linux.mm import Mm
from mmu.linux.mm_users import mmput
from mmu.linux.sched import WaitQueue
from mmu.linux.tlbflush import enter_lazy_tlb


def do_exit(task: Task, end: TaskEnd) -> None:
    """End the task that runs; ``end`` says how. Its process ends with its last task, or at once
    with all, if ``end.group`` is set.
    """
    process = task.process
    if end.group:
        do_group_exit(process, end, task)
    if task.system.recorder is not None:
        task.system.recorder.ended(task, end if process.end is None else process.end)
    exit_signals(task)
    exit_ptrace(task)
    process.live -= 1
    group_dead = not process.live
    if group_dead:
        if process.end is None:
            process.end = end
        process.result = result_of(process)
    exit_mm(task, group_dead=group_dead)
    if group_dead:
        task.system.ipc.sem.exit_sem(process)
    task.put_held_files()
    task.files.put()
    task.fs.put()
    if group_dead:
        process.exe.put()
    process.past_nvcsw += task.nvcsw
    process.past_nivcsw += task.nivcsw
    process.threads.remove(task)
    exit_notify(task)


def do_group_exit(process: Process, end: TaskEnd, task: Task | None = None) -> None:
    """All threads of the process end, wherever they wait; ``task`` is the one that says so. Only
    the first ``end`` counts.
    """
    if process.end is None:
        process.end = end
        for other in process.threads:
            if other is not task:
                signal_wake_up(other)


# The address space.


def exit_mm(task: Task, *, group_dead: bool) -> None:
    """Let go of the address space; with its last user it is checked and torn down. May wait."""
    exiting = task.futex_exit = WaitQueue(f"the end of {task}")
    exit_mm_release(task)
    task.futex_exit = None
    task.system.scheduler.wake_up(exiting)
    if group_dead:
        task.system.before_teardown(task.process)
    if task.system.scheduler.before_switch is not None:
        task.system.scheduler.before_switch()
    task.exited_mm = True
    enter_lazy_tlb(task.system.kernel)
    if put_mm(task, task.mm) and task.process.result is not None:
        result = task.process.result
        result.mm_counters = total([task.process.past_counters, task.mm.counters()])


def put_mm(task: Task, mm: Mm) -> bool:
    """mmput() of what is or was the task's address space, with checks before and after if that
    tears it down; whether it did. May wait.
    """
    problems = task.system.problems
    if mm.mm_users > 1:
        mmput(mm)
        return False
    problems += [f"{task}: {line}" for line in mm.check_tables().problems]
    try:
        mmput(mm)
    except MmuError as error:
        problems.append(f"{task}: {error}")
    counters = mm.counters()
    made, freed = counters["pte_tables_allocated"], counters["pte_tables_freed"]
    if made != freed:
        problems.append(f"{task}: {made} PTE tables were allocated, {freed} freed")
    return True


def shares_mm(process: Process, task: Task) -> bool:
    """Whether another process uses the task's address space."""
    return any(
        other.mm is task.mm and other.process is not process and not other.exited_mm
        for other in process.system.tasks.values()
    )


# Parents and children.


def exit_notify(task: Task) -> None:
    """The task is over: its children go to another parent, its own parent is told. Nothing of the
    task is needed any more, unless somebody is to wait for it.
    """
    process = task.process
    group_dead = not process.threads
    forget_original_parent(task)
    if group_dead:
        if process.session == process.pid:
            disassociate_ctty(process, on_exit=True)
        kill_orphaned_pgrp(process, None)
    task.zombie = True
    if task is process.leader:
        if group_dead:
            _process_is_over(process)
    else:
        release_task(task)
    executor = process.group_exec_task
    if executor is not None:
        task.system.scheduler.wake(executor)


def _process_is_over(process: Process) -> None:
    """Its leader and all others have ended: the parent waits for it, or it goes at once."""
    assert process.end is not None
    process.zombie = True
    if process.pidfd_poll is not None:
        process.pidfd_poll.wake(select.POLLIN)
    if do_notify_parent(process, process.end.status, process.exit_signal):
        release_process(process)


def release_task(task: Task) -> None:
    """A thread's number is free again. The last thread that goes after its leader makes the process
    a zombie.
    """
    process = task.process
    del task.system.tasks[task.pid]
    leader = process.leader
    if leader is not task and leader.zombie and not process.threads and not process.zombie:
        _process_is_over(process)


def release_process(process: Process) -> None:
    """Nobody waits for the process: its number is free again, and its parent has a child less."""
    process.zombie = False
    if process.pidfd_poll is not None:
        process.pidfd_poll.wake(select.POLLHUP)
    if process.parent is not None:
        process.parent.children.remove(process)
    del process.system.tasks[process.pid]


def forget_original_parent(task: Task) -> None:
    """What the task made gets another parent: another thread of its process, else the next
    subreaper above, else init, which waits for nobody in particular.
    """
    process = task.process
    thread = process.threads[0] if process.threads else None
    reaper = process if thread is not None else _find_new_reaper(process)
    for child in list(process.children):
        if child.parent_task is not task and thread is not None:
            continue
        child.parent_task = thread if thread is not None or reaper is None else reaper.leader
        _send_pdeath_signal(child)
        if thread is None:
            _reparent(child, reaper)


def _find_new_reaper(process: Process) -> Process | None:
    above = process.parent
    while above is not None:
        if above.is_child_subreaper and above.live:
            return above
        above = above.parent
    return None


def _send_pdeath_signal(child: Process) -> None:
    """What its threads have asked for with PR_SET_PDEATHSIG."""
    for thread in child.threads:
        if thread.pdeath_signal:
            group_send_sig_info(SigInfo.kill(thread.pdeath_signal, SI_USER, 0, 0), child)


def _reparent(child: Process, reaper: Process | None) -> None:
    old = child.parent
    assert old is not None
    old.children.remove(child)
    child.parent = reaper
    child.exit_signal = int(signal.SIGCHLD)
    if reaper is not None:
        reaper.children.append(child)
    if child.zombie:
        assert child.end is not None
        if do_notify_parent(child, child.end.status, child.exit_signal):
            release_process(child)
    kill_orphaned_pgrp(child, old)


# What is told of it.


def result_of(process: Process) -> ProcessResult:
    """Gather the figures of this moment, from any thread."""
    task = process.threads[0] if process.threads else process.leader
    counting = process.system.scheduler.counting
    end = process.end
    executed = process.executed() if counting else None
    mm = task.mm
    counters = total([process.past_counters, mm.counters()])
    return ProcessResult(
        pid=process.pid,
        ppid=process.first_parent,
        program=process.exe.path,
        args=process.args,
        exit_code=0 if end is None else end.exit_code,
        ended="stopped" if end is None else end.ended,
        report=None if end is None else end.report,
        vm=mm.vm_stats(),
        instructions=executed,
        syscalls=process.nr_syscalls,
        calls=calls_by_name(process.calls),
        threads=process.nr_threads,
        samples=[] if executed is None else process.samples.series(mm, executed),
        mm_counters=counters,
        pte_tables_freed_before_exit=counters["pte_tables_freed"] - process.past_tables_torn_down,
        shares_mm=shares_mm(process, task),
    )
