# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel does when a task's instruction faults: mend it, carry it out, or send a signal.

When it returns the task tries its instruction again, or the signal acts: on the way back to user
mode. Sources: arch/x86/mm/fault.c and arch/x86/kernel/traps.c, v6.18.
"""

from __future__ import annotations

import signal
from typing import Any, Final

from unicorn.x86_const import (
    UC_X86_REG_FPCW,
    UC_X86_REG_FPSW,
    UC_X86_REG_MXCSR,
    UC_X86_REG_RAX,
    UC_X86_REG_RCX,
    UC_X86_REG_RDX,
)

from cpu.fpu import X86_TRAP_MF, X86_TRAP_XF, fpu_exception_code
from cpu.siginfo import (
    BUS_ADRALN,
    FPE_FLTINV,
    FPE_INTDIV,
    ILL_ILLOPN,
    SI_KERNEL,
    TRAP_BRKPT,
    TRAP_TRACE,
    Blame,
    SigInfo,
)
from cpu.signal_send import force_sig_info
from cpu.task import Task
from cpu.vcpu import Intercept
from mmu.errors import BadTable, GeneralProtection, StackFault
from mmu.linux.fault import BUS_ADRERR, SEGV_ACCERR, SEGV_MAPERR, OomKill, Segv
from mmu.linux.layout import TASK_SIZE
from mmu.units import U32
from mmu.x86 import Access
from mmu.x86.check import ChangedBy

X86_TRAP_DE, X86_TRAP_DB, X86_TRAP_BP, X86_TRAP_OF, X86_TRAP_BR, X86_TRAP_UD, X86_TRAP_NM = (
    0, 1, 3, 4, 5, 6, 7,
)  # fmt: skip
X86_TRAP_NP, X86_TRAP_SS, X86_TRAP_GP, X86_TRAP_AC = (
    11, StackFault.vector, GeneralProtection.vector, 17,
)  # fmt: skip

X86_TRAP_PF: Final = 14

EXCEPTION_SIGNALS: Final[dict[int, tuple[int, int, str]]] = {
    X86_TRAP_DE: (signal.SIGFPE, FPE_INTDIV, "divide error"),
    X86_TRAP_DB: (signal.SIGTRAP, TRAP_TRACE, "debug exception"),
    X86_TRAP_BP: (signal.SIGTRAP, SI_KERNEL, "breakpoint"),
    X86_TRAP_OF: (signal.SIGSEGV, SI_KERNEL, "overflow"),
    X86_TRAP_BR: (signal.SIGSEGV, SI_KERNEL, "BOUND range exceeded"),
    X86_TRAP_UD: (signal.SIGILL, ILL_ILLOPN, "invalid opcode"),
    X86_TRAP_NM: (signal.SIGSEGV, SI_KERNEL, "device not available"),
    X86_TRAP_NP: (signal.SIGBUS, SI_KERNEL, "segment not present"),
    X86_TRAP_SS: (signal.SIGBUS, SI_KERNEL, "stack-segment fault"),
    X86_TRAP_GP: (signal.SIGSEGV, SI_KERNEL, "general protection"),
    X86_TRAP_MF: (signal.SIGFPE, FPE_FLTINV, "x87 floating-point error"),
    X86_TRAP_AC: (signal.SIGBUS, BUS_ADRALN, "alignment check"),
    X86_TRAP_XF: (signal.SIGFPE, FPE_FLTINV, "SIMD floating-point error"),
}
"""By vector: signal, si_code and name."""
_WITH_RIP_AS_ADDRESS: Final = frozenset(
    {X86_TRAP_DE, X86_TRAP_DB, X86_TRAP_UD, X86_TRAP_MF, X86_TRAP_XF}
)
_TRAPS: Final = frozenset({X86_TRAP_DB, X86_TRAP_BP, X86_TRAP_OF})
_FAULT_REASONS: Final[dict[tuple[int, int], str]] = {
    (signal.SIGSEGV, SEGV_MAPERR): "{} where nothing is mapped",
    (signal.SIGSEGV, SEGV_ACCERR): "{} that the mapping does not allow",
    (signal.SIGBUS, BUS_ADRERR): "{} past the end of the mapped file",
}
PF_PROT, PF_USER = 0x1, 0x4
INT_N: Final = b"\xcd"
IDT_BIT: Final = 2
"""Of an error code about an IDT's gate."""
_MISSING_FEATURE: Final = (
    "{0}, which the processor modelled does not have, and CPUID says so (it is an x86-64-v2: up to"
    " SSE4.2); build the program without it (gcc -march=x86-64-v2), or let it choose its code by"
    " CPUID"
)
_GLIBC_CHOOSES: Final = frozenset(
    {"AVX", "AVX2", "AVX-512", "FMA", "FMA4", "BMI1", "BMI2", "MOVBE"}
)
_TUNABLES: Final = (
    ", as glibc does (in other environments GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX,-AVX2 makes it"
    " choose the same)"
)
_WRONG_IN_UNICORN: Final = (
    "a processor executes it, but Unicorn would with a wrong result (docs/engine_limits.md)"
)


