# SPDX-License-Identifier: GPL-2.0-or-later
"""The stale-translation checker: who used, or may have used, what memory no longer says.

A table entry that changes leaves a *stale range* behind: addresses that a processor may go on
translating by the old entry until an invalidation that the manuals call sufficient (SDM 4.10.4).
Changes that need none are no fault and make no range: an entry that was not present, rights given,
A cleared (SDM 4.10.4.3).

The first access to a range is told once as USED, if the model itself translated by the old entry,
and once as MAY, if only another processor may have: one with more places in its TLB, or that filled
an entry speculatively, or kept one of an upper level. Both mean the same: an invalidation is
missing.

On a machine of several processors the others may go on with an old entry until the operation that
changed it has flushed it, and what they do meanwhile is no fault: an access is told only when the
operation is over (``struct check_operations``), or when the frame behind the old entry is free.

A processor may also walk when no instruction asks it to. So, when tables are freed, each one that
the paging-structure caches of the PCID in use may still lead to is told as MAY, with "speculative
walk" for the access: also on a CPU that is idle, with the address space of the task before.

native/x86/check.c, with stale_range.c and stale_use.c, does the work for both engines; this module
says it in words.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from mmu._native import lib
from mmu.errors import MmuError
from mmu.x86.entries import LEVEL_NAMES, SIZE_NAMES, describe_entry
from mmu.x86.state import Unit

if TYPE_CHECKING:
    from mmu._native import struct_check_where, struct_stale_use

NOWHERE: Final[int] = lib.CHECK_NOWHERE
CHECK_SPECULATION: Final[int] = lib.CHECK_SPECULATION
_ACCESS_NAMES: Final = (
    "read",
    "write",
    "fetch",
    "shadow-stack read",
    "shadow-stack write",
    "read-modify-write",
    "speculative walk",
)


class ChangedBy(IntEnum):
    """On whose behalf whoever changed a table entry was at work."""

    HOST = lib.CHECK_BY_HOST
    """A program that drives the MMU: a test, a debugger."""
    STORE = lib.CHECK_BY_STORE
    """A store of the guest's own."""
    SYSCALL = lib.CHECK_BY_SYSCALL
    """The kernel, in the system call whose number is ``detail``."""
    FAULT = lib.CHECK_BY_FAULT
    """The kernel, in the page fault of the address that is ``detail``."""


@dataclass(frozen=True, slots=True)
class Where:
    """A moment of the run: RIP and the number of the instruction (None: no guest executes), and for
    whom.
    """

    rip: int | None
    instruction: int | None
    by: ChangedBy
    detail: int
    cpu: int

    @classmethod
    def from_c(cls, where: struct_check_where) -> Where | None:
        """What a ``struct check_where`` says; None for nowhere known."""
        rip = None if where.rip == NOWHERE else where.rip
        instruction = None if where.instruction == NOWHERE else where.instruction
        return cls(rip, instruction, ChangedBy(where.by), where.detail, where.cpu)

    def _place(self) -> str:
        place = [] if self.rip is None else [f"ip {self.rip:#x}"]
        if self.instruction is not None:
            place.append(f"instruction {self.instruction}")
        return ", ".join(place)

    def __str__(self) -> str:
        return self._place() or "by the program that drives the MMU"

    def who(self) -> str:
        """By whom, and where."""
        where = f" ({place})" if (place := self._place()) else ""
        if self.by == ChangedBy.SYSCALL:
            return f"by system call {self.detail}{where}"
        if self.by == ChangedBy.FAULT:
            return f"by the page fault of {self.detail:#x}{where}"
        if self.by == ChangedBy.STORE:
            return f"by a store of the guest's{where}"
        return str(self) if self.rip is None else f"at {self}"


