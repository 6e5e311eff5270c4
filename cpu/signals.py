# SPDX-License-Identifier: GPL-2.0-or-later
"""Signals: what each does by default, what a process asked for, and the report when one ends it.

Handlers are remembered and told back, not run: a signal that has one still acts by default, and
the report says so. Sources: signal(7), kernel/signal.c and include/linux/signal.h, v6.18.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

NSIG = 64
"""Signals are numbered 1 to NSIG."""
SIG_DFL, SIG_IGN = 0, 1
SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK = 0, 1, 2
SIGRTMIN = 32
MINSIGSTKSZ = 2048
"""Bytes of a signal frame on a processor without AVX, rounded up
(arch/x86/include/uapi/asm/signal.h).
"""

_IGNORED = frozenset({signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH})
_STOPPING = frozenset({signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
UNCATCHABLE = frozenset({signal.SIGKILL, signal.SIGSTOP})


class Action(Enum):
    """What a signal does to a process that did not ask for anything else."""

    TERMINATE = "terminate"
    IGNORE = "ignore"
    STOP = "stop"


def default_action(signo: int) -> Action:
    """The default action of a signal; core dumps are not written, so they are plain ends."""
    if signo in _IGNORED:
        return Action.IGNORE
    return Action.STOP if signo in _STOPPING else Action.TERMINATE


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
            lines.append(
                f"  its handler at {self.handler:#x} was not run: signals act by default here"
            )
        if self.walk:
            lines.append("  page walk of the address:")
            lines.extend(f"    {line}" for line in self.walk.splitlines())
        return "\n".join(lines)


@dataclass
class SignalState:
    """struct sighand_struct and its like, for one thread."""

    actions: dict[int, SigAction] = field(default_factory=dict)
    blocked: int = 0
    """Bit n - 1 stands for signal n."""
    pending: int = 0
    altstack: tuple[int, int, int] = (0, 2, 0)
    """ss_sp, ss_flags (SS_DISABLE at first), ss_size."""

    def action(self, signo: int) -> SigAction:
        """What was asked for ``signo``."""
        return self.actions.get(signo, SigAction())

    def ignores(self, signo: int) -> bool:
        """Whether the signal is dropped when sent (sig_ignored())."""
        handler = self.action(signo).handler
        return handler == SIG_IGN or (handler == SIG_DFL and default_action(signo) is Action.IGNORE)

    def take_deliverable(self) -> int | None:
        """Take the lowest pending signal that is not blocked; None if there is none."""
        ready = self.pending & ~self.blocked
        if not ready:
            return None
        lowest = ready & -ready
        self.pending &= ~lowest
        return lowest.bit_length()


def sigmask(signo: int) -> int:
    """The signal's bit in a mask."""
    return 1 << (signo - 1)
