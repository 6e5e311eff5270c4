# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine: guest RAM, CPUs, a kernel over them, and the processes that run on it.

::

    Machine(memory, cpus=4)     a Kernel; for each CPU an Mmu and a VCpu; Scheduler, System
      .spawn(program, args)     the first process, ready to run
      .run()                    until all processes have ended: RunResult
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Final

from cpu.cred import Cred
from cpu.entry import run_task
from cpu.exec import begin_program, open_program, search_path
from cpu.exit import result_of
from cpu.fork import schedule_tail
from cpu.fs.devices import dev_files
from cpu.fs.files import (
    O_NOCTTY,
    O_RDONLY,
    O_RDWR,
    O_WRONLY,
    RLIMIT_NOFILE,
    FileTable,
    OpenFile,
)
from cpu.fs.host_data import Space
from cpu.fs.host_tty import HostTty
from cpu.fs.inode import InodeTable
from cpu.fs.namei import FileSystem, FsStruct
from cpu.fs.proc_machine import proc_files
from cpu.fs.procfs import ProcRoot
from cpu.fs.streams import Stream
from cpu.fs.sysfs import sys_files
from cpu.fs.view import View, ViewError, seen
from cpu.ipc.namespace import IpcNamespace
from cpu.recorder import Recorder
from cpu.result import ProcessResult, RunResult, total
from cpu.samples import Sample
from cpu.scheduler import DEFAULT_QUANTUM, Scheduler
from cpu.signal_send import signal_wake_up
from cpu.signals import SignalReport
from cpu.system import System
from cpu.task import Process, Task, TaskEnd
from cpu.tty_jobctrl import set_ctty, tty_devices
from cpu.vcpu import Fidelity, VCpu
from mmu.errors import LinuxError, MmuError
from mmu.linux.mm import Mm
from mmu.linux.policy import FreeLevels, FreeTables
from mmu.linux.resource import Resource
from mmu.linux.state import Kernel, TablePolicy
from mmu.x86 import Mmu

if TYPE_CHECKING:
    from mmu.events import EventRing
    from mmu.memory import Memory
    from mmu.trace.writer import TraceWriter
    from mmu.x86 import Geometry

MAX_CPUS: Final = 64
SIGKILL: Final = 9


