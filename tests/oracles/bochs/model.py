# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels by our MMU alone: each operation is done here, each page it touches asked of
``Mmu.translate()`` in exact, so through the TLB model.

Of an exception's frame only what paging decides is told: None stands for the rest.
"""

from __future__ import annotations

from typing import Final

from mmu.events import EventRing
from mmu.memory import Memory
from mmu.units import U64
from mmu.x86 import Mmu
from mmu.x86.registers import CR0_PG, CR3_NOFLUSH, RFLAGS_AC, is_canonical
from mmu.x86.walk import Access, Outcome, Privilege
from tests.oracles.bochs import kernel_code, layout, states
from tests.oracles.bochs.kernels import Kernel, KernelResult, Op
from tests.oracles.bochs.walk import Fault, Places

_EVENTS: Final = {"mov_cr3": "cr3", "invlpg": "invlpg", "invpcid": "invpcid"}
Word = int | None


def invalidations_of(ring: EventRing) -> tuple[tuple[str, int], ...]:
    """The ring's events of what Bochs tells as TLB control, as it tells them."""
    return tuple(
        (_EVENTS[event.name], event.values[0] & ~CR3_NOFLUSH if event.name == "mov_cr3" else 0)
        for event in ring.read()
        if event.name in _EVENTS
    )


class Model:
    """Executes kernels over RAM of ours."""

    def __init__(self, *, engine: str = "c", geometry: str = "skylake") -> None:
        self.memory = Memory(layout.TOP)
        self.ring = EventRing(1 << 12)
        self.ring.enable()
        self.mmu = Mmu(
            self.memory,
            geometry=geometry,
            engine=engine,
            exact=True,
            maxphyaddr=layout.MAXPHYADDR,
            ring=self.ring,
        )
        for base, size in layout.DATA:
            for pa in range(base, base + size, layout.PAGE):
                self.memory.write(pa, layout.background(pa))

    def close(self) -> None:
        self.memory.close()

    def run(self, kernel: Kernel) -> KernelResult:
        """Execute a kernel, and leave memory as it was."""
        words = self.memory.words
        for pa, value in kernel.words:
            words[pa >> 3] = value
        mmu, c = self.mmu, self.mmu.c
        c.cr0, c.cr2, c.cr3, c.cr4 = kernel.cr0, states.CR2, kernel.cr3, kernel.cr4
        c.efer, c.rflags = kernel.efer, states.RFLAGS
        mmu.flush_all()
        self.ring.read()
        self.log: list[Word] = []
        for op in kernel.ops:
            self._step(op)
        control = (c.cr0, c.cr3, c.cr4, c.efer)
        after = tuple([words[pa >> 3] for pa, _ in kernel.words])
        return KernelResult(tuple(self.log), control, after, self._changed(kernel), self._events())

    def _changed(self, kernel: Kernel) -> tuple[tuple[int, bytes], ...]:
        """Pages of data that were changed, which are put back."""
        changed = []
        for pa in kernel.data:
            data = self.memory.read(pa, layout.PAGE)
            if data != layout.background(pa):
                changed.append((pa, data))
                self.memory.write(pa, layout.background(pa))
        return tuple(changed)

    def _events(self) -> tuple[tuple[str, int], ...]:
        return invalidations_of(self.ring)

    def _step(self, op: Op) -> None:
        self.user = op.name == "user"
        name = kernel_code.user_names()[op.rdx].removeprefix("user_") if self.user else op.name
        try:
            value = getattr(self, name)(op)
        except Fault as fault:
            cs = layout.USER_CS if self.user else layout.KERNEL_CS
            cr2 = self.mmu.c.cr2
            self.log += [fault.vector, fault.error, None, cs, None, None, cr2]
            return
        if self.user and value is None:
            value = layout.CODE + layout.USER_STACK  # RAX, as it came to CPL 3
        if value is not None:
            self.log.append(value)

    # Memory.

    def _places(self, va: int, size: int, access: Access) -> Places:
        last = va + size - 1 & U64
        if not is_canonical(va) or not is_canonical(last):
            raise Fault(states.GENERAL_PROTECTION)
        first = min(size, layout.PAGE - va % layout.PAGE)
        places = [(self._translate(va, access), first)]
        if first < size:
            places.append((self._translate(va + first & U64, access), size - first))
        return places

    def _translate(self, va: int, access: Access) -> int:
        who = Privilege.USER if self.user else Privilege.SUPERVISOR
        answer = self.mmu.translate(va, access, user=who)
        if answer.result != Outcome.OK:
            assert answer.result == Outcome.PAGE_FAULT, answer
            raise Fault(states.PAGE_FAULT, answer.error_code)
        return answer.pa

    def _read(self, places: Places) -> int:
        return int.from_bytes(b"".join(self.memory.read(pa, n) for pa, n in places), "little")

    def _write(self, places: Places, value: int) -> None:
        at = 0
        for pa, n in places:
            self.memory.write(pa, (value >> 8 * at & (1 << 8 * n) - 1).to_bytes(n, "little"))
            at += n

    # Operations; what they return goes to the log.

    def load(self, op: Op) -> Word:
        return self._read(self._places(op.rbx, 8, Access.READ))

    def load1(self, op: Op) -> Word:
        return self._read(self._places(op.rbx, 1, Access.READ))

    def store(self, op: Op) -> Word:
        pa = kernel_code.window_of(op.rbx)
        if pa is not None:
            self.memory.write_u64(pa, op.rcx)
            return None
        self._write(self._places(op.rbx, 8, Access.WRITE), op.rcx)
        return None

    def store1(self, op: Op) -> Word:
        self._write(self._places(op.rbx, 1, Access.WRITE), op.rcx)
        return None

    def add(self, op: Op) -> Word:
        places = self._places(op.rbx, 8, Access.RMW)
        old = self._read(places)
        self._write(places, old + op.rcx & U64)
        return old

    def movs(self, op: Op) -> Word:
        value = self._read(self._places(op.rbx, 8, Access.READ))
        self._write(self._places(op.rcx, 8, Access.WRITE), value)
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
