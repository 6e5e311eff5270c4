# SPDX-License-Identifier: GPL-2.0-or-later
"""ptrace(2), as far as it looks: attach, read registers and memory, let go (kernel/ptrace.c,
arch/x86/kernel/ptrace.c, v6.18). LeakSanitizer stops threads with it. What changes or steps a
tracee is EIO.
"""

from __future__ import annotations

import errno
import signal
import struct
from typing import TYPE_CHECKING, Any, Final

from cpu.ptrace import may_access
from cpu.siginfo import SI_USER, SigInfo
from cpu.signal_send import send_sig, send_sig_info
from cpu.signals import NSIG
from cpu.syscalls.registry import s32, syscall
from cpu.task import Traced
from cpu.thread import State
from cpu.traced import ptrace_detach, ptrace_resume
from mmu.errors import LinuxError
from mmu.linux.process_vm_access import process_vm_rw

if TYPE_CHECKING:
    from cpu.context import Context
    from cpu.task import Task
    from cpu.vcpu import VCpu

PTRACE_TRACEME, PTRACE_PEEKTEXT, PTRACE_PEEKDATA = 0, 1, 2
PTRACE_CONT, PTRACE_KILL = 7, 8
PTRACE_GETREGS, PTRACE_GETFPREGS = 12, 14
PTRACE_ATTACH, PTRACE_DETACH = 16, 17
PTRACE_GETSIGINFO, PTRACE_GETREGSET = 0x4202, 0x4204
NT_PRSTATUS, NT_PRFPREG = 1, 2
USER_CS, USER_DS = 0x33, 0x2B
_REQUESTS: Final = frozenset(
    {
        *(PTRACE_PEEKTEXT, PTRACE_PEEKDATA, PTRACE_CONT, PTRACE_KILL, PTRACE_GETREGS),
        *(PTRACE_GETFPREGS, PTRACE_DETACH, PTRACE_GETSIGINFO, PTRACE_GETREGSET),
    }
)
PTRACE_SEIZE: Final = 0x4206
_REFUSED: Final = {
    3: "PEEKUSR",
    4: "POKETEXT",
    5: "POKEDATA",
    6: "POKEUSR",
    9: "SINGLESTEP",
    13: "SETREGS",
    15: "SETFPREGS",
    24: "SYSCALL",
    0x4200: "SETOPTIONS",
    0x4205: "SETREGSET",
    PTRACE_SEIZE: "SEIZE",
}
"""What debuggers and tracers begin with, and is not here: told at the end of the run."""
_IOVEC: Final = struct.Struct("<QQ")


@syscall("ptrace")
def sys_ptrace(task: Task, request: int, pid: int, addr: int, data: int, *_: int) -> int:
    """ptrace(2)."""
    request = s32(request)
    if request == PTRACE_TRACEME:
        return _traceme(task)
    other = task.system.tasks.get(s32(pid))
    if other is None:
        raise LinuxError(errno.ESRCH)
    if request == PTRACE_ATTACH:
        return _attach(task, other)
    if request == PTRACE_SEIZE:
        raise _refused(task, request)
    traced = other.traced
    if traced is None or traced.tracer is not task:
        raise LinuxError(errno.ESRCH)
    if request == PTRACE_KILL:
        send_sig_info(SigInfo.kill(signal.SIGKILL, SI_USER, task.tgid, task.uid), other)
        return 0
    if traced.info is None or other.state is not State.STOPPED:
        raise LinuxError(errno.ESRCH)
    if request not in _REQUESTS:
        raise _refused(task, request)
    return _of_stopped(task, other, request, addr, data)


def _refused(task: Task, request: int) -> LinuxError:
    if request in _REFUSED:
        task.system.notes.add(
            f"ptrace(PTRACE_{_REFUSED[request]}) by {task.comm.decode(errors='replace')}: EIO; a"
            " tracee may be looked at here, not changed, stepped or followed: use --strace, or"
            " --fidelity trace"
        )
    return LinuxError(errno.EIO)


def _traceme(task: Task) -> int:
    parent = task.process.parent_task
    if task.traced is not None or parent is None or parent.exiting:
        raise LinuxError(errno.EPERM)
    task.traced = Traced(parent)
    return 0


def _attach(task: Task, other: Task) -> int:
    """PTRACE_ATTACH: it gets SIGSTOP, for which it stands still."""
    if (
        other.process is task.process
        or other.exiting
        or other.traced is not None
        or not may_access(task, other)
    ):
        raise LinuxError(errno.EPERM)
    traced = other.traced = Traced(task)
    if other.state is State.STOPPED:
        traced.info = SigInfo.kernel(signal.SIGSTOP)
    else:
        send_sig(signal.SIGSTOP, other, priv=True)
    return 0


def _of_stopped(task: Task, other: Task, request: int, addr: int, data: int) -> int:
    """What may be asked of a tracee that stands still."""
    assert other.traced is not None and other.traced.info is not None
    if request in (PTRACE_CONT, PTRACE_DETACH):
        if not 0 <= data <= NSIG:
            raise LinuxError(errno.EIO)
        (ptrace_resume if request == PTRACE_CONT else ptrace_detach)(other, data)
    elif request in (PTRACE_PEEKTEXT, PTRACE_PEEKDATA):
        try:
            copied = process_vm_rw(task.mm, [(data, 8)], other.mm, [(addr, 8)], write=False)
        except LinuxError:
            copied = 0
        if copied != 8:
            raise LinuxError(errno.EIO)
    elif request == PTRACE_GETSIGINFO:
        task.mm.copy_to_user(data, other.traced.info.pack())
    elif request == PTRACE_GETREGS:
        task.mm.copy_to_user(data, user_regs(other))
    elif request == PTRACE_GETFPREGS:
        task.mm.copy_to_user(data, _registers(other).fxsave())
    else:
        _getregset(task, other, addr, data)
    return 0


def _getregset(task: Task, other: Task, kind: int, data: int) -> None:
    """PTRACE_GETREGSET: as much of a set of registers as there is room for."""
    if kind == NT_PRSTATUS:
        regs = user_regs(other)
    elif kind == NT_PRFPREG:
        regs = _registers(other).fxsave()
    else:
        raise LinuxError(errno.EINVAL)
    base, size = _IOVEC.unpack(task.mm.copy_from_user(data, _IOVEC.size))
    size = min(size, len(regs))
    task.mm.copy_to_user(base, regs[:size])
    task.mm.copy_to_user(data, _IOVEC.pack(base, size))


def _registers(task: Task) -> Context | VCpu:
    """Where the registers of a task that stands still are: it may still be loaded on a CPU."""
    if task.rq is not None and task.rq.loaded is task:
        return task.rq.vcpu
    assert task.context is not None
    return task.context


def user_regs(task: Task) -> bytes:
    """struct user_regs_struct of a task that stands still."""
    regs: Any = _registers(task).get_regs()
    return struct.pack(
        "<27Q",
        *(regs.r15, regs.r14, regs.r13, regs.r12, regs.bp, regs.bx, regs.r11, regs.r10),
        *(regs.r9, regs.r8, regs.ax, regs.cx, regs.dx, regs.si, regs.di),
        *(task.orig_ax & 0xFFFFFFFFFFFFFFFF, regs.ip, USER_CS, regs.flags, regs.sp, USER_DS),
        *(regs.fs_base, regs.gs_base, 0, 0, 0, 0),
    )
