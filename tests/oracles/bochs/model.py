# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels by our MMU alone: each operation is done here, each page it touches asked of
``Mmu.translate()`` in exact, so through the TLB model.

Of an exception's frame only what paging decides is told: None stands for the rest.
"""

from __future__ import annotations

from typing import Final

from mmu._native import ffi, lib
from mmu.events import EVENT_ID, EventRing
from mmu.units import U64
from mmu.x86.registers import CR0_PG, CR3_NOFLUSH, RFLAGS_AC
from mmu.x86.walk import Access, Outcome
from tests.oracles.bochs import kernel_code, layout, states
from tests.oracles.bochs.accesses import Asked, Fault, Guest, Places, Quirk
from tests.oracles.bochs.kernels import Kernel, KernelResult, Op, at_cpl3

_EVENTS: Final = {
    EVENT_ID["mov_cr3"]: "cr3",
    EVENT_ID["invlpg"]: "invlpg",
    EVENT_ID["invpcid"]: "invpcid",
}
Word = int | None


_CHUNK: Final = ffi.new("struct event[4096]")
_WORDS: Final = ffi.sizeof("struct event") // 4
"""Of 32 bits in a record; the first is its kind."""


def invalidations_of(ring: EventRing) -> tuple[tuple[str, int], ...]:
    """What Bochs tells as TLB control, of the events that are taken out of the ring."""
    found = []
    kinds = memoryview(ffi.buffer(_CHUNK)).cast("I")[::_WORDS]
    while count := lib.ring_read(ring.c, _CHUNK, len(_CHUNK)):
        for number, kind in enumerate(kinds[:count].tolist()):
            if kind in _EVENTS:
                name = _EVENTS[kind]
                found.append((name, _CHUNK[number].a & ~CR3_NOFLUSH if name == "cr3" else 0))
    return tuple(found)


class Model(Guest):
    """Executes kernels over RAM of ours."""

    def __init__(self, *, engine: str = "c", geometry: str = "skylake") -> None:
        self.ring = EventRing(1 << 12)
        self.ring.enable()
        super().__init__(engine=engine, geometry=geometry, exact=True, ring=self.ring)

    def run(self, kernel: Kernel, quirks: frozenset[Quirk] = frozenset()) -> KernelResult:
        """Execute a kernel, with these quirks, and leave memory as it was."""
        self.quirks = quirks
        words = self.memory.words
        for pa, value in kernel.words:
            words[pa >> 3] = value
        mmu, c = self.mmu, self.mmu.c
        c.cr0, c.cr2, c.cr3, c.cr4 = kernel.cr0, states.CR2, kernel.cr3, kernel.cr4
        c.efer, c.rflags = kernel.efer, states.RFLAGS
        mmu.flush_all()
        invalidations_of(self.ring)
        self.log: list[Word] = []
        for op in kernel.ops:
            self._step(op)
        control = (c.cr0, c.cr3, c.cr4, c.efer)
        after = tuple([words[pa >> 3] for pa, _ in kernel.words])
        told = invalidations_of(self.ring)
        return KernelResult(tuple(self.log), control, after, self._changed(kernel), told)

    def _changed(self, kernel: Kernel) -> tuple[tuple[int, bytes], ...]:
        """Pages of data that were changed, which are put back."""
        changed = []
        for pa in kernel.data:
            data = self.memory.read(pa, layout.PAGE)
            if data != layout.background(pa):
                changed.append((pa, data))
                self.memory.write(pa, layout.background(pa))
        return tuple(changed)

    def _step(self, op: Op) -> None:
        self.user = op.name in kernel_code.ENTERS_CPL3
        name = at_cpl3(op) if self.user else op.name
        try:
            value = getattr(self, name)(op)
        except Fault as fault:
            cs = layout.USER_CS if self.user else layout.KERNEL_CS
            cr2 = self.mmu.c.cr2
            self.log += [fault.vector, fault.error, None, cs, None, None, cr2]
            return
        if self.user:
            self._come_back(op)
            if value is None:
                value = layout.CODE + layout.USER_STACK  # RAX, as it came to CPL 3
        if value is not None:
            self.log.append(value)

    def _come_back(self, op: Op) -> None:
        if kernel_code.user_names()[op.rdx].startswith("syscall"):
            self.mmu.c.rflags &= ~kernel_code.FMASK

    def _places(self, va: int, size: int, access: Access) -> Places:
        return self.places(Asked(va, size, access, self.user))

    # Operations; what they return goes to the log.

    def load(self, op: Op) -> Word:
        return self.read(self._places(op.rbx, 8, Access.READ))

    def load1(self, op: Op) -> Word:
        return self.read(self._places(op.rbx, 1, Access.READ))

    def store(self, op: Op) -> Word:
        pa = kernel_code.window_of(op.rbx)
        if pa is not None:
            self.memory.write_u64(pa, op.rcx)
            return None
        self.write(self._places(op.rbx, 8, Access.WRITE), op.rcx)
        return None

    def store1(self, op: Op) -> Word:
        self.write(self._places(op.rbx, 1, Access.WRITE), op.rcx)
        return None

    def add(self, op: Op) -> Word:
        places = self._places(op.rbx, 8, Access.RMW)
        old = self.read(places)
        self.write(places, old + op.rcx & U64)
        return old

    def movs(self, op: Op) -> Word:
        value = self.read(self._places(op.rbx, 8, Access.READ))
        self.write(self._places(op.rcx, 8, Access.WRITE), value)
        return None

    def rep(self, op: Op) -> Word:
        for i in range(op.rdx):
            value = self.read(self._places(op.rbx + i, 1, Access.READ))
            self.write(self._places(op.rcx + i, 1, Access.WRITE), value)
        return None

    def call(self, op: Op) -> Word:
        self._places(op.rbx, 1, Access.FETCH)
        return 0 if self.user else None

    def _privileged(self) -> None:
        if self.user:
            raise Fault(states.GENERAL_PROTECTION)

    @staticmethod
    def _must(result: Outcome) -> None:
        if result != Outcome.OK:
            raise Fault(states.GENERAL_PROTECTION)

    def invlpg(self, op: Op) -> Word:
        self._privileged()
        self.mmu.invlpg(op.rbx)
        return None

    def invpcid(self, op: Op) -> Word:
        self._must(self.mmu.invpcid(op.rbx, op.rcx, op.rdx))
        return None

    def cr0(self, op: Op) -> Word:
        if not op.rbx & CR0_PG:
            raise Fault(states.GENERAL_PROTECTION)
        self._must(self.mmu.write_cr0(op.rbx))
        return int(self.mmu.c.cr0)

    def cr3(self, op: Op) -> Word:
        self._privileged()
        self._must(self.mmu.write_cr3(op.rbx))
        return op.rbx & ~CR3_NOFLUSH

    def cr4(self, op: Op) -> Word:
        self._must(self.mmu.write_cr4(op.rbx))
        return int(self.mmu.c.cr4)

    def efer(self, op: Op) -> Word:
        self._must(self.mmu.write_efer(op.rbx))
        return int(self.mmu.c.efer)

    def stac(self, _op: Op) -> Word:
        self.mmu.c.rflags |= RFLAGS_AC
        return None

    def clac(self, _op: Op) -> Word:
        self.mmu.c.rflags &= ~RFLAGS_AC
        return None

    def end(self, _op: Op) -> Word:
        return None
