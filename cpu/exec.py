# SPDX-License-Identifier: GPL-2.0-or-later
"""Starting a program in a task (fs/exec.c, fs/binfmt_script.c, v6.18).

::

    do_execveat(task, program, argv, envp)
      find_program()       the file, and the interpreters that "#!" lines name; ENOEXEC
      begin_new_exec()     from here on nothing goes back
        de_thread()        all other threads end; the task becomes its process's leader
        exec_mmap()        a new address space; the old one has a user less; vfork() is over
        signals, descriptors, name
      begin_program()      the program's segments, stack, registers
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cpu.binfmt_elf import MAX_ARG_STRLEN, Identity, load_elf_binary
from cpu.cred import of_exec
from cpu.elf import ElfError, Executable, InterpreterError, parse
from cpu.exit import put_mm
from cpu.fs.files import OpenFile
from cpu.mm_release import exit_mm_release
from cpu.result import total
from cpu.signal_send import signal_wake_up
from cpu.signal_state import exec_signals
from cpu.task import Task, comm_of
from mmu.errors import LinuxError, OutOfMemory
from mmu.linux.filemap import MappedFile
from mmu.linux.mm import Mm
from mmu.linux.mm_users import mmput
from mmu.linux.sched import Sleep, WaitQueue
from mmu.linux.tlbflush import switch_mm

HWCAP: Final = 0x78BFBFD
"""EDX of CPUID leaf 1 as the vCPU's model answers it."""
BINPRM_BUF_SIZE: Final = 256
"""Bytes of a file that are looked at to tell what it is."""
MAX_INTERPRETERS: Final = 5
ARG_MAX: Final = 128 << 10
ARGS_LIMIT: Final = 6 << 20
"""Three quarters of 8 MiB: what arguments and environment take at most."""


def begin_program(task: Task, argv: Sequence[str | bytes], envp: Sequence[str | bytes]) -> None:
    """Lay the process's program out in the task's address space, which is empty and loaded, and
    have the task stand at its first instruction. Raises ElfError.
    """
    identity = Identity(task.cred, task.system.random.randbytes(16), HWCAP)
    process = task.process
    start = load_elf_binary(task.mm, process.exe, process.image, argv, envp, identity)
    task.vcpu.enter_user(start.rip, start.rsp)
    task.vcpu.fs_base = task.vcpu.gs_base = 0


@dataclass
class Program:
    """struct linux_binprm: what is to be run, as found. ``argv`` has what "#!" lines added."""

    exe: Executable
    image: MappedFile
    argv: list[bytes]
    comm: bytes
    """The task's name."""


def do_execveat(
    task: Task,
    file: OpenFile,
    name: str,
    argv: list[bytes],
    envp: list[bytes],
    *,
    by_fd: bool = False,
) -> None:
    """Run the program in ``file``, which was opened as ``name``, instead of the task's; the file is
    closed.

    Returns when the task stands at the new program's first instruction, or raises LinuxError, with
    nothing changed: ENOEXEC, E2BIG, ENOENT (an interpreter cannot be seen), EAGAIN (another thread
    does the same, or the process ends), ENOMEM. Raises TaskEnd if there is no way back.
    """
    _check_size(task, name, argv or [b""], envp)
    program = find_program(task, file, name, argv or [b""], by_fd=by_fd)
    try:
        mm = Mm(task.system.kernel)
    except OutOfMemory:
        raise LinuxError(errno.ENOMEM) from None
    mm.fatal_signal_pending = task.system.fatal_signal_pending
    mm.rlimit = task.rlimits
    try:
        de_thread(task)
    except LinuxError:
        mmput(mm)
        raise
    _begin_new_exec(task, program, mm)
    try:
        begin_program(task, program.argv, envp)
    except ElfError as error:
        task.kill(signal.SIGSEGV, f"exec: {error}")


