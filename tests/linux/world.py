# SPDX-License-Identifier: GPL-2.0-or-later
"""A small machine with one mm, for tests of the mm's operations: a guest's RAM, an MMU, an mm, an
event ring.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from mmu._native import ffi
from mmu.events import MM_COUNTER_ID, Event, EventRing
from mmu.linux import engine
from mmu.linux.filemap import AddressSpace, MappedFile
from mmu.linux.pgtable import PMD_SIZE
from mmu.linux.policy import FreeLevels, FreeTables
from mmu.linux.state import OVERCOMMIT_ALWAYS, TablePolicy
from mmu.memory import Memory
from mmu.units import PAGE_SIZE
from mmu.x86 import Access
from mmu.x86.unit import Mmu
from tests.linux.disk import Disk
from ucmmu.testing.mm import MmUnderTest, access_once, load_mm
from ucmmu.testing.options import MachineOptions
from ucmmu.testing.rings import batch_of

PROT_RW = 3
MAP_ANON = 0x22
MAP_FIXED = 0x10
BASE = 0x10_0000_0000
"""Where test mappings lie: the start of an empty PUD slot, far from everything else."""


@dataclass
class World:
    """An mm of one engine and one policy, with all it stands on; ``ring`` records every event."""

    engine: str = "c"
    policy: FreeTables | type[TablePolicy] = FreeTables.REFCOUNT
    ram: int = 64 << 20
    exact: bool = True
    free_levels: FreeLevels = FreeLevels.PTE
    memory: Memory = field(init=False)
    ring: EventRing = field(init=False)
    mmu: Mmu = field(init=False)
    mm: MmUnderTest = field(init=False)
    disk: Disk = field(init=False)
    file: MappedFile = field(init=False)

    def __post_init__(self) -> None:
        self.memory = Memory(self.ram)
        self.ring = EventRing(1 << 20)
        self.memory.record(self.ring)
        self.mmu = Mmu(
            self.memory, geometry="tiny", engine=self.engine, exact=self.exact, ring=self.ring
        )
        policy = self.policy.label if isinstance(self.policy, FreeTables) else self.policy
        machine = MachineOptions(self.engine, policy, free_levels=self.free_levels.label)
        self.mm = load_mm(machine, self.mmu, self.ring)
        self.mm.kernel.overcommit_memory = OVERCOMMIT_ALWAYS
        self.ring.enable()
        self.disk = Disk(60 * PAGE_SIZE + 100)
        self.file = MappedFile(AddressSpace(self.disk), writable=True)

    def map(self, start: int = BASE, pages: int = 512) -> int:
        """Map anonymous private writable pages at exactly start."""
        return self.mm.mmap(start, pages * PAGE_SIZE, PROT_RW, MAP_ANON | MAP_FIXED)

    def touch(self, addr: int, *, write: bool = True) -> None:
        """Access one byte as the processor would: through the MMU, faulting it in."""
        assert access_once(self.mm, addr, Access.WRITE if write else Access.READ) is None

    def dontneed(self, start: int, pages: int) -> None:
        """MADV_DONTNEED, and the grace period that the way out of a system call brings."""
        self.mm.madvise(start, pages * PAGE_SIZE, 4)
        self.quiesce()

    def quiesce(self) -> None:
        """End a grace period."""
        self.mm.quiesce()

    def pmd(self, addr: int = BASE) -> int:
        """The PMD entry of addr, upper tables made."""
        pmd = engine.pmd_alloc(self.mm, addr)
        assert pmd is not None
        return pmd

    def frame(self, addr: int = BASE) -> int:
        """The frame number of the PTE table that maps addr; 0 without one."""
        return self.mm.pte_table(addr)

    def table(self, addr: int = BASE) -> Any:
        """``struct page`` of the PTE table that maps addr, None without one."""
        frame = self.mm.pte_table(addr)
        return self.memory.page(frame) if frame else None

    def count(self, addr: int = BASE) -> int:
        """The reference count of addr's PTE table; 0 without a table."""
        return self.mm.refcount(addr)

    def entries(self, addr: int = BASE) -> int:
        """Non-none entries of addr's PTE table, counted."""
        return self.mm.entries(addr)

    def tables(self) -> int:
        """PTE, PMD and PUD tables of the mm, as VmPTE counts them."""
        return self.mm.tables()

    def counter(self, name: str) -> int:
        """One of the mm's counters."""
        return int(self.mm.c.counter[MM_COUNTER_ID[name]])

    def events(self, *names: str) -> list[Event]:
        """The events since the last call, of these names, or all."""
        return [event for event in self.ring.read() if not names or event.name in names]

    def exit(self) -> None:
        """Tear the mm down and see that nothing of it is left."""
        self.mm.exit_mmap()
        self.quiesce()
        assert self.tables() == 0
        assert self.counter("pte_tables_allocated") == self.counter("pte_tables_freed")


def both(
    policy: FreeTables | type[TablePolicy] = FreeTables.REFCOUNT, **kwargs: Any
) -> tuple[World, World]:
    """The same world twice: on the C engine, on the Python engine."""
    return World("c", policy, **kwargs), World("python", policy, **kwargs)


@cache
def _points(kind: Any) -> bool:
    """Whether there is a pointer in a type."""
    if kind.kind == "struct":
        return any(_points(member.type) for _, member in kind.fields)
    return bool(kind.kind == "pointer" or (kind.kind == "array" and _points(kind.item)))


def plain(struct: Any) -> Any:
    """A struct's members as plain values, pointers left out; of an array without any, its bytes."""
    kind = ffi.typeof(struct)
    if kind.kind == "pointer":
        return plain(struct[0])
    if kind.kind == "struct":
        members = {
            name: getattr(struct, name)
            for name, member in kind.fields
            if member.type.kind != "pointer"
        }
        return {
            name: plain(value) if isinstance(value, ffi.CData) else value
            for name, value in members.items()
        }
    if not _points(kind):
        return bytes(ffi.buffer(struct))
    return [plain(item) if isinstance(item, ffi.CData) else item for item in struct]


def state(world: World) -> dict[str, Any]:
    """All that the two engines must agree on, byte for byte."""
    memory = world.memory.c
    frames = int(memory.frontier)
    return {
        "ram": bytes(ffi.buffer(memory.ram, frames * PAGE_SIZE)),
        "struct page": bytes(ffi.buffer(memory.pages, frames * ffi.sizeof("struct page"))),
        "memory": {k: v for k, v in plain(memory).items() if k != "ram"},
        "mm": plain(world.mm.c),
        "rcu": plain(world.mm.kernel.c.rcu),
        "vmas": [plain(world.mm.c.vmas.vma[i]) for i in range(world.mm.c.vmas.nr)],
        "mmu": {k: v for k, v in plain(world.mmu.c).items() if k not in ("tlb",)},
        "tlb": bytes(ffi.buffer(ffi.addressof(world.mmu.c, "tlb"))),
        "events": told(world.ring),
    }


def told(ring: EventRing) -> tuple[bytes, list[str]]:
    """Every unread record, without its site's number; and the sites by name."""
    records, sites = batch_of(ring).records, ring.sites()
    names = [sites[number] for number in records["site"].tolist()]
    records["site"] = 0
    return records.tobytes(), names


def assert_same(c: World, python: World) -> None:
    """Compare two worlds part by part, so that a difference names its part."""
    ours, theirs = state(c), state(python)
    for part, value in ours.items():
        assert value == theirs[part], f"the engines differ in {part}"


__all__ = ["BASE", "PMD_SIZE", "World", "assert_same", "both", "plain", "state"]
