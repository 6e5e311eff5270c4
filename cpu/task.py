# SPDX-License-Identifier: GPL-2.0-or-later
"""Tasks and processes: what a system call's handler, a page fault or an exception acts on.

::

    System       time, chance, PIDs, the order to stop        one for the machine
      └── Process    what its threads share: the PID that   signal_struct
           │         others see, children, limits, its end
           └── Task      registers, mm, files, signals      task_struct, one a thread
"""

from __future__ import annotations

import errno
import random
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from cpu.clock import VirtualClock
from cpu.cred import CAP_IPC_LOCK, Cred
from cpu.fs.files import FileTable, OpenFile
from cpu.fs.namei import FsStruct
from cpu.fs.poll import PollHead
from cpu.futex.table import FutexTable, PiState
from cpu.net.net import NOBODY, Net, Ucred
from cpu.notes import Notes
from cpu.rusage import Rusage, TaskIo
from cpu.samples import Sample, Samples
from cpu.sched_attr import SchedAttr
from cpu.scheduler import Scheduler
from cpu.signals import GroupStop, Sighand, SignalReport, SigPending
from cpu.syscalls.numbers import NR_SYSCALLS
from cpu.task_end import TaskEnd as TaskEnd
from cpu.task_end import stopped as stopped
from cpu.thread import Rq, Thread
from cpu.uts import UtsNamespace
from mmu._native import ffi
from mmu.c_words import words
from mmu.errors import LinuxError
from mmu.linux.mm import Mm
from mmu.linux.resource import Rlimits
from mmu.linux.sched import ERESTARTSYS, Sleep, WaitQueue
from mmu.linux.tlb_check import Operation, begin_operation, end_operation, tables_change_for
from mmu.x86.check import ChangedBy

if TYPE_CHECKING:
    from cpu.context import Context
    from cpu.exe_file import ExeFile
    from cpu.fs.inode import InodeTable
    from cpu.fs.pty import DevPts
    from cpu.fs.tty import JobControl, Tty
    from cpu.ipc.namespace import IpcNamespace
    from cpu.mempolicy import Mempolicy
    from cpu.result import ProcessResult
    from cpu.siginfo import SigInfo
    from cpu.timers import CpuTimer, Itimer, PosixTimer
    from cpu.vcpu import VCpu
    from mmu.linux.state import Kernel

TASK_COMM_LEN: Final = 16
"""Bytes of a task's name with the zero behind it (include/linux/sched.h)."""


ADDR_NO_RANDOMIZE: Final = 0x40000
"""The personality that programs start with: as under ``setarch -R``."""
MAX_BACKTRACES: Final = 8
FIRST_PID = 1000
FIRST_INODE = 100
"""Below it are those of standard streams and programs."""
PID_MAX = 32768
"""kernel.pid_max: numbers above it are not given, and come again from FIRST_PID on."""


class Tracer(Protocol):
    """Hears of what tasks ask of the kernel, and of their signals and ends."""

    def begun(self, task: Task, path: str, argv: list[bytes], nr_variables: int, /) -> None:
        """The first program has been started; ``argv`` as it was before any "#!" line."""

    def enter(self, task: Task, nr: int, args: tuple[int, ...], /) -> None:
        """The task makes a call; 6 arguments."""

    def leave(self, task: Task, result: int, /) -> None:
        """It returns ``result``, 64 bits."""

    def signalled(self, task: Task, info: SigInfo, /) -> None:
        """A signal is delivered to it."""

    def ended(self, task: Task, end: TaskEnd, /) -> None:
        """It ends."""


class Recorder(Protocol):
    """Hears of tasks, to write down who they are (cpu.recorder)."""

    def made(self, task: Task, /) -> None:
        """The task is there, and has not run."""

    def began(self, task: Task, /) -> None:
        """It has another program, whose address space is being laid out."""

    def laid_out(self, task: Task, /) -> None:
        """The program is in place."""

    def renamed(self, task: Task, /) -> None:
        """It has another name."""

    def ended(self, task: Task, end: TaskEnd, /) -> None:
        """It begins to end."""


