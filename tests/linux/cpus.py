# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel with several CPUs for tests of the mm: one thing at a time, on whichever CPU the test
says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mmu._native import lib
from mmu.events import KERNEL_COUNTER_ID, MM_COUNTER_ID, Event, EventRing
from mmu.linux import engine
from mmu.linux.mm import Mm
from mmu.linux.mman import MADV_DONTNEED, MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE
from mmu.linux.pgtable import TLB_FLUSH_ALL
from mmu.linux.policy import FreeTables
from mmu.linux.sched import Alone, Interruptible
from mmu.linux.state import Cpu, Kernel
from mmu.linux.tlbflush import TLB_FLUSH_ON_TASK_SWITCH, enter_lazy_tlb, switch_mm
from mmu.memory import Memory
from mmu.units import PAGE_SHIFT, PAGE_SIZE
from mmu.x86 import Access, Mmu
from ucmmu.testing.mm import access_once

BASE = 0x10_0000_0000
"""Where test mappings lie."""
RW = 3
SECOND_NS = 1_000_000_000


@dataclass
class Cpus:
    """A kernel of ``nr`` CPUs and one mm, loaded into all of them; kernel code runs on CPU 0.

    ``ring`` records every event. ``invlpgb``: whether flushes may be broadcast.
    """

    engine: str = "c"
    nr: int = 2
    policy: FreeTables = FreeTables.REFCOUNT
    geometry: str = "tiny"
    invlpgb: bool = False
    load: bool = True
    kernel: Kernel = field(init=False)
    mm: Mm = field(init=False)
    ring: EventRing = field(init=False)
    now: int = 0

    def __post_init__(self) -> None:
        memory = Memory(16 << 20)
        self.ring = EventRing(1 << 16)
        self.kernel = Kernel(
            memory, policy=self.policy, engine=self.engine, ring=self.ring, lockdep=True
        )
        self.kernel.now_ns = lambda: self.now
        for _ in range(self.nr):
            self.kernel.add_cpu(
                Mmu(
                    memory,
                    geometry=self.geometry,
                    engine=self.engine,
                    exact=True,
                    ring=self.ring,
                    check=True,
                )
            )
        self.kernel.c.invlpgb &= self.invlpgb
        self.mm = Mm(self.kernel)
        self.mm.mmap(BASE, 512 * PAGE_SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
        for number in range(self.nr) if self.load else ():
            self.switch(number, self.mm)
        self.on(0)
        self.ring.enable()

    def on(self, number: int) -> Cpu:
        """Have kernel code run on that CPU from here on."""
        self.kernel.this_cpu = self.kernel.cpus[number]
        return self.kernel.this_cpu

    @contextmanager
    def running_on(self, number: int) -> Iterator[Cpu]:
        """Have kernel code run on that CPU meanwhile."""
        before = self.kernel.this_cpu
        try:
            yield self.on(number)
        finally:
            self.kernel.this_cpu = before

    def switch(self, number: int, mm: Mm | None) -> None:
        """switch_mm() on that CPU."""
        with self.running_on(number):
            switch_mm(self.kernel, mm)

    def lazy(self, number: int) -> None:
        """enter_lazy_tlb() on that CPU."""
        with self.running_on(number):
            enter_lazy_tlb(self.kernel)

    def flush(
        self, pages: int = 1, *, shift: int = PAGE_SHIFT, freed: bool = False, mm: Mm | None = None
    ) -> None:
        """Flush so many pages of 1 << shift bytes from the CPU that runs."""
        end = BASE + (pages << shift)
        engine.flush_tlb_mm_range(mm or self.mm, BASE, end, shift, int(freed))

    def touch(self, number: int, addr: int = BASE, access: Access = Access.WRITE) -> None:
        """Access addr as a user on that CPU, faulting it in."""
        with self.running_on(number):
            assert access_once(self.mm, addr, access) is None

    def dontneed(self, pages: int = 1) -> None:
        """madvise(MADV_DONTNEED) of the first pages."""
        self.mm.madvise(BASE, pages * PAGE_SIZE, MADV_DONTNEED)

    def quiesce(self) -> None:
        """Let a grace period end: no CPU is in a read section."""
        engine.rcu_process_callbacks(self.kernel)

    def counter(self, name: str) -> int:
        return int(self.mm.c.counter[MM_COUNTER_ID[name]])

    def kernel_counter(self, name: str) -> int:
        return int(self.kernel.c.counter[KERNEL_COUNTER_ID[name]])

    def events(self, *names: str) -> list[Event]:
        """The events since the last call, of these names, or all."""
        return [event for event in self.ring.read() if not names or event.name in names]

    def stale_uses(self) -> list[str]:
        """What the checkers of all CPUs found."""
        found = []
        for cpu in self.kernel.cpus:
            assert cpu.mmu.check is not None
            found += [str(use) for use in cpu.mmu.check.uses()]
        return found

    def close(self) -> None:
        """Tear the mm down, if it is not yet, and see that nothing is left."""
        assert not self.stale_uses()
        self.mm.exit_mmap()
        for number in range(self.nr):
            self.switch(number, None)
        assert not self.mm.c.pgd
        self.kernel.memory.close()

    @contextmanager
    def counted(self) -> Iterator[Counts]:
        """What the body makes the CPUs do."""
        names = ("nr_tlb_remote_flush", "nr_tlb_remote_flush_received")
        names += ("nr_tlb_local_flush_one", "nr_tlb_local_flush_all")
        self.ring.read()
        before = [self.counter(name) for name in names]
        interrupts = self.kernel_counter("irq_call_count"), self.kernel_counter("irq_tlb_count")
        counts = Counts()
        yield counts
        counts.remote, counts.received, counts.one, counts.all = (
            self.counter(name) - was for name, was in zip(names, before, strict=True)
        )
        events = self.ring.read()
        counts.ipis = sum(map(_ipis, events))
        switches = [
            event["pages"]
            for event in events
            if event.name == "tlb_flush" and event["reason"] == TLB_FLUSH_ON_TASK_SWITCH
        ]
        counts.switched_all = switches.count(TLB_FLUSH_ALL)
        counts.switched_kept = switches.count(0)
        counts.invlpgb = sum(event.name == "invlpgb" and event.cpu == 0 for event in events)
        assert self.kernel_counter("irq_call_count") - interrupts[0] == counts.ipis
        assert self.kernel_counter("irq_tlb_count") - interrupts[1] == counts.received


@dataclass
class Counts:
    """Interrupts sent, the mm's counters, loads of CR3 that dropped all and that kept all, and
    broadcasts.
    """

    ipis: int = 0
    remote: int = 0
    received: int = 0
    one: int = 0
    all: int = 0
    switched_all: int = 0
    switched_kept: int = 0
    invlpgb: int = 0


def _ipis(event: Event) -> int:
    if event.name == "ipi_send_cpu":
        return 1
    return event["cpumask"].bit_count() if event.name == "ipi_send_cpumask" else 0


class Late(Alone):
    """A scheduler where an interrupted CPU takes its interrupts when somebody waits for them.

    ``first`` runs once before, as what another CPU does meanwhile.
    """

    def __init__(self, first: Callable[[], object] | None = None) -> None:
        self.kicked: list[Interruptible] = []
        self.first = first

    def kick(self, cpu: Interruptible) -> None:
        self.kicked.append(cpu)

    def spin_until(self, ready: Callable[[], bool], what: str) -> bool:
        first, self.first = self.first, None
        if first is not None:
            first()
        while self.kicked:
            self.kicked.pop(0).interrupt()
        return ready()


def pcid(cpu: Cpu) -> int:
    """The PCID that the CPU uses now."""
    return int(cpu.mmu.c.cr3 & lib.CR3_PCID_MASK)
