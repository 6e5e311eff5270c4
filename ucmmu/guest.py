# SPDX-License-Identifier: GPL-2.0-or-later
"""What the supervised child does: build the machine, run the guest, say what came of it."""

from __future__ import annotations

import threading
from typing import IO, TYPE_CHECKING

from cpu.disasm import disassemble_one
from cpu.elf import ElfError, Executable, read_executable
from cpu.files import Stream
from cpu.process import LinuxProcess
from cpu.vcpu import Fidelity, VCpu
from mmu.errors import MmuError
from mmu.events import EventRing
from mmu.linux.mm import MmStruct
from mmu.linux.pt_reclaim import FreeTables
from mmu.memory import Memory
from mmu.x86 import Geometry, Mmu, load_geometry
from mmu.x86.check import StaleUse
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.options import RunOptions, find_program
from ucmmu.supervise import Link, Message
from ucmmu.trace_text import RING_RECORDS, TracePrinter

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRESS_INTERVAL = 0.25
"""Seconds between progress messages."""


def run_guest(options: RunOptions, link: Link, trace: IO[str] | None, *, progress: bool) -> Message:
    """Run the guest that ``options`` name and return its report, as ``RunResult.as_dict()`` has it.

    Raises Failure for what keeps it from starting (NO_PROGRAM, USAGE, NO_RAM) and for a trace that
    cannot be written (NO_OUTPUT). A check of ours that failed makes the exit code INTERNAL.
    """
    exe = _executable(options)
    machine = Machine(options, _geometry(options), trace)
    process = LinuxProcess(machine.vcpu, machine.mm, exe, args=options.args, allow=options.allow)
    if progress:
        _report_progress(link, machine, process)
    link.on_stop(process.stop)
    try:
        result = process.run()
    except ElfError as error:
        raise Failure(ExitCode.NO_PROGRAM, str(error)) from None
    machine.close_trace(options)
    report = result.as_dict()
    if result.problems:
        report["exit_code"], report["ended"] = int(ExitCode.INTERNAL), "failed"
        report["error"] = f"internal error: a check failed: {'; '.join(result.problems)}"
    elif result.stale_translations:
        report["exit_code"] = int(ExitCode.STALE)
        report["error"] = _stale(result.stale_translations)
    return report


def _stale(uses: list[StaleUse]) -> str:
    used = sum(use.used for use in uses)
    return f"--check-tlb: {used} stale translations were used, {len(uses) - used} more may have been"


def _executable(options: RunOptions) -> Executable:
    try:
        return read_executable(str(find_program(options.program)))
    except ElfError as error:
        raise Failure(ExitCode.NO_PROGRAM, str(error)) from None


def _geometry(options: RunOptions) -> Geometry:
    try:
        return load_geometry(options.tlb)
    except MmuError as error:
        raise Failure(ExitCode.USAGE, f"--tlb {options.tlb}: {error}") from None


class Machine:
    """Guest RAM, one processor and an empty address space, as ``options`` say."""

    def __init__(self, options: RunOptions, geometry: Geometry, trace: IO[str] | None) -> None:
        try:
            self.memory = Memory(options.ram)
        except MmuError as error:
            raise Failure(ExitCode.NO_RAM, f"--ram: {error}") from None
        self.printer: TracePrinter | None = None
        self.ring: EventRing | None = None
        if trace is not None:
            arrays = [array.name for array in geometry.arrays]
            self.printer = TracePrinter(trace, self._read_code, disassemble_one, arrays)
            self.ring = EventRing(RING_RECORDS, on_full=self.printer.drain)
            self.ring.enable()
            self.memory.record(self.ring)
        try:
            self._build(options, geometry)
        except MmuError as error:
            raise Failure(ExitCode.NO_RAM, f"--ram: too little to begin with: {error}") from None

    def _build(self, options: RunOptions, geometry: Geometry) -> None:
        fidelity = Fidelity.from_label(options.fidelity)
        self.mmu = Mmu(
            self.memory,
            geometry=geometry,
            engine=options.engine,
            exact=fidelity is not Fidelity.FAST,
            ring=self.ring,
            check=options.check_tlb,
        )
        self.mm = MmStruct(
            self.memory,
            self.mmu,
            policy=FreeTables.from_label(options.free_tables),
            engine=options.engine,
            ring=self.ring,
        )
        self.vcpu = VCpu(
            self.memory,
            self.mmu,
            self.mm,
            fidelity=fidelity,
            engine=options.engine,
            count=options.count,
            fast_faults=options.fast_faults,
            ring=self.ring,
        )

    def close_trace(self, options: RunOptions) -> None:
        """Print what is left of the trace. Raises Failure (NO_OUTPUT)."""
        if self.printer is None or self.ring is None:
            return
        try:
            self.printer.close(self.ring)
        except OSError as error:
            line = f"--trace-out {options.trace_out}: {error.strerror}"
            raise Failure(ExitCode.NO_OUTPUT, line) from None

    def _read_code(self, address: int, size: int) -> bytes:
        return self.vcpu.peek(address, size)


class _AnnouncedStream(Stream):
    """One of the guest's output streams, before whose first byte the progress line is taken away."""

    def __init__(self, host_fd: int, hush: Callable[[], None]) -> None:
        super().__init__(host_fd, flags=1, inode=host_fd + 3)
        self._hush = hush

    def write(self, data: bytes) -> int:
        """Write all of it."""
        self._hush()
        return super().write(data)


def _report_progress(link: Link, machine: Machine, process: LinuxProcess) -> None:
    """Send figures now and then, from a thread, and have them end when the guest begins to speak."""
    for fd in (1, 2):
        process.files.replace(fd, _AnnouncedStream(fd, link.hush))

    def send() -> None:
        c = machine.mm.c
        while not link.hushed.is_set():
            link.progress(
                {
                    "instructions": machine.vcpu.instructions,
                    "VmRSS": sum(c.rss_stat) << 2,
                    "VmPTE": int(c.pgtables_bytes) >> 10,
                }
            )
            link.hushed.wait(PROGRESS_INTERVAL)

    threading.Thread(target=send, daemon=True).start()
