# SPDX-License-Identifier: GPL-2.0-or-later
"""A Linux process on a vCPU: exec, the loop between guest and kernel, signals, exit and its
accounts.

::

    LinuxProcess(vcpu, mm, exe, ...)      files, signals, clock, random numbers
      .run()
        exec()                            load_elf_binary(), then CPL 3 at the entry point
        loop: vcpu.run(limit)
          SYSCALL      TABLE[nr](process, arguments...)
          PAGE_FAULT   mm.handle_user_fault() -> again, or a signal
          EXCEPTION    RDTSC and its like are emulated, the rest is a signal
          LIMIT        a sample is due
        RunResult      figures at the exit, then exit_mmap() and the checks
"""

from __future__ import annotations

import errno
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from unicorn.x86_const import (
    UC_X86_REG_FPCW,
    UC_X86_REG_FPSW,
    UC_X86_REG_MXCSR,
    UC_X86_REG_RAX,
    UC_X86_REG_RCX,
    UC_X86_REG_RDX,
)

from cpu._engine import lib
from cpu.binfmt_elf import Identity, load_elf_binary
from cpu.clock import SYSCALL_NS, VirtualClock
from cpu.disasm import disassemble_one, feature_of
from cpu.elf import Executable
from cpu.files import RLIMIT_NOFILE, FileSystem, FileTable, Stream
from cpu.fpu import X86_TRAP_MF, X86_TRAP_XF, fpu_exception_code
from cpu.samples import Sample, Samples
from cpu.signals import Action, SignalReport, SignalState, default_action, sigmask, signal_name
from cpu.syscalls import NR_SYSCALLS, TABLE, syscall_name
from cpu.vcpu import Fidelity, Intercept, VCpu, VmExit
from mmu.errors import BadTable, LinuxError, MmuError
from mmu.events import EVENT_ID
from mmu.linux import engine, procfs
from mmu.linux.fault import BUS_ADRERR, SEGV_ACCERR, SEGV_MAPERR, OomKill, Segv
from mmu.linux.filemap import MappedFile
from mmu.linux.mm import Mm
from mmu.linux.resource import Resource
from mmu.x86 import Access
from mmu.x86.check import ChangedBy, StaleUse

U64 = (1 << 64) - 1
PID = 1000
UID = GID = 1000
O_WRONLY = 1
HWCAP = 0x78BFBFD
"""EDX of CPUID leaf 1 as the vCPU's model answers it."""
MAX_INSTRUCTION = 15
"""Bytes (SDM vol. 2 2.3.11)."""
PGD_FRAMES = 1
"""Frames that an mm holds from its making on."""
INVALID_OPCODE, GENERAL_PROTECTION = 6, 13
_SYS_ENTER, _SYS_EXIT = EVENT_ID["sys_enter"], EVENT_ID["sys_exit"]

