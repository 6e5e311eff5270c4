# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: FPREM and FPREM1 are exact, with the condition codes and flags of a processor:
native/unicorn/fprem.c.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.guests.build import build, run_natively
from tests.guests.machine import native, run


def program() -> Path:
    return build("fprem.c", "-O1", "-static", "-no-pie")


@pytest.mark.parametrize("count", [True, False])
def test_every_line_is_native(count: bool) -> None:
    """Of 9,512 pairs of operands: result, C0 to C3, SF and IE."""
    ours, theirs = (
        run(program(), count=count).text.splitlines(),
        run_natively(program()).decode().splitlines(),
    )
    assert len(theirs) == 9512
    assert [pair for pair in zip(theirs, ours, strict=True) if pair[0] != pair[1]] == []


@pytest.mark.parametrize("fidelity", ["exact", "trace"])
def test_in_each_fidelity(fidelity: str) -> None:
    """FLD1; FLDPI; FPREM; FXAM leaves 0.14: as in fast, instruction by instruction too."""
    code = "code:d9e8d9ebd9f8d9ebd9c9d9f5ddd8ddd8ddd8"
    assert run("faults", code, fidelity=fidelity).figures == run("faults", code).figures


def test_an_unmasked_invalid_operation_is_sigfpe() -> None:
    """FLDZ; FLD1; FPREM with IE unmasked, and FWAIT: ST(1) is 0."""
    code = "code:6a006668 7e03 d92c24 d9ee d9e8 d9f8 9b".replace(" ", "")
    report = run("faults", code).result.report
    assert report is not None
    assert (report.signo, report.code) == (signal.SIGFPE, "FPE_FLTINV")
    assert native("faults", code)[0] == -signal.SIGFPE
