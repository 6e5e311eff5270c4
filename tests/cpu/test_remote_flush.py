# SPDX-License-Identifier: GPL-2.0-or-later
"""What another CPU's kernel code changes in the page tables: a flush that was done between two
slices is seen by the next instruction, one that was not leaves the translation that the CPU has
(SDM vol. 3A 4.10.4.4).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cpu.vcpu import Fidelity, VmExit
from mmu.x86 import Access
from tests.cpu.several import Several, several
from tests.cpu.world import ALL, DATA, FIDELITIES, TEXT, How, reg

OLD, NEW = 0x11, 0x22
READ = f"1: mov eax, [{DATA}]; syscall; jmp 1b"
WRITE = f"1: mov dword ptr [{DATA}], 0x33; syscall; jmp 1b"
OTHER = DATA + 0x1000
"""The page whose frame takes the place of DATA's."""


@contextmanager
def moved(s: Several) -> Iterator[None]:
    """DATA's PTE names the frame of OTHER, as CPU 0's kernel code would have it, without any flush;
    in the end it is DATA's own again.
    """
    mmu = s.kernel.cpus[0].mmu
    one, other = mmu.walk(DATA, Access.READ), mmu.walk(OTHER, Access.READ)
    s.memory.write_u64(one.entry_pa[1], other.entry[1])
    yield
    s.memory.write_u64(one.entry_pa[1], one.entry[1])


def prepared(s: Several) -> None:
    for at, value in ((DATA, OLD), (OTHER, NEW)):
        s.mm.copy_to_user(at, value.to_bytes(4, "little"))


@pytest.mark.parametrize("how", ALL, ids=str)
def test_a_flush_is_seen_by_the_next_instruction(how: How) -> None:
    """Of one page, or of all; both CPUs."""
    for flush in ("page", "all"):
        with several(READ, how) as s:
            prepared(s)
            for number in (0, 1):
                assert s.run(number).reason == VmExit.SYSCALL
                assert s.vcpus[number].read_reg(reg("RAX")) == OLD
            with moved(s):
                for cpu in s.kernel.cpus:
                    if flush == "page":
                        cpu.mmu.invlpg(DATA)
                    else:
                        cpu.mmu.write_cr3(cpu.mmu.c.cr3)
                for number in (1, 0):
                    s.run(number, 1)  # jmp
                    s.run(number, 1)
                    assert s.vcpus[number].read_reg(reg("RAX")) == NEW
                s.check()


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_without_a_flush_the_old_translation_is_used(how: How) -> None:
    """In exact and trace by rule: the TLB model decides. In fast it is whatever Unicorn still has:
    the old one, or, once its soft TLB asked again, the new one.
    """
    with several(READ, how) as s:
        prepared(s)
        s.run(1)
        with moved(s):
            for _ in range(3):
                s.run(1)
                seen = s.vcpus[1].read_reg(reg("RAX"))
                assert seen == OLD or (seen == NEW and how.fidelity is Fidelity.FAST)
            s.run(0)  # CPU 0 never had the old one
            assert s.vcpus[0].read_reg(reg("RAX")) == NEW
        s.check()


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_write_protection_without_a_flush(how: How) -> None:
    """A CPU whose dirty translation was not flushed goes on storing, to the old frame."""
    with several(WRITE, how._replace(fast_faults=False)) as s:
        prepared(s)
        s.run(1)
        entry = s.kernel.cpus[0].mmu.walk(DATA, Access.READ).entry_pa[1]
        s.memory.write_u64(entry, s.memory.read_u64(entry) & ~2)
        pa = s.kernel.cpus[0].mmu.walk(DATA, Access.READ).pa
        s.memory.write_u64(pa, 0)
        exit_ = s.vcpus[1].run((s.vcpus[1].instructions or 0) + 2)
        if how.fidelity is not Fidelity.FAST:
            assert exit_.reason == VmExit.LIMIT
            assert s.memory.read_u64(pa) == 0x33
        s.kernel.cpus[1].mmu.invlpg(DATA)
        s.vcpus[1].write_reg(reg("RIP"), TEXT)
        exit_ = s.vcpus[1].run((s.vcpus[1].instructions or 0) + 1)
        assert (exit_.reason, exit_.error_code) == (VmExit.PAGE_FAULT, 7)
        s.memory.write_u64(entry, s.memory.read_u64(entry) | 2)