EXCEPTION_SIGNALS: dict[int, tuple[int, str, str]] = {
    0: (signal.SIGFPE, "FPE_INTDIV", "divide error"),
    1: (signal.SIGTRAP, "TRAP_TRACE", "debug exception"),
    3: (signal.SIGTRAP, "SI_KERNEL", "breakpoint"),
    4: (signal.SIGSEGV, "SI_KERNEL", "overflow"),
    5: (signal.SIGSEGV, "SI_KERNEL", "BOUND range exceeded"),
    6: (signal.SIGILL, "ILL_ILLOPN", "invalid opcode"),
    7: (signal.SIGSEGV, "SI_KERNEL", "device not available"),
    11: (signal.SIGBUS, "SI_KERNEL", "segment not present"),
    12: (signal.SIGBUS, "SI_KERNEL", "stack-segment fault"),
    13: (signal.SIGSEGV, "SI_KERNEL", "general protection"),
    16: (signal.SIGFPE, "FPE_FLTINV", "x87 floating-point error"),
    17: (signal.SIGBUS, "BUS_ADRALN", "alignment check"),
    19: (signal.SIGFPE, "FPE_FLTINV", "SIMD floating-point error"),
}
"""By vector: signal, si_code and name (arch/x86/kernel/traps.c)."""
MISSING_FEATURE = (
    "{0}, which the processor modelled does not have, and CPUID says so (it is an x86-64-v2: up to SSE4.2);"
    " build the program without it (gcc -march=x86-64-v2), or let it choose its code by CPUID"
)
_GLIBC_CHOOSES = frozenset({"AVX", "AVX2", "AVX-512", "FMA", "FMA4", "BMI1", "BMI2", "MOVBE"})
TUNABLES = ", as glibc does (in other environments GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX,-AVX2 makes it choose the same)"
WRONG_IN_UNICORN = (
    "a processor executes it, but Unicorn would with a wrong result (docs/engine_limits.md)"
)
LIMIT_NOTES: dict[int, str] = {
    lib.LIMIT_X87_PRECISION: (
        "the program has x87 instructions that are computed to about 53 of their 64 bits here"
        " (FSIN, FCOS, FPTAN, FPATAN, F2XM1, FYL2X): results may differ from a processor's"
    ),
    lib.LIMIT_MXCSR: (
        "the program reads or writes MXCSR, whose exception flags are never set here (fetestexcept() may find nothing)"
        " and whose FZ, flush to zero, does nothing"
    ),
}
"""What the report says of each limit of Unicorn's that a guest's code has met;
docs/engine_limits.md has all.
"""
MAX_UNKNOWN, MAX_NOTES = 256, 64
"""Different unknown system calls, and lines about a run, that are kept; of more only the number is
told.
"""
_WITH_RIP_AS_ADDRESS = frozenset({0, 6, 16, 19})
_FAULT_REASONS: dict[tuple[int, int], tuple[str, str]] = {
    (signal.SIGSEGV, SEGV_MAPERR): ("SEGV_MAPERR", "{} where nothing is mapped"),
    (signal.SIGSEGV, SEGV_ACCERR): ("SEGV_ACCERR", "{} that the mapping does not allow"),
    (signal.SIGBUS, BUS_ADRERR): ("BUS_ADRERR", "{} past the end of the mapped file"),
}


@dataclass(frozen=True)
class UnknownSyscall:
    """A system call that got ENOSYS because there is none of that number here."""

    nr: int
    name: str
    rip: int
    """Of the SYSCALL instruction."""
    count: int

    def __str__(self) -> str:
        """One line."""
        return f"unknown system call {self.nr} ({self.name}) at RIP {self.rip:#x}: answered ENOSYS, {self.count} times"


