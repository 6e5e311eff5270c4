# SPDX-License-Identifier: GPL-2.0-or-later
"""A signal's frame on the user's stack, and the way back (arch/x86/kernel/signal{,_64}.c, v6.18).

::

    higher addresses    what the program had on its stack
                        128 bytes, its red zone             (not on an alternate stack)
                        fpstate    512 bytes as FXSAVE64 lays them, at a multiple of 64
                        siginfo    128                      ┐
                        ucontext   304                      │ struct rt_sigframe
    RSP of the handler  pretcode   8: it returns there      ┘ RSP + 8 is a multiple of 16

    ucontext        0  uc_flags, uc_link, uc_stack            uc_mcontext  (from 40 on)
                   40  uc_mcontext                              0  r8 .. r15, rdi, rsi, rbp, rbx
                  296  uc_sigmask                              96  rdx, rax, rcx, rsp, rip, eflags
                                                              144  cs, gs, fs, ss
                                                              152  err, trapno, oldmask, cr2
                                                              184  fpstate; 64 bytes of no meaning

The processor modelled has no XSAVE, and CPUID says so: as on such a processor, UC_FP_XSTATE is not
set and fpstate has nothing behind its 512 bytes.
"""

from __future__ import annotations

import errno
import struct
from typing import Any, Final

from cpu.context import FXSAVE_SIZE
from cpu.restart import do_no_restart_syscall
from cpu.siginfo import SIGINFO_SIZE, SigInfo
from cpu.signal_state import NO_ALTSTACK, set_current_blocked
from cpu.signals import (
    MINSIGSTKSZ,
    SA_ONSTACK,
    SA_RESTORER,
    SA_SIGINFO,
    SS_AUTODISARM,
    SS_DISABLE,
    SS_ONSTACK,
    SigAction,
)
from cpu.task import Task
from mmu.errors import LinuxError
from mmu.linux.uaccess import access_ok
from mmu.units import U32, U64

UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS = 0x2, 0x4
USER_CS, USER_DS = 0x33, 0x2B
RED_ZONE: Final = 128
FP_XSTATE_MAGIC1: Final = 0x46505853
FP_XSTATE_MAGIC2_SIZE: Final = 4
MXCSR_MASK: Final = 0xFFFF
DF, TF, RF = 1 << 10, 1 << 8, 1 << 16
FIX_EFLAGS: Final = 1 << 18 | 1 << 11 | DF | TF | 0xD5
"""Flags that a program may change by sigreturn: AC, OF, DF, TF, SF, ZF, AF, PF, CF; RF too, which
means something to the next frame only, for nothing here stops before an instruction."""

STACK_T: Final = struct.Struct("<QiIQ")
_UC_HEAD: Final = struct.Struct("<QQQIIQ")
_REGISTERS: Final = (
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "di", "si", "bp", "bx", "dx", "ax", "cx",
    "sp", "ip", "flags",
)  # fmt: skip
_MCONTEXT: Final = struct.Struct("<18Q4H5Q")
_SW_BYTES: Final = struct.Struct("<IIQI28x")
_PRETCODE = 0
_UC = 8
_UC_STACK = 16
_UC_MCONTEXT = _UC + _UC_HEAD.size
_UC_SIGMASK = _UC_MCONTEXT + 256
_INFO = _UC_SIGMASK + 8
FRAME_SIZE: Final = _INFO + SIGINFO_SIZE
_FX_MXCSR = 24
_FX_SAVED = 416
"""Bytes that FXSAVE64 writes; the rest of its image is the software's, or nobody's."""
_FX_SW = 464
INIT_FPSTATE: Final = struct.pack("<HHBxHQQII", 0x37F, 0, 0, 0, 0, 0, 0x1F80, MXCSR_MASK).ljust(
    FXSAVE_SIZE, b"\0"
)
"""What a handler begins with, as a program does (fpstate_init_user())."""


# The alternate stack.


