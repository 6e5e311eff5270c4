# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: an unmasked x87 exception is SIGFPE at the next waiting instruction, with the si_code of
the exception.
"""

from __future__ import annotations

import signal

import pytest

from cpu import siginfo
from cpu.fpu import X86_TRAP_MF, X86_TRAP_XF, fpu_exception_code
from tests.guests.build import build, signal_natively
from tests.guests.machine import run


@pytest.mark.parametrize("fidelity", ["fast", "exact", "trace"])
def test_division_by_zero_is_sigfpe_as_on_the_host(fidelity: str) -> None:
    """CR0.NE: without it Unicorn drops the exception."""
    program = build("x87_divide.S", "-nostdlib", "-static", "-no-pie")
    assert signal_natively(program) == signal.SIGFPE
    report = run(program, fidelity=fidelity).result.report
    assert report is not None
    assert (report.signo, report.code) == (signal.SIGFPE, "FPE_FLTDIV")
    assert "fwait" in report.instruction or "wait" in report.instruction
    assert report.address == report.rip


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (0x01, siginfo.FPE_FLTINV),
        (0x04, siginfo.FPE_FLTDIV),
        (0x08, siginfo.FPE_FLTOVF),
        (0x10, siginfo.FPE_FLTUND),
        (0x02, siginfo.FPE_FLTUND),
        (0x20, siginfo.FPE_FLTRES),
        (0x24, siginfo.FPE_FLTDIV),
        (0x3F, siginfo.FPE_FLTINV),
        (0x00, 0),
    ],
)
def test_code_is_that_of_the_first_unmasked_exception(flags: int, code: int) -> None:
    """fpu__exception_code()'s order, for both vectors; what is masked does not count."""
    assert fpu_exception_code(X86_TRAP_MF, 0x340, flags, 0) == code
    assert fpu_exception_code(X86_TRAP_MF, 0x37F, flags, 0) == 0
    assert fpu_exception_code(X86_TRAP_XF, 0, 0, flags) == code
    assert fpu_exception_code(X86_TRAP_XF, 0, 0, 0x1F80 | flags) == 0
