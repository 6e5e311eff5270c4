# SPDX-License-Identifier: GPL-2.0-or-later
"""Signals: what each does by default, what a process asked for, those that wait, and the report
when one ends it.

::

    sent        cpu/signal_send.py         into the task's queue, or its process's
    waiting     SigPending                 until it is not blocked
    delivered   cpu/signal_delivery.py     on the way back to user mode: handler, end, stop
    handled     cpu/signal_frame.py        the frame on the user's stack, and back

Sources: signal(7), kernel/signal.c and include/linux/signal.h, v6.18.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

from cpu.siginfo import SI_TIMER, SI_USER, SigInfo

NSIG = 64
"""Signals are numbered 1 to NSIG."""
SIG_DFL, SIG_IGN = 0, 1
SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK = 0, 1, 2
SIGRTMIN = 32
SA_NOCLDSTOP, SA_NOCLDWAIT, SA_SIGINFO = 0x1, 0x2, 0x4
SA_UNSUPPORTED, SA_EXPOSE_TAGBITS = 0x400, 0x800
SA_RESTORER, SA_ONSTACK, SA_RESTART = 0x04000000, 0x08000000, 0x10000000
SA_NODEFER, SA_RESETHAND = 0x40000000, 0x80000000
UAPI_SA_FLAGS: Final = (
    SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER | SA_RESETHAND
    | SA_EXPOSE_TAGBITS | SA_RESTORER
)  # fmt: skip
"""Flags of struct sigaction that the kernel knows; it drops all others."""
SS_ONSTACK, SS_DISABLE, SS_AUTODISARM = 1, 2, 1 << 31
MINSIGSTKSZ = 2048
"""Bytes of a signal frame on a processor without AVX, rounded up
(arch/x86/include/uapi/asm/signal.h).
"""

_IGNORED = frozenset({signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH})
_STOPPING = frozenset({signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
_DUMPING = frozenset(
    {
        signal.SIGQUIT, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGFPE,
        signal.SIGSEGV, signal.SIGBUS, signal.SIGSYS, signal.SIGXCPU, signal.SIGXFSZ,
    }
)  # fmt: skip
UNCATCHABLE = frozenset({signal.SIGKILL, signal.SIGSTOP})


class Action(Enum):
    """What a signal does to a process that did not ask for anything else."""

    TERMINATE = "terminate"
    IGNORE = "ignore"
    STOP = "stop"


def sigmask(signo: int) -> int:
    """The signal's bit in a mask."""
    return 1 << (signo - 1)


SYNCHRONOUS_MASK: Final = sum(
    sigmask(signo)
    for signo in (
        signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGTRAP, signal.SIGFPE, signal.SIGSYS,
    )
)  # fmt: skip
"""Signals that instructions raise: they are delivered before all others."""
STOP_MASK: Final = sum(sigmask(signo) for signo in _STOPPING)
UNBLOCKABLE: Final = sum(sigmask(signo) for signo in UNCATCHABLE)
"""What no mask can have (SIGKILL, SIGSTOP)."""


def default_action(signo: int) -> Action:
    """The default action of a signal; core dumps are not written, so they are plain ends."""
    if signo in _IGNORED:
        return Action.IGNORE
    return Action.STOP if signo in _STOPPING else Action.TERMINATE


def dumps_core(signo: int) -> bool:
    """Whether Linux would write a core dump by default (sig_kernel_coredump()): such a signal ends
    the process only where a thread takes it.
    """
    return signo in _DUMPING


def signal_name(signo: int) -> str:
    """``SIGSEGV`` and its like; ``SIGRTMIN+n`` for real-time signals."""
    try:
        return signal.Signals(signo).name if signo < SIGRTMIN else f"SIGRTMIN+{signo - SIGRTMIN}"
    except ValueError:
        return f"signal {signo}"


class SigAction(NamedTuple):
    """struct kernel_sigaction: ``handler`` is an address, SIG_DFL or SIG_IGN; ``mask`` one bit per
    signal.
    """

    handler: int = SIG_DFL
    flags: int = 0
    restorer: int = 0
    mask: int = 0


class SignalReport(NamedTuple):
    """Why and where a signal ended the guest."""

    signo: int
    code: str
    """si_code's name, as ``SEGV_MAPERR``."""
    reason: str
    """One sentence."""
    rip: int
    address: int | None = None
    """si_addr, where the signal has one."""
    instruction: str = ""
    """The instruction at RIP, disassembled; empty if it cannot be read."""
    walk: str = ""
    """The page walk of ``address``, one entry a line."""
    handler: int = SIG_DFL
    """The handler that was not run."""
    why_not: str = ""
    """Why not."""
    backtrace: tuple[str, ...] = ()
    """Where the program stood, and its callers: function, source line, file."""

    @property
    def line(self) -> str:
        """The report in one line."""
        at = "" if self.address is None else f", address {self.address:#x}"
        what = f": {self.instruction}" if self.instruction else ""
        return (
            f"{signal_name(self.signo)} ({self.code}){at}, RIP {self.rip:#x}{what}: {self.reason}"
        )

    def __str__(self) -> str:
        """The line, what the guest had asked for, and the walk."""
        lines = [self.line]
        if self.handler not in (SIG_DFL, SIG_IGN):
            lines.append(f"  its handler at {self.handler:#x} was not run: {self.why_not}")
        lines.extend(f"  {frame}" for frame in self.backtrace)
        if self.walk:
            lines.append("  page walk of the address:")
            lines.extend(f"    {line}" for line in self.walk.splitlines())
        return "\n".join(lines)


