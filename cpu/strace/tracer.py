# SPDX-License-Identifier: GPL-2.0-or-later
"""The lines of a trace of system calls, as ``strace -f`` writes them.

::

    [pid 1001] read(3,  <unfinished ...>            the call began; another task is heard of
    [pid 1000] write(4, "x", 1) = 1
    [pid 1001] <... read resumed>"x", 16) = 1
    [pid 1001] --- SIGUSR1 {si_signo=SIGUSR1, si_code=SI_USER, si_pid=1000, si_uid=0} ---
    [pid 1001] +++ exited with 0 +++

A call is written when it returns, or when something else is written meanwhile. The task's number
stands before a line while there are several tasks.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from cpu.restart import ERESTART_RESTARTBLOCK, ERESTARTNOHAND, ERESTARTNOINTR
from cpu.siginfo import CLD_EXITED, SI_KERNEL, Layout, SigInfo
from cpu.strace.call import Call
from cpu.strace.calls import Signature, signature
from cpu.strace.flags import signal_name
from cpu.strace.kinds import kind
from cpu.strace.structs import polled
from cpu.strace.text import DEFAULT_STRLEN, pointer, quoted
from cpu.syscalls.numbers import syscall_name
from mmu.linux.sched import ERESTARTSYS
from mmu.units import U32, U64

if TYPE_CHECKING:
    from cpu.task import Task
    from cpu.task_end import TaskEnd

COLUMN: Final = 40
"""Where results stand, at least."""
_RESTARTS: Final = {
    ERESTARTSYS: ("ERESTARTSYS", "To be restarted if SA_RESTART is set"),
    ERESTARTNOINTR: ("ERESTARTNOINTR", "To be restarted"),
    ERESTARTNOHAND: ("ERESTARTNOHAND", "To be restarted if no handler"),
    ERESTART_RESTARTBLOCK: ("ERESTART_RESTARTBLOCK", "Interrupted by signal"),
}


class Tracer:
    """Writes what tasks ask of the kernel; ``write`` takes whole lines."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._open: dict[int, _Open] = {}
        self._told: SigInfo | None = None

    def begun(self, task: Task, path: str, argv: list[bytes], nr_variables: int) -> None:
        """The first program has been started: as if by execve()."""
        words = ", ".join(
            quoted(word[:DEFAULT_STRLEN], more=len(word) > DEFAULT_STRLEN) for word in argv
        )
        envp = task.mm.c.start_stack + 8 * (len(argv) + 2)
        environment = f"{envp:#x} /* {nr_variables} var{'' if nr_variables == 1 else 's'} */"
        call = f"execve({quoted(os.fsencode(path))}, [{words}], {environment}) "
        self._line(task, f"{call.ljust(COLUMN)}= 0")

    def enter(self, task: Task, nr: int, args: tuple[int, ...]) -> None:
        """The task has made a call."""
        name = syscall_name(nr)
        call = Call(task, name if not name.startswith("syscall ") else f"syscall_{nr:#x}", args)
        begun = _Open(call, signature(call.name))
        self._interrupt(task)
        self._open[id(task)] = begun

    def leave(self, task: Task, result: int) -> None:
        """Its call returned ``result``, 64 bits."""
        begun = self._open.pop(id(task), None)
        if begun is None:
            return
        call = begun.call
        call.result = result - (1 << 64) if result >> 63 else result
        self._finish(begun, _result(call, begun.signature))

    def signalled(self, task: Task, info: SigInfo) -> None:
        """A signal is delivered to it; one that ends a process is told once, SIGKILL never."""
        if info is self._told or info.signo == signal.SIGKILL:
            return
        self._told = info
        self._line(task, f"--- {signal_name(info.signo)} {siginfo(info)} ---")

    def ended(self, task: Task, end: TaskEnd) -> None:
        """It is over."""
        begun = self._open.pop(id(task), None)
        if begun is not None:
            self._finish(begun, "?")
        if end.ended == "signal":
            signo = end.exit_code - 128
            self._line(task, f"+++ killed by {signal_name(signo)} +++")
        elif end.ended == "exit":
            self._line(task, f"+++ exited with {end.exit_code} +++")

    def close(self) -> None:
        """Write what has begun and not returned."""
        for begun in list(self._open.values()):
            if not begun.written:
                self._write(f"{self._prefix(begun.call.task)}{begun.text()} <unfinished ...>\n")
        self._open.clear()

    def _line(self, task: Task, text: str) -> None:
        self._interrupt(task)
        self._write(f"{self._prefix(task)}{text}\n")

    def _interrupt(self, task: Task) -> None:
        """Write how far the calls are that have begun."""
        for key, begun in self._open.items():
            if not begun.written and key != id(task):
                begun.written = True
                prefix = self._prefix(begun.call.task)
                self._write(f"{prefix}{begun.text()} <unfinished ...>\n")

    def _finish(self, begun: _Open, result: str) -> None:
        call = begun.call
        self._interrupt(call.task)
        start = f"<... {call.name} resumed>{begun.rest()}" if begun.written else begun.whole()
        text = f"{self._prefix(call.task)}{start}) "
        self._write(f"{text.ljust(COLUMN)}= {result}\n")

    def _prefix(self, task: Task) -> str:
        return f"[pid {task.pid:5}] " if len(task.system.tasks) > 1 else ""


