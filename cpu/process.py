# SPDX-License-Identifier: GPL-2.0-or-later
"""A Linux process on a vCPU: exec, the loop between guest and kernel, exit and teardown.

::

    LinuxProcess(vcpu, mm, exe, ...)      a System and a Task, with files, signals, clock
      .run()
        exec()                            load_elf_binary(), then CPL 3 at the entry point
        loop: vcpu.run(limit)
          SYSCALL      TABLE[nr](task, arguments...)      cpu/syscalls/
          PAGE_FAULT   handle_page_fault(task, exit)      cpu/exceptions.py
          EXCEPTION    handle_exception(task, exit)
          LIMIT        a sample is due                    cpu/samples.py
        RunResult      figures at the exit, then exit_mmap() and the checks
"""

from __future__ import annotations

import errno
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from cpu.binfmt_elf import Identity, load_elf_binary
from cpu.elf import Executable
from cpu.exceptions import handle_exception, handle_page_fault
from cpu.files import O_RDONLY, O_WRONLY, RLIMIT_NOFILE, FileSystem, FileTable, Stream
from cpu.pseudo_files import pseudo_files
from cpu.result import RunResult
from cpu.samples import Sample, Samples
from cpu.syscalls.table import NR_SYSCALLS, TABLE
from cpu.system import System
from cpu.task import FIRST_PID, Task, TaskEnd
from cpu.vcpu import VCpu, VmExit
from mmu.errors import LinuxError, MmuError
from mmu.events import EVENT_ID
from mmu.linux import engine
from mmu.linux.filemap import MappedFile
from mmu.linux.mm import Mm
from mmu.linux.procfs import TaskInfo
from mmu.linux.resource import Resource
from mmu.units import U32, U64
from mmu.x86.check import ChangedBy

HWCAP: Final = 0x78BFBFD
"""EDX of CPUID leaf 1 as the vCPU's model answers it."""
PGD_FRAMES: Final = 1
"""Frames that an mm holds from its making on."""
_SYS_ENTER: Final = EVENT_ID["sys_enter"]
_SYS_EXIT: Final = EVENT_ID["sys_exit"]