def handle_page_fault(task: Task, exit_: Any) -> None:
    """Resolve the page fault that ``exit_`` tells of (VmExit.PAGE_FAULT), or send its signal."""
    address, error_code = exit_.address, exit_.error_code
    task.entered_kernel(ChangedBy.FAULT, address, exit_.rip)
    try:
        segv = task.mm.handle_user_fault(address, error_code)
    except OomKill as error:
        reason = f"out of memory: {error}"
    except BadTable as error:
        reason = f"bad page table: {error}"
    else:
        if segv is not None:
            _force_sig_fault(task, segv, error_code, Access(exit_.access))
        return
    task.kill(signal.SIGKILL, reason)


def _force_sig_fault(task: Task, segv: Segv, error_code: int, access: Access) -> None:
    """Send a page fault's signal. What a program is told of the kernel's half is always that the
    page is there (sanitize_error_code()).
    """
    outside = PF_PROT if segv.address >= TASK_SIZE else 0
    task.trap_nr, task.cr2 = X86_TRAP_PF, segv.address
    task.error_code = error_code | PF_USER | outside
    task.resume_flag = True
    reason = _FAULT_REASONS[segv.signal, segv.code].format(access.verb)
    info = SigInfo.fault(segv.signal, segv.code, segv.address, Blame(reason, access=access))
    force_sig_info(info, task)


def handle_exception(task: Task, exit_: Any) -> None:
    """Emulate the instruction that raised the exception ``exit_`` tells of (VmExit.EXCEPTION), or
    send the exception's signal.
    """
    if exit_.intercept in (Intercept.RDTSC, Intercept.RDTSCP):
        _emulate_rdtsc(task, exit_)
        return
    vector = exit_.vector if exit_.vector in EXCEPTION_SIGNALS else X86_TRAP_GP
    signo, code, reason = EXCEPTION_SIGNALS[vector]
    reason = f"{reason} (vector {exit_.vector})"
    if vector in (X86_TRAP_MF, X86_TRAP_XF):
        code = _fpu_exception_code(task, vector)
    elif exit_.intercept == Intercept.INT1:
        code = TRAP_BRKPT
    elif exit_.intercept == Intercept.WRONG:
        reason = f"{reason}: {_WRONG_IN_UNICORN}"
    elif vector == X86_TRAP_UD:
        reason += _missing_feature(task, exit_.insn)
    task.trap_nr, task.error_code = vector, _error_code(task, exit_)
    task.resume_flag = vector not in _TRAPS
    address = exit_.rip if vector in _WITH_RIP_AS_ADDRESS else 0
    blame = Blame(reason, at=exit_.insn)
    if code == SI_KERNEL:
        info = SigInfo(signo, SI_KERNEL, blame=blame)
    else:
        info = SigInfo.fault(signo, code, address, blame)
    force_sig_info(info, task)


def _error_code(task: Task, exit_: Any) -> int:
    """What the processor pushes: of INT n, which no gate of user mode's answers, the gate (SDM
    vol. 3A 6.13); else 0.
    """
    if exit_.vector == X86_TRAP_GP and exit_.intercept == Intercept.GP:
        code = task.vcpu.peek(exit_.insn, 2)
        if code[:1] == INT_N:
            return code[1] << 3 | IDT_BIT
    return 0


def _missing_feature(task: Task, insn: int) -> str:
    """What to say of the instruction at insn if it is one that other processors have."""
    from cpu.disasm import feature_of

    feature = feature_of(task.vcpu.peek(insn))
    if feature is None:
        return ""
    hint = _TUNABLES if feature in _GLIBC_CHOOSES else ""
    return f": {_MISSING_FEATURE.format(feature)}{hint}"


def _fpu_exception_code(task: Task, vector: int) -> int:
    read_reg = task.vcpu.read_reg
    fcw, fsw, mxcsr = map(read_reg, (UC_X86_REG_FPCW, UC_X86_REG_FPSW, UC_X86_REG_MXCSR))
    return fpu_exception_code(vector, fcw, fsw, mxcsr) or FPE_FLTINV


def _emulate_rdtsc(task: Task, exit_: Any) -> None:
    """Carry out RDTSC or RDTSCP (SDM vol. 2B), which tells IA32_TSC_AUX: the CPU, on node 0."""
    vcpu, stamp = task.vcpu, task.system.clock.tsc()
    vcpu.write_reg(UC_X86_REG_RAX, stamp & U32)
    vcpu.write_reg(UC_X86_REG_RDX, stamp >> 32)
    if exit_.intercept == Intercept.RDTSCP:
        assert task.rq is not None
        vcpu.write_reg(UC_X86_REG_RCX, task.rq.cpu.id)
    vcpu.skip(exit_.length)