class _Open:
    """A call that has begun."""

    def __init__(self, call: Call, how: Signature) -> None:
        self.call = call
        self.signature = how
        self.written = False
        """Whether its beginning is."""
        shown: list[str] = []
        at = 0
        for show, after in how.arguments:
            if after:
                break
            text = show(call, call.args[at])
            if text is not None:
                shown.append(text)
            at += 1
        self._at = at
        self._shown = ", ".join(shown)

    def text(self) -> str:
        """The beginning: the arguments up to the first that the call fills in."""
        more = ", " if self._shown and self._at < len(self.signature.arguments) else ""
        return f"{self.call.name}({self._shown}{more}"

    def whole(self) -> str:
        """All of it, after the call."""
        return f"{self.call.name}({', '.join(filter(None, (self._shown, self.rest())))}"

    def rest(self) -> str:
        """The others, after the call."""
        arguments = self.signature.arguments
        shown = [
            show(self.call, self.call.args[at])
            for at, (show, _) in enumerate(arguments)
            if at >= self._at
        ]
        return ", ".join(text for text in shown if text is not None)


def _result(call: Call, how: Signature) -> str:
    value = call.result
    assert value is not None
    if call.failed:
        number = -value
        if number in _RESTARTS:
            name, text = _RESTARTS[number]
            return f"? {name} ({text})"
        name = errno.errorcode.get(number, f"E{number}")
        return f"-1 {name} ({os.strerror(number)})"
    if how.result == "ptr":
        return pointer(value & U64)
    if how.result == "mode":
        return f"0{value:o}"
    if how.result == "sig":
        return f"{value} ({signal_name(value)})" if value else "0"
    if how.result == "persona":
        show, _ = kind("persona")
        return f"{value:#x} ({show(call, value)})" if value else f"0 ({show(call, value)})"
    if how.result == "ready" and not value:
        return "0 (Timeout)"
    if how.result == "poll":
        return f"{value} ({polled(call, call.args[0], call.args[1])})" if value else "0 (Timeout)"
    if how.result == "fcntl":
        return _fcntl_result(call, value)
    return str(value)


def _fcntl_result(call: Call, value: int) -> str:
    """Of F_GETFD and F_GETFL also as flags."""
    command = call.args[1] & U32
    if command == 1 and value:
        return f"{value:#x} (flags FD_CLOEXEC)"
    if command == 3:
        show, _ = kind("open")
        return f"{value:#x} (flags {show(call, value)})" if value else "0 (flags O_RDONLY)"
    return str(value)


def siginfo(info: SigInfo) -> str:
    """What is told of a signal."""
    text = f"si_signo={signal_name(info.signo)}, si_code={info.code_name}"
    if info.layout in (Layout.KILL, Layout.QUEUE) and info.code != SI_KERNEL:
        text += f", si_pid={info.pid}, si_uid={info.uid}"
    elif info.layout == Layout.CHILD:
        pid, uid, status, utime, stime = info.child_fields
        shown = str(status) if info.code == CLD_EXITED else signal_name(status)
        text += (
            f", si_pid={pid}, si_uid={uid}, si_status={shown}, si_utime={utime}, si_stime={stime}"
        )
    elif info.addr is not None:
        text += f", si_addr={pointer(info.addr)}"
    elif info.layout == Layout.TIMER:
        text += f", si_timerid={info.timer_id:#x}"
    return f"{{{text}}}"
