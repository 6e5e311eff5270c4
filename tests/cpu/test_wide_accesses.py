# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: FXSAVE and FXRSTOR are as many stores and loads as they have fields; a fault among them is
precise.

A processor may look at the whole area first (those of this project's hosts do, and report its last
byte). Here the field that faults is reported, and those before it are stored: that is done again
after the fault.
"""

from __future__ import annotations

import pytest

from cpu.vcpu import VmExit
from mmu.linux.mman import PROT_NONE, PROT_READ
from mmu.x86.faults import PF_P, PF_US, PF_WR
from tests.cpu.test_exact import MODELLED
from tests.cpu.world import ALL, DATA, RW, TEXT, How, map_fixed, world

SAVE_STORES, RESTORE_LOADS = 55, 52
SECOND = DATA + 0x2000
FIELDS_256 = 0x200 - 0x100
"""The area begins here below the second page, so that XMM6 is the first register in it."""


@pytest.mark.parametrize("how", MODELLED, ids=str)
@pytest.mark.parametrize("address", [DATA, SECOND - FIELDS_256], ids=["in_a_page", "across_two"])
def test_one_access_a_field(how: How, address: int) -> None:
    with world("fxsave [rdi]; fxrstor [rdi]; syscall", how, regs={"RDI": address}) as w:
        for page in range(DATA, DATA + 0x4000, 0x1000):
            w.mm.copy_to_user(page, b"x")
        before = w.mmu.counters()
        w.run()
        seen = {name: value - before[name] for name, value in w.mmu.counters().items()}
        assert (seen["dTLB-stores"], seen["dTLB-loads"]) == (SAVE_STORES, RESTORE_LOADS)
        assert seen["page_faults_hw"] == 0
        w.check()


@pytest.mark.parametrize("how", ALL, ids=str)
@pytest.mark.parametrize(
    ("source", "protection", "code"),
    [
        ("fxsave [rdi]", PROT_NONE, PF_US | PF_WR),
        ("fxsave [rdi]", PROT_READ, PF_US | PF_WR | PF_P),
        ("fxrstor [rdi]", PROT_NONE, PF_US),
    ],
    ids=["save_absent", "save_read_only", "restore_absent"],
)
def test_a_fault_on_the_second_page(how: How, source: str, protection: int, code: int) -> None:
    """Registers are those before; once the page is there, the instruction completes once."""
    program = f"mov eax, 1; cvtsi2sd xmm6, eax; {source}; syscall"
    with world(program, how, regs={"RDI": SECOND - FIELDS_256}) as w:
        map_fixed(w.mm, SECOND, 0x1000, RW)
        w.mm.copy_to_user(SECOND - 0x1000, bytes(0x1000))
        w.mm.copy_to_user(SECOND, bytes(FIELDS_256))
        w.mm.mprotect(SECOND, 0x1000, protection)
        exit_ = w.run()
        assert (exit_.reason, exit_.address) == (VmExit.PAGE_FAULT, SECOND)
        assert (exit_.error_code, exit_.rip) == (code, TEXT + 9)
        before = w.state()
        assert w.vcpu.run().rip == TEXT + 9
        assert w.state() == before
        w.mm.mprotect(SECOND, 0x1000, RW)
        assert w.run().reason == VmExit.SYSCALL
        saved = w.data(8, SECOND)
        assert saved == (b"\0\0\0\0\0\0\xf0\x3f" if source == "fxsave [rdi]" else bytes(8))
        w.check()
