# SPDX-License-Identifier: GPL-2.0-or-later
"""The same operation on both engines, each over RAM of its own, and a comparison of all there is to compare.

A world of 64 frames: two PML4 tables, two of each lower kind, the rest data. Addresses, table indexes
and entries are drawn from few values, so that they meet: in sets of the ``tiny`` TLB, in PCIDs, in tables that
refer to themselves or lie outside RAM. With five levels two PML5 tables stand above. ``TORTURE`` has small arrays
of every kind, policy and index, with limits on PCIDs and pages smashed to fragments. Before each access the
soft-flush list is taken, as its consumer would.
"""

from __future__ import annotations

import functools
from typing import Any

from hypothesis import strategies as st

from mmu._native import ffi
from mmu.events import EventRing
from mmu.memory import Memory
from mmu.x86 import Geometry, Mmu
from mmu.x86.entries import X86_A, X86_D, X86_G, X86_P, X86_PS, X86_RW, X86_US, X86_XD, entry_offset
from mmu.x86.registers import (
    CR0_PG,
    CR0_WP,
    CR4_CET,
    CR4_LA57,
    CR4_PAE,
    CR4_PCIDE,
    CR4_PGE,
    CR4_PKE,
    CR4_PKS,
    CR4_PSE,
    CR4_SMAP,
    CR4_SMEP,
    EFER_LME,
    EFER_NXE,
    EFER_TCE,
    RESET_CR0,
    RESET_CR4,
    RESET_EFER,
    RESET_PAT,
    RFLAGS_AC,
    Feature,
    Vendor,
)
from tests.x86.arrays import array, geometry

FRAMES = 64
PML5S, ROOTS, PDPTS, PDS, PTS, DATA = (14, 15), (1, 2), (3, 4), (5, 6), (7, 8), (9, 10, 11, 12, 13)
OUTSIDE = FRAMES + 7
INDEXES = {5: (0, 1, 511), 4: (0, 255, 256), 3: (0, 1), 2: (0, 1, 2), 1: (0, 1, 2, 3, 4, 5)}
BASES = (0, 1 << 30)
TABLE = X86_P | X86_RW | X86_US

TORTURE = geometry(
    array("loads", "dtlb_loads", 8, 4, "4K 2M", index="xor", replacement="tree_plru", pcids=0),
    array("stores", "dtlb_stores", 3, 3, "4K 2M 1G", replacement="fifo", pcids=2),
    array("fetches", "itlb", 6, 3, replacement="random", smash=((3, 1), (2, 1))),
    array(
        "L2 data",
        "l2_dtlb",
        16,
        8,
        "4K 2M PDE",
        index="xor",
        replacement="mru_plru",
        pcids=2,
        smash=((3, 2),),
    ),
    array("L2 code", "l2_itlb", 6, 2, smash=((2, 1),)),
    array("upper", "psc", 4, 4, "PDPTE PML4E PML5E", replacement="tree_plru", pcids=1),
    seed=1,
)

Op = tuple[Any, ...]


class Mismatch(AssertionError):
    """The engines differ."""


def _va(indexes: tuple[int, ...], offset: int) -> int:
    """The canonical address of four indexes, or of five, the first that of the PML5E."""
    va, levels = offset, len(indexes)
    for level, index in zip(range(levels, 0, -1), indexes, strict=True):
        va |= index << (12 + 9 * (level - 1))
    unused = 64 - 12 - 9 * levels
    return va | ((1 << unused) - 1 << 64 - unused if va >> 63 - unused & 1 else 0)