class Machine:
    """A machine of ``cpus`` CPUs over ``memory``.

    ``policy`` says how empty PTE tables are freed: one of ours, or a subclass of
    mmu.linux.free_tables.FreeTablesPolicy, which has the mm in Python (docs/policies.md).
    ``free_levels`` says whether PMD and PUD tables are as well. ``fidelity`` and ``engine`` say how
    it is modelled, ``geometry`` the TLBs of each CPU; ``seed`` and ``quantum`` give the schedule,
    ``seed`` also all random numbers of the guests. ``count=False`` (fast only) leaves instructions
    uncounted. ``fast_faults=False`` brings every page fault to Python. ``check`` looks after stale
    translations. ``ring`` gets the events. ``lockdep`` has every lock of the kernel watched.

    Use as a context manager, or close() it: the vCPUs hold host memory.
    """

    def __init__(
        self,
        memory: Memory,
        *,
        cpus: int = 1,
        policy: FreeTables | type[TablePolicy] = FreeTables.REFCOUNT,
        free_levels: FreeLevels = FreeLevels.PTE,
        fidelity: Fidelity = Fidelity.FAST,
        engine: str = "c",
        geometry: Geometry | str = "skylake",
        seed: int = 0,
        quantum: int = DEFAULT_QUANTUM,
        count: bool = True,
        fast_faults: bool = True,
        check: bool = False,
        ring: EventRing | None = None,
        lockdep: bool = False,
    ) -> None:
        self.memory = memory
        self.fidelity = fidelity
        self.kernel = Kernel(
            memory,
            policy=policy,
            free_levels=free_levels,
            engine=engine,
            ring=ring,
            lockdep=lockdep,
        )
        self._frames_before = memory.free_frames
        for _ in range(cpus):
            self.kernel.add_cpu(
                Mmu(
                    memory,
                    geometry=geometry,
                    engine=engine,
                    exact=fidelity is not Fidelity.FAST,
                    ring=ring,
                    check=check,
                )
            )
        self.vcpus = [
            VCpu(
                memory,
                cpu.mmu,
                cpu=cpu,
                fidelity=fidelity,
                count=count,
                fast_faults=fast_faults,
                ring=ring,
            )
            for cpu in self.kernel.cpus
        ]
        self.scheduler = Scheduler(self.kernel, self.vcpus, seed=seed, quantum=quantum)
        self.scheduler.on_deadlock = self._deadlock
        self.system = System(self.kernel, self.scheduler, seed=seed)
        self.system.ipc = IpcNamespace(self.system)
        self.space = Space(0)
        self.space.tell = self.system.notes.add
        self.inodes = self.system.inodes = InodeTable(
            self.kernel, self.system.clock.realtime_ns, self.space
        )
        self.system.ret_from_fork = lambda task: run_task(task, lambda: schedule_tail(task))
        self._tree: FileSystem | None = None
        self.tty: HostTty | None = None
        """The user's terminal, if the guest has it."""
        self._started = time.perf_counter()

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _where: TracebackType | None,
    ) -> None:
        self.close()

    def record(self, writer: TraceWriter) -> None:
        """Record what the machine does from now on, events and notes; it has run nothing yet, and
        was made with the writer's ``ring``. Whoever made the writer closes it. MmuError: the ring
        is another.

        >>> with TraceWriter.open("run.trace", processor_head(geometry)) as writer:
        ...     machine = Machine(memory, geometry=geometry, ring=writer.ring)
        ...     machine.record(writer)
        """
        if self.kernel.ring is not writer.ring:
            raise MmuError("record(): make the machine with ring=writer.ring")
        self.memory.record(writer.ring)
        Recorder(self.system, writer)
        writer.ring.enable()

    def close(self) -> None:
        """Free the vCPUs; nothing of this machine may be used afterwards, but its memory. Its ring
        records no more: what Unicorn asks for when it loses our hooks is no event of a guest.
        """
        if self.kernel.ring is not None:
            self.kernel.ring.enable(False)
        if self._tree is not None:
            self._tree.close()
        for vcpu in self.vcpus:
            vcpu.close()

    # The first process.

    def spawn(
        self,
        program: str,
        *,
        args: Sequence[str] = (),
        argv0: str | None = None,
        env: Mapping[str, str] | None = None,
        view: View | None = None,
        cred: Cred | None = None,
        streams: tuple[int, int, int] = (0, 1, 2),
        on_sample: Callable[[Sample], None] | None = None,
    ) -> Process:
        """Make a process that will run ``program``, a path in the guests' tree, or a name that is
        looked for there in the PATH of ``env``, from run() on.

        ``argv0`` is what it is called, None: ``program``. ``streams`` are the host descriptors
        behind 0, 1 and 2; ``view`` says what of the host's files the guests see, None: the program
        alone; ``cred`` says who it is, None: the user who calls; ``on_sample`` hears of each
        sample. Raises ElfError if it is no program that can run, ViewError, OutOfMemory.
        """
        system = self.system
        mounts = {
            "/proc": ProcRoot(system, proc_files(system)),
            "/sys": sys_files(system),
            "/dev": dev_files(system.random, tty_devices(system)),
        }
        view = View(given=seen(program)) if view is None else view
        self.space.limit = view.limit
        who = cred or Cred.of(os.getuid(), os.getgid(), tuple(os.getgroups()))
        tree = self._tree = FileSystem(
            mounts, view, self.inodes, cred=lambda: self._cred(who), scheduler=self.scheduler
        )
        try:
            fs = FsStruct(tree, view.cwd)
            fs.set_pwd(fs.pwd)
        except LinuxError as error:
            raise ViewError(view.cwd, f"no working directory: {os.strerror(error.errno)}") from None
        path = program if "/" in program else search_path(fs, program, (env or {}).get("PATH", ""))
        words = [text.encode("utf-8", "surrogateescape") for text in (argv0 or program, *args)]
        found = open_program(fs, path, words)
        mm = Mm(self.kernel)
        mm.rlimit.set_nofile(RLIMIT_NOFILE)
        mm.fatal_signal_pending = system.fatal_signal_pending
        mm.can_lock_all = system.can_lock_all
        files = FileTable(lambda: mm.rlimit[Resource.NOFILE].cur)
        files.owner = lambda: (self._cred(who).fsuid, self._cred(who).fsgid)
        files.held = system.held_files
        tty = self._host_tty(streams)
        for file in self._standard_streams(fs, streams, tty is not None):
            files.install(file)
        process = Process(system, None, found.exe)
        process.rlimits = mm.rlimit
        process.args = found.args
        process.on_sample = on_sample
        envp = [f"{key}={value}" for key, value in (env or {}).items()]

        def start(task: Task) -> None:
            if system.recorder is not None:
                system.recorder.made(task)
            begin_program(task, found, envp)
            if system.tracer is not None:
                system.tracer.begun(task, path, words, len(envp))

        task = Task(
            process,
            mm,
            files,
            fs,
            who,
            lambda task: run_task(task, lambda: start(task)),
        )
        if tty is not None:
            set_ctty(tty, process)
        self.scheduler.add(task)
        return process

    def keep_files(self) -> int:
        """Make a tree of what guests wrote in the upper layer's directory, after the run; returns
        how many names are not in it (cpu.fs.keep). Raises OSError, LinuxError.
        """
        assert self._tree is not None
        return self._tree.keep()

    def _host_tty(self, streams: Sequence[int]) -> HostTty | None:
        """The terminal that some of the streams are; None: none is."""
        fd = next((fd for fd in streams if os.isatty(fd)), None)
        if fd is None:
            return None
        tty = self.tty = HostTty(self.scheduler, self.system.tty_jobs, fd)
        self.system.devpts.add_tty(tty)
        return tty

    def _standard_streams(
        self, fs: FsStruct, streams: Sequence[int], has_tty: bool
    ) -> Iterator[OpenFile]:
        """What 0, 1 and 2 are: the terminal, where they are one, or what looks like a pipe."""
        terminal = fs.open("/dev/pts/0", O_RDWR | O_NOCTTY) if has_tty else None
        for fd, host_fd in enumerate(streams):
            if terminal is not None and os.isatty(host_fd):
                yield terminal
            else:
                flags = O_WRONLY if fd else O_RDONLY
                yield Stream(host_fd, flags, fd + 3, self.scheduler)

    def _cred(self, first: Cred) -> Cred:
        """Who asks for a file: the task that runs, before there is one the first."""
        task = self.scheduler.current
        return task.cred if isinstance(task, Task) else first

    # The run.

    def run(self, on_figures: Callable[[RunResult], None] | None = None) -> RunResult:
        """Run all processes to their end; each is checked and torn down when it ends.

        ``on_figures`` gets the result before the checks of the first process, which take their
        time: all but ``problems`` and the tables freed by the teardown. Raises ElfError if the
        first program cannot be loaded, and MmBug if an mm broke an invariant of its own.
        """
        self._started = time.perf_counter()
        first = self.system.processes[0]

        def before_teardown(process: Process) -> None:
            if process is first and on_figures is not None:
                figures = self.figures()
                figures.policy = self.kernel.policy_figures()
                on_figures(figures)

        self.system.before_teardown = before_teardown
        try:
            self.scheduler.run()
        except BaseException:
            with suppress(Exception):
                if on_figures is not None:
                    on_figures(self.figures())
            self._abandon()
            raise
        return self._finish()

    def _abandon(self) -> None:
        """A run that cannot go on: give back what its processes hold, as far as that can be."""
        for process in self.system.processes:
            for task in process.threads:
                with suppress(Exception):
                    task.mm.exit_mmap()
                task.files.put()
                task.fs.put()
            if process.result is None:
                process.exe.put()
        with suppress(Exception):
            self.inodes.close()
        self.scheduler.halt()

    def _finish(self) -> RunResult:
        self.system.ipc.close()
        self.inodes.close()
        for vcpu in self.vcpus:
            vcpu.sync()
        self.scheduler.halt()
        result = self.figures()
        result.policy = self.kernel.policy_figures()
        result.problems += self.system.problems
        leaked = self._frames_before - self.memory.free_frames
        if leaked:
            result.problems.append(f"{leaked} frames of guest RAM were not given back")
        result.pte_tables_freed = result.mm_counters["pte_tables_freed"]
        result.checks_finished = True
        result.seconds = time.perf_counter() - self._started
        return result

    def figures(self) -> RunResult:
        """Return the figures of this moment, while the programs run; from any thread.

        What the kernel is changing just then may be a step ahead of the rest.
        """
        system = self.system
        reports = [process.result or result_of(process) for process in system.processes]
        return self._total(reports)

    def _total(self, reports: list[ProcessResult]) -> RunResult:
        first, system = reports[0], self.system
        own = [report for report in reports if not report.shares_mm]
        counted = all(vcpu.counting for vcpu in self.vcpus)
        limits = 0
        for vcpu in self.vcpus:
            limits |= int(vcpu.shared.limits)
        mmus = [cpu.mmu for cpu in self.kernel.cpus]
        checks = [mmu.check for mmu in mmus if mmu.check is not None]
        mm_counters = total(report.mm_counters for report in own)
        ends = [
            f"process {report.pid}: {report.report}" if len(reports) > 1 else str(report.report)
            for report in reports
            if report.report is not None
        ]
        return RunResult(
            exit_code=first.exit_code,
            ended=first.ended,
            report=first.report,
            vm=total(report.vm for report in own),
            pte_tables_allocated=mm_counters["pte_tables_allocated"],
            pte_tables_freed=mm_counters["pte_tables_freed"],
            pte_tables_freed_before_exit=sum(r.pte_tables_freed_before_exit for r in own),
            page_faults=mm_counters["pgfault"],
            instructions=sum(report.instructions or 0 for report in reports) if counted else None,
            syscalls=system.nr_syscalls,
            seconds=time.perf_counter() - self._started,
            samples=first.samples,
            unknown_syscalls=system.notes.unknown_syscalls(),
            counters={}
            if self.fidelity is Fidelity.FAST
            else total(mmu.counters() for mmu in mmus),
            mm_counters=mm_counters,
            kernel_counters=self.kernel.counters(),
            processes=reports,
            notes=[*system.notes.lines(limits), *ends],
            stale_translations=[use for check in checks for use in check.uses()]
            if checks
            else None,
        )

    def progress(self) -> dict[str, int | None]:
        """Instructions of all CPUs, and VmRSS and VmPTE of all processes that live, kB; from any
        thread.
        """
        mms = {id(task.mm): task.mm for task in list(self.system.tasks.values())}
        counted = all(vcpu.counting for vcpu in self.vcpus)
        return {
            "instructions": sum(vcpu.instructions or 0 for vcpu in self.vcpus) if counted else None,
            "VmRSS": sum(sum(mm.c.rss_stat) for mm in mms.values()) << 2,
            "VmPTE": sum(int(mm.c.pgtables_bytes) for mm in mms.values()) >> 10,
        }

    def stop(self) -> None:
        """Have the run end soon, with its figures; safe from any thread and from signal
        handlers.
        """
        self.system.stop()

    def _deadlock(self) -> None:
        """Every task waits for what cannot come: the first process ends as if killed, and says what
        each waits for; the others end with it.
        """
        waits = "; ".join(self.scheduler.waits())
        for process in self.system.processes:
            if process.result is None and process.end is None:
                report = SignalReport(
                    signo=SIGKILL,
                    code="SI_KERNEL",
                    reason=f"deadlock: {waits}",
                    rip=self.scheduler.instruction_pointer(process.threads[0]),
                )
                process.end = TaskEnd(128 + SIGKILL, "signal", report)
                for task in process.threads:
                    signal_wake_up(task)
