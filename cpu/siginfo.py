# SPDX-License-Identifier: GPL-2.0-or-later
"""What is told of a signal: siginfo_t, as it lies in user memory (siginfo.h, v6.18).

::

    0      4      8      12     16                        128
    +------+------+------+------+--------------------------+
    |signo |errno |code  | pad  | fields, by code           |
    +------+------+------+------+--------------------------+
                                 kill    pid, uid
                                 queue   pid, uid, value
                                 timer   tid, overrun, value
                                 fault   addr
                                 child   pid, uid, status, pad, utime, stime
                                 poll    band, fd
"""

from __future__ import annotations

import signal
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mmu.x86 import Access

SIGINFO_SIZE: Final = 128
KERNEL_SIGINFO_SIZE: Final = 48
"""Bytes of it that the kernel knows (struct kernel_siginfo)."""

SI_USER, SI_KERNEL, SI_QUEUE, SI_TIMER, SI_MESGQ, SI_ASYNCIO, SI_SIGIO, SI_TKILL = (
    0, 0x80, -1, -2, -3, -4, -5, -6,
)  # fmt: skip
SEGV_MAPERR, SEGV_ACCERR, SEGV_BNDERR, SEGV_PKUERR = 1, 2, 3, 4
BUS_ADRALN, BUS_ADRERR, BUS_OBJERR = 1, 2, 3
TRAP_BRKPT, TRAP_TRACE = 1, 2
ILL_ILLOPC, ILL_ILLOPN = 1, 2
FPE_INTDIV, FPE_INTOVF, FPE_FLTDIV, FPE_FLTOVF, FPE_FLTUND, FPE_FLTRES, FPE_FLTINV = range(1, 8)
CLD_EXITED, CLD_KILLED, CLD_DUMPED, CLD_TRAPPED, CLD_STOPPED, CLD_CONTINUED = range(1, 7)

_NAMES_OF_ANY: Final = {
    SI_USER: "SI_USER",
    SI_KERNEL: "SI_KERNEL",
    SI_QUEUE: "SI_QUEUE",
    SI_TIMER: "SI_TIMER",
    SI_MESGQ: "SI_MESGQ",
    SI_ASYNCIO: "SI_ASYNCIO",
    SI_SIGIO: "SI_SIGIO",
    SI_TKILL: "SI_TKILL",
}
_NAMES: Final[dict[int, tuple[str, ...]]] = {
    signal.SIGSEGV: ("SEGV_MAPERR", "SEGV_ACCERR", "SEGV_BNDERR", "SEGV_PKUERR"),
    signal.SIGBUS: ("BUS_ADRALN", "BUS_ADRERR", "BUS_OBJERR"),
    signal.SIGTRAP: ("TRAP_BRKPT", "TRAP_TRACE"),
    signal.SIGILL: ("ILL_ILLOPC", "ILL_ILLOPN"),
    signal.SIGFPE: (
        "FPE_INTDIV", "FPE_INTOVF", "FPE_FLTDIV", "FPE_FLTOVF", "FPE_FLTUND", "FPE_FLTRES",
        "FPE_FLTINV",
    ),
    signal.SIGCHLD: (
        "CLD_EXITED", "CLD_KILLED", "CLD_DUMPED", "CLD_TRAPPED", "CLD_STOPPED", "CLD_CONTINUED",
    ),
}  # fmt: skip

_HEAD: Final = struct.Struct("<iiii")
_KILL: Final = struct.Struct("<iI")
_QUEUE: Final = struct.Struct("<iIQ")
_TIMER: Final = struct.Struct("<iiQ")
_FAULT: Final = struct.Struct("<Q")
_CHILD: Final = struct.Struct("<iIiiqq")


class Layout:
    """Which fields a siginfo has (enum siginfo_layout)."""

    KILL, QUEUE, TIMER, FAULT, CHILD, POLL = range(6)


@dataclass(frozen=True)
class Blame:
    """What a report says of a signal: ``reason`` in one sentence; ``at`` is the instruction that
    raised it, if that is not the one at RIP; ``access`` what it did to the address.
    ``handler`` is the handler that is not run, ``why_not`` says why.
    """

    reason: str
    at: int | None = None
    access: Access | None = None
    handler: int = 0
    why_not: str = ""


