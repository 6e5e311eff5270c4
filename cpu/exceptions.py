# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel does when a task's instruction faults: mend it, carry it out, or send a signal.

A handler that returns lets the task try its instruction again. One that sends a signal raises
TaskEnd, since signals act by default here. Sources: arch/x86/mm/fault.c and
arch/x86/kernel/traps.c, v6.18.
"""

from __future__ import annotations

import signal
from typing import Any, Final, NoReturn

from unicorn.x86_const import (
    UC_X86_REG_FPCW,
    UC_X86_REG_FPSW,
    UC_X86_REG_MXCSR,
    UC_X86_REG_RAX,
    UC_X86_REG_RCX,
    UC_X86_REG_RDX,
)

from cpu.fpu import X86_TRAP_MF, X86_TRAP_XF, fpu_exception_code
from cpu.task import Task
from cpu.vcpu import Intercept
from mmu.errors import BadTable, GeneralProtection, StackFault
from mmu.linux.fault import BUS_ADRERR, SEGV_ACCERR, SEGV_MAPERR, OomKill, Segv
from mmu.units import U32
from mmu.x86 import Access
from mmu.x86.check import ChangedBy

X86_TRAP_DE, X86_TRAP_DB, X86_TRAP_BP, X86_TRAP_OF, X86_TRAP_BR, X86_TRAP_UD, X86_TRAP_NM = (
    0, 1, 3, 4, 5, 6, 7,
)  # fmt: skip
X86_TRAP_NP, X86_TRAP_SS, X86_TRAP_GP, X86_TRAP_AC = (
    11, StackFault.vector, GeneralProtection.vector, 17,
)  # fmt: skip

EXCEPTION_SIGNALS: Final[dict[int, tuple[int, str, str]]] = {
    X86_TRAP_DE: (signal.SIGFPE, "FPE_INTDIV", "divide error"),
    X86_TRAP_DB: (signal.SIGTRAP, "TRAP_TRACE", "debug exception"),
    X86_TRAP_BP: (signal.SIGTRAP, "SI_KERNEL", "breakpoint"),
    X86_TRAP_OF: (signal.SIGSEGV, "SI_KERNEL", "overflow"),
    X86_TRAP_BR: (signal.SIGSEGV, "SI_KERNEL", "BOUND range exceeded"),
    X86_TRAP_UD: (signal.SIGILL, "ILL_ILLOPN", "invalid opcode"),
    X86_TRAP_NM: (signal.SIGSEGV, "SI_KERNEL", "device not available"),
    X86_TRAP_NP: (signal.SIGBUS, "SI_KERNEL", "segment not present"),
    X86_TRAP_SS: (signal.SIGBUS, "SI_KERNEL", "stack-segment fault"),
    X86_TRAP_GP: (signal.SIGSEGV, "SI_KERNEL", "general protection"),
    X86_TRAP_MF: (signal.SIGFPE, "FPE_FLTINV", "x87 floating-point error"),
    X86_TRAP_AC: (signal.SIGBUS, "BUS_ADRALN", "alignment check"),
    X86_TRAP_XF: (signal.SIGFPE, "FPE_FLTINV", "SIMD floating-point error"),
}
"""By vector: signal, si_code and name."""
_WITH_RIP_AS_ADDRESS: Final = frozenset({X86_TRAP_DE, X86_TRAP_UD, X86_TRAP_MF, X86_TRAP_XF})
_FAULT_REASONS: Final[dict[tuple[int, int], tuple[str, str]]] = {
    (signal.SIGSEGV, SEGV_MAPERR): ("SEGV_MAPERR", "{} where nothing is mapped"),
    (signal.SIGSEGV, SEGV_ACCERR): ("SEGV_ACCERR", "{} that the mapping does not allow"),
    (signal.SIGBUS, BUS_ADRERR): ("BUS_ADRERR", "{} past the end of the mapped file"),
}
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
    """Resolve the page fault that ``exit_`` tells of (VmExit.PAGE_FAULT), or end the task."""
    address = exit_.address
    task.entered_kernel(ChangedBy.FAULT, address, exit_.rip)
    try:
        segv = task.mm.handle_user_fault(address, exit_.error_code)
    except OomKill as error:
        reason = f"out of memory: {error}"
    except BadTable as error:
        reason = f"bad page table: {error}"
    else:
        if segv is not None:
            _force_sig_fault(task, segv, Access(exit_.access))
        return
    task.kill(signal.SIGKILL, "SI_KERNEL", reason)


def _force_sig_fault(task: Task, segv: Segv, access: Access) -> NoReturn:
    code, reason = _FAULT_REASONS[segv.signal, segv.code]
    walk = str(task.vcpu.mmu.walk(segv.address, access))
    task.kill(segv.signal, code, reason.format(access.verb), address=segv.address, walk=walk)


def handle_exception(task: Task, exit_: Any) -> None:
    """Emulate the instruction that raised the exception ``exit_`` tells of (VmExit.EXCEPTION), or
    end the task by the exception's signal.
    """
    if exit_.intercept in (Intercept.RDTSC, Intercept.RDTSCP):
        _emulate_rdtsc(task, exit_)
        return
    vector = exit_.vector
    signo, code, reason = EXCEPTION_SIGNALS.get(vector, EXCEPTION_SIGNALS[X86_TRAP_GP])
    reason = f"{reason} (vector {vector})"
    if vector in (X86_TRAP_MF, X86_TRAP_XF):
        code = _fpu_exception_code(task, vector)
    elif exit_.intercept == Intercept.INT1:
        code = "TRAP_BRKPT"
    elif exit_.intercept == Intercept.WRONG:
        reason = f"{reason}: {_WRONG_IN_UNICORN}"
    elif vector == X86_TRAP_UD:
        reason += _missing_feature(task, exit_.insn)
    if vector in _WITH_RIP_AS_ADDRESS:
        address = exit_.rip
    else:
        address = 0 if signo == signal.SIGSEGV else None
    task.kill(signo, code, reason, address=address, at=exit_.insn)


def _missing_feature(task: Task, insn: int) -> str:
    """What to say of the instruction at insn if it is one that other processors have."""
    from cpu.disasm import feature_of

    feature = feature_of(task.vcpu.peek(insn))
    if feature is None:
        return ""
    hint = _TUNABLES if feature in _GLIBC_CHOOSES else ""
    return f": {_MISSING_FEATURE.format(feature)}{hint}"


def _fpu_exception_code(task: Task, vector: int) -> str:
    read_reg = task.vcpu.read_reg
    fcw, fsw, mxcsr = map(read_reg, (UC_X86_REG_FPCW, UC_X86_REG_FPSW, UC_X86_REG_MXCSR))
    return fpu_exception_code(vector, fcw, fsw, mxcsr)


def _emulate_rdtsc(task: Task, exit_: Any) -> None:
    """Carry out RDTSC or RDTSCP (SDM vol. 2B), whose processor is number 0."""
    vcpu, stamp = task.vcpu, task.system.clock.tsc()
    vcpu.write_reg(UC_X86_REG_RAX, stamp & U32)
    vcpu.write_reg(UC_X86_REG_RDX, stamp >> 32)
    if exit_.intercept == Intercept.RDTSCP:
        vcpu.write_reg(UC_X86_REG_RCX, 0)
    vcpu.skip(exit_.length)
