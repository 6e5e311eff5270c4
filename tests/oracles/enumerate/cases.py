# SPDX-License-Identifier: GPL-2.0-or-later
"""Which registers, entries and accesses are combined: plans for the loops in enumerate.c.

The tables of one address, in a RAM that is nearly all untouched; a large page's address is also
that of the next table, so that an entry leads somewhere whether or not PS is set::

    0x1000      0x2000     0x3000     0x40000000    0x600000
    PML5 table  PML4 table PDPT       page          page table
                                      directory        │
       └───────────┴──────────┴──────────┴─────────────┴── 0x12345000, a page

Bits that mean nothing (PWT, PCD, 11:9, 58:52, and the key of an entry that refers to a table)
differ from entry to entry: they must change no answer and stay as they are.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.oracles.enumerate.native import load

RAM_SIZE = (2 << 30) + (64 << 20)
"""Every address that an entry here may give a table, reserved bits below MAXPHYADDR included."""
TABLES = {5: 0x1000, 4: 0x2000, 3: 0x3000, 2: 0x4000_0000, 1: 0x60_0000}
PAGE = 0x1234_5000
VA = {4: 0xFFFF_9A5B_2C3D_4E5F, 5: 0xFF2D_1A5B_2C3D_4E5F}
"""Addresses in the upper half whose index differs at every level."""
MAXPHYADDR = 46

P, RW, US, A, D, PS, G, XD = (1 << bit for bit in (0, 1, 2, 5, 6, 7, 8, 63))
BITS = (P, RW, US, A, D, PS, G, XD)
KEY_SHIFT = 59

READ, WRITE, FETCH, SHSTK_READ, SHSTK_WRITE = range(5)
KINDS = ("read", "write", "fetch", "shadow-stack read", "shadow-stack write")
MODES = ("supervisor", "user", "implicit supervisor")
ORDINARY = 1 << READ | 1 << WRITE | 1 << FETCH
SHADOW_STACK = 1 << SHSTK_READ | 1 << SHSTK_WRITE

INTEL, AMD = "Intel", "AMD"
PAGE_NAMES = {1: "4 KiB", 2: "2 MiB", 3: "1 GiB"}

NORMAL = P | RW | US | A
UPPER_CLASSES = {
    "absent": 0,
    "read-only": P | US | A,
    "supervisor": P | RW | A,
    "XD": NORMAL | XD,
    "normal": NORMAL,
    "not accessed": P | RW | US,
}


@dataclass(frozen=True)
class Processor:
    """A state of the registers that the oracle asks for."""

    levels: int = 4
    vendor: str = INTEL
    maxphyaddr: int = MAXPHYADDR
    page1gb: bool = True
    wp: int = 1
    smep: int = 0
    smap: int = 0
    pke: int = 0
    pks: int = 0
    nxe: int = 1
    ac: int = 0
    pkru: int = 0
    pkrs: int = 0

    def c(self) -> dict[str, int]:
        """The fields of struct oracle_processor."""
        fields = dict(vars(self))
        fields["amd"] = int(fields.pop("vendor") == AMD)
        return fields


def key_rights(turn: int) -> tuple[int, int]:
    """PKRU and IA32_PKRS in which, as turn goes from 0 to 3, every key comes to each of its four
    rights.

    Neighbouring keys differ, and for three of four keys so do the two registers.
    """
    pkru = sum((key + turn & 3) << 2 * key for key in range(16))
    pkrs = sum(((key >> 2) + turn + 1 & 3) << 2 * key for key in range(16))
    return pkru, pkrs


def processors(
    base: Processor, *, cet: bool = False, few: bool = False, thin: bool = False
) -> list[Processor]:
    """Every combination of WP, SMEP, SMAP, PKE, PKS, NXE, AC and the keys' rights.

    Under CET, WP is 1. An AMD processor has no PKS. ``few``: PKS goes with PKE; ``thin``: SMEP with
    AC.
    """
    found = []
    for wp, smep, smap, pke, pks, nxe, ac in itertools.product((0, 1), repeat=7):
        if (cet and not wp) or (thin and smep != ac):
            continue
        if pks != (0 if base.vendor == AMD else pke if few else pks):
            continue
        for turn in range(4 if pke or pks else 1):
            pkru, pkrs = key_rights(turn)
            keyed = replace(base, pke=pke, pks=pks, pkru=pkru, pkrs=pkrs)
            found.append(replace(keyed, wp=wp, smep=smep, smap=smap, nxe=nxe, ac=ac))
    return found


def clutter(number: int) -> int:
    """Bits of an entry that mean nothing, and a key; every number gives others."""
    mixed = number * 0x9E37_79B9 >> 3
    ignored = (mixed & 3) << 3 | (mixed >> 2 & 7) << 9 | (mixed >> 5 & 0x7F) << 52
    return ignored | (number * 7 + 3 & 15) << KEY_SHIFT


def entry(level: int, flags: int, number: int = 0) -> int:
    """An entry of that level, whether it maps a page or refers to the next table."""
    return (PAGE if level == 1 else TABLES[level - 1]) | flags | clutter(number + 37 * level)


def combinations(level: int, bits: Sequence[int] = BITS, fixed: int = 0) -> list[int]:
    """Entries of that level with every combination of these bits."""
    flags = [sum(chosen) for chosen in itertools.product(*((0, bit) for bit in bits))]
    return [entry(level, chosen | fixed, number) for number, chosen in enumerate(flags)]


def address_bits(level: int, maxphyaddr: int) -> list[int]:
    """Bits that are reserved in some entry of that level, and that are not among BITS; PAT of a
    large page.
    """
    bits = list(range(maxphyaddr, 52))
    if level in (2, 3):
        bits += range(12, 21 if level == 2 else 30)
    return [1 << bit for bit in bits]


def with_address_bits(level: int, maxphyaddr: int, entries: Iterable[int]) -> list[int]:
    """Each entry with each of address_bits(), one at a time."""
    bits = address_bits(level, maxphyaddr)
    return [value ^ bit for value in entries for bit in bits]


def upper_rows(processor: Processor, leaf_level: int, *, reserved: bool) -> list[dict[int, int]]:
    """Entries above the leaf's parent: every combination of classes; then each reserved bit, one at
    a time.
    """
    levels = range(leaf_level + 2, processor.levels + 1)
    rows = [
        {level: entry(level, flags, number) for level, flags in zip(levels, chosen, strict=True)}
        for number, chosen in enumerate(
            itertools.product(UPPER_CLASSES.values(), repeat=len(levels))
        )
    ]
    if reserved:
        plain = {level: entry(level, UPPER_CLASSES["not accessed"]) for level in levels}
        for level in levels:
            for bit in (*(1 << bit for bit in range(processor.maxphyaddr, 52)), PS, G):
                rows.append({**plain, level: plain[level] | bit})
    return rows


def plain_uppers(processor: Processor, leaf_level: int) -> list[dict[int, int]]:
    """One row: all normal."""
    levels = range(leaf_level + 2, processor.levels + 1)
    return [{level: entry(level, NORMAL, level) for level in levels}]


@dataclass(frozen=True)
class Slice:
    """Cases that differ in registers, entries and access, over one shape of tables."""

    subject: str
    leaf_level: int
    processors: list[Processor]
    uppers: list[dict[int, int]]
    parents: list[int]
    leaves: list[int]
    kinds: int = ORDINARY
    cet: bool = False
    va: int | None = None

    @property
    def base(self) -> Processor:
        """What its processors have in common: levels, vendor, widths."""
        return self.processors[0]

    @property
    def address(self) -> int:
        """The address accessed."""
        return VA[self.base.levels] if self.va is None else self.va

    @property
    def label(self) -> tuple[str, str, int, str]:
        """The row of the table that it counts in: subject, page, levels, vendor."""
        return self.subject, PAGE_NAMES[self.leaf_level], self.base.levels, self.base.vendor

    @property
    def rows(self) -> int:
        """Rows of registers, upper entries and parents: what a sample is taken of."""
        return len(self.processors) * len(self.uppers) * len(self.parents)

    @property
    def cases(self) -> int:
        """How many cases it has, sampled by nothing."""
        return self.rows * len(self.leaves) * self.kinds.bit_count() * len(MODES)

    def plan(self, engine: Any, *, stride: int = 1, phase: int = 0, defect: int = 0) -> Plan:
        """It, as enumerate.c takes it."""
        return Plan(self, engine, stride, phase, defect)


class Plan:
    """A struct enum_plan and the arrays that it points to."""

    def __init__(self, what: Slice, engine: Any, stride: int, phase: int, defect: int) -> None:
        ffi = load().ffi
        self.slice = what
        self._registers = ffi.new("struct oracle_processor[]", [p.c() for p in what.processors])
        rows = [row.get(level, 0) for row in what.uppers for level in range(6)]
        self._upper = ffi.new("uint64_t[]", rows)
        self._parent = ffi.new("uint64_t[]", what.parents)
        self._leaf = ffi.new("uint64_t[]", what.leaves)
        self.c = ffi.new("struct enum_plan *")
        self.c.engine = engine
        self.c.va = what.address
        for level, table in TABLES.items():
            self.c.table[level] = table
        self.c.leaf_level, self.c.kinds, self.c.cet = what.leaf_level, what.kinds, what.cet
        self.c.stride, self.c.phase, self.c.defect = stride, phase, defect
        self.c.registers, self.c.nr_registers = self._registers, len(what.processors)
        self.c.upper, self.c.nr_upper = self._upper, len(what.uppers)
        self.c.parent, self.c.nr_parent = self._parent, len(what.parents)
        self.c.leaf, self.c.nr_leaf = self._leaf, len(what.leaves)


SHAPES = tuple(itertools.product((1, 2, 3), (4, 5)))
"""Levels of the leaf, and of the tables."""


def _leaf_and_parent(leaf: int, levels: int) -> Iterator[Slice]:
    """Every combination of both entries' bits with every combination of registers."""
    base = Processor(levels=levels)
    entries = (combinations(leaf + 1), combinations(leaf))
    uppers = plain_uppers(base, leaf)
    yield Slice("leaf × parent", leaf, processors(base), uppers, *entries)
    amd = replace(base, vendor=AMD)
    few = combinations(leaf, (P, RW, US, PS, XD), A)
    yield Slice("leaf × parent", leaf, processors(amd), uppers, entries[0], few)
    states = processors(base, cet=True, thin=True)
    leaves = combinations(leaf, (P, RW, US, A, D, PS, XD))
    yield Slice(
        "shadow stack", leaf, states, uppers, entries[0], leaves, kinds=SHADOW_STACK, cet=True
    )
    states = processors(amd, cet=True, thin=True)
    few = combinations(leaf, (P, RW, US, D, PS), A)
    yield Slice("shadow stack", leaf, states, uppers, entries[0], few, kinds=SHADOW_STACK, cet=True)