class System:
    """The state around the tasks of a machine; ``seed`` gives all its random numbers.

    ``tasks`` are those that have a PID, zombies included, by it.
    """

    def __init__(self, kernel: Kernel, scheduler: Scheduler, *, seed: int = 0) -> None:
        self.kernel = kernel
        self.rcu_pending = words(ffi, ffi.addressof(kernel.c.rcu), "nr_pending")
        """Frames that wait for a grace period, as a view of one number."""
        self.dirty_free = words(ffi, kernel.memory.c, "nr_dirty_free", 2)
        """Free frames with host memory, and how many are worth keeping so."""
        self.scheduler = scheduler
        self.seed = seed
        self.random = random.Random(seed)
        self.clock = VirtualClock(scheduler.now_ns)
        self.notes = Notes()
        self.uts = UtsNamespace()
        self.backtraces_left = MAX_BACKTRACES
        """How many more crashes are reported with the calls that led to them."""
        self.tracer: Tracer | None = None
        """Who writes down the system calls (cpu.strace.tracer)."""
        self.recorder: Recorder | None = None
        """Who writes down what tasks there are."""
        self.tasks: dict[int, Task] = {}
        self.processes: list[Process] = []
        """Every process that ever was, in the order of their making."""
        self.max_threads = PID_MAX
        """Tasks there may be at one time (/proc/sys/kernel/threads-max)."""
        self.problems: list[str] = []
        """Checks that failed at the end of a process."""
        self.before_teardown: Callable[[Process], None] = lambda process: None
        """Hears of each process that ends, with its result, before its address space goes."""
        self.futexes = FutexTable(scheduler)
        self.ipc: IpcNamespace
        self.net = Net(scheduler, self.new_inode, self._caller, scheduler.now_ns)
        self.ret_from_fork: Callable[[Task], None]
        """Runs a new task from its first step to its end (cpu.entry)."""
        self.inodes: InodeTable
        """The host's files that tasks have open, and their pages."""
        self.tty_jobs: JobControl
        """What terminals do to processes (cpu.tty_jobctrl)."""
        self.devpts: DevPts
        """/dev/pts."""
        self._last_pid = FIRST_PID - 1
        self._last_inode = FIRST_INODE - 1
        self._sleepers = WaitQueue("sleep")

    @property
    def nr_syscalls(self) -> int:
        """System calls made so far, by all."""
        return self.scheduler.nr_syscalls

    @property
    def stopping(self) -> bool:
        """Whether the run is to end: whatever takes long asks it, and breaks off."""
        return self.scheduler.stopping

    def stop(self) -> None:
        """Have the run end soon; safe from any thread and from signal handlers."""
        self.scheduler.stop()

    def fatal_signal_pending(self) -> bool:
        """Whether the task that runs is to end: what takes long in the kernel breaks off."""
        task = self.scheduler.current
        return self.stopping if task is None else task.fatal_signal_pending()

    def held_files(self) -> dict[OpenFile, None] | None:
        """Task.held_files of the task that runs."""
        task = self.scheduler.current
        return task.held_files if isinstance(task, Task) else None

    def can_lock_all(self) -> bool:
        """Whether the task that runs has CAP_IPC_LOCK."""
        task = self.scheduler.current
        return isinstance(task, Task) and task.cred.capable(CAP_IPC_LOCK)

    def _caller(self) -> Ucred:
        """Who makes the system call that is under way."""
        task = self.scheduler.current
        if not isinstance(task, Task):
            return NOBODY
        return Ucred(task.tgid, task.cred.euid, task.cred.egid)

    def new_inode(self) -> int:
        """The st_ino of something that no path leads to: a pipe, a socket."""
        self._last_inode += 1
        return self._last_inode

    def process_of(self, pid: int) -> Process | None:
        """The process of that number, zombies included; None: there is none."""
        task = self.tasks.get(pid)
        return task.process if task is not None and task.process.pid == pid else None

    def alive(self) -> list[Process]:
        """All processes that have a PID, zombies included, in the order of their making."""
        return [process for process in self.processes if process.pid in self.tasks]

    def alloc_pid(self) -> int:
        """The next number that no task has (alloc_pid()); EAGAIN if all are taken."""
        if len(self.tasks) >= PID_MAX - FIRST_PID:
            raise LinuxError(errno.EAGAIN)
        pid = self._last_pid
        while True:
            pid = pid + 1 if pid + 1 < PID_MAX else FIRST_PID
            if pid not in self.tasks:
                self._last_pid = pid
                return pid

    def sleep(self, nanoseconds: int | None, what: str) -> int:
        """Let the running task sleep that long, None: for ever; 0, or -ERESTARTSYS if a signal came
        first.
        """
        result = self.scheduler.wait_event(
            self._sleepers, _never, what, sleep=Sleep.INTERRUPTIBLE, timeout_ns=nanoseconds
        )
        return result if result == -ERESTARTSYS else 0


