# SPDX-License-Identifier: GPL-2.0-or-later
"""Accesses to the memory of a guest, each page of which our MMU is asked for."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from mmu.events import EventRing
from mmu.memory import Memory
from mmu.units import U64
from mmu.x86 import Mmu
from mmu.x86.faults import PF_WR
from mmu.x86.registers import is_canonical
from mmu.x86.walk import Access, Outcome, Privilege
from tests.oracles.bochs import layout, states

Places = list[tuple[int, int]]
"""(guest-physical address, bytes) of each page's part."""


class Quirk(Enum):
    """What an attached instance is known to do otherwise (deviations)."""

    RMW_ASKED_AS_LOAD = "rmw_asked_as_load"
    SECOND_FIRST = "second_first"
    CANONICAL_LATE = "canonical_late"
    JUMP_ARRIVES = "jump_arrives"


class Fault(Exception):
    """An access that may not be made."""

    def __init__(
        self, vector: int, error: int = 0, cr2: int = states.CR2, *, arrived: bool = False
    ) -> None:
        super().__init__(vector)
        self.vector, self.error, self.cr2 = vector, error, cr2
        self.arrived = arrived
        """Whether it happens at the target of the jump, not at the jump."""


class Asked(NamedTuple):
    """An access: what our MMU is asked."""

    va: int
    size: int
    access: Access
    user: bool
    """Whether it is made at CPL 3."""
    implicit: bool = False
    stack: bool = False

    @property
    def jump(self) -> bool:
        """Whether it is the fetch that follows a jump."""
        return self.access is Access.FETCH

    def not_canonical(self, *, arrived: bool) -> Fault:
        """The fault of an address that is not canonical."""
        vector = states.STACK_FAULT if self.stack else states.GENERAL_PROTECTION
        return Fault(vector, arrived=arrived)


class Guest:
    """RAM of ours as the guest's memory, and an MMU over it, whose accesses may have quirks."""

    def __init__(
        self, *, engine: str, geometry: str, exact: bool, ring: EventRing | None = None
    ) -> None:
        self.quirks: frozenset[Quirk] = frozenset()
        self.memory = Memory(layout.TOP)
        self.mmu = Mmu(
            self.memory,
            geometry=geometry,
            engine=engine,
            exact=exact,
            maxphyaddr=layout.MAXPHYADDR,
            ring=ring,
        )
        for base, size in layout.DATA:
            for pa in range(base, base + size, layout.PAGE):
                self.memory.write(pa, layout.background(pa))

    def close(self) -> None:
        """Give the memory back."""
        self.memory.close()

    def places(self, asked: Asked) -> Places:
        """Where an access goes; Fault if it may not be made."""
        va, size = asked.va, asked.size
        last_is_canonical = is_canonical(va + size - 1 & U64)
        late = asked.jump or Quirk.CANONICAL_LATE in self.quirks
        if not is_canonical(va) or not (last_is_canonical or late):
            raise asked.not_canonical(arrived=asked.jump and Quirk.JUMP_ARRIVES in self.quirks)
        first = min(size, layout.PAGE - va % layout.PAGE)
        parts = [asked._replace(size=first)]
        if first < size:
            parts.append(asked._replace(va=va + first & U64, size=size - first))
        if Quirk.SECOND_FIRST in self.quirks:
            self._look_first(parts)
        if Quirk.RMW_ASKED_AS_LOAD in self.quirks and asked.access is Access.RMW:
            self._load_first(parts)
        return [(self._translated(part), part.size) for part in parts]

    def _look_first(self, parts: list[Asked]) -> None:
        """Fault by the first page that is not allowed, before another is accessed."""
        for part in parts:
            va, access = part.va, part.access
            if not is_canonical(va) or not self.mmu.walk(va, access, user=self._who(part)).ok:
                self._translated(part)

    def _load_first(self, parts: list[Asked]) -> None:
        """Have the load of a read-modify-write be asked for as any load, before the store."""
        try:
            for part in parts:
                self._translated(part._replace(access=Access.READ))
        except Fault as fault:
            fault.error |= PF_WR if fault.vector == states.PAGE_FAULT else 0
            raise

    def _translated(self, part: Asked) -> int:
        if not is_canonical(part.va):
            raise part.not_canonical(arrived=part.jump)
        answer = self.mmu.translate(part.va, part.access, user=self._who(part))
        if answer.result != Outcome.OK:
            assert answer.result == Outcome.PAGE_FAULT, answer
            raise Fault(states.PAGE_FAULT, answer.error_code, part.va, arrived=part.jump)
        return answer.pa

    @staticmethod
    def _who(part: Asked) -> Privilege:
        if part.implicit:
            return Privilege.IMPLICIT
        return Privilege.USER if part.user else Privilege.SUPERVISOR

    def read(self, places: Places) -> int:
        """The number that lies there."""
        return int.from_bytes(b"".join(self.memory.read(pa, n) for pa, n in places), "little")

    def write(self, places: Places, value: int) -> None:
        """Store the low bytes of a number there."""
        at = 0
        for pa, n in places:
            self.memory.write(pa, (value >> 8 * at & (1 << 8 * n) - 1).to_bytes(n, "little"))
            at += n
