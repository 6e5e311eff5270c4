# SPDX-License-Identifier: GPL-2.0-or-later
"""What the supervised child does: build the machine, run the guest, say what came of it."""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from cpu.cred import Cred
from cpu.elf import ElfError
from cpu.fs.files import O_WRONLY
from cpu.fs.streams import Stream
from cpu.fs.view import View, ViewError
from cpu.machine import Machine
from cpu.result import RunResult
from cpu.task import Process
from cpu.vcpu import Fidelity
from mmu.errors import LinuxError, MmuError
from mmu.linux.policy import FreeLevels, check_free_levels
from mmu.linux.state import policy_number
from mmu.memory import Memory
from mmu.x86 import Geometry, load_geometry
from mmu.x86.check import StaleUse
from mmu.x86.geometry import list_geometries
from ucmmu.environment import environment_of
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.isolation import close_strays, isolate
from ucmmu.link import Link, Message
from ucmmu.options import RunOptions, Traces, find_program, is_policy_file
from ucmmu.policy_file import find_policy, policy_failure, policy_label
from ucmmu.seen import view_of
from ucmmu.sizes import format_size
from ucmmu.strace import Strace
from ucmmu.streams import prints_to_stderr
from ucmmu.text import did_you_mean, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cpu.scheduler import Scheduler
    from ucmmu.recording import Recording

MIN_RAM, MAX_RAM = 8 << 10, 16 << 40
"""Bytes of guest RAM (mmu.memory): from MIN_RAM to below MAX_RAM."""
PROGRESS_INTERVAL = 0.25
"""Seconds between progress messages."""


@prints_to_stderr()
def run_guest(
    options: RunOptions, link: Link, traces: Traces, upper: str, *, progress: bool
) -> Message:
    """Run the guest that ``options`` name and return its report, as ``RunResult.as_dict()`` has it,
    with the files it was ``given`` and the ``isolation`` that it ran in.

    ``traces`` are the descriptors that traces go to, ``upper`` the directory for what guests write.
    The figures are sent as soon as the guest has ended, before the checks. Raises Failure for what
    keeps it from starting (NO_PROGRAM, USAGE, NO_RAM). A check of ours that failed makes the exit
    code INTERNAL, a trace that cannot be written ends the run with NO_OUTPUT.
    """
    close_strays({*link.descriptors, *(fd for fd in traces if fd is not None)})
    environment = environment_of(options)
    program = options.program if options.root is not None else _path_of(options.program)
    guest = Guest(options, _geometry(options), traces.trace)
    strace = None if traces.strace is None else Strace(guest.machine, traces.strace)
    view = view_of(options, Path(program) if options.root is None else None, upper, environment)
    process = _spawn(options, guest.machine, program, view, environment)
    guest.machine.system.max_threads = options.max_processes
    about: Message = {
        "cwd": view.cwd,
        "given": [asdict(one) for one in view.given],
        "isolation": isolate(view, options.without_walls),
    }
    tty = guest.machine.tty
    if tty is not None:
        tty.before_use = link.take_terminal
        tty.follow_size()
    if progress:
        _report_progress(link, guest.machine, process)
    link.on_look(lambda: about | _look(guest.machine))
    link.on_stop(guest.machine.stop)
    try:
        result = guest.machine.run(lambda result: link.figures(about | _report(result)))
    except ElfError as error:
        raise Failure(ExitCode.NO_PROGRAM, str(error)) from None
    except (Exception, SystemExit) as error:
        line = policy_failure(guest.policy, error)
        if line is None:
            raise
        if guest.recording is not None:
            guest.recording.close(about)
        raise Failure(ExitCode.POLICY, line) from None
    report = about | _report(result)
    if result.problems and is_policy_file(options.free_tables):
        report["exit_code"] = int(ExitCode.POLICY)
        report["error"] = (
            f"under {options.free_tables} a check failed: {'; '.join(result.problems)}"
        )
    if options.keep is not None:
        report["kept"] = _keep(guest.machine, report)
    unwritten = None if strace is None else strace.close(options)
    recording = guest.recording
    if recording is not None:
        unwritten = recording.close(report) or unwritten
        report["notes"] += recording.notes()
    if unwritten is not None and not result.problems:
        report["exit_code"], report["ended"], report["error"] = (
            int(ExitCode.NO_OUTPUT),
            "failed",
            unwritten,
        )
    if strace is not None and strace.cut_off:
        report["notes"].append("the calls are cut off: nobody read them when the run was stopped")
    return report


def _keep(machine: Machine, report: Message) -> bool:
    """Make a tree of what guests wrote, for the parent to save; whether that could be done."""
    try:
        left_out = machine.keep_files()
    except (OSError, LinuxError) as error:
        report["notes"].append(f"--keep: {os.strerror(error.errno or errno.EIO)}")
        return False
    if left_out:
        report["notes"].append(
            f"--keep: {left_out} pipes, sockets and names of whiteouts are not saved"
        )
    return True


def _look(machine: Machine) -> Message:
    """The figures of now, of a guest that goes on."""
    report = machine.figures().as_dict()
    report["notes"].append(
        "the guest did not end when it was stopped: these are the figures of then"
    )
    return report