class Sighand:
    """A sighand_struct: what was asked for each signal; threads share one (CLONE_SIGHAND).

    ``users`` counts the tasks that have it. ``signalfds`` hear of each signal that is sent to one
    of them.
    """

    def __init__(self, actions: dict[int, SigAction] | None = None) -> None:
        self.actions: dict[int, SigAction] = actions or {}
        self.users = 0
        self.signalfds: list[Callable[[int], None]] = []

    def copy(self) -> Sighand:
        """One of its own with the same actions (copy_sighand())."""
        return Sighand(dict(self.actions))

    def action(self, signo: int) -> SigAction:
        """What was asked for ``signo``."""
        return self.actions.get(signo, SigAction())

    def ignores(self, signo: int) -> bool:
        """Whether the signal is dropped when sent (sig_handler_ignored())."""
        handler = self.action(signo).handler
        return handler == SIG_IGN or (handler == SIG_DFL and default_action(signo) is Action.IGNORE)

    def is_fatal(self, signo: int) -> bool:
        """Whether it ends the process when it is delivered (sig_fatal())."""
        default = self.action(signo).handler == SIG_DFL
        return default and default_action(signo) is Action.TERMINATE

    def catches(self, signo: int) -> bool:
        """Whether it has a handler (sig_user_defined())."""
        return self.action(signo).handler not in (SIG_DFL, SIG_IGN)

    def set_default(self, signo: int) -> None:
        """SIG_DFL from now on; the flags stay."""
        self.actions[signo] = self.action(signo)._replace(handler=SIG_DFL)

    def flush(self, *, force_default: bool) -> None:
        """What exec() leaves: what was ignored still is, unless ``force_default``; all else acts by
        default (flush_signal_handlers()).
        """
        self.actions = {
            signo: SigAction(SIG_IGN)
            for signo, action in self.actions.items()
            if action.handler == SIG_IGN and not force_default
        }


class SigPending:
    """A sigpending: signals that were sent and wait; bit n - 1 of ``signal`` stands for signal n.

    ``queue`` has what is told of them, in the order in which they were sent.
    """

    __slots__ = ("queue", "signal")

    def __init__(self) -> None:
        self.signal = 0
        self.queue: list[SigInfo] = []

    def add(self, signo: int, info: SigInfo | None) -> None:
        """Have it wait; without ``info`` nothing more will be told of it."""
        self.signal |= sigmask(signo)
        if info is not None:
            self.queue.append(info)

    def next_signal(self, mask: int) -> int:
        """The one to take first of those that are not in ``mask``: what instructions raised, then
        the lowest number; 0: none.
        """
        ready = self.signal & ~mask
        ready = ready & SYNCHRONOUS_MASK or ready
        return (ready & -ready).bit_length()

    def dequeue(self, mask: int) -> SigInfo | None:
        """Take next_signal(mask), the oldest of its number (__dequeue_signal())."""
        signo = self.next_signal(mask)
        return self.collect(signo) if signo else None

    def collect(self, signo: int) -> SigInfo:
        """Take the oldest of that number (collect_signal())."""
        found = [info for info in self.queue if info.signo == signo]
        if len(found) <= 1:
            self.signal &= ~sigmask(signo)
        if not found:
            return SigInfo.kill(signo, SI_USER, 0, 0)
        self.queue.remove(found[0])
        return found[0]

    def dequeue_synchronous(self, mask: int) -> SigInfo | None:
        """Take what the last instruction raised, if it did (dequeue_synchronous_signal())."""
        if not self.signal & ~mask & SYNCHRONOUS_MASK:
            return None
        for info in self.queue:
            bit = sigmask(info.signo)
            if info.from_kernel and bit & SYNCHRONOUS_MASK & ~mask:
                self.queue.remove(info)
                if not any(other.signo == info.signo for other in self.queue):
                    self.signal &= ~bit
                return info
        return None

    def drop_timers(self, number: int | None = None) -> None:
        """Drop what the POSIX timer of that number has sent; None: any (flush_itimer_signals())."""
        gone = [
            info
            for info in self.queue
            if info.code == SI_TIMER and (number is None or info.timer_id == number)
        ]
        self.queue = [info for info in self.queue if info not in gone]
        for info in gone:
            if not any(other.signo == info.signo for other in self.queue):
                self.signal &= ~sigmask(info.signo)

    def flush(self, mask: int) -> None:
        """Drop all that are in ``mask`` (flush_sigqueue_mask())."""
        if self.signal & mask:
            self.signal &= ~mask
            self.queue = [info for info in self.queue if not sigmask(info.signo) & mask]


class GroupStop:
    """A process's part in job control: signal_struct's flags and counts (sched/signal.h).

    ``count`` threads are still to stop; ``code`` is the signal. ``stopped``: all have
    (SIGNAL_STOP_STOPPED); ``continued``: SIGCONT ended it, and nobody has waited for that
    (SIGNAL_STOP_CONTINUED). ``notify`` is CLD_STOPPED or CLD_CONTINUED while the parent is still to
    be told, by the first thread that goes on.
    """

    __slots__ = ("code", "continued", "count", "notify", "stopped")

    def __init__(self) -> None:
        self.count = 0
        self.code = 0
        self.stopped = False
        self.continued = False
        self.notify = 0
