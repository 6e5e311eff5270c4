# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a kernel has several CPUs, an mm names none: what is flushed, written to or unlinked
reaches every CPU that may still use it (arch/x86/mm/tlb.c, kernel/rcu/, v6.18).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from mmu._native import ffi, lib
from mmu.errors import MmuError
from mmu.events import MM_COUNTER_ID, EventRing
from mmu.linux import engine
from mmu.linux.bug import Bug, MmBug
from mmu.linux.mm import Mm
from mmu.linux.mman import MADV_DONTNEED, MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE
from mmu.linux.policy import FreeTables
from mmu.linux.state import Cpu, Kernel
from mmu.linux.tlbflush import switch_mm
from mmu.memory import Memory
from mmu.units import PAGE_SIZE
from mmu.x86 import Access, Mmu, Outcome

BASE = 0x10_0000_0000
RW = 3


@dataclass
class Machine:
    """A kernel with two CPUs, and one mm loaded into both; ``ring`` records every event."""

    kernel: Kernel
    mm: Mm
    ring: EventRing

    @property
    def cpus(self) -> list[Cpu]:
        return self.kernel.cpus

    def run_on(self, number: int) -> Cpu:
        """Make kernel code run on that CPU."""
        self.kernel.this_cpu = self.cpus[number]
        return self.kernel.this_cpu

    def touch(self, number: int, addr: int) -> None:
        """Write to addr as a user on that CPU, faulting it in."""
        cpu = self.run_on(number)
        for _ in range(3):
            answer = cpu.mmu.translate(addr, Access.WRITE)
            if answer.result == Outcome.OK:
                return
            assert self.mm.handle_user_fault(addr, answer.error_code) is None
        raise AssertionError(f"{addr:#x} still faults on CPU {number}")

    def counter(self, name: str) -> int:
        return int(self.mm.c.counter[MM_COUNTER_ID[name]])


