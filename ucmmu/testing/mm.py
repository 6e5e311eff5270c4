# SPDX-License-Identifier: GPL-2.0-or-later
"""The fixture ``mm``: an address space on a kernel of one or more CPUs, and a line for each thing a
test makes in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mmu.errors import MmuError
from mmu.events import EventRing
from mmu.linux import engine
from mmu.linux.fault import Segv
from mmu.linux.mm import Mm
from mmu.linux.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE
from mmu.linux.pgtable import PTRS_PER_PTE, entry_pfn, pmd_huge, pmd_none
from mmu.linux.policies import policy_of
from mmu.linux.state import Cpu, Kernel
from mmu.linux.tlbflush import switch_mm
from mmu.memory import Memory
from mmu.units import PAGE_SHIFT, PAGE_SIZE
from mmu.x86 import Access, Mmu, Outcome
from ucmmu.testing.mmu import MmuUnderTest, make_mmu
from ucmmu.testing.options import MachineOptions
from ucmmu.testing.scene import Scene
from ucmmu.testing.units import access_of, prot_of, size_of

_TRIES = 4


class MmUnderTest(Mm):
    """An address space with what tests ask of one. System calls act on it as mmu.linux.mm says."""

    def vma(
        self, start: int, size: int | str, prot: int | str = "rw", *, flags: int | None = None
    ) -> int:
        """mmap(2) of anonymous memory at exactly ``start``; returns it.

        ``size`` in bytes, or as "8K"; ``prot`` as "rw", or PROT_*; ``flags`` are MAP_PRIVATE |
        MAP_ANONYMOUS if not given, MAP_FIXED is added. Raises LinuxError.
        """
        wanted = MAP_PRIVATE | MAP_ANONYMOUS if flags is None else flags
        return self.mmap(start, size_of(size), prot_of(prot), wanted | MAP_FIXED)

    def touch(
        self, va: int, access: str | Access = "write", pages: int = 1, *, cpu: int | None = None
    ) -> Segv | None:
        """Access a byte of each page from va on as a user's instruction does, faults handled;
        returns the first signal, None: none.

        ``cpu``: the CPU that does it, by default the one that runs; it loads this mm first, if it
        has another.
        """
        with self.on(cpu):
            for page in range(va, va + (pages << PAGE_SHIFT), PAGE_SIZE):
                segv = access_once(self, page, access_of(access))
                if segv is not None:
                    return segv
        return None

    @contextmanager
    def on(self, cpu: int | None) -> Iterator[Cpu]:
        """``with mm.on(1):`` kernel code inside runs on that CPU, which has this mm loaded. None:
        the CPU that runs. Raises MmuError if there is none of this number.
        """
        kernel = self.kernel
        before = kernel.this_cpu
        if cpu is not None:
            if not 0 <= cpu < len(kernel.cpus):
                raise MmuError(f"no CPU {cpu}: there are {len(kernel.cpus)}")
            kernel.this_cpu = kernel.cpus[cpu]
        try:
            if kernel.this_cpu.loaded_mm is not self:
                switch_mm(kernel, self)
            yield kernel.this_cpu
        finally:
            kernel.this_cpu = before

    def quiesce(self) -> None:
        """Let a grace period end: table frames that wait for it are freed."""
        engine.rcu_process_callbacks(self.kernel)

    def pmd(self, va: int) -> int:
        """The PMD entry of va; 0 if there is none."""
        pmd = engine.mm_find_pmd(self, va)
        return 0 if pmd is None else self.memory.read_u64(pmd)

    def pte_table(self, va: int) -> int:
        """The frame number of the PTE table of va; 0 without one."""
        pmd = self.pmd(va)
        return 0 if pmd_none(pmd) or pmd_huge(pmd) else entry_pfn(pmd)

    def pte(self, va: int) -> int:
        """The PTE of va; 0 without a table."""
        table = self.pte_table(va)
        index = va >> PAGE_SHIFT & (PTRS_PER_PTE - 1)
        return self.memory.read_u64((table << PAGE_SHIFT) + 8 * index) if table else 0

    def entries(self, va: int) -> int:
        """How many entries of va's PTE table are not none; 0 without a table."""
        table = self.pte_table(va)
        if not table:
            return 0
        words = memoryview(self.memory.read(table << PAGE_SHIFT, PAGE_SIZE)).cast("Q")
        return sum(word != 0 for word in words)

    def refcount(self, va: int) -> int:
        """The reference count of va's PTE table; 0 without a table."""
        table = self.pte_table(va)
        if table and not self.native:
            return policy_of(self.kernel).references(table)
        return int(self.memory.page(table).pte_refcount) if table else 0

    def tables(self) -> int:
        """PTE, PMD and PUD tables of the mm, as VmPTE counts them."""
        return int(self.c.pgtables_bytes) // PAGE_SIZE