class Process:
    """A signal_struct: what the threads of one process share.

    ``pid`` is its number, its leader's. ``exe`` is the program it runs. ``end`` is set when it is
    to end, and stays; ``result`` when it has ended. ``wait_chldexit`` is where it waits for its
    children; ``exit_signal`` is sent to its parent when it has ended; ``live`` counts its threads
    that have not begun to end.
    """

    def __init__(self, system: System, parent: Process | None, exe: ExeFile) -> None:
        self.system = system
        self.parent = parent
        """real_parent's process; None: init, or nobody."""
        self.first_parent: int = 0 if parent is None else parent.pid
        """The number of the one that it was made for; 0: nobody."""
        self.parent_task: Task | None = None
        """real_parent: the parent's thread that made it, or what took that one's place."""
        self.children: list[Process] = []
        self.exit_signal = int(signal.SIGCHLD)
        self.live = 0
        self.zombie = False
        """It has ended, and its parent has not waited for it (EXIT_ZOMBIE)."""
        self.pidfd_poll: PollHead | None = None
        """Who polls a pidfd of it."""
        self.did_exec = False
        self.group_exec_task: Task | None = None
        """The thread that waits in exec() for the end of all others (de_thread())."""
        self.is_child_subreaper = False
        self.rlimits = Rlimits()
        self.rusage_children = Rusage()
        """Of children that were waited for, and of those that they had waited for."""
        self.oom_score_adj = 0
        self.oom_score_adj_min = 0
        """The lowest that it may set itself: what a privileged process set last."""
        self.coredump_filter = 0x33
        self.io = TaskIo()
        self.dumpable = 1
        self.personality = ADDR_NO_RANDOMIZE
        self.exe = exe
        self.pid: int = 0
        self.leader: Task
        self.threads: list[Task] = []
        self.args: list[str] = []
        """argv[1:] of the program."""
        self.samples = Samples()
        self.on_sample: Callable[[Sample], None] | None = None
        """Hears of each sample."""
        self.end: TaskEnd | None = None
        self.result: ProcessResult | None = None
        self.wait_chldexit = WaitQueue("a child's end")
        self.instructions = 0
        """Executed by its threads up to the last switch of each."""
        self.calls = [0] * (NR_SYSCALLS + 1)
        """How often each system call was made, by number; last: all above."""
        self.nr_threads = 0
        """Threads that it ever had."""
        self.maxrss = 0
        """Pages, the most that an address space had which exec() took away."""
        self.past_counters: dict[str, int] = {}
        """Of the address spaces that exec() took away."""
        self.past_tables_torn_down = 0
        """PTE tables that went with those."""
        self.past_nvcsw = self.past_nivcsw = 0
        """Context switches of threads that have ended."""
        self.pgrp: int = 0 if parent is None else parent.pgrp
        """Its process group: the PID of the group's leader."""
        self.session: int = 0 if parent is None else parent.session
        """Its session: the PID of the session's leader."""
        self.shared_pending = SigPending()
        """Signals that wait for any of its threads."""
        self.killed: SigInfo | None = None
        """A signal that ends it: each thread ends as soon as it can (SIGNAL_GROUP_EXIT)."""
        self.curr_target: Task | None = None
        """The thread that took such a signal last."""
        self.stop = GroupStop()
        self.itimers: dict[int, Itimer] = {}
        """ITIMER_REAL and its like, those that were ever set."""
        self.posix_timers: dict[int, PosixTimer] = {}
        self.next_posix_timer = 0
        self.rlimit_cpu: CpuTimer | None = None
        self.cpu_timers: list[CpuTimer] = []
        """Those that run."""
        self.tty: Tty | None = None if parent is None else parent.tty
        """Its controlling terminal."""
        self.tty_old_pgrp = 0
        """Of a session's leader whose terminal has hung up: who was in the foreground."""
        system.processes.append(self)
        if parent is not None:
            parent.children.append(self)

    def __repr__(self) -> str:
        """Number and program, for people."""
        return f"process {self.pid} ({self.exe.path})"

    @property
    def stop_code(self) -> int:
        """The signal that has stopped it, until somebody has waited for that; 0: none."""
        return self.stop.code if self.stop.stopped else 0

    @stop_code.setter
    def stop_code(self, signo: int) -> None:
        self.stop.code = signo

    @property
    def stop_continued(self) -> bool:
        """Whether SIGCONT ended a stop, and nobody has waited for that."""
        return self.stop.continued

    @stop_continued.setter
    def stop_continued(self, continued: bool) -> None:
        self.stop.continued = continued

    @property
    def nr_syscalls(self) -> int:
        """System calls that its threads have made."""
        return sum(self.calls)

    def executed(self) -> int:
        """Instructions that its threads have executed."""
        executed = self.instructions
        for rq in self.system.scheduler.rqs:
            task = rq.loaded
            if task is not None and task.group is self:
                executed += int(rq.shared.count) - rq.began
        return executed

    def sample_due_on(self, rq: Rq) -> int:
        """The count of a CPU, which has one of its threads, from which on a sample is due: nothing
        may change before it is taken. The other CPUs stand still until then.
        """
        due = self.samples.due - self.instructions + rq.began
        if self.system.scheduler.nr_cpus > 1:
            for other in self.system.scheduler.rqs:
                loaded = other.loaded
                if other is not rq and loaded is not None and loaded.group is self:
                    due -= other.count[0] - other.began
        return due if due > 0 else 0

    def timers_due_on(self, rq: Rq) -> int:
        """The count of that CPU at which one of its ``cpu_timers`` is due."""
        return rq.count[0] + max(min(timer.left for timer in self.cpu_timers), 1)

    def take_samples(self) -> None:
        """Take the samples that are due: sizes are as they were when they became so."""
        executed = self.executed() if self.system.scheduler.counting else 0
        while executed >= self.samples.due:
            sample = self.samples.take(self.leader.mm, self.samples.due)
            if self.on_sample is not None:
                self.on_sample(sample)