@pytest.fixture(params=["c", "python"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    memory, ring = Memory(16 << 20), EventRing(1 << 16)
    kernel = Kernel(memory, policy=FreeTables.REFCOUNT, engine=request.param, ring=ring)
    for _ in range(2):
        kernel.add_cpu(
            Mmu(memory, geometry="tiny", engine=request.param, exact=True, ring=ring, check=True)
        )
    mm = Mm(kernel)
    for cpu in kernel.cpus:
        kernel.this_cpu = cpu
        switch_mm(kernel, mm)
    mm.mmap(BASE, 512 * PAGE_SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
    kernel.this_cpu = kernel.cpus[0]
    ring.enable()
    yield Machine(kernel, mm, ring)
    for cpu in kernel.cpus[:2]:
        assert cpu.mmu.check is not None and cpu.mmu.check.uses() == []
    mm.exit_mmap()
    memory.close()


def test_making_an_mm_loads_nothing(machine: Machine) -> None:
    before = [int(cpu.mmu.c.cr3) for cpu in machine.cpus]
    other = Mm(machine.kernel)
    assert (other.cpus, [int(cpu.mmu.c.cr3) for cpu in machine.cpus]) == ([], before)
    other.exit_mmap()


def test_switch_mm_puts_the_cpu_into_the_mask(machine: Machine) -> None:
    """It stays in that of the mm before: a flush takes it out (tests/linux/test_tlb_gen.py)."""
    kernel, mm, cpu = machine.kernel, machine.mm, machine.cpus[1]
    other = Mm(kernel)
    assert mm.cpus == machine.cpus
    machine.run_on(1)
    switch_mm(kernel, other)
    assert (mm.cpus, other.cpus) == (machine.cpus, [cpu])
    assert cpu.mmu.c.cr3 & ~lib.CR3_PCID_MASK == other.c.pgd
    assert cpu.loaded_mm is other and cpu.c.loaded_mm == other.c
    other.exit_mmap()
    assert cpu.loaded_mm is None and cpu.c.loaded_mm == ffi.NULL
    assert cpu.mmu.c.cr3 & ~lib.CR3_PCID_MASK == kernel.swapper_pg_dir
    with pytest.raises(MmuError, match="has exited"):
        switch_mm(kernel, other)


def test_a_flush_reaches_every_cpu_that_has_the_mm_loaded(machine: Machine) -> None:
    """One INVLPG on each: the caller's own, and the other's, which is told by an IPI."""
    for number in (0, 1):
        machine.touch(number, BASE)
    machine.run_on(0)
    machine.mm.madvise(BASE, PAGE_SIZE, MADV_DONTNEED)
    for cpu in machine.cpus:
        assert cpu.mmu.resident(BASE) is None, cpu
    assert machine.counter("nr_tlb_remote_flush") == 1
    assert machine.counter("nr_tlb_remote_flush_received") == 1
    assert machine.counter("nr_tlb_local_flush_one") == 1


def test_a_cpu_without_the_mm_is_left_alone(machine: Machine) -> None:
    """It drops everything when it loads the mm again. Linux counts a remote flush all the same."""
    machine.touch(1, BASE)
    machine.touch(0, BASE + PAGE_SIZE)
    machine.run_on(1)
    switch_mm(machine.kernel, None)
    machine.touch(0, BASE)
    machine.ring.read()
    machine.mm.madvise(BASE, PAGE_SIZE, MADV_DONTNEED)
    assert machine.counter("nr_tlb_remote_flush") == 1
    assert machine.counter("nr_tlb_remote_flush_received") == 0
    assert {e.cpu for e in machine.ring.read() if e.name in ("flush_tlb_mm_range", "invlpg")} == {0}
    machine.run_on(1)
    switch_mm(machine.kernel, machine.mm)
    assert machine.cpus[1].mmu.resident(BASE) is None


def test_a_flush_from_a_cpu_that_has_it_not_loaded(machine: Machine) -> None:
    """process_madvise() and the like: only the others flush."""
    machine.touch(1, BASE)
    machine.run_on(0)
    switch_mm(machine.kernel, None)
    machine.mm.madvise(BASE, PAGE_SIZE, MADV_DONTNEED)
    assert machine.cpus[1].mmu.resident(BASE) is None
    assert machine.counter("nr_tlb_local_flush_one") == 0
    assert machine.counter("nr_tlb_remote_flush_received") == 1


def test_events_carry_the_cpu_they_happened_on(machine: Machine) -> None:
    for number in (0, 1):
        machine.touch(number, BASE)
    machine.run_on(0)
    machine.ring.read()
    machine.mm.madvise(BASE, PAGE_SIZE, MADV_DONTNEED)
    cpus = {name: [] for name in ("pte_free", "flush_tlb_mm_range", "invlpg")}
    for event in machine.ring.read():
        if event.name in cpus:
            cpus[event.name].append(event.cpu)
    assert cpus == {"pte_free": [0], "flush_tlb_mm_range": [0], "invlpg": [1, 0]}
    assert machine.kernel.this_cpu is machine.cpus[0]


def test_a_grace_period_waits_for_the_readers_of_every_cpu(machine: Machine) -> None:
    kernel = machine.kernel
    machine.touch(0, BASE)
    machine.run_on(1)
    engine.rcu_read_lock(kernel)
    machine.run_on(0)
    machine.mm.madvise(BASE, PAGE_SIZE, MADV_DONTNEED)
    assert kernel.c.rcu.nr_pending == 1
    assert engine.rcu_process_callbacks(kernel) == 0
    machine.run_on(1)
    engine.rcu_read_unlock(kernel)
    assert engine.rcu_process_callbacks(kernel) == 1


def test_a_read_section_is_left_on_its_own_cpu(machine: Machine) -> None:
    engine.rcu_read_lock(machine.kernel)
    machine.run_on(1)
    with pytest.raises(MmBug) as caught:
        engine.rcu_read_unlock(machine.kernel)
    assert caught.value.bug == Bug.RCU_UNBALANCED
    machine.run_on(0)
    engine.rcu_read_unlock(machine.kernel)


def test_a_gather_belongs_to_the_cpu_that_gathers(machine: Machine) -> None:
    """Two CPUs may gather from one mm at once; one CPU may not begin a second."""
    first = engine.tlb_gather_mmu(machine.mm)
    machine.run_on(1)
    second = engine.tlb_gather_mmu(machine.mm)
    engine.tlb_finish_mmu(second)
    machine.run_on(0)
    with pytest.raises(MmBug) as caught:
        engine.tlb_gather_mmu(machine.mm)
    assert caught.value.bug == Bug.GATHER_NESTED
    engine.tlb_finish_mmu(first)
    assert all(not cpu.c.gather for cpu in machine.cpus)


def test_a_new_table_waits_for_the_flush_another_cpu_owes(machine: Machine) -> None:
    """D4 between CPUs: the table that one gathered is flushed before another installs its heir."""
    machine.touch(0, BASE)
    machine.run_on(0)
    tlb = engine.tlb_gather_mmu(machine.mm)
    engine.unmap_page_range(tlb, BASE, BASE + PAGE_SIZE, 0)
    assert tlb.c.freed_tables and machine.cpus[0].mmu.paging_structure_caches()
    machine.touch(1, BASE)
    assert not machine.cpus[0].mmu.paging_structure_caches()
    engine.tlb_finish_mmu(tlb)


def code_written(cpu: Cpu) -> tuple[bool, list[int]]:
    """What translated code the CPU must drop: everything?, and the pages listed."""
    written = cpu.c.code_written
    return bool(written.all), list(written.page[0 : written.nr])


@pytest.mark.parametrize("writes", [1, 3, 100])
def test_every_cpu_hears_of_code_that_was_written(machine: Machine, writes: int) -> None:
    """Beyond CODE_WRITTEN_MAX pages all code goes."""
    kernel = machine.kernel
    pages = [n * PAGE_SIZE for n in range(writes)]
    for pa in pages:
        kernel.note_code_written(pa + 8)
    everything = writes > lib.CODE_WRITTEN_MAX
    for cpu in machine.cpus:
        assert code_written(cpu) == (everything, pages[: lib.CODE_WRITTEN_MAX])


def test_no_other_cpu_stores_unnoticed_to_what_one_executes(machine: Machine) -> None:
    """The one that stores, or fetches, looks after itself."""
    memory, (one, other) = machine.kernel.memory, machine.cpus
    pa = memory.alloc_pages() << 12
    other.mmu.c.soft.all = one.mmu.c.soft.all = 0
    lib.note_code_fetched(one.c)
    assert (one.mmu.c.soft.all, other.mmu.c.soft.all) == (0, 1)
    lib.note_code_stored(one.c, pa + 8)
    assert (code_written(one), code_written(other)) == ((False, []), (False, [pa]))
    memory.free_pages(pa >> 12)


def test_a_freed_frame_of_code_is_dropped_by_every_cpu(machine: Machine) -> None:
    memory, kernel = machine.kernel.memory, machine.kernel
    pfn = memory.alloc_pages()
    memory.page(pfn).flags |= lib.PG_code
    memory.free_pages(pfn)
    machine.run_on(1)  # whoever runs kernel code: it is the taker who drops the code itself
    assert lib.take_freed_code(memory.c, kernel.c, 0) == pfn
    assert code_written(machine.cpus[0]) == (False, [])
    assert code_written(machine.cpus[1]) == (False, [pfn << 12])
    lib.memory_free_code(memory.c, pfn)


def test_a_kernel_has_at_most_nr_cpus(machine: Machine) -> None:
    mmu = Mmu(machine.kernel.memory)
    while len(machine.cpus) < lib.NR_CPUS:
        machine.kernel.add_cpu(mmu)
    with pytest.raises(MmuError, match="at most 64"):
        machine.kernel.add_cpu(mmu)
