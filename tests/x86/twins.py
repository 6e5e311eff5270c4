# SPDX-License-Identifier: GPL-2.0-or-later
"""The same operation on both engines, each over RAM of its own, and a comparison of all there is to
compare.

A world of 64 frames: two PML4 tables, two of each lower kind, the rest data. Addresses, table
indexes and entries are drawn from few values, so that they meet: in sets of the ``tiny`` TLB, in
PCIDs, in tables that refer to themselves or lie outside RAM. With five levels two PML5 tables stand
above. ``TORTURE`` has small arrays of every kind, policy and index, with limits on PCIDs and pages
smashed to fragments. A world with ``outside`` has half of its tables in memory that is not RAM
(tests/memory/other_memory.py). Before each access the soft-flush list is taken, as its consumer
would.

An operation is a tuple: its name and its arguments. ``scripts`` are lists of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any

from mmu._native import ffi, lib
from mmu.events import EVENTS, EventRing
from mmu.memory import Memory
from mmu.x86 import Geometry, Mmu
from mmu.x86.entries import X86_A, X86_D, X86_G, X86_P, X86_PS, X86_RW, X86_US, X86_XD
from mmu.x86.registers import (
    CR0_PG,
    CR0_WP,
    CR3_NOFLUSH,
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
    RESET_EFER,
    RESET_PAT,
    RFLAGS_AC,
    Feature,
    Vendor,
)
from tests.memory.other_memory import OtherMemory
from tests.x86.arrays import array, geometry
from tests.x86.choices import Choice, build, integer, pick, sequence, several, weighted

FRAMES = 64
ROOTS, PDPTS, PDS, PTS, PML5S, DATA = (1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12, 13, 14, 15)
OUTSIDE = FRAMES + 7
BEYOND = FRAMES + 64
"""Where the tables that are not in RAM begin, as a frame number."""
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

_RING = 1 << 12
_PARTS = (
    *("the unit before its ring", "the unit after its ring", "RAM", "struct page"),
    *("memory beyond RAM", "its flags", "events"),
)
_NOTHING = ffi.new("u8[]", 0)
_TABLES = {5: PML5S, 4: ROOTS, 3: PDPTS, 2: PDS, 1: PTS}


class Outside(Enum):
    """What memory beyond RAM is like: in place for C, or reached word by word, or partly ROM."""

    IN_PLACE = 0
    BY_WORD = 1
    READ_ONLY = 2


class Mismatch(AssertionError):
    """The engines differ; ``number`` is that of the operation after which they were seen to, if it
    was one.
    """

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.number = number


def _va(indexes: tuple[int, ...], offset: int) -> int:
    """The canonical address of four indexes, or of five, the first that of the PML5E."""
    va, levels = offset, len(indexes)
    for level, index in zip(range(levels, 0, -1), indexes, strict=True):
        va |= index << (12 + 9 * (level - 1))
    unused = 64 - 12 - 9 * levels
    return va | ((1 << unused) - 1 << 64 - unused if va >> 63 - unused & 1 else 0)


def _addresses(*indexes: tuple[int, ...], offsets: tuple[int, ...] = (0,)) -> Choice:
    """Addresses of these indexes, topmost level first."""
    return build(
        _va, build(lambda *chosen: chosen, *(pick(*some) for some in indexes)), pick(*offsets)
    )


def _op(name: str, *args: Any) -> Choice:
    """An operation of that name; each argument is a Choice, or a tuple to choose from."""
    parts = (arg if isinstance(arg, Choice) else pick(*arg) for arg in args)
    return build(lambda *chosen: (name, *chosen), *parts)


def _toggled(start: int, bits: Iterable[int]) -> int:
    for bit in bits:
        start ^= bit
    return start


near = _addresses((0, 0, 256), (0,), (0, 0, 1), INDEXES[1], offsets=(0, 8, 0xFFF))
far = _addresses(*(INDEXES[level] for level in (4, 3, 2, 1)))
wide = _addresses(*(INDEXES[level] for level in (5, 4, 3, 2, 1)))
illegal = pick(1 << 47, 0xFFFF_7FFF_FFFF_F000, 1 << 56, 1 << 63)
vas = weighted((15, near), (4, far), (2, wide), (1, illegal))
accesses = pick(0, 0, 0, 1, 1, 1, 2, 2, 3, 4)
users = pick(1, 1, 1, 1, 1, 0, 0, 2)
flags = build(
    lambda bits: _toggled(TABLE, bits),
    several(
        (X86_P, X86_RW, X86_RW, X86_US, X86_US, X86_A, X86_D, X86_PS, X86_G, X86_G, X86_XD, X86_XD)
        + (
            1 << 3,
            1 << 4,
            1 << 12,
            1 << 20,
            1 << 36,
            1 << 51,
            1 << 59,
            1 << 59,
            *[X86_RW | X86_D] * 4,
        ),
        most=2,
    ),
)
cr4_bits = (
    *(CR4_PAE, CR4_PCIDE, CR4_PGE, CR4_PSE, CR4_SMEP, CR4_SMAP, CR4_LA57),
    *(CR4_PKE, CR4_PKE, CR4_PKS, CR4_CET, CR4_CET),
)
cr4s = build(lambda bits: _toggled(0, bits), several(cr4_bits, most=3))
keys = pick(0, 0b0100, 0b1000, 0b0001, 0b0010, 1 << 32)
pats = pick(RESET_PAT, 0x0606_0606_0606_0606, 0x0105_0007_0406_0001, 2, 1 << 63)
efers = pick(
    RESET_EFER, RESET_EFER, RESET_EFER ^ EFER_NXE, RESET_EFER | EFER_TCE, RESET_EFER ^ EFER_LME
)

_TARGETS = {5: ROOTS, 4: PDPTS, 3: PDS, 2: PTS, 1: DATA}


def _edits(level: int) -> Choice:
    targets = (*_TARGETS[level] * 4, *ROOTS, *DATA, OUTSIDE, 0)
    return _op("edit", (level,), (0, 1), (*INDEXES[level], 0, 0), targets, flags, (False, True))


large_flags = build(lambda bits: bits | X86_P | X86_PS, flags)
large_pages = _op("edit", (2, 2, 3), (0, 1), (0, 0, 1), (0,), large_flags, (False, True))
edits = weighted(
    (10, _edits(1)),
    (4, _edits(2)),
    (2, _edits(3)),
    (2, _edits(4)),
    (1, _edits(5)),
    (3, large_pages),
)
invalidating = weighted(
    (3, _op("invlpg", vas)),
    (4, _op("invpcid", (0, 0, 0, 1, 2, 3, 4), (0, 0, 1, 1, 2, 2, 0x1000), vas)),
    (4, _op("cr3", ROOTS, (0, 1, 2), (*(0, CR3_NOFLUSH, CR3_NOFLUSH) * 5, 1 << 51))),
    (2, _op("cr4", cr4s)),
    (
        2,
        _op(
            "invlpgb",
            build(
                lambda va, bits: va & -4096 | bits,
                vas,
                weighted((15, integer(0, 63)), (1, pick(64, 2048))),
            ),
            (0, 1, 7, 8, 1 << 31 | 1, 1 << 31 | 3),
            (0, 1, 1 << 16, 2 << 16, 1 << 28),
        ),
    ),
    (1, _op("write_cr0", (RESET_CR0, RESET_CR0, RESET_CR0 ^ CR0_WP, RESET_CR0 ^ CR0_PG))),
    (1, _op("flush_all")),
)
_LACKING = tuple(int(~Feature(0) & ~gone) for gone in (Feature(0), Feature(0), *Feature))
rarely = weighted(
    (3, _op("tables_changed")),
    (1, _op("soft_flush", vas, (1, 2, 20, 34))),
    (2, _op("write_efer", efers)),
    (2, _op("write_pkru", keys)),
    (2, _op("write_pkrs", keys)),
    (1, _op("write_pat", pats)),
    (1, _op("set", ("vendor",), tuple(map(int, Vendor)))),
    (3, _op("set", ("features",), _LACKING)),
    (1, _op("set", ("rflags",), (0, RFLAGS_AC))),
    (1, _op("set", ("maxphyaddr",), (36, 46, 52))),
    (1, _op("set", ("exact",), (0, 1, 1, 1))),
)
ops = weighted(
    (30, _op("translate", vas, accesses, users)),
    (12, _op("sweep", near, accesses, (3, 5))),
    (10, _op("refill", vas, accesses, users)),
    (3, _op("walk", vas, accesses, users, (0, 1, 2))),
    (2, _op("resident", vas, (0, 1, 2))),
    (20, edits),
    (10, invalidating),
    (5, rarely),
)
more = pick(0, 0, CR4_CET | CR4_SMAP, CR4_CET | CR4_PKE | CR4_PKS)
starts = build(
    lambda *start: list(start),
    _op("set", ("vendor",), tuple(map(int, Vendor))),
    _op("set", ("exact",), (*[1] * 7, 0)),
    _op("set", ("rflags",), (0, RFLAGS_AC)),
    _op("cr4", build(int.__or__, cr4s, more)),
    _op("write_pkru", keys),
    _op("write_pkrs", keys),
)
paging_off = build(
    lambda *start: list(start),
    _op("set", ("vendor",), tuple(map(int, Vendor))),
    _op("translate", vas, accesses, users),
    _op("cr4", (CR4_PCIDE,)),
    _op("write_cr0", (RESET_CR0 ^ CR0_PG,)),
    _op("write_efer", (RESET_EFER, RESET_EFER ^ EFER_LME)),
    _op("cr4", build(lambda bits: _toggled(CR4_PCIDE, bits), several(cr4_bits, most=2))),
    _op("write_cr0", (RESET_CR0, RESET_CR0, RESET_CR0 ^ CR0_PG)),
)


def script(least: int, most: int) -> Choice:
    """A start, then so many operations."""
    return build(list.__add__, weighted((15, starts), (1, paging_off)), sequence(ops, least, most))


scripts = build(lambda *parts: parts, pick(*BASES), script(30, 140)).strategy


def pages(op: Op) -> int:
    """Operations that one counts for: a sweep one for each page it translates."""
    return int(op[3]) if op[0] == "sweep" else 1


class Twins:
    """One C and one Python engine in the same state."""

    def __init__(
        self,
        base: int = 0,
        geometry: str | Geometry = "tiny",
        levels: int = 4,
        outside: Outside | None = None,
    ) -> None:
        self.base = base
        self.levels = levels
        self.outside = outside
        self._others: dict[Mmu, OtherMemory] = {}
        self.mmus = [self._make(engine, geometry) for engine in ("c", "python")]
        self.cr4 = int(self.mmus[0].c.cr4)
        self._views = [_View(mmu, self._others.get(mmu)) for mmu in self.mmus]
        self.check("start")

    def _make(self, engine: str, geometry: str | Geometry) -> Mmu:
        memory = Memory(FRAMES << 12, base=self.base)
        ring = EventRing(_RING)
        ring.enable()
        mmu = Mmu(
            memory, geometry=geometry, engine=engine, exact=True, ring=ring, levels=self.levels
        )
        if self.outside is not None:
            self._others[mmu] = other = OtherMemory(
                memory,
                self.base + (BEYOND << 12),
                DATA[0],
                in_place=self.outside is not Outside.BY_WORD,
            )
            if self.outside is Outside.READ_ONLY:
                other.read_only = {self.pa(tables[1]) for tables in (PDPTS, PTS)}
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
                    self._write(mmu, self.pa(tables[which]) + index * 8, entry)
        mmu.write_cr3(self.pa(self._top(ROOTS[0])))
        return mmu

    def pa(self, frame: int) -> int:
        """Where a frame lies: the second table of each kind beyond RAM, in a world that has such
        memory.
        """
        beyond = self.outside is not None and 0 < frame < DATA[0] and not frame % 2
        return self.base + (frame + (BEYOND if beyond else 0) << 12)

    def _write(self, mmu: Mmu, pa: int, value: int) -> None:
        memory = self._others.get(mmu, mmu.memory)
        memory.write_u64(pa, value)

    def _top(self, root: int) -> int:
        """The frame that CR3 names for one of ROOTS: itself, or its PML5."""
        return root if self.levels == 4 else PML5S[ROOTS.index(root)]

    def reset(self) -> None:
        """Back to the start."""
        for view in self._views:
            view.restore()

    def close(self) -> None:
        for mmu in self.mmus:
            mmu.memory.close()

    def run(self, script: list[Op], every: int = 1) -> None:
        """Each operation on both, its answers compared at once, all the state after so many; raises
        Mismatch.
        """
        c, python = self.mmus
        for number, op in enumerate(script):
            ours, theirs = self.do(c, *op), self.do(python, *op)
            if ours != theirs:
                raise Mismatch(f"C answers {ours}, Python {theirs}", number)
            if number % every == every - 1:
                self.check("afterwards", number)
        self.check("at the end", len(script) - 1)

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
            root, pcid, more = args
            return mmu.write_cr3(self.pa(self._top(root)) | pcid | more)
        if name == "cr4":
            return mmu.write_cr4(self.cr4 ^ args[0])
        if name == "set":
            return setattr(mmu.c, *args)
        return getattr(mmu, name)(*args)

    def _edit(
        self, mmu: Mmu, level: int, which: int, index: int, frame: int, bits: int, announce: bool
    ) -> None:
        pa = self.pa(_TABLES[level][which]) + index * 8
        self._write(mmu, pa, self.pa(frame) | bits)
        if announce:
            mmu.tables_changed()

    def check(self, when: str, number: int | None = None) -> None:
        """All that may differ and must not; raises Mismatch."""
        ours, theirs = self._views
        for what, at, other in zip(_PARTS, ours.parts(), theirs.parts(), strict=True):
            if at != other:
                raise Mismatch(f"{when} {what} differs: {_difference(what, at, other)}", number)


class _View:
    """The bytes of one engine's state, where they lie, but for what the world cannot reach and
    pointers.
    """

    def __init__(self, mmu: Mmu, other: OtherMemory | None) -> None:
        self._mmu = mmu
        memory, c = mmu.memory, mmu.c
        ring_at, pointer = ffi.offsetof("struct mmu_unit", "ring"), ffi.sizeof("void *")
        unit, start = ffi.cast("char *", c), len(unit_bytes(mmu))
        after = ring_at + pointer
        self._state = [
            ffi.buffer(unit + pointer, ring_at - pointer),
            ffi.buffer(unit + after, start - after),
            ffi.buffer(memory.c.ram, DATA[0] << 12),
            ffi.buffer(memory.c.pages, memory.c.nr_pages * ffi.sizeof("struct page")),
            ffi.buffer(other.words if other else _NOTHING),
            ffi.buffer(other.flags if other else _NOTHING),
        ]
        self._events = ffi.new("struct event[]", _RING)
        self._start = [bytes(part) for part in self._state]

    def parts(self) -> list[Any]:
        """In the order of _PARTS; the events are taken out of their ring."""
        return [*self._state, self._new_events()]

    def _new_events(self) -> Any:
        count = lib.ring_read(self._mmu.ring.c, self._events, _RING) if self._mmu.ring else 0
        return ffi.buffer(self._events, count * ffi.sizeof("struct event"))

    def restore(self) -> None:
        self._new_events()
        for part, start in zip(self._state, self._start, strict=True):
            part[:] = start


def unit_bytes(mmu: Mmu) -> Any:
    """``struct mmu_unit`` as bytes, up to the last entry that its geometry uses."""
    size = ffi.offsetof("struct mmu_unit", "tlb") + ffi.offsetof("struct tlb", "entry")
    return ffi.buffer(mmu.c, size + mmu.c.tlb.nr_entries * ffi.sizeof("struct tlb_entry"))


def _difference(what: str, ours: Any, theirs: Any) -> str:
    if what == "events":
        return f"\n    C      {_events(ours)}\n    Python {_events(theirs)}"
    at = next(i for i, (a, b) in enumerate(zip(ours[:], theirs[:], strict=True)) if a != b)
    return f"first at byte {at:#x}, C {ours[at].hex()}, Python {theirs[at].hex()}"


def _events(raw: Any) -> list[str]:
    size = ffi.sizeof("struct event")
    records = ffi.from_buffer("struct event[]", raw[:]) if len(raw) >= size else []
    return [f"{EVENTS[r.id].name} {r.a:#x} {r.b:#x} {r.c:#x}" for r in records]