def _weighted(*choices: tuple[int, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """One of several strategies, by weight; one_of() would give each of its innermost parts the same."""
    tickets = [strategy for weight, strategy in choices for _ in range(weight)]
    return st.integers(0, len(tickets) - 1).flatmap(lambda n: tickets[n])


near = st.builds(
    _va,
    st.tuples(
        st.sampled_from((0, 0, 256)), st.just(0), st.sampled_from((0, 0, 1)), st.sampled_from(INDEXES[1])
    ),
    st.sampled_from((0, 8, 0xFFF)),
)
far = st.builds(_va, st.tuples(*(st.sampled_from(INDEXES[level]) for level in (4, 3, 2, 1))), st.just(0))
wide = st.builds(_va, st.tuples(*(st.sampled_from(INDEXES[level]) for level in (5, 4, 3, 2, 1))), st.just(0))
illegal = st.sampled_from((1 << 47, 0xFFFF_7FFF_FFFF_F000, 1 << 56, 1 << 63))
vas = _weighted((15, near), (4, far), (2, wide), (1, illegal))
accesses = st.sampled_from((0, 0, 0, 1, 1, 1, 2, 2, 3, 4))
users = st.sampled_from((1, 1, 1, 1, 1, 0, 0, 2))
flags = st.lists(
    st.sampled_from(
        (X86_P, X86_RW, X86_RW, X86_US, X86_US, X86_A, X86_D, X86_PS, X86_G, X86_G, X86_XD, X86_XD)
        + (1 << 3, 1 << 4, 1 << 12, 1 << 20, 1 << 36, 1 << 51, 1 << 59, 1 << 59, *[X86_RW | X86_D] * 4)
    ),
    max_size=2,
    unique=True,
).map(lambda bits: TABLE ^ functools.reduce(int.__or__, bits, 0))
cr4_bits = (
    *(CR4_PAE, CR4_PCIDE, CR4_PGE, CR4_PSE, CR4_SMEP, CR4_SMAP, CR4_LA57),
    *(CR4_PKE, CR4_PKE, CR4_PKS, CR4_CET, CR4_CET),
)
cr4s = st.lists(st.sampled_from(cr4_bits), max_size=3).map(lambda bits: RESET_CR4 ^ sum(set(bits)))
keys = st.sampled_from((0, 0b0100, 0b1000, 0b0001, 0b0010, 1 << 32))
pats = st.sampled_from((RESET_PAT, 0x0606_0606_0606_0606, 0x0105_0007_0406_0001, 2, 1 << 63))
efers = st.sampled_from(
    (RESET_EFER, RESET_EFER, RESET_EFER ^ EFER_NXE, RESET_EFER | EFER_TCE, RESET_EFER ^ EFER_LME)
)


def _edit(level: int, which: int, index: int, frame: int, bits: int, announce: bool) -> Op:
    return ("edit", level, which, index, frame, bits, announce)


_TARGETS = {5: ROOTS, 4: PDPTS, 3: PDS, 2: PTS, 1: DATA}


def _edits(level: int) -> st.SearchStrategy[Op]:
    return st.builds(
        _edit,
        st.just(level),
        st.integers(0, 1),
        st.sampled_from((*INDEXES[level], 0, 0)),
        st.sampled_from((*_TARGETS[level] * 4, *ROOTS, *DATA, OUTSIDE, 0)),
        flags,
        st.booleans(),
    )


def _op(name: str, *args: Any) -> st.SearchStrategy[Op]:
    """An operation of that name; arguments are strategies, or a tuple to choose from."""
    return st.tuples(
        st.just(name), *(st.sampled_from(arg) if isinstance(arg, tuple) else arg for arg in args)
    )


large_pages = st.builds(
    _edit,
    st.sampled_from((2, 2, 3)),
    st.integers(0, 1),
    st.sampled_from((0, 0, 1)),
    st.just(0),
    flags.map(lambda bits: bits | X86_P | X86_PS),
    st.booleans(),
)
edits = _weighted(
    (10, _edits(1)), (4, _edits(2)), (2, _edits(3)), (2, _edits(4)), (1, _edits(5)), (3, large_pages)
)
invalidating = _weighted(
    (3, _op("invlpg", vas)),
    (4, _op("invpcid", (0, 0, 0, 1, 2, 3, 4), (0, 0, 1, 1, 2, 2, 0x1000), vas)),
    (4, _op("cr3", ROOTS, (0, 1, 2), (False, True, True))),
    (2, _op("write_cr4", cr4s)),
    (
        2,
        _op(
            "invlpgb",
            st.builds(int.__or__, vas.map(lambda va: va & -4096), st.integers(0, 63)),
            (0, 1, 7, 8, 1 << 31),
            (0, 1, 1 << 16, 2 << 16, 1 << 28),
        ),
    ),
    (1, _op("write_cr0", (RESET_CR0, RESET_CR0, RESET_CR0 ^ CR0_WP, RESET_CR0 ^ CR0_PG))),
    (1, _op("flush_all")),
)
rarely = _weighted(
    (3, _op("tables_changed")),
    (1, _op("soft_flush", vas, (1, 2, 20, 34))),
    (2, _op("write_efer", efers)),
    (2, _op("write_pkru", keys)),
    (2, _op("write_pkrs", keys)),
    (1, _op("write_pat", pats)),
    (1, _op("set", ("vendor",), tuple(map(int, Vendor)))),
    (
        1,
        _op(
            "set",
            ("features",),
            tuple(int(~Feature(0) & ~gone) for gone in (Feature(0), Feature(0), *Feature)),
        ),
    ),
    (1, _op("set", ("rflags",), (0, RFLAGS_AC))),
    (1, _op("set", ("maxphyaddr",), (36, 46, 52))),
    (1, _op("set", ("exact",), (0, 1, 1, 1))),
)
ops = _weighted(
    (30, _op("translate", vas, accesses, users)),
    (12, _op("sweep", near, accesses, (3, 5))),
    (10, _op("refill", vas, accesses, users)),
    (3, _op("walk", vas, accesses, users, (0, 1, 2))),
    (2, _op("resident", vas, (0, 1, 2))),
    (20, edits),
    (10, invalidating),
    (5, rarely),
)
more = st.sampled_from((0, CR4_CET | CR4_SMAP, CR4_CET | CR4_PKE | CR4_PKS))
starts = st.tuples(
    _op("write_cr4", st.builds(int.__or__, cr4s, more)), _op("set", ("rflags",), (0, RFLAGS_AC))
)
scripts = st.tuples(
    st.sampled_from(BASES),
    st.builds(lambda start, rest: [*start, *rest], starts, st.lists(ops, min_size=30, max_size=140)),
)


class Twins:
    """One C and one Python engine in the same state."""

    def __init__(self, base: int = 0, geometry: str | Geometry = "tiny", levels: int = 4) -> None:
        self.base = base
        self.levels = levels
        self.mmus = [self._make(engine, geometry) for engine in ("c", "python")]
        self.check("start")

    def _make(self, engine: str, geometry: str | Geometry) -> Mmu:
        memory = Memory(FRAMES << 12, base=self.base)
        ring = EventRing(1 << 12)
        ring.enable()
        mmu = Mmu(memory, geometry=geometry, engine=engine, exact=True, ring=ring, levels=self.levels)
        for level, tables, targets in (
            (5, PML5S, ROOTS),
            (4, ROOTS, PDPTS),
            (3, PDPTS, PDS),
            (2, PDS, PTS),
            (1, PTS, DATA),
        ):
            for which in (0, 1):
                for i, index in enumerate(INDEXES[level]):
                    hole = level <= 2 and index == INDEXES[level][-1]
                    entry = self.pa(targets[(which + i) % len(targets)]) | (0 if hole else TABLE)
                    memory.write_u64(self.pa(tables[which]) + index * 8, entry)
        mmu.write_cr3(self.pa(self._top(ROOTS[0])))
        return mmu

    def pa(self, frame: int) -> int:
        return self.base + (frame << 12)

    def _top(self, root: int) -> int:
        """The frame that CR3 names for one of ROOTS: itself, or its PML5."""
        return root if self.levels == 4 else PML5S[ROOTS.index(root)]

    def close(self) -> None:
        for mmu in self.mmus:
            mmu.memory.close()

    def run(self, script: list[Op]) -> None:
        """Every operation on both, comparing after each; raises Mismatch."""
        for number, op in enumerate(script):
            results = [self.do(mmu, *op) for mmu in self.mmus]
            if results[0] != results[1]:
                raise Mismatch(f"op {number}, {op}: C answers {results[0]}, Python {results[1]}")
            self.check(f"op {number}, {op}")

    def do(self, mmu: Mmu, name: str, *args: Any) -> Any:
        if name == "translate" or name == "refill":
            va, access, user = args
            forgotten = mmu.take_soft_flush()
            return forgotten, getattr(mmu, name)(va, access, user=user)
        if name == "sweep":
            va, access, pages = args
            return [mmu.translate(va + (i << 12), access) for i in range(pages)]
        if name == "walk":
            va, access, user, mode = args
            return mmu.walk(va, access, user=user, mode=mode)
        if name == "edit":
            return self._edit(mmu, *args)
        if name == "cr3":
            root, pcid, keep = args
            return mmu.write_cr3(self.pa(self._top(root)) | pcid | (1 << 63 if keep else 0))
        if name == "set":
            return setattr(mmu.c, *args)
        return getattr(mmu, name)(*args)

    def _edit(
        self, mmu: Mmu, level: int, which: int, index: int, frame: int, bits: int, announce: bool
    ) -> None:
        table = {5: PML5S, 4: ROOTS, 3: PDPTS, 2: PDS, 1: PTS}[level][which]
        pa = self.pa(table) + entry_offset(index << (12 + 9 * (level - 1)), level)
        mmu.memory.write_u64(pa, self.pa(frame) | bits)
        if announce:
            mmu.tables_changed()

    def check(self, when: str) -> None:
        for what, ours, theirs in zip(
            ("unit", "RAM", "struct page", "events"), *map(_state, self.mmus), strict=True
        ):
            if ours != theirs:
                raise Mismatch(f"{when}: {what} differs\n{_difference(ours, theirs)}")


def unit_bytes(mmu: Mmu) -> Any:
    """``struct mmu_unit`` as bytes, up to the last entry that its geometry uses."""
    size = ffi.offsetof("struct mmu_unit", "tlb") + ffi.offsetof("struct tlb", "entry")
    return ffi.buffer(mmu.c, size + mmu.c.tlb.nr_entries * ffi.sizeof("struct tlb_entry"))


def _state(mmu: Mmu) -> tuple[Any, ...]:
    """All that may differ, but for what the world cannot reach and what must differ: pointers."""
    memory = mmu.memory
    ring_at = ffi.offsetof("struct mmu_unit", "ring")
    after_ring = ring_at + ffi.sizeof("void *")
    unit = unit_bytes(mmu)
    return (
        unit[ffi.sizeof("void *") : ring_at] + unit[after_ring:],
        ffi.buffer(memory.c.ram, DATA[0] << 12)[:],
        ffi.buffer(memory.c.pages, memory.c.nr_pages * ffi.sizeof("struct page"))[:],
        [str(event) for event in mmu.ring.read()] if mmu.ring else [],
    )


def _difference(ours: Any, theirs: Any) -> str:
    if isinstance(ours, list):
        return f"C      {ours}\nPython {theirs}"
    at = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
    return f"first at byte {at:#x}: C {ours[at]:#x}, Python {theirs[at]:#x}"
