# SPDX-License-Identifier: GPL-2.0-or-later
"""What a look-up in the TLB model costs, hit and miss, and what C gives over Python."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

from benchmarks import peers
from benchmarks.measure import Result, compare
from benchmarks.walk import AddressSpace, address_space
from mmu import _native
from mmu.memory import Memory
from mmu.x86 import Access, Mmu

HIT_PAGES = 32
"""Few enough for the first-level data TLB."""
MISS_TABLES = 16
"""8,192 pages, visited in order: more than the second level holds, so that each visit is a walk."""


def tlb_hit() -> Iterator[Result]:
    """4 KiB pages that stay in the first level, against an array indexed by page number."""
    module = peers.load()
    with address_space(1) as space:
        va = _addresses(HIT_PAGES)
        _fill(space, va)
        frames = module.ffi.new("uint64_t[]", [space.mmu.walk(n << 12).pa for n in range(512)])
        c_va = module.ffi.new("uint64_t[]", va)
        yield compare(
            "tlb_hit",
            Translations(space.mmu, c_va, len(va), 2_000_000),
            lambda: float(module.lib.time_array_lookups(frames, 511, c_va, len(va), 2_000_000)),
            unit="ns",
            goal="<= 10",
            rounds=21,
            note="mmu_translate of a resident 4 KiB page, counted and touched, against frame[va >>"
            " 12]; dependent",
        )
        _expect_walks(space.mmu, HIT_PAGES)


def tlb_miss() -> Iterator[Result]:
    """A look-up in every array, a walk from a paging-structure cache, two fills; against the bare
    walk.
    """
    module = peers.load()
    with address_space(MISS_TABLES) as space:
        va = _addresses(MISS_TABLES * 512, in_order=True)
        c_va = module.ffi.new("uint64_t[]", va)
        walk = module.ffi.cast("walk_fn", peers.address_of(_native.ffi, _native.lib, "mmu_walk"))
        translations = Translations(space.mmu, c_va, len(va), len(va) * 16)
        yield compare(
            "tlb_miss",
            translations,
            lambda: float(
                module.lib.time_walks(
                    walk, _unit(space.mmu), _native.lib.WALK_QUIET, c_va, len(va), len(va) * 16
                )
            ),
            unit="ns",
            goal="<= 10",
            rounds=21,
            note="mmu_translate that misses every TLB level, with walk and fills, against mmu_walk"
            " (WALK_QUIET)",
        )
        _expect_walks(space.mmu, translations.made)


def engines() -> Iterator[Result]:
    """The same translations, called from Python, on both engines: hits, and a miss in four."""
    ours, theirs = (_mixed_rate(engine) for engine in ("c", "python"))
    yield compare(
        "engines",
        ours,
        theirs,
        unit="translations/s",
        goal=">= 10",
        rounds=5,
        note="Mmu.translate() in exact, three hits and a miss, called from Python: C engine"
        " against Python engine",
    )


def _mixed_rate(engine: str) -> Callable[[], float]:
    memory = Memory(64 << 20)
    mmu = Mmu(memory, engine=engine, exact=True)
    cr3, pdpt, pd, pt, data = (memory.alloc_pages() << 12 for _ in range(5))
    for table, entry in ((cr3, pdpt), (pdpt, pd), (pd, pt)):
        memory.write_u64(table, entry | 0x67)
    for number in range(512):
        memory.write_u64(pt + 8 * number, data | 0x67)
    mmu.write_cr3(cr3)

    def rate() -> float:
        started = time.perf_counter()
        for page in range(0, 512 << 12, 4096):
            mmu.invlpg(page)
            for _ in range(4):
                mmu.translate(page, Access.READ)
        return 4 * 512 / (time.perf_counter() - started)

    return rate


def _addresses(nr_pages: int, *, in_order: bool = False) -> list[int]:
    chance = random.Random(1)
    pages = list(range(nr_pages))
    if not in_order:
        chance.shuffle(pages)
    return [page << 12 | chance.randrange(4096) for page in pages]


def _fill(space: AddressSpace, va: list[int]) -> None:
    space.mmu.exact = True
    for address in va:
        space.mmu.translate(address, Access.READ)


def _unit(mmu: Mmu) -> object:
    module = peers.load()
    return module.ffi.cast("void *", int(_native.ffi.cast("uintptr_t", mmu.c)))


class Translations:
    """n translations in exact of nr_va addresses in turn; a call returns nanoseconds each."""

    def __init__(self, mmu: Mmu, va: object, nr_va: int, n: int) -> None:
        mmu.exact = True
        module = peers.load()
        self._time = module.lib.time_translations
        self._translate = module.ffi.cast(
            "translate_fn", peers.address_of(_native.ffi, _native.lib, "mmu_translate")
        )
        self._arguments = _unit(mmu), va, nr_va, n
        self._n = n
        self.made = 0

    def __call__(self) -> float:
        """Nanoseconds."""
        self.made += self._n
        return float(self._time(self._translate, *self._arguments))


def _expect_walks(mmu: Mmu, walks: int) -> None:
    """What was measured was what its name says."""
    seen = mmu.counters()["dtlb_load_misses.miss_causes_a_walk"]
    if seen != walks:
        raise AssertionError(f"{seen} walks, not {walks}")
