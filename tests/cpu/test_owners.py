# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: of each access the virtual page is known, although Unicorn tells its frame: in 57 bits, and
for ever.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cpu._engine import lib
from cpu.vcpu import Fidelity, VCpu, VmExit
from mmu.memory import Memory
from mmu.x86 import Access, Mmu
from tests.cpu.assemble import assemble
from tests.cpu.world import DATA, EXACT, TRACE, How, reg, world
from ucmmu.testing.tables import Tables

CODE, PAGE = 0x400000, 0x7F12_3456_7000
ALIAS = PAGE + (1 << 48)
"""Another canonical address in 5 levels, whose low 48 bits are PAGE's."""
EPOCHS = 1 << 19
"""The soft TLB can be emptied so often before owner_tag() begins anew."""


@pytest.fixture
def memory() -> Iterator[Memory]:
    memory = Memory(16 << 20)
    yield memory
    memory.close()


@pytest.mark.parametrize("engine", ["c", "python"])
@pytest.mark.parametrize("fidelity", [Fidelity.EXACT, Fidelity.TRACE])
def test_addresses_of_57_bits(memory: Memory, fidelity: Fidelity, engine: str) -> None:
    """One frame, loaded from at two addresses in turn that only differ above bit 47."""
    mmu = Mmu(memory, engine=engine, geometry="tiny", levels=5)
    tables = Tables(mmu)
    memory.write(tables.map(CODE), assemble("mov al, [rbx]; mov [rcx], al; mov al, [rbx]; syscall"))
    frame = tables.map(PAGE)
    memory.write_u64(tables.root + 8, tables.get(PAGE, 5))
    tables.load()
    with VCpu(memory, mmu, fidelity=fidelity) as vcpu:
        vcpu.enter_user(CODE, 0)
        vcpu.write_reg(reg("RBX"), PAGE)
        vcpu.write_reg(reg("RCX"), ALIAS)
        assert vcpu.run().reason == VmExit.SYSCALL
        assert vcpu.shared.broken == 0
    for va in (PAGE, ALIAS):
        entry = mmu.resident(va, Access.READ)
        assert entry is not None
        assert (entry.va, entry.pa) == (va, frame)
    seen = mmu.counters()
    assert (seen["dTLB-loads"], seen["dTLB-stores"]) == (2, 1)
    assert seen["dtlb_load_misses.walk_completed"] == 1


@pytest.mark.parametrize("how", [EXACT, TRACE], ids=str)
def test_owners_of_long_ago_are_nobody(how: How) -> None:
    with world("1: mov al, [0x600000]; syscall; jmp 1b", how) as w:
        w.mm.copy_to_user(DATA, b"A")
        w.run()
        frame = w.mmu.walk(DATA).pa
        assert lib.vcpu_hook_address(w.vcpu.c, frame) == DATA
        for _ in range(EPOCHS):
            lib.vcpu_flush(w.vcpu.c)
            if lib.vcpu_hook_address(w.vcpu.c, frame) == DATA:
                raise AssertionError("a tag of long ago is taken for one of now")
        w.run()
        assert lib.vcpu_hook_address(w.vcpu.c, frame) == DATA
        w.check()
