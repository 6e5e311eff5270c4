# SPDX-License-Identifier: GPL-2.0-or-later
"""What a report shows of one run, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ucmmu.reading.report.curve import Curve


@dataclass
class Table:
    """One PTE table at one moment: where it maps, and how many of its 512 entries are not none."""

    mm: int
    address: int
    pfn: int
    entries: int


@dataclass
class Life:
    """One PTE table from installing to freeing, virtual nanoseconds; None: not in this trace."""

    mm: int
    address: int
    pfn: int
    installed: int
    unhooked: int | None = None
    freed: int | None = None


@dataclass
class Array:
    """A TLB array: accesses that it translated, and what was entered into and left it."""

    name: str
    hits: int = 0
    fills: int = 0
    evictions: int = 0
    drops: int = 0


@dataclass
class Function:
    """A function of the guest's: its instructions, TLB look-ups, those that missed, and faults."""

    name: str
    instructions: int = 0
    lookups: int = 0
    misses: int = 0
    faults: int = 0


@dataclass
class CpuShootdowns:
    """Function-call interrupts that a CPU asked others for, and that it handled."""

    cpu: int
    sent: int = 0
    received: int = 0


@dataclass
class Figures:
    """All that is drawn of one run. Sizes are kB, times virtual nanoseconds."""

    label: str
    path: str
    head: dict[str, Any]
    summary: dict[str, Any] | None = None
    torn: str | None = None
    nr_events: int = 0
    begin: int = 0
    end: int = 0
    size: Curve = field(default_factory=Curve)
    rss: Curve = field(default_factory=Curve)
    pte: Curve = field(default_factory=Curve)
    peak: list[Table] = field(default_factory=list)
    """The tables when there were most of them."""
    last: list[Table] = field(default_factory=list)
    """Those of each address space just before it ended, or at the end of the trace."""
    peak_time: int = 0
    lives: list[Life] = field(default_factory=list)
    arrays: list[Array] = field(default_factory=list)
    misses: int = 0
    functions: list[Function] = field(default_factory=list)
    cpus: list[CpuShootdowns] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)
    pages_flushed: dict[str, int] = field(default_factory=dict)
    """Flushes by how many pages they were of."""
    faults: dict[str, int] = field(default_factory=dict)
    """Page faults of the processor by what their error code says."""
    processes: dict[int, str] = field(default_factory=dict)
    """Names of address spaces: PID and program, by the address of the PGD."""