def _inside(task: Task, sp: int) -> bool:
    """__on_sig_stack()."""
    base, _, size = task.altstack
    return base < sp <= base + size


def on_sig_stack(task: Task, sp: int) -> bool:
    """Whether the program stands on its alternate stack, and that is not SS_AUTODISARM's."""
    return not task.altstack[1] & SS_AUTODISARM and _inside(task, sp)


def sas_ss_flags(task: Task, sp: int) -> int:
    """What sigaltstack() says of the alternate stack: SS_DISABLE, SS_ONSTACK or 0."""
    if not task.altstack[2]:
        return SS_DISABLE
    return SS_ONSTACK if on_sig_stack(task, sp) else 0


def do_sigaltstack(task: Task, new: bytes, sp: int) -> int:
    """Set the alternate stack from a stack_t; 0, EPERM while the program stands on it, EINVAL,
    ENOMEM.
    """
    base, flags, _, size = STACK_T.unpack(new)
    mode = flags & U32 & ~SS_AUTODISARM
    if on_sig_stack(task, sp):
        return errno.EPERM
    if mode not in (0, SS_ONSTACK, SS_DISABLE):
        return errno.EINVAL
    if mode == SS_DISABLE:
        base = size = 0
    elif size < MINSIGSTKSZ:
        return errno.ENOMEM
    task.altstack = (base, flags & U32, size)
    return 0


# To the handler.


def setup_rt_frame(task: Task, info: SigInfo, action: SigAction, mask: int) -> bool:
    """Have the thread stand at the handler's first instruction, its state in a frame on its stack;
    ``mask`` is the one to come back to. False: the frame cannot be written, and nothing is changed
    but memory.
    """
    regs = task.vcpu.get_regs()
    place = _get_sigframe(task, action, int(regs.sp))
    if place is None or not action.flags & SA_RESTORER:
        return False
    frame, fpstate = place
    try:
        _save_fpstate(task, fpstate)
        _save_frame(task, frame, fpstate, regs, info, action, mask)
    except LinuxError:
        return False
    regs.di, regs.si, regs.dx, regs.ax = info.signo, frame + _INFO, frame + _UC, 0
    regs.ip, regs.sp = action.handler, frame
    regs.flags &= ~(DF | TF) & U64
    task.resume_flag = False
    task.vcpu.set_regs(regs)
    task.vcpu.fxrstor(INIT_FPSTATE)
    return True


def _get_sigframe(task: Task, action: SigAction, sp: int) -> tuple[int, int] | None:
    """Where the frame and its fpstate go (get_sigframe()); None: the alternate stack is full."""
    nested, entering = on_sig_stack(task, sp), False
    sp -= RED_ZONE
    if action.flags & SA_ONSTACK and sas_ss_flags(task, sp & U64) == 0:
        sp = task.altstack[0] + task.altstack[2]
        entering = True
    fpstate = (sp - FXSAVE_SIZE) & -64
    frame = ((fpstate - FRAME_SIZE) & -16) - 8
    if (nested or entering) and not _inside(task, frame):
        return None
    if not access_ok(frame, FRAME_SIZE) or not access_ok(fpstate, FXSAVE_SIZE):
        return None
    return frame, fpstate


def _save_fpstate(task: Task, fpstate: int) -> None:
    """x87 and SSE state (copy_fpstate_to_sigframe())."""
    image = task.vcpu.fxsave()
    task.mm.copy_to_user(fpstate, image[:_FX_SAVED])
    sw_bytes = _SW_BYTES.pack(FP_XSTATE_MAGIC1, FXSAVE_SIZE + FP_XSTATE_MAGIC2_SIZE, 0, FXSAVE_SIZE)
    task.mm.copy_to_user(fpstate + _FX_SW, sw_bytes)