def _report(result: RunResult) -> Message:
    """The result as it is reported, with ucmmu's own verdict on the run, if that is not the
    guest's.
    """
    report = result.as_dict()
    if result.problems:
        report["exit_code"], report["ended"] = int(ExitCode.INTERNAL), "failed"
        report["error"] = f"internal error: a check failed: {'; '.join(result.problems)}"
    elif result.stale_translations:
        report["exit_code"] = int(ExitCode.STALE)
        report["error"] = _stale(result.stale_translations)
    return report


def _path_of(name: str) -> str:
    """The path of the program, as the user wrote it if it is one."""
    path = str(find_program(name))
    return name if "/" in name else os.path.abspath(path)


def _spawn(
    options: RunOptions, machine: Machine, program: str, view: View, environment: Mapping[str, str]
) -> Process:
    uid = options.uid
    own = Cred.of(os.getuid(), os.getgid(), tuple(os.getgroups()))
    try:
        process = machine.spawn(
            program,
            argv0=options.program,
            args=options.args,
            env=environment,
            view=view,
            cred=own if uid is None else Cred.of(uid, uid),
        )
    except ViewError as error:
        option = "argument --cwd: " if options.cwd is not None else ""
        raise Failure(ExitCode.USAGE, f"{option}{error}") from None
    except ElfError as error:
        raise Failure(ExitCode.NO_PROGRAM, str(error)) from None
    if options.preload and process.exe.elf.interpreter is None:
        machine.system.notes.add("--preload has no effect: the program is static")
    return process


def _stale(uses: list[StaleUse]) -> str:
    used = sum(use.used for use in uses)
    return (
        f"--check-tlb: {used} stale translations were used, {len(uses) - used} more may have been"
    )


def _geometry(options: RunOptions) -> Geometry:
    try:
        return load_geometry(options.tlb)
    except MmuError as error:
        near = did_you_mean(options.tlb, list_geometries())
        raise Failure(ExitCode.USAGE, f"--tlb {printable(options.tlb)}: {error}{near}") from None


def _why_no_ram(size: int, error: MmuError) -> str:
    if not MIN_RAM <= size < MAX_RAM:
        return (
            f"--ram: {format_size(size)} is not possible: guest RAM is at least"
            f" {format_size(MIN_RAM)} and less than {format_size(MAX_RAM)}"
        )
    return f"--ram: {error}"


class Guest:
    """A machine as ``options`` say, and what records it in the descriptor ``trace``, if one is
    given.
    """

    def __init__(self, options: RunOptions, geometry: Geometry, trace: int | None) -> None:
        try:
            memory = Memory(options.ram)
        except MmuError as error:
            raise Failure(ExitCode.NO_RAM, _why_no_ram(options.ram, error)) from None
        self.policy = find_policy(options.free_tables)
        levels = FreeLevels.from_label(options.free_levels)
        try:
            check_free_levels(policy_label(self.policy), policy_number(self.policy), levels)
        except MmuError as error:
            why = f"--free-levels {options.free_levels}: {error}"
            raise Failure(ExitCode.USAGE, why) from None
        self.recording = None if trace is None else _record(options, geometry, trace)
        ring = None if self.recording is None else self.recording.ring
        if ring is not None:
            memory.record(ring)
        try:
            self.machine = Machine(
                memory,
                cpus=options.cpus,
                policy=self.policy,
                free_levels=levels,
                fidelity=Fidelity.from_label(options.fidelity),
                engine=options.engine,
                geometry=geometry,
                seed=options.seed,
                quantum=options.quantum,
                count=options.count,
                fast_faults=options.fast_faults,
                check=options.check_tlb,
                ring=ring,
            )
        except MmuError as error:
            raise Failure(ExitCode.NO_RAM, f"--ram: too little to begin with: {error}") from None
        if self.recording is not None:
            self.recording.attach(self.machine)


def _record(options: RunOptions, geometry: Geometry, trace: int) -> Recording:
    from ucmmu.recording import Recording

    return Recording(options, geometry, trace)


class _AnnouncedStream(Stream):
    """One of the guest's output streams, before whose first byte the progress line is taken
    away.
    """

    def __init__(self, host_fd: int, hush: Callable[[], None], scheduler: Scheduler) -> None:
        super().__init__(host_fd, O_WRONLY, host_fd + 3, scheduler)
        self._hush = hush

    def write(self, data: bytes) -> int:
        """Write all of it."""
        self._hush()
        return super().write(data)


def _report_progress(link: Link, machine: Machine, process: Process) -> None:
    """Send figures now and then, from a thread, and have them end when the guest begins to
    speak.
    """
    if machine.tty is not None:
        machine.tty.before_output = link.hush
    for fd in (1, 2):
        if machine.tty is None or not os.isatty(fd):
            process.leader.files.replace(fd, _AnnouncedStream(fd, link.hush, machine.scheduler))

    def send() -> None:
        while not link.hushed.is_set():
            link.progress(machine.progress())
            link.hushed.wait(PROGRESS_INTERVAL)

    threading.Thread(target=send, daemon=True).start()