@dataclass
class RunResult:
    """What a run leaves: figures as they were when the guest ended, before its address space went."""

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

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON takes it."""
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


class ProcessEnd(Exception):
    """Leaves the run loop: the guest is over."""

    def __init__(self, exit_code: int, ended: str, report: SignalReport | None = None) -> None:
        super().__init__(ended)
        self.exit_code = exit_code
        self.ended = ended
        self.report = report


class LinuxProcess:
    """One program, one thread, from exec to the last page of its address space.

    The mm must be fresh; ``streams`` are the host descriptors behind 0, 1 and 2; ``allow`` lists
    host paths the guest may read; ``seed`` gives all its random numbers; ``on_sample`` hears of
    each sample.
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
        self.rlimits = mm.rlimit
        self.rlimits.set_nofile(RLIMIT_NOFILE)
        mm.fatal_signal_pending = lambda: self.stopping
        self.exe = exe
        self.argv = [exe.path, *args]
        self.env = dict(env or {})
        self.pid, self.uid, self.gid = PID, UID, GID
        self.comm = exe.path.rpartition("/")[2].encode("utf-8", "surrogateescape")[:15]
        self.random = random.Random(seed)
        self.clock = VirtualClock(self._elapsed_ns)
        self.signals = SignalState()
        self.nr_syscalls = 0
        self.unknown: dict[tuple[int, int], int] = {}
        self.unknown_unlisted = 0
        self.samples = Samples()
        self.on_sample = on_sample
        self.stopping = False
        self._started = time.perf_counter()
        self.notes: list[str] = []
        self.ring = mm.kernel.ring
        self._rcu = mm.kernel.c.rcu
        self._ram = mm.memory.c
        self.image = MappedFile(exe.data, path=exe.real_path)
        self.image.get()
        self.files = FileTable(lambda: self.rlimits[Resource.NOFILE].cur)
        for fd, host_fd in enumerate(streams):
            self.files.install(
                Stream(host_fd, O_WRONLY if fd else 0, fd + 3, lambda: self.stopping)
            )
        own = (exe.real_path, "/proc/self/exe", f"/proc/{PID}/exe")
        self._own_links = frozenset(own[1:])
        self.fs = FileSystem(self._made_up_files(), own, self.image, exe.data, allow=allow, cwd=cwd)

    def is_own_link(self, path: str) -> bool:
        """Whether the path is the link to the program."""
        return path in self._own_links

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
        result.pte_tables_freed = self._check_teardown(problems, frames_before)
        result.problems += problems
        result.checks_finished = True
        result.seconds = time.perf_counter() - self._started
        return result

    def figures(self) -> RunResult:
        """The figures of this moment, while the program runs; from any thread.

        What the kernel is changing just then may be a step ahead of the rest.
        """
        return self._result(ProcessEnd(128 + signal.SIGINT, "stopped"))

    def stop(self) -> None:
        """Have the run end soon, with its figures; safe from any thread and from signal handlers."""
        self.stopping = True
        self.vcpu.stop()

    def _made_up_files(self) -> dict[str, Callable[[], bytes]]:
        """The files of /proc and /sys that the guest may see, by path."""
        mm = self.mm
        task = procfs.TaskInfo(
            name=self.comm.decode("utf-8", "replace"),
            pid=self.pid,
            ppid=1,
            uid=self.uid,
            gid=self.gid,
        )
        texts: dict[str, Callable[[], str]] = {
            "/proc/meminfo": lambda: _meminfo(mm),
            "/proc/sys/vm/overcommit_memory": lambda: f"{mm.kernel.overcommit_memory}\n",
            "/sys/devices/system/cpu/online": lambda: "0\n",
            "/sys/kernel/mm/transparent_hugepage/enabled": lambda: "always madvise [never]\n",
        }
        for own in ("self", str(self.pid)):
            texts[f"/proc/{own}/status"] = lambda: procfs.status(mm, task)
            texts[f"/proc/{own}/maps"] = lambda: procfs.maps(mm)
            texts[f"/proc/{own}/statm"] = lambda: procfs.statm(mm)
            texts[f"/proc/{own}/limits"] = self.rlimits.proc_limits
        return {path: _encoded(text) for path, text in texts.items()}

    # The loop.

    def _exec(self) -> None:
        identity = Identity(self.uid, self.gid, self.random.randbytes(16), HWCAP)
        start = load_elf_binary(self.mm, self.exe, self.image, self.argv, self.env, identity)
        self.vcpu.enter_user(start.rip, start.rsp)

    def _loop(self) -> ProcessEnd:
        step = self._step
        try:
            while True:
                step()
        except ProcessEnd as end:
            return end

    def _step(self) -> None:
        """Guest code until the kernel is needed, then that."""
        exit_ = self.vcpu.run(self.samples.due if self.vcpu.counting else None)
        reason = exit_.reason
        if reason == VmExit.SYSCALL:
            self._syscall(exit_)
        elif reason == VmExit.PAGE_FAULT:
            self._page_fault(exit_)
        elif reason == VmExit.LIMIT:
            self._sample()
        elif reason == VmExit.EXCEPTION:
            self._exception(exit_)
        elif reason == VmExit.STOPPED:
            raise ProcessEnd(128 + signal.SIGINT, "stopped")
        if self._rcu.nr_pending:
            engine.rcu_process_callbacks(self.mm.kernel)
        if self._ram.nr_dirty_free > self._ram.keep_dirty:
            self.mm.memory.trim(self._ram.keep_dirty // 2)

    def _sample(self) -> None:
        sample = self.samples.take(self.mm, self.vcpu.instructions or 0)
        if self.on_sample is not None:
            self.on_sample(sample)

    def _elapsed_ns(self) -> int:
        count = self.vcpu.instructions
        return self.nr_syscalls * SYSCALL_NS if count is None else count

    # System calls.

    def _syscall(self, exit_: Any) -> None:
        nr, arg = exit_.nr, exit_.arg
        self.nr_syscalls += 1
        self._tell_checker(ChangedBy.SYSCALL, nr, exit_.insn)
        if self.ring is not None:
            self.ring.emit(_SYS_ENTER, nr, arg[0], arg[1])
        if nr >= NR_SYSCALLS:
            nr &= 0xFFFFFFFF  # the kernel looks at eax alone
        handler = TABLE[nr] if nr < NR_SYSCALLS else None
        try:
            if handler is None:
                result = self._unknown_syscall(nr, exit_.insn)
            else:
                result = handler(self, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5])
        except LinuxError as error:
            result = -error.errno
        self.vcpu.set_result(result & U64)
        if self.ring is not None:
            self.ring.emit(_SYS_EXIT, nr, result & U64)

    def _tell_checker(self, by: ChangedBy, detail: int, rip: int) -> None:
        """On whose behalf the kernel is at work from here on, if anyone watches its changes of
        tables.
        """
        check = self.mm.kernel.this_cpu.mmu.check
        if check is not None:
            check.enter(by, detail, rip, self.vcpu.instructions)

    def _unknown_syscall(self, nr: int, rip: int) -> int:
        key = nr, rip
        if key not in self.unknown and len(self.unknown) >= MAX_UNKNOWN:
            self.unknown_unlisted += 1
        else:
            self.unknown[key] = self.unknown.get(key, 0) + 1
        return -errno.ENOSYS

    def _unlisted(self) -> list[str]:
        nr = self.unknown_unlisted
        return (
            [f"{nr} more unknown system calls, of other numbers or places: answered ENOSYS"]
            if nr
            else []
        )

    def _limits_met(self) -> list[str]:
        return [note for limit, note in LIMIT_NOTES.items() if self.vcpu.shared.limits & limit]

    def exit(self, status: int) -> NoReturn:
        """End the process with this status, 0 to 255."""
        raise ProcessEnd(status, "exit")

    def deadlock(self, what: str) -> NoReturn:
        """End a process that waits for what can never come, as if it had been killed."""
        raise self._killed(self._report(signal.SIGKILL, "SI_KERNEL", what))

    # Faults, exceptions, signals.

    def _page_fault(self, exit_: Any) -> None:
        address, error_code = exit_.address, exit_.error_code
        self._tell_checker(ChangedBy.FAULT, address, exit_.rip)
        try:
            segv = self.mm.handle_user_fault(address, error_code)
        except OomKill as error:
            raise self._killed(
                self._report(signal.SIGKILL, "SI_KERNEL", f"out of memory: {error}")
            ) from None
        except BadTable as error:
            raise self._killed(
                self._report(signal.SIGKILL, "SI_KERNEL", f"bad page table: {error}")
            ) from None
        if segv is not None:
            self._fault_signal(segv, exit_.access)

    def _fault_signal(self, segv: Segv, access: int) -> NoReturn:
        code, reason = _FAULT_REASONS[segv.signal, segv.code]
        verb = Access(access).verb
        walk = str(self.mm.kernel.this_cpu.mmu.walk(segv.address, Access(access)))
        raise self._killed(self._report(segv.signal, code, reason.format(verb), segv.address, walk))

    def _exception(self, exit_: Any) -> None:
        if exit_.intercept in (Intercept.RDTSC, Intercept.RDTSCP):
            self._emulate_tsc(exit_)
            return
        vector = exit_.vector
        signo, code, reason = EXCEPTION_SIGNALS.get(vector, EXCEPTION_SIGNALS[GENERAL_PROTECTION])
        reason = f"{reason} (vector {vector})"
        if vector in (X86_TRAP_MF, X86_TRAP_XF):
            code = self._fpu_exception_code(vector)
        elif exit_.intercept == Intercept.INT1:
            code = "TRAP_BRKPT"
        elif exit_.intercept == Intercept.WRONG:
            reason = f"{reason}: {WRONG_IN_UNICORN}"
        elif (
            vector == INVALID_OPCODE
            and (feature := feature_of(self.vcpu.peek(exit_.insn))) is not None
        ):
            hint = TUNABLES if feature in _GLIBC_CHOOSES else ""
            reason = f"{reason}: {MISSING_FEATURE.format(feature)}{hint}"
        address = (
            exit_.rip if vector in _WITH_RIP_AS_ADDRESS else 0 if signo == signal.SIGSEGV else None
        )
        raise self._killed(self._report(signo, code, reason, address, at=exit_.insn))

    def _fpu_exception_code(self, vector: int) -> str:
        fcw, fsw, mxcsr = map(
            self.vcpu.read_reg, (UC_X86_REG_FPCW, UC_X86_REG_FPSW, UC_X86_REG_MXCSR)
        )
        return fpu_exception_code(vector, fcw, fsw, mxcsr)

    def _emulate_tsc(self, exit_: Any) -> None:
        """Carry out RDTSC or RDTSCP (SDM vol. 2B), whose processor is number 0."""
        stamp = self.clock.tsc()
        self.vcpu.write_reg(UC_X86_REG_RAX, stamp & 0xFFFFFFFF)
        self.vcpu.write_reg(UC_X86_REG_RDX, stamp >> 32)
        if exit_.intercept == Intercept.RDTSCP:
            self.vcpu.write_reg(UC_X86_REG_RCX, 0)
        self.vcpu.skip(exit_.length)

    def send_signal(self, signo: int) -> None:
        """Send a signal to the process: it is dropped, waits while blocked, or acts by default.

        Raises ProcessEnd if it ends the process.
        """
        if self.signals.ignores(signo):
            return
        self.signals.pending |= sigmask(signo)
        self.deliver_signals()

    def _note(self, line: str) -> None:
        """Say something about the run once, however often it happens."""
        if line not in self.notes and len(self.notes) < MAX_NOTES:
            self.notes.append(line)

    def deliver_signals(self) -> None:
        """Let every pending signal that is not blocked act."""
        while (signo := self.signals.take_deliverable()) is not None:
            if default_action(signo) is Action.IGNORE:
                self._note(
                    f"{signal_name(signo)} was sent; its handler at {self.signals.action(signo).handler:#x}"
                    " was not run: signals act by default here"
                )
                continue
            reason = "sent by the guest itself"
            if default_action(signo) is Action.STOP:
                reason += "; it would stop a process for good, since nobody could continue it"
            raise self._killed(self._report(signo, "SI_USER", reason))

    def _report(
        self,
        signo: int,
        code: str,
        reason: str,
        address: int | None = None,
        walk: str = "",
        at: int | None = None,
    ) -> SignalReport:
        rip = self.vcpu.rip
        return SignalReport(
            signo=signo,
            code=code,
            reason=reason,
            rip=rip,
            address=address,
            instruction=self._disassemble(rip if at is None else at),
            walk=walk,
            handler=self.signals.action(signo).handler,
        )

    def _disassemble(self, rip: int) -> str:
        code = self.vcpu.peek(rip, MAX_INSTRUCTION)
        return disassemble_one(code, rip) if code else ""

    @staticmethod
    def _killed(report: SignalReport) -> ProcessEnd:
        return ProcessEnd(128 + report.signo, "signal", report)

    # The end.

    def _result(self, end: ProcessEnd) -> RunResult:
        mm, counters = self.mm, self.mm.counters()
        count = self.vcpu.instructions
        return RunResult(
            exit_code=end.exit_code,
            ended=end.ended,
            report=end.report,
            vm=mm.vm_stats(),
            pte_tables_allocated=counters["pte_tables_allocated"],
            pte_tables_freed=counters["pte_tables_freed"],
            pte_tables_freed_before_exit=counters["pte_tables_freed"],
            page_faults=counters["pgfault"],
            instructions=count,
            syscalls=self.nr_syscalls,
            seconds=time.perf_counter() - self._started,
            samples=[] if count is None else self.samples.series(mm, count),
            unknown_syscalls=[
                UnknownSyscall(nr, syscall_name(nr), rip, times)
                for (nr, rip), times in list(self.unknown.items())
            ],
            counters=mm.kernel.this_cpu.mmu.counters()
            if self.vcpu.fidelity is not Fidelity.FAST
            else {},
            mm_counters=counters,
            notes=[
                *self.notes,
                *self._limits_met(),
                *self._unlisted(),
                *([str(end.report)] if end.report else []),
            ],
            stale_translations=None
            if mm.kernel.this_cpu.mmu.check is None
            else mm.kernel.this_cpu.mmu.check.uses(),
        )

    def _teardown(self, problems: list[str]) -> None:
        """Give everything back: address space, files, the program's pages."""
        try:
            self.mm.exit_mmap()
        except MmuError as error:
            problems.append(str(error))
        self.files.close_all()
        self.fs.close()
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


def _meminfo(mm: Mm) -> str:
    """/proc/meminfo's lines that have a meaning here, kB."""
    total, free = mm.memory.size >> 10, mm.memory.free_frames << 2
    lines = {
        "MemTotal": total,
        "MemFree": free,
        "MemAvailable": free,
        "PageTables": mm.c.pgtables_bytes >> 10,
    }
    return "".join(f"{name + ':':<16}{value:8} kB\n" for name, value in lines.items())


def _encoded(text: Callable[[], str]) -> Callable[[], bytes]:
    return lambda: text().encode("utf-8", "surrogateescape")
