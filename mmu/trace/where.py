# SPDX-License-Identifier: GPL-2.0-or-later
"""Which events are wanted: the same conditions when a trace is written and when it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

Ranges = Sequence[tuple[int, int]]
"""Ranges [begin, end)."""


@dataclass(frozen=True)
class Where:
    """Conditions that all must hold; an empty or None one holds always.

    ``events`` are names, ``cpus`` numbers of CPUs, ``tasks`` PIDs, ``sites`` names of kernel
    functions. ``addresses`` are ranges [begin, end) of guest-virtual addresses: an event is in one
    if its first field called ``address``, ``ip`` or ``start`` lies there. ``begin`` and ``end`` are
    event numbers (from ``begin`` on, before ``end``), ``instructions`` a range [begin, end) of the
    instruction counts of the event's CPU, ``times`` one of nanoseconds.

    ``frames`` are frame numbers: an event is of one if it names that frame in a field ``pfn`` or
    ``table``, or by ``entry_pa`` or ``pmd_pa`` an entry in it, unless it only read it
    (``walk_entry``). ``code`` are ranges of the guest's code: an event is in one if the last
    instruction that its CPU began, as told by an event ``insn``, lies there; () holds for none.
    """

    events: frozenset[str] = frozenset()
    cpus: frozenset[int] = frozenset()
    tasks: frozenset[int] = frozenset()
    sites: frozenset[str] = frozenset()
    frames: frozenset[int] = frozenset()
    addresses: tuple[tuple[int, int], ...] = ()
    begin: int = 0
    end: int | None = None
    instructions: tuple[int, int] | None = None
    times: tuple[int, int] | None = None
    code: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True)
class From:
    """Record from event number ``nth`` of these ``kinds`` on, the first being number 1."""

    kinds: frozenset[str]
    nth: int


@dataclass(frozen=True)
class Around:
    """Record what happens within so many ``instructions`` of an event of these ``kinds``."""

    kinds: frozenset[str]
    instructions: int


ALL: Final = Where()
"""Every event."""