@dataclass
class Traced:
    """What a tracer has of its tracee: ``signo`` is the signal that it stands still for, 0: it
    runs; ``told`` says that wait() has told of that. ``send`` is the signal that it goes on with.
    """

    tracer: Task
    info: SigInfo | None = None
    told: bool = False
    send: int = 0

    @property
    def signo(self) -> int:
        """The signal, 0: none."""
        return 0 if self.info is None else self.info.signo


class Task(Thread):
    """A task_struct: one thread.

    ``mm``, ``files``, ``fs`` and ``sighand`` are what clone() can share; ``cred`` says who it is.
    ``comm`` is its name, at most TASK_COMM_LEN - 1 bytes. ``body`` is what it runs (cpu.entry).
    ``set_child_tid`` is the user address that gets its number at its beginning, ``clear_child_tid``
    the one that is cleared, and woken, at its end; 0: none.

    Of signals: ``blocked`` and its like are masks, bit n - 1 for signal n; ``saved_sigmask`` is the
    one to come back to when a call that changed it ends (None: no such call); ``altstack`` is
    ss_sp, ss_flags and ss_size of sigaltstack(). ``orig_ax`` is the system call that it is in, or
    that was interrupted, -1: none; ``restart_fn`` is what restart_syscall() does. ``trap_nr``,
    ``error_code`` and ``cr2`` are of its last fault that was signalled.
    """

    mm: Mm
    """Its address space, also when it has let go of it (``exited_mm``)."""

    def __init__(
        self,
        process: Process,
        mm: Mm,
        files: FileTable,
        fs: FsStruct,
        cred: Cred,
        body: Callable[[Task], None],
        *,
        context: Context | None = None,
    ) -> None:
        super().__init__(mm, context)
        self.cred = cred
        self.system = process.system
        self.process = self.group = process
        self.files = files
        self.held_files: dict[OpenFile, None] = {}
        """Open files that its system call holds, because others may close them meanwhile."""
        self.fs = fs
        self.sighand = Sighand()
        self.sighand.users = 1
        self.pending = SigPending()
        self.blocked = 0
        self.real_blocked = 0
        """The mask while rt_sigtimedwait() has another: what it waits for ends nothing."""
        self.saved_sigmask: int | None = None
        self.altstack = (0, 0, 0)
        self.orig_ax = -1
        self.restart_fn: Callable[[Task], int] | None = None
        self.trap_nr = self.error_code = self.cr2 = 0
        self.resume_flag = False
        """RFLAGS.RF as the kernel was entered: set by faults (SDM vol. 3B 17.3.1.1)."""
        self.stop_pending = False
        """It is to take part in its process's stop (JOBCTL_STOP_PENDING)."""
        self.stop_dequeued = False
        """It took a stop signal, and SIGCONT has not come since (JOBCTL_STOP_DEQUEUED)."""
        self.traced: Traced | None = None
        """What its tracer has of it; None: nobody traces it."""
        self.exiting = False
        self.operation: Operation | None = None
        """It has begun to end, and takes no signal any more (PF_EXITING)."""
        self.comm = comm_of(process.exe.path)
        self.set_child_tid = self.clear_child_tid = 0
        self.robust_list = 0
        """User address of its struct robust_list_head; 0: none."""
        self.pi_states: list[PiState] = []
        """PI futexes that it holds and others wait for."""
        self.pi_blocked_on: PiState | None = None
        self.futex_exit: WaitQueue | None = None
        """Where others wait for it to give its futexes back, while it ends."""
        self.vfork_done: WaitQueue | None = None
        """Where its parent waits, in vfork(), for it to give the address space back."""
        self.pdeath_signal = 0
        self.dethreaded = False
        """It ends, alone, since another thread of its process calls exec()."""
        self.zombie = False
        """It has ended, and has not been released."""
        self.sched = SchedAttr()
        self.ioprio = 0
        """As ioprio_set() says: the class above bit 13, and the level."""
        self.mempolicy: Mempolicy | None = None
        """None: MPOL_DEFAULT."""
        self.no_new_privs = False
        self.timer_slack_ns = 50_000
        self.start_ns = self.system.clock.now_ns()
        self._body = body
        self.pid: int = self.system.alloc_pid()
        self.system.tasks[self.pid] = self
        if not process.threads:
            process.pid, process.leader = self.pid, self
            process.pgrp = process.pgrp or self.pid
            process.session = process.session or self.pid
        process.threads.append(self)
        process.live += 1
        process.nr_threads += 1

    def __str__(self) -> str:
        """Number and name, for reports."""
        return f"task {self.pid} ({self.comm.decode('utf-8', 'replace')})"

    def set_comm(self, name: bytes) -> None:
        """It gets this name, by its own wish (__set_task_comm())."""
        self.comm = name
        if self.system.recorder is not None:
            self.system.recorder.renamed(self)

    def main(self) -> None:
        """The loop between guest and kernel."""
        self._body(self)

    @property
    def tgid(self) -> int:
        """The process's number: getpid()."""
        return self.process.pid

    @property
    def uid(self) -> int:
        """The real user ID."""
        return self.cred.uid

    @property
    def gid(self) -> int:
        """The real group ID."""
        return self.cred.gid

    @property
    def exe(self) -> ExeFile:
        """The program that it runs."""
        return self.process.exe

    @property
    def rlimits(self) -> Rlimits:
        """Its process's limits."""
        return self.process.rlimits

    def charge(self, instructions: int) -> None:
        """It has executed so many more, and its process has."""
        self.instructions += instructions
        self.process.instructions += instructions

    def resumed(self) -> None:
        """It goes on: its process's limits bind in an address space that several share, and it is
        for it that tables change.
        """
        self.mm.rlimit = self.process.rlimits
        tables_change_for(self.system.kernel, self.operation)

    @property
    def vcpu(self) -> VCpu:
        """The vCPU that has its registers: it runs."""
        assert self.rq is not None
        return self.rq.vcpu

    def entered_kernel(self, by: ChangedBy, detail: int, rip: int) -> None:
        """Say on whose behalf tables change from here on, to the stale-translation checker, if
        there is one: ``detail`` is the system call's number or the fault's address.
        """
        if self.vcpu.mmu.check is not None:
            kernel = self.system.kernel
            self.operation = begin_operation(kernel, by, detail, rip, self.vcpu.instructions)

    def leaves_kernel(self) -> None:
        """What entered_kernel() began is over: all that it changed is flushed."""
        if self.operation is not None:
            end_operation(self.system.kernel, self.operation)
            self.operation = None

    def put_held_files(self) -> None:
        """Let go of the open files that its system call held. May wait."""
        while self.held_files:
            with suppress(LinuxError):
                self.held_files.popitem()[0].put()

    # The end.

    def exit(self, status: int) -> NoReturn:
        """End this thread with this status, 0 to 255; the process, if it is the last."""
        raise TaskEnd(status, "exit", group=False)

    def exit_group(self, status: int) -> NoReturn:
        """End the process with this status, 0 to 255."""
        raise TaskEnd(status, "exit")

    def kill(self, signo: int, reason: str) -> NoReturn:
        """End the process by a signal of the kernel's, whatever it asked for; ``reason`` in one
        sentence.
        """
        raise TaskEnd(
            128 + signo,
            "signal",
            SignalReport(
                signo=signo,
                code="SI_KERNEL",
                reason=reason,
                rip=self.vcpu.rip,
                instruction=self.disassemble(self.vcpu.rip),
            ),
        )

    def disassemble(self, rip: int) -> str:
        """The instruction at ``rip``; "" if it cannot be read."""
        from cpu.disasm import disassemble_one

        code = self.vcpu.peek(rip)
        return disassemble_one(code, rip) if code else ""

    # Signals.

    def work_pending(self) -> bool:
        """Whether kernel code of its own comes before guest code goes on: signals, timers."""
        process = self.process
        return self.signal_pending() or bool(process.stop.notify or process.cpu_timers)

    def signal_pending(self) -> bool:
        """Whether it is to look at signals: one waits that is not blocked, or the process is to
        stop or to end.
        """
        waiting = self.pending.signal | self.process.shared_pending.signal
        return bool(waiting & ~self.blocked) or self.stop_pending or self.fatal_signal_pending()

    def fatal_signal_pending(self) -> bool:
        """Whether the process is to end, or this thread."""
        process = self.process
        return (
            process.end is not None
            or process.killed is not None
            or self.dethreaded
            or self.system.stopping
        )


def comm_of(path: str) -> bytes:
    """Return the name that exec() gives a task: the last part of the program's path."""
    name = path.rpartition("/")[2]
    return name.encode("utf-8", "surrogateescape")[: TASK_COMM_LEN - 1]


def _never() -> bool:
    return False
