# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a floating-point exception was raised, as Linux tells a program.

::

    FSW, FCW       5     4     3     2     1     0      MXCSR   12..7 masks, 5..0 flags
                +-----+-----+-----+-----+-----+-----+           of the same exceptions
                | PE  | UE  | OE  | ZE  | DE  | IE  |
                +-----+-----+-----+-----+-----+-----+
                flags in FSW, masks in FCW
"""

from __future__ import annotations

from typing import Final

from cpu.siginfo import FPE_FLTDIV, FPE_FLTINV, FPE_FLTOVF, FPE_FLTRES, FPE_FLTUND

X86_TRAP_MF: Final = 16
X86_TRAP_XF: Final = 19
_IE, _DE, _ZE, _OE, _UE, _PE = (1 << n for n in range(6))
_CODES: Final = (
    (_IE, FPE_FLTINV),
    (_ZE, FPE_FLTDIV),
    (_OE, FPE_FLTOVF),
    (_DE | _UE, FPE_FLTUND),
    (_PE, FPE_FLTRES),
)


def fpu_exception_code(vector: int, fcw: int, fsw: int, mxcsr: int) -> int:
    """si_code for vector 16 (x87) or 19 (SSE); 0 if no exception is both flagged and
    unmasked.

    Source: fpu__exception_code(), arch/x86/kernel/fpu/core.c, v6.18; which then sends no signal.
    """
    raised = fsw & ~fcw if vector == X86_TRAP_MF else mxcsr & ~(mxcsr >> 7)
    return next((name for bits, name in _CODES if raised & bits), 0)
