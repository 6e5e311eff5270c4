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
import os
import signal
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cpu.binfmt_elf import MAX_ARG_STRLEN, Identity, load_elf_binary
from cpu.cred import of_exec
from cpu.elf import ElfError, InterpreterError, parse, shown
from cpu.exe_file import ExeFile
from cpu.exit import put_mm
from cpu.mm_release import exit_mm_release
from cpu.result import total
from cpu.signal_send import send_sig, signal_wake_up
from cpu.signal_state import exec_signals
from cpu.task import Task, comm_of
from mmu.errors import LinuxError, OutOfMemory
from mmu.linux.mm import Mm
from mmu.linux.mm_users import mmput
from mmu.linux.sched import Sleep, WaitQueue
from mmu.linux.tlbflush import switch_mm

if TYPE_CHECKING:
    from cpu.fs.files import OpenFile
    from cpu.fs.namei import FsStruct

HWCAP: Final = 0x78BFBFD
"""EDX of CPUID leaf 1 as the vCPU's model answers it."""
BINPRM_BUF_SIZE: Final = 256
"""Bytes of a file that are looked at to tell what it is."""
MAX_INTERPRETERS: Final = 5
ST_MODE: Final = 24
"""Offset of st_mode in struct stat."""
ARG_MAX: Final = 128 << 10
ARGS_LIMIT: Final = 6 << 20
"""Three quarters of 8 MiB: what arguments and environment take at most."""


@dataclass
class Program:
    """struct linux_binprm: what is to be run, as found. ``argv`` has what "#!" lines added."""

    exe: ExeFile
    interpreter: ExeFile | None
    """What PT_INTERP names."""
    argv: list[bytes]
    comm: bytes
    """The task's name."""
    secure: bool = False
    """AT_SECURE: whoever starts it acts as another than it is."""

    @property
    def args(self) -> list[str]:
        """argv[1:], as reports show it."""
        return [text.decode("utf-8", "backslashreplace") for text in self.argv[1:]]

    def release(self) -> None:
        """It is not run."""
        self.exe.put()
        self.let_go_of_interpreter()

    def let_go_of_interpreter(self) -> None:
        """It has been mapped, or will not be."""
        if self.interpreter is not None:
            self.interpreter.put()
            self.interpreter = None


def begin_program(task: Task, program: Program, envp: Sequence[str | bytes]) -> None:
    """Lay the program, which is the process's, out in the task's address space, which is empty and
    loaded, and have the task stand at its first instruction. Raises ElfError.
    """
    random = task.system.random.randbytes(16)
    identity = Identity(task.cred, random, HWCAP, program.secure)
    try:
        start = load_elf_binary(
            task.mm, program.exe, program.interpreter, program.argv, envp, identity
        )
    finally:
        program.let_go_of_interpreter()
    if task.system.recorder is not None:
        task.system.recorder.laid_out(task)
    task.vcpu.enter_user(start.rip, start.rsp)
    task.vcpu.fs_base = task.vcpu.gs_base = 0


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
    program = _find_program(task, file, name, argv or [b""], by_fd=by_fd)
    try:
        mm = Mm(task.system.kernel)
    except OutOfMemory:
        program.release()
        raise LinuxError(errno.ENOMEM) from None
    mm.fatal_signal_pending = task.system.fatal_signal_pending
    mm.can_lock_all = task.system.can_lock_all
    mm.rlimit = task.rlimits
    try:
        de_thread(task)
    except LinuxError:
        mmput(mm)
        program.release()
        raise
    _begin_new_exec(task, program, mm)
    try:
        begin_program(task, program, envp)
        if task.traced is not None:
            send_sig(signal.SIGTRAP, task)
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


def open_program(fs: FsStruct, path: str, argv: list[bytes]) -> Program:
    """The program at ``path``, for a process that is not there yet. Raises ElfError, with the line
    that says why it cannot run.
    """
    try:
        file = fs.open_exec(path)
    except LinuxError as error:
        raise _cannot_open(fs, path, error) from None
    try:
        return find_program(fs, file, path, argv)
    except LinuxError as error:
        why = f"cannot be started ({os.strerror(error.errno)})"
        raise ElfError(path, why, "look at its #! line") from None


def search_path(fs: FsStruct, name: str, path: str) -> str:
    """The first program of that name in the directories of ``path``, as execvp() looks for it.
    Raises ElfError.
    """
    for directory in path.split(":") if name else ():
        candidate = f"{directory or '.'}/{name}"
        try:
            file = fs.open_exec(candidate)
        except LinuxError:
            continue
        with used(file):
            return candidate
    raise ElfError(name, "no such program in the guest's PATH", "give its path in the guest's tree")


def _cannot_open(fs: FsStruct, path: str, error: LinuxError) -> ElfError:
    if error.errno == errno.ENOENT:
        return ElfError(path, "no such file", "check the path")
    if error.errno != errno.EACCES:
        why = os.strerror(error.errno)
        return ElfError(path, f"cannot be opened ({why})", "check the path")
    try:
        (mode,) = struct.unpack_from("<I", fs.stat(path), ST_MODE)
    except LinuxError:
        return ElfError(path, "cannot be opened (Permission denied)", "check the path")
    if stat.S_ISDIR(mode):
        return ElfError(path, "is a directory", "give a program's file")
    if not stat.S_ISREG(mode):
        return ElfError(path, "is no regular file", "give a program's file")
    return ElfError(path, "is not executable", f"chmod +x {shown(path)}")