def _save_frame(
    task: Task, frame: int, fpstate: int, regs: Any, info: SigInfo, action: SigAction, mask: int
) -> None:
    base, flags, size = task.altstack
    head = _UC_HEAD.pack(UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS, 0, base, flags, 0, size)
    values = [int(getattr(regs, name)) for name in _REGISTERS]
    values[-1] |= RF if task.resume_flag else 0
    mcontext = _MCONTEXT.pack(
        *values, USER_CS, 0, 0, USER_DS, task.error_code, task.trap_nr, mask, task.cr2, fpstate
    )
    copy_to_user = task.mm.copy_to_user
    if action.flags & SA_SIGINFO:
        copy_to_user(frame + _INFO, info.pack())
    copy_to_user(frame, struct.pack("<Q", action.restorer) + head + mcontext)
    copy_to_user(frame + _UC_SIGMASK, struct.pack("<Q", mask))


def signal_delivered(task: Task, signo: int, mask: int) -> None:
    """The handler is about to run: ``mask`` is blocked too, and an alternate stack of
    SS_AUTODISARM is gone.
    """
    task.saved_sigmask = None
    set_current_blocked(task, task.blocked | mask)
    if task.altstack[1] & SS_AUTODISARM:
        task.altstack = NO_ALTSTACK


# And back.


def rt_sigreturn(task: Task) -> str | None:
    """Give the thread the state of the frame that it stands at, its mask and its alternate stack.

    None, or what is wrong with the frame; then some of it may have been taken over.
    """
    regs = task.vcpu.get_regs()
    frame = (int(regs.sp) - 8) & U64
    if not access_ok(frame, FRAME_SIZE):
        return f"the frame at {frame:#x} of rt_sigreturn() is not in user memory"
    mm = task.mm
    try:
        (mask,) = struct.unpack("<Q", mm.copy_from_user(frame + _UC_SIGMASK, 8))
        head = mm.copy_from_user(frame + _UC, _UC_HEAD.size)
        set_current_blocked(task, mask)
        task.restart_fn = do_no_restart_syscall
        *values, cs, _, _, ss, _, _, _, _, fpstate = _MCONTEXT.unpack(
            mm.copy_from_user(frame + _UC_MCONTEXT, _MCONTEXT.size)
        )
    except LinuxError:
        return f"the frame at {frame:#x} of rt_sigreturn() cannot be read"
    flags = int(regs.flags)
    for name, value in zip(_REGISTERS, values, strict=True):
        setattr(regs, name, value)
    regs.flags = flags & ~FIX_EFLAGS & U64 | values[-1] & FIX_EFLAGS
    task.resume_flag = bool(values[-1] & RF)
    task.vcpu.set_regs(regs)
    if cs | 3 != USER_CS or ss | 3 != USER_DS:
        return f"rt_sigreturn() to segments {cs:#x} and {ss:#x}: only 64-bit code is run here"
    wrong = _restore_fpstate(task, fpstate)
    if wrong is None:
        do_sigaltstack(task, head[_UC_STACK:], int(regs.sp))
    return wrong


def _restore_fpstate(task: Task, fpstate: int) -> str | None:
    """x87 and SSE state from a frame's fpstate (fpu__restore_sig()); what is wrong with it."""
    if not fpstate:
        task.vcpu.fxrstor(INIT_FPSTATE)
        return None
    try:
        image = task.mm.copy_from_user(fpstate, FXSAVE_SIZE)
    except LinuxError:
        return f"the fpstate at {fpstate:#x} of rt_sigreturn() cannot be read"
    (mxcsr,) = struct.unpack_from("<I", image, _FX_MXCSR)
    if fpstate % 16 or mxcsr & ~MXCSR_MASK:
        task.vcpu.fxrstor(INIT_FPSTATE)
        what = "is not at a multiple of 16" if fpstate % 16 else f"has MXCSR {mxcsr:#x}"
        return f"the fpstate at {fpstate:#x} of rt_sigreturn() {what}"
    task.vcpu.fxrstor(image)
    return None