def access_once(mm: Mm, va: int, access: Access) -> Segv | None:
    """Make one access on the CPU that runs, its faults handled; returns the signal it ends in, if
    any. AssertionError if it faults for ever.
    """
    mmu = mm.kernel.this_cpu.mmu
    for _ in range(_TRIES):
        answer = mmu.translate(va, access)
        if answer.result == Outcome.OK:
            return None
        if answer.result != Outcome.PAGE_FAULT:
            raise AssertionError(f"{access.verb} of {va:#x}: {answer.result.name}")
        segv = mm.handle_user_fault(va, answer.error_code)
        if segv is not None:
            return segv
    raise AssertionError(f"{va:#x} faults for ever\n{mmu.walk(va, access)}")


def make_mm(options: MachineOptions, ring: EventRing | None = None) -> MmUnderTest:
    """An mm on a machine of its own, for tests that need more than one."""
    memory = Memory(options.ram)
    mmu = make_mmu(options, memory)
    mmu.ring = ring
    return load_mm(options, mmu, ring)


def load_mm(options: MachineOptions, mmu: Mmu, ring: EventRing | None) -> MmUnderTest:
    """An empty address space loaded into CPU 0 of a new kernel, whose MMU is ``mmu``; its other
    CPUs have MMUs like that.
    """
    kernel = Kernel(
        mmu.memory,
        policy=options.free_tables,
        free_levels=options.levels_freed,
        engine=options.engine,
        ring=ring,
        lockdep=True,
    )
    kernel.add_cpu(mmu)
    for _ in range(1, options.cpus):
        other = make_mmu(options, mmu.memory, check=mmu.check is not None)
        other.ring = ring
        kernel.add_cpu(other)
    for cpu in kernel.cpus:
        if isinstance(cpu.mmu, MmuUnderTest):
            cpu.mmu.has_kernel = True
    mm = MmUnderTest(kernel)
    switch_mm(kernel, mm)
    return mm


def check_mm(mm: Mm) -> None:
    """Everything the tables say agrees with every counter."""
    report = mm.check_tables()
    assert report.ok, str(report)


@contextmanager
def mm_under_test(options: MachineOptions, scene: Scene, mmu: Mmu) -> Iterator[MmUnderTest]:
    """The mm of a fixture: when the test is over, no translation was stale, the tables agree with
    the counters, and tearing it down leaves nothing.
    """
    memory = mmu.memory
    before = memory.frames_in_use
    mm = load_mm(options, mmu, scene.recorder.ring)
    scene.mm, scene.kernel = mm, mm.kernel
    yield mm
    memory.c.fail_after = (1 << 64) - 1
    kernel = mm.kernel
    kernel.this_cpu = kernel.cpus[0]
    for cpu in kernel.cpus:
        if cpu.mmu.check is not None:
            uses = [str(use) for use in cpu.mmu.check.uses()]
            assert not uses, f"stale translations were used on CPU {cpu.id}:\n" + "\n".join(uses)
    if mm.c.pgd:
        check_mm(mm)
        mm.exit_mmap()
        for cpu in kernel.cpus[1:]:
            kernel.this_cpu = cpu
            switch_mm(kernel, None)
        kernel.this_cpu = kernel.cpus[0]
    leaked = memory.frames_in_use - before
    assert not leaked, f"{leaked} frames of guest RAM leaked"
