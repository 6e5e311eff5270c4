# SPDX-License-Identifier: GPL-2.0-or-later
"""Fields that CPUs share without a lock: the object that each is, and what all CPUs see of it.

An owner is an MmStruct, a Cpu, the Kernel, or has a ``name`` (mmu.linux.shared). Two of one name,
the second made after the first is gone, are two objects.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from mmu.linux.state import Cpu, Kernel, MmStruct
from ucmmu.race.structs import cpu_object, mm_object


class Fields:
    """Of one run. What is asked for once by its field is known by its object from then on."""

    def __init__(self) -> None:
        self._fields: dict[Hashable, tuple[object, str]] = {}
        self._named: dict[int, tuple[object, int]] = {}
        self._of_name: dict[str, int] = {}

    def object_of(self, owner: object, field: str) -> Hashable:
        """The object that a field is, or belongs to."""
        if isinstance(owner, MmStruct):
            return mm_object(owner, field)
        if isinstance(owner, Cpu):
            return ("flushes", owner.id) if field == "tlb" else cpu_object(owner, field)
        return (field,) if isinstance(owner, Kernel) else self._named_object(owner)

    def _named_object(self, owner: Any) -> Hashable:
        name = str(owner.name)
        if id(owner) not in self._named:
            self._named[id(owner)] = owner, self._of_name.get(name, 0)
            self._of_name[name] = self._of_name.get(name, 0) + 1
        nth = self._named[id(owner)][1]
        return (name, f"number {nth + 1}") if nth else (name,)

    def meet(self, owner: object, field: str) -> Hashable:
        """The object that a field is, which load() and store() then know."""
        what = self.object_of(owner, field)
        self._fields[what] = owner, field
        return what

    def __contains__(self, what: Hashable) -> bool:
        return what in self._fields

    def load(self, what: Hashable) -> int:
        """What all CPUs see of it."""
        return int(getattr(*self._fields[what]))

    def store(self, what: Hashable, value: int) -> int:
        """Have all see a value; what they saw before."""
        old = self.load(what)
        setattr(*self._fields[what], value)
        return old