class LinuxProcess:
    """One program, one thread, from exec to the last page of its address space.

    The mm must be fresh; ``streams`` are the host descriptors behind 0, 1 and 2; ``allow`` lists
    host paths the guest may read; ``seed`` gives all its random numbers; ``on_sample`` hears of
    each sample. Raises AllowError.
    """

    def __init__(
        self,
        vcpu: VCpu,
        mm: Mm,
        exe: Executable,
        *,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        seed: int = 0,
        allow: Sequence[str] = (),
        cwd: str = "/",
        streams: tuple[int, int, int] = (0, 1, 2),
        on_sample: Callable[[Sample], None] | None = None,
    ) -> None:
        self.vcpu = vcpu
        self.mm = mm
        self.argv = [exe.path, *args]
        self.env = dict(env or {})
        self.system = System(vcpu, seed=seed)
        mm.rlimit.set_nofile(RLIMIT_NOFILE)
        mm.fatal_signal_pending = lambda: self.system.stopping
        self.image = MappedFile(exe.data, path=exe.real_path)
        self.image.get()
        own_links = ("/proc/self/exe", f"/proc/{FIRST_PID}/exe")
        fs = FileSystem(
            pseudo_files(mm, FIRST_PID, self._task_info),
            (exe.real_path, *own_links),
            self.image,
            exe.data,
            allow=allow,
            cwd=cwd,
        )
        files = self._open_streams(streams)
        self.task = Task(self.system, vcpu, mm, exe, files, fs, own_links=frozenset(own_links))
        self.samples = Samples()
        self.on_sample = on_sample
        self._ring = mm.kernel.ring
        self._rcu = mm.kernel.c.rcu
        self._ram = mm.memory.c
        self._started = time.perf_counter()

    def _open_streams(self, streams: tuple[int, int, int]) -> FileTable:
        files = FileTable(lambda: self.mm.rlimit[Resource.NOFILE].cur)
        for fd, host_fd in enumerate(streams):
            flags = O_WRONLY if fd else O_RDONLY
            files.install(Stream(host_fd, flags, fd + 3, lambda: self.system.stopping))
        return files

    def _task_info(self) -> TaskInfo:
        task = self.task
        name = task.comm.decode("utf-8", "replace")
        return TaskInfo(name=name, pid=task.pid, ppid=1, uid=task.uid, gid=task.gid)

    def run(self, on_figures: Callable[[RunResult], None] | None = None) -> RunResult:
        """Run the program to its end, check the tables, and tear the address space down.

        ``on_figures`` gets the result before the checks, which take their time: all but
        ``problems`` and the tables freed by the teardown. Raises ElfError if the program cannot be
        loaded, and MmBug if the mm broke an invariant of its own; then, too, nothing is left
        mapped.
        """
        self._started = time.perf_counter()
        frames_before = self.mm.memory.free_frames
        problems: list[str] = []
        try:
            self._exec()
            result = self._result(self._loop())
            if on_figures is not None:
                on_figures(result)
            result.problems += self.mm.check_tables().problems
        finally:
            self._teardown(problems)
        freed = self._check_teardown(problems, frames_before)
        result.finish(problems, freed, self._started)
        return result

    def figures(self) -> RunResult:
        """Return the figures of this moment, while the program runs; from any thread.

        What the kernel is changing just then may be a step ahead of the rest.
        """
        return self._result(_stopped())

    def stop(self) -> None:
        """Have the run end soon, with its figures; safe from any thread and from signal
        handlers.
        """
        self.system.stop()

    def _result(self, end: TaskEnd) -> RunResult:
        return RunResult.of(self.task, end, self.samples, self._started)

    # The loop.

    def _exec(self) -> None:
        task = self.task
        identity = Identity(task.uid, task.gid, self.system.random.randbytes(16), HWCAP)
        start = load_elf_binary(self.mm, task.exe, self.image, self.argv, self.env, identity)
        self.vcpu.enter_user(start.rip, start.rsp)

    def _loop(self) -> TaskEnd:
        step = self._step
        try:
            while True:
                step()
        except TaskEnd as end:
            return end

    def _step(self) -> None:
        """Guest code until the kernel is needed, then that."""
        exit_ = self.vcpu.run(self.samples.due if self.vcpu.counting else None)
        reason = exit_.reason
        if reason == VmExit.SYSCALL:
            self._syscall(exit_)
        elif reason == VmExit.PAGE_FAULT:
            handle_page_fault(self.task, exit_)
        elif reason == VmExit.LIMIT:
            self._sample()
        elif reason == VmExit.EXCEPTION:
            handle_exception(self.task, exit_)
        elif reason == VmExit.STOPPED:
            raise _stopped()
        if self._rcu.nr_pending:
            engine.rcu_process_callbacks(self.mm.kernel)
        if self._ram.nr_dirty_free > self._ram.keep_dirty:
            self.mm.memory.trim(self._ram.keep_dirty // 2)

    def _syscall(self, exit_: Any) -> None:
        nr, arg, task, ring = exit_.nr, exit_.arg, self.task, self._ring
        self.system.nr_syscalls += 1
        task.entered_kernel(ChangedBy.SYSCALL, nr, exit_.insn)
        if ring is not None:
            ring.emit(_SYS_ENTER, nr, arg[0], arg[1])
        if nr >= NR_SYSCALLS:
            nr &= U32  # the kernel looks at eax alone
        handler = TABLE[nr] if nr < NR_SYSCALLS else None
        try:
            if handler is None:
                self.system.notes.add_unknown_syscall(nr, exit_.insn)
                result = -errno.ENOSYS
            else:
                result = handler(task, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5])
        except LinuxError as error:
            result = -error.errno
        self.vcpu.set_result(result & U64)
        if ring is not None:
            ring.emit(_SYS_EXIT, nr, result & U64)

    def _sample(self) -> None:
        sample = self.samples.take(self.mm, self.vcpu.instructions or 0)
        if self.on_sample is not None:
            self.on_sample(sample)

    # The end.

    def _teardown(self, problems: list[str]) -> None:
        """Give everything back: address space, files, the program's pages."""
        try:
            self.mm.exit_mmap()
        except MmuError as error:
            problems.append(str(error))
        self.task.files.close_all()
        self.task.fs.close()
        self.image.put()

    def _check_teardown(self, problems: list[str], frames_before: int) -> int:
        """Every table that was made is freed, and every frame is free again; returns how many
        tables were freed.
        """
        self.vcpu.sync()
        counters = self.mm.counters()
        made, freed = counters["pte_tables_allocated"], counters["pte_tables_freed"]
        if made != freed:
            problems.append(f"{made} PTE tables were allocated, {freed} freed")
        leaked = frames_before + PGD_FRAMES - self.mm.memory.free_frames
        if leaked:
            problems.append(f"{leaked} frames of guest RAM were not given back")
        return freed


def _stopped() -> TaskEnd:
    return TaskEnd(128 + signal.SIGINT, "stopped")