def _reserved(leaf: int, levels: int) -> Iterator[Slice]:
    """Each reserved bit of the leaf and of its parent, with every combination of the entry's other
    bits.
    """
    base = Processor(levels=levels)
    uppers = plain_uppers(base, leaf)
    leaves, parents = combinations(leaf), combinations(leaf + 1)
    some_leaves = [entry(leaf, flags) for flags in (P | RW | US, 0, P | A | D | XD | PS)]
    some_parents = [entry(leaf + 1, flags) for flags in (P | RW | US, P | A | XD)]
    wide = processors(base, few=True)
    subject, large = "reserved bits", PS if leaf > 1 else 0
    yield Slice(
        subject, leaf, wide, uppers, some_parents, with_address_bits(leaf, MAXPHYADDR, leaves)
    )
    yield Slice(
        subject, leaf, wide, uppers, with_address_bits(leaf + 1, MAXPHYADDR, parents), some_leaves
    )
    for vendor, width in itertools.product((INTEL, AMD), (36, 39, 40, 48, 51, 52)):
        states = [
            replace(base, vendor=vendor, maxphyaddr=width, nxe=nxe, wp=wp)
            for nxe in (0, 1)
            for wp in (0, 1)
        ]
        # Below MAXPHYADDR these bits are good for a page's address; a table there would lie outside
        # RAM.
        here = [(value | large) ^ bit for value in leaves[::3] for bit in address_bits(leaf, 36)]
        yield Slice(subject, leaf, states, uppers, some_parents, here)
        here = with_address_bits(leaf + 1, width, parents[::3])
        if here:
            yield Slice(subject, leaf, states, uppers, here, some_leaves)
    if leaf == 3:
        states = processors(replace(base, page1gb=False), few=True)
        yield Slice("no 1-GiB pages", leaf, states, uppers, some_parents, leaves)