@dataclass(frozen=True)
class SigInfo:
    """kernel_siginfo_t: a signal's number, why it was sent (``code``, SI_USER and its like), and
    the fields that come with it, as they lie in memory.
    """

    signo: int
    code: int
    fields: bytes = b""
    errno: int = 0
    blame: Blame | None = None

    @classmethod
    def kill(cls, signo: int, code: int, pid: int, uid: int) -> SigInfo:
        """Of kill(), tgkill() and their like: who sent it."""
        return cls(signo, code, _KILL.pack(pid, uid))

    @classmethod
    def kernel(cls, signo: int, reason: str = "") -> SigInfo:
        """Of the kernel's own, SEND_SIG_PRIV; ``reason`` for a report."""
        return cls(signo, SI_KERNEL, _KILL.pack(0, 0), blame=Blame(reason) if reason else None)

    @classmethod
    def fault(cls, signo: int, code: int, addr: int, blame: Blame | None = None) -> SigInfo:
        """Of an instruction, about ``addr``."""
        return cls(signo, code, _FAULT.pack(addr), blame=blame)

    @classmethod
    def child(
        cls, code: int, pid: int, uid: int, status: int, utime: int = 0, stime: int = 0
    ) -> SigInfo:
        """SIGCHLD: ``code`` is CLD_*, ``status`` the exit status or the signal; clock ticks."""
        fields = _CHILD.pack(pid, uid, status, 0, utime, stime)
        return cls(signal.SIGCHLD, code, fields)

    @classmethod
    def timer(cls, signo: int, timer: int, value: int) -> SigInfo:
        """Of a POSIX timer: its number, and its sigev_value."""
        return cls(signo, SI_TIMER, _TIMER.pack(timer, 0, value))

    @classmethod
    def unpack(cls, data: bytes) -> SigInfo:
        """What a user has laid out: SIGINFO_SIZE bytes."""
        signo, error, code, _ = _HEAD.unpack_from(data)
        return cls(signo, code, data[_HEAD.size : KERNEL_SIGINFO_SIZE], error)

    def pack(self) -> bytes:
        """SIGINFO_SIZE bytes (copy_siginfo_to_user())."""
        head = _HEAD.pack(self.signo, self.errno, self.code, 0)
        return (head + self.fields).ljust(SIGINFO_SIZE, b"\0")

    def with_overrun(self, overrun: int) -> SigInfo:
        """The same timer's, with that si_overrun."""
        timer, _, value = _TIMER.unpack(self.fields)
        return replace(self, fields=_TIMER.pack(timer, overrun, value))

    @property
    def from_kernel(self) -> bool:
        """SI_FROMKERNEL()."""
        return self.code > 0

    @property
    def layout(self) -> int:
        """Which fields it has, one of Layout (siginfo_layout())."""
        if SI_USER < self.code < SI_KERNEL:
            if self.signo == signal.SIGCHLD:
                return Layout.CHILD
            if self.signo in _NAMES:
                return Layout.FAULT
            return Layout.POLL
        if self.code == SI_TIMER:
            return Layout.TIMER
        if self.code == SI_SIGIO:
            return Layout.POLL
        return Layout.QUEUE if self.code < 0 and self.code != SI_TKILL else Layout.KILL

    @property
    def pid(self) -> int:
        """Who sent it, where that is told; else 0."""
        if self.layout in (Layout.KILL, Layout.QUEUE, Layout.CHILD):
            return int.from_bytes(self.fields[:4], "little", signed=True)
        return 0

    @property
    def uid(self) -> int:
        """Who that is, where it is told; else 0."""
        if self.layout in (Layout.KILL, Layout.QUEUE, Layout.CHILD):
            return int.from_bytes(self.fields[4:8], "little")
        return 0

    @property
    def child_fields(self) -> tuple[int, int, int, int, int]:
        """Of SIGCHLD's: PID, user, status, clock ticks as user and as kernel."""
        pid, uid, status, _, utime, stime = _CHILD.unpack_from(self.fields)
        return pid, uid, status, utime, stime

    @property
    def timer_id(self) -> int:
        """The number of the timer whose it is (SI_TIMER)."""
        return int.from_bytes(self.fields[:4], "little", signed=True)

    @property
    def addr(self) -> int | None:
        """si_addr, where it has one."""
        if self.layout != Layout.FAULT:
            return None
        return int.from_bytes(self.fields[:8], "little")

    @property
    def code_name(self) -> str:
        """``SEGV_MAPERR`` and its like."""
        names = _NAMES.get(self.signo, ())
        if 0 < self.code <= len(names):
            return names[self.code - 1]
        return _NAMES_OF_ANY.get(self.code, f"si_code {self.code}")
