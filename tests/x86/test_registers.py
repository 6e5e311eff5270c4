# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: bits of CR0, CR4 and RFLAGS are where Linux's headers have them (SDM 2.5)."""

from __future__ import annotations

from pathlib import Path

from mmu.x86 import registers
from tests import c_constants

FOREIGN = {"RFLAGS": "EFLAGS"}


def test_bits_are_where_linux_has_them(tmp_path: Path) -> None:
    ours = {}
    for name, value in vars(registers).items():
        register, _, bit = name.partition("_")
        if register in ("CR0", "CR4", "RFLAGS"):
            ours[f"X86_{FOREIGN.get(register, register)}_{bit}"] = value
    headers = c_constants.values(tmp_path, ["asm/processor-flags.h"], ours)
    assert len(ours) > 20 and set(ours) - set(headers) <= {"X86_CR4_CET", "X86_CR4_PKS"}
    assert {name: ours[name] for name in headers} == headers


def test_bits_that_only_linuxs_own_headers_have() -> None:
    """SDM 2.5 for CR4, table 2-2 for IA32_EFER; APM vol. 2 3.1.7 for EFER.TCE."""
    assert (registers.CR4_CET, registers.CR4_PKS) == (1 << 23, 1 << 24)
    efer = registers.EFER_SCE, registers.EFER_LME, registers.EFER_LMA, registers.EFER_NXE
    assert efer == (1 << 0, 1 << 8, 1 << 10, 1 << 11)
    assert registers.EFER_TCE == 1 << 15