def _uppers(leaf: int, levels: int) -> Iterator[Slice]:
    """Each class at each level above the leaf's parent, with representative leaves and parents."""
    if leaf + 1 == levels:
        return
    large = PS if leaf > 1 else 0
    flags = (NORMAL | D, P | RW | US, P | US | A | D, P | RW | A, P | RW | US | D | XD, 0)
    leaves = [entry(leaf, flag | large, number) for number, flag in enumerate(flags)]
    parents = [entry(leaf + 1, flag) for flag in (NORMAL, P | RW | US, P | A, 0)]
    for vendor in (INTEL, AMD):
        base = Processor(levels=levels, vendor=vendor)
        rows = upper_rows(base, leaf, reserved=True)
        yield Slice("upper entries", leaf, processors(base), rows, parents, leaves)
        every = ORDINARY | SHADOW_STACK
        states = processors(base, cet=True, few=True)
        yield Slice("upper entries", leaf, states, rows, parents, leaves, kinds=every, cet=True)


def _addresses(leaf: int, levels: int) -> Iterator[Slice]:
    """The first and last addresses of both canonical halves, and their neighbours that are not
    canonical.
    """
    half = 1 << (12 + 9 * levels - 1)
    top = 1 << 64
    base = Processor(levels=levels)
    large = PS if leaf > 1 else 0
    leaves = [entry(leaf, flags | large) for flags in (P | RW | US, 0)]
    parents = [entry(leaf + 1, flags) for flags in (P | RW | US, 0)]
    uppers = [{level: entry(level, P | RW | US) for level in range(leaf + 2, levels + 1)}]
    states = processors(base, few=True)
    for va in (
        0,
        half - 1,
        half,
        half + 0x1234_5678,
        top - half - 1,
        top - half,
        top - 1,
        top // 2,
        top // 2 - 1,
    ):
        yield Slice("addresses", leaf, states, uppers, parents, leaves, va=va)


@functools.cache
def slices() -> tuple[Slice, ...]:
    """All that `make enumerate` runs."""
    subjects = (_leaf_and_parent, _reserved, _uppers, _addresses)
    return tuple(
        found for subject in subjects for leaf, levels in SHAPES for found in subject(leaf, levels)
    )


@functools.cache
def tlb_slices() -> tuple[Slice, ...]:
    """What goes through an empty TLB and then hits: pairs of accesses, so fewer registers and
    entries.
    """
    found = []
    for leaf, levels in SHAPES:
        large = PS if leaf > 1 else 0
        for vendor in (INTEL, AMD):
            base = Processor(levels=levels, vendor=vendor)
            leaves = combinations(leaf, (RW, US, A, D, G, XD), P | large)
            parents = combinations(leaf + 1, (RW, US, XD), P)
            uppers = upper_rows(base, leaf, reserved=False)
            states = processors(base)
            found.append(Slice("TLB hits", leaf, states, uppers, parents, leaves))
            every = ORDINARY | SHADOW_STACK
            states = processors(base, cet=True)
            found.append(
                Slice("TLB hits", leaf, states, uppers, parents, leaves, kinds=every, cet=True)
            )
    return tuple(found)