@dataclass(frozen=True, slots=True)
class StaleUse:
    """One access by a translation that memory no longer says.

    ``va`` is the address, ``access`` (or CHECK_SPECULATION) and ``privilege`` as for
    Mmu.translate(); ``used`` is True if the model translated by the old entry, False if another
    processor may have. The entry at guest-physical ``entry_pa``, of ``level`` (1 PTE to 5 PML5E;
    ``table`` if it led to a table), was changed from ``old`` to ``new``; with ``entry_pa`` 0 it is
    of tables whose PCID was given to another root, ``new``, by bit 63. ``freed`` if the frame or
    table behind ``old`` has been freed
    since. ``filled`` is when the entry that served the access was made, if known.
    """

    va: int
    access: int
    privilege: int
    used: bool
    at: Where | None
    filled: Where | None
    changed: Where | None
    range_va: int
    entry_pa: int
    old: int
    new: int
    level: int
    table: bool
    is_global: bool
    pcid: int
    freed: bool

    @classmethod
    def from_c(cls, use: struct_stale_use) -> StaleUse:
        """What a ``struct stale_use`` says."""
        r = use.range
        filled = Where.from_c(use.filled)
        known = filled is not None and (filled.rip is not None or filled.instruction is not None)
        return cls(
            va=use.va,
            access=use.access,
            privilege=use.privilege,
            used=bool(use.used),
            at=Where.from_c(use.at),
            filled=filled if known else None,
            changed=Where.from_c(r.changed),
            range_va=r.va,
            entry_pa=r.entry_pa,
            old=r.old,
            new=r.new,
            level=r.level,
            table=bool(r.table),
            is_global=bool(getattr(r, "global")),
            pcid=r.pcid,
            freed=bool(use.freed),
        )

    @property
    def what(self) -> str:
        """What the old entry led to, in words."""
        return "table" if self.table else f"{SIZE_NAMES[self.level]} page"

    @property
    def missing(self) -> str:
        """The invalidation that should have come between the change and the access."""
        cpu = self.at.cpu if self.at else 0
        if self.table:
            flush = (
                f"INVLPG of any address in {self.range_va:#x}"
                " (it drops paging-structure caches: freed_tables)"
            )
        else:
            flush = f"INVLPG {self.range_va:#x}"
        others = (
            "or CR4.PGE changed (MOV CR3 keeps global pages)" if self.is_global else "or MOV CR3"
        )
        return f"{flush}, {others}, for PCID {self.pcid:#x} on CPU {cpu}, after the change"

    def __str__(self) -> str:
        name = _ACCESS_NAMES[self.access]
        verb = "used" if self.used else "may be used"
        end = ", whose frame was freed" if self.freed else ""
        place = f", at {self.at}" if self.at and self.at.rip is not None else ""
        lines = [
            f"stale translation {verb}: {name} of {self.va:#x}{place}",
            *self._entry_lines(end),
        ]
        if self.filled:
            lines.append(f"  cached at {self.filled}")
        if self.changed:
            lines.append(f"  changed {self.changed.who()}")
        lines.append(f"  missing: {self.missing}")
        return "\n".join(lines)

    def _entry_lines(self, end: str) -> list[str]:
        if not self.entry_pa:
            return [
                f"  by the {LEVEL_NAMES[self.level]} to a {self.what}{end},"
                " of tables that CR3 does not name any more",
                f"    was {describe_entry(self.old, self.level)}",
                f"    CR3 was loaded with {self.new:#x} and bit 63 set, for the same PCID",
            ]
        return [
            f"  by the old {LEVEL_NAMES[self.level]} at {self.entry_pa:#x} to a {self.what}{end}",
            f"    was {describe_entry(self.old, self.level)}",
            f"    is  {describe_entry(self.new, self.level)}",
        ]

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it: numbers, and None where nothing is known."""

        def where(w: Where | None) -> dict[str, Any] | None:
            if w is None:
                return None
            return {
                "ip": w.rip,
                "instruction": w.instruction,
                "cpu": w.cpu,
                "by": w.by.name.lower(),
                "detail": w.detail,
            }

        return {
            "kind": "used" if self.used else "may",
            "address": self.va,
            "access": _ACCESS_NAMES[self.access],
            "at": where(self.at),
            "filled": where(self.filled),
            "changed": where(self.changed),
            "entry": LEVEL_NAMES[self.level],
            "entry_pa": self.entry_pa,
            "old": self.old,
            "new": self.new,
            "to": self.what,
            "freed": self.freed,
            "missing": self.missing,
        }


class TlbCheck:
    """A checker over one unit's translations, from its making until close()."""

    def __init__(self, u: Unit) -> None:
        """Begin; MmuError if the host has no memory for it, or the unit has a checker already."""
        if u.c.check:
            raise MmuError("the unit has a stale-translation checker already")
        if lib.check_begin(u.c):
            raise MmuError("no host memory for the stale-translation checker")
        self._u = u
        self.c = u.c.check
        self._end = weakref.finalize(self, lib.check_end, u.c)

    def close(self) -> None:
        """Stop checking; the uses so far are forgotten."""
        self._end()

    def enter(
        self,
        by: ChangedBy,
        detail: int,
        rip: int,
        instruction: int | None,
        cpu: int | None = None,
        operation: int = 0,
    ) -> None:
        """Say who changes tables from here on (as in ChangedBy), and where the guest is; on which
        CPU, if it is not the unit's own. ``operation`` is the number of the kernel's operation.
        """
        if not self._end.alive:
            return
        lib.check_sync(self._u.c)
        kernel = self.c.kernel
        kernel.by, kernel.detail, kernel.rip = by, detail, rip
        kernel.cpu = self._u.c.cpu if cpu is None else cpu
        kernel.operation = operation
        kernel.instruction = NOWHERE if instruction is None else instruction

    def uses(self) -> list[StaleUse]:
        """What was found, in order; the first of its kind for each changed entry, at most 256."""
        return [StaleUse.from_c(self.c.use[i]) for i in range(self._number("nr_uses"))]

    @property
    def nr_used(self) -> int:
        """Accesses that the model translated by an entry which memory no longer says."""
        return self._number("nr_used")

    @property
    def nr_may(self) -> int:
        """Accesses that another processor may have."""
        return self._number("nr_may")

    @property
    def lost(self) -> int:
        """Changes that could not be followed for want of room: above 0, something may have been
        missed.
        """
        return self._number("lost")

    def _number(self, name: str) -> int:
        """A number of the checker's; 0 once it is closed, when its memory is gone."""
        return int(getattr(self.c, name)) if self._end.alive else 0