def _find_program(
    task: Task, file: OpenFile, name: str, argv: list[bytes], *, by_fd: bool
) -> Program:
    """As find_program(), with the kernel's error codes."""
    try:
        return find_program(task.fs, file, name, argv, by_fd=by_fd)
    except InterpreterError as error:
        task.system.notes.add(f"execve() of {error}")
        raise LinuxError(error.errno) from None
    except ElfError:
        raise LinuxError(errno.ENOEXEC) from None


def find_program(
    fs: FsStruct, file: OpenFile, name: str, argv: list[bytes], *, by_fd: bool = False
) -> Program:
    """The program that ``file`` is, or that its "#!" line asks for; the caller may close its file
    then. ``by_fd``: ``name`` is of a descriptor, so the task gets the name of the file.

    Raises ElfError for what is no program, InterpreterError for what another one would have to
    start that cannot, LinuxError for a "#!" line that leads nowhere.
    """
    interpreter, comm = name, comm_of(name)
    for _ in range(MAX_INTERPRETERS + 1):
        with used(file):
            head = file.pread(BINPRM_BUF_SIZE, 0)
            path = file.path or name
            if by_fd and interpreter == name:
                comm = comm_of(path)
            if not head.startswith(b"#!"):
                exe = _exe_file(file, name if interpreter == name else path, name)
                return Program(exe, _elf_interpreter(fs, exe), argv, comm)
        words = script_words(head)
        argv = [*words, interpreter.encode("utf-8", "surrogateescape"), *argv[1:]]
        interpreter = words[0].decode("utf-8", "surrogateescape")
        try:
            file = fs.open_exec(interpreter)
        except LinuxError as error:
            raise InterpreterError(
                name,
                f"its first line asks for the interpreter {interpreter!r}:"
                f" {os.strerror(error.errno)}",
                "the guest must see it (--read PATH), or the script name another",
                error.errno,
            ) from None
    raise LinuxError(errno.ELOOP)


def _exe_file(file: OpenFile, shown_as: str, name: str) -> ExeFile:
    """``shown_as`` stands in messages, ``name`` in reports and AT_EXECFN."""
    elf = parse(file, shown_as)._replace(path=name)
    exe = ExeFile(elf, file, file.mapped())
    return exe.get()


def _elf_interpreter(fs: FsStruct, exe: ExeFile) -> ExeFile | None:
    """What PT_INTERP names, if the program has one (load_elf_binary()). Raises InterpreterError."""
    path = exe.elf.interpreter
    if path is None:
        return None
    number = errno.ELIBBAD
    try:
        file = fs.open_exec(path)
        with used(file):
            return _exe_file(file, path, path)
    except LinuxError as error:
        why, number = os.strerror(error.errno), error.errno
    except ElfError as error:
        why = error.problem
    name = exe.path
    exe.put()
    raise InterpreterError(
        name,
        f"asks for the interpreter {path!r}, which the guest cannot use: {why}",
        "the guest must see a loader there (--read PATH, or --root DIR that has one)",
        number,
    )


def script_words(head: bytes) -> list[bytes]:
    """The words of a "#!" line, of the first BINPRM_BUF_SIZE bytes of a file: the interpreter, and
    all that follows as one argument (load_script()). ENOEXEC: there is none, or it is cut off.
    """
    line, newline, _ = head[2:BINPRM_BUF_SIZE].partition(b"\n")
    line = line.split(b"\0")[0]
    words = line.strip(b" \t").split(None, 1)
    if not words or (not newline and len(head) >= BINPRM_BUF_SIZE and len(words) < 2):
        raise LinuxError(errno.ENOEXEC)
    return [words[0], *(word.rstrip(b" \t") for word in words[1:])]


@contextmanager
def used(file: OpenFile) -> Iterator[None]:
    """Have the file open meanwhile, and closed then if nobody else uses it."""
    file.users += 1
    try:
        yield
    finally:
        file.put()


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
    task.system.scheduler.renumbered(task)


def _begin_new_exec(task: Task, program: Program, mm: Mm) -> None:
    process = task.process
    _unshare_files(task)
    _exec_mmap(task, mm)
    exec_signals(task)
    task.files.close_on_exec()
    old, task.cred = task.cred, of_exec(task.cred)
    program.secure = old.secureexec
    process.exe.put()
    process.exe = program.exe
    process.args = program.args
    process.did_exec = True
    process.dumpable = int(not (task.cred.is_setid or task.cred.is_another(old)))
    task.comm = program.comm
    if task.system.recorder is not None:
        task.system.recorder.began(task)


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
    process.maxrss = max(process.maxrss, int(old.c.hiwater_rss), old.rss())
    freed = old.counters()["pte_tables_freed"]
    if put_mm(task, old):
        counters = old.counters()
        process.past_counters = total([process.past_counters, counters])
        process.past_tables_torn_down += counters["pte_tables_freed"] - freed