def _check_size(task: Task, name: str, argv: list[bytes], envp: list[bytes]) -> None:
    """bprm_stack_limits() and copy_strings(): E2BIG."""
    limit = max(min(ARGS_LIMIT, task.rlimits.stack // 4), ARG_MAX) - 8 * (len(argv) + len(envp))
    strings = [*argv, *envp, name.encode("utf-8", "surrogateescape")]
    if limit <= 0 or sum(len(text) + 1 for text in strings) > limit:
        raise LinuxError(errno.E2BIG)
    if any(len(text) >= MAX_ARG_STRLEN for text in strings):
        raise LinuxError(errno.E2BIG)


# What to run.


def find_program(
    task: Task, file: OpenFile, name: str, argv: list[bytes], *, by_fd: bool = False
) -> Program:
    """The program that ``file`` is, or that its "#!" line asks for; its file is closed. ``by_fd``:
    ``name`` is of a descriptor, so the task gets the name of the file.
    """
    interpreter, comm = name, comm_of(name)
    for _ in range(MAX_INTERPRETERS):
        file.users += 1
        try:
            data, image = file.contents(), file.mapped()
        finally:
            file.put()
        path = image.path or name
        if by_fd and interpreter == name:
            comm = comm_of(path)
        if not data.startswith(b"#!"):
            return Program(_parse(task, data, name, path), image, argv, comm)
        words = _interpreter(data)
        argv = [*words, interpreter.encode("utf-8", "surrogateescape"), *argv[1:]]
        interpreter = words[0].decode("utf-8", "surrogateescape")
        file = task.fs.open_exec(interpreter)
    raise LinuxError(errno.ELOOP)


def _interpreter(data: bytes) -> list[bytes]:
    """The words of a "#!" line: the interpreter, and all that follows as one argument
    (load_script()). ENOEXEC: there is none, or it is cut off.
    """
    line, newline, _ = data[2:BINPRM_BUF_SIZE].partition(b"\n")
    line = line.split(b"\0")[0]
    words = line.strip(b" \t").split(None, 1)
    if not words or (not newline and len(data) >= BINPRM_BUF_SIZE and len(words) < 2):
        raise LinuxError(errno.ENOEXEC)
    return [words[0], *(word.rstrip(b" \t") for word in words[1:])]


def _parse(task: Task, data: bytes, name: str, path: str) -> Executable:
    try:
        return parse(data, name, path)
    except InterpreterError as error:
        task.system.notes.add(f"execve() of {error}")
        raise LinuxError(errno.ENOENT) from None
    except ElfError:
        raise LinuxError(errno.ENOEXEC) from None


# No way back.


def de_thread(task: Task) -> None:
    """All other threads end, alone; the task takes its leader's number. EAGAIN: the process ends,
    or another thread does this already.
    """
    process, system = task.process, task.system
    if process.end is not None or process.killed is not None or process.group_exec_task is not None:
        raise LinuxError(errno.EAGAIN)
    if process.threads == [task] and process.leader is task:
        return
    process.group_exec_task = task
    for other in process.threads:
        if other is not task:
            other.dethreaded = True
            signal_wake_up(other)
    result = system.scheduler.wait_event(
        WaitQueue("de_thread"),
        lambda: process.threads == [task],
        "the other threads to end, in exec()",
        sleep=Sleep.KILLABLE,
    )
    process.group_exec_task = None
    if result:
        raise LinuxError(errno.EAGAIN)
    if process.leader is not task:
        _become_leader(task)


def _become_leader(task: Task) -> None:
    """The task takes the number of its process's leader, which has ended."""
    process, tasks = task.process, task.system.tasks
    leader = process.leader
    del tasks[task.pid]
    task.pid, leader.pid = process.pid, task.pid
    tasks[process.pid] = task
    process.leader = task


def _begin_new_exec(task: Task, program: Program, mm: Mm) -> None:
    process = task.process
    _unshare_files(task)
    _exec_mmap(task, mm)
    exec_signals(task)
    task.files.close_on_exec()
    task.cred = of_exec(task.cred)
    program.image.get()
    process.image.put()
    process.exe, process.image = program.exe, program.image
    process.args = [text.decode("utf-8", "backslashreplace") for text in program.argv[1:]]
    process.did_exec = True
    process.dumpable = int(not task.cred.is_setid)
    task.comm = program.comm


def _unshare_files(task: Task) -> None:
    if task.files.users > 1:
        old = task.files
        task.files = old.copy(old.nofile)
        old.put()


def _exec_mmap(task: Task, mm: Mm) -> None:
    """The new address space instead of the old one. May wait."""
    process, old = task.process, task.mm
    exit_mm_release(task)
    task.mm = mm
    switch_mm(task.system.kernel, mm)
    task.vcpu.set_mm(mm)
    freed = old.counters()["pte_tables_freed"]
    if put_mm(task, old):
        counters = old.counters()
        process.past_counters = total([process.past_counters, counters])
        process.past_tables_torn_down += counters["pte_tables_freed"] - freed
