# SPDX-License-Identifier: GPL-2.0-or-later
"""A sample in which every two values of two factors meet: for the Python engine, which is slow.

A factor is a register bit, a bit of an entry, the one reserved bit that is set, the class of an
upper entry. Every row is tried with all kinds and modes of access, so that these meet everything.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from allpairspy import AllPairs

from mmu.x86 import Access, Mmu, Outcome, Privilege, WalkMode
from tests.oracles.enumerate.cases import (
    AMD,
    BITS,
    INTEL,
    KINDS,
    MAXPHYADDR,
    MODES,
    ORDINARY,
    RW,
    SHADOW_STACK,
    TABLES,
    UPPER_CLASSES,
    US,
    VA,
    A,
    D,
    P,
    Processor,
    address_bits,
    entry,
    key_rights,
)
from tests.oracles.enumerate.native import load
from tests.oracles.enumerate.run import BIT_NAMES, LEVEL_NAMES, World

_REGISTERS = ("smep", "smap", "pke", "nxe", "ac", "page1gb")

REACHING = 6
"""Coverings of the rows that come to the leaf, where rights are judged."""

Row = dict[str, Any]
Pair = tuple[str, Any, str, Any]


def factors(leaf: int, *, reach: bool) -> dict[str, list[Any]]:
    """Each factor and its values. ``reach``: only those that let the walk come to the leaf."""
    found: dict[str, list[Any]] = {"levels": [4, 5]}
    # Two bits in one factor where not every combination can be: PKS is Intel's, CR4.CET wants
    # CR0.WP.
    found["vendor, pks"] = [(INTEL, 0), (INTEL, 1), (AMD, 0)]
    found["wp, cet"] = [(0, 0), (1, 0), (1, 1)]
    found |= {name: [0, 1] for name in _REGISTERS}
    found["keys"] = [0, 1, 2, 3]
    for level in (leaf + 1, leaf):
        fixed = {"P": 1} if reach else {}
        if reach and level > 1:
            fixed["PS"] = int(level == leaf)
        for name in BIT_NAMES:
            found[f"{LEVEL_NAMES[level]}.{name}"] = [fixed[name]] if name in fixed else [0, 1]
    if not reach:
        bits = [
            (level, bit) for level in (leaf + 1, leaf) for bit in address_bits(level, MAXPHYADDR)
        ]
        found["reserved"] = [(leaf, 0), *bits]
    classes = [name for name in UPPER_CLASSES if not (reach and name == "absent")]
    found |= {LEVEL_NAMES[level]: classes for level in range(leaf + 2, 6)}
    return {name: values for name, values in found.items() if values}


def pairs_of(row: Row) -> Iterator[Pair]:
    """Every pair of factors with its values in this row."""
    for (one, value), (other, its) in itertools.combinations(row.items(), 2):
        yield one, value, other, its


def all_pairs(found: dict[str, list[Any]]) -> set[Pair]:
    """Every pair that a covering sample must have."""
    return {
        (one, value, other, its)
        for (one, values), (other, others) in itertools.combinations(found.items(), 2)
        for value, its in itertools.product(values, others)
    }


def covering_rows(found: dict[str, list[Any]], seed: int = 0) -> list[Row]:
    """Rows in which every pair occurs; another seed gives others."""
    longest_first = list(found)
    random.Random(seed).shuffle(longest_first)
    longest_first.sort(key=lambda name: -len(found[name]))
    rows = AllPairs([found[name] for name in longest_first])
    by_name = [dict(zip(longest_first, row, strict=True)) for row in rows]
    return [{name: row[name] for name in found} for row in by_name]


def state_of(row: Row) -> Processor:
    """The registers of a row."""
    vendor, pks = row["vendor, pks"]
    pkru, pkrs = key_rights(row["keys"])
    bits = {name: row[name] for name in _REGISTERS}
    return Processor(
        row["levels"], vendor, wp=row["wp, cet"][0], pks=pks, pkru=pkru, pkrs=pkrs, **bits
    )


def entries_of(row: Row, leaf: int, number: int) -> dict[int, int]:
    """The entries of a row by level, those below the leaf too (for a leaf that PS does not make
    one).
    """
    found = {level: entry(level, P | RW | US, number) for level in range(1, leaf)}
    for level in (leaf, leaf + 1):
        names = zip(BIT_NAMES, BITS, strict=True)
        found[level] = entry(
            level, sum(bit for name, bit in names if row[f"{LEVEL_NAMES[level]}.{name}"]), number
        )
    for level in range(leaf + 2, row["levels"] + 1):
        found[level] = entry(level, UPPER_CLASSES[row[LEVEL_NAMES[level]]], number)
    level, bit = row.get("reserved", (leaf, 0))
    found[level] ^= bit
    return found


@dataclass
class Judgement:
    """One access of a row, as an engine and the oracle see it: outcome, code, address, entries."""

    what: str
    wanted: tuple[Any, ...]
    got: tuple[Any, ...]


class Bench:
    """Puts a row into RAM and registers of one MMU, and walks it with every kind and mode."""

    def __init__(self, world: World) -> None:
        self._memory, self._mmu = world.memory, world.mmu
        self._unit = world.engine.unit
        module = load()
        self._lib, self._ffi = module.lib, module.ffi
        self._ram = self._ffi.from_buffer("uint8_t[]", self._memory.words)
        self._oracle = module.ffi.new("struct oracle *")
        self._path = module.ffi.new("struct oracle_path *")

    def judge(self, row: Row, leaf: int, number: int) -> Iterator[Judgement]:
        """Every access of a row."""
        state, entries = state_of(row), entries_of(row, leaf, number)
        processor = self._ffi.new("struct oracle_processor *", state.c())
        va, root = VA[state.levels], TABLES[state.levels]
        self._lib.oracle_prepare(self._oracle, processor)
        self._lib.enum_load(self._unit, processor, row["wp, cet"][1], root)
        allowed = ORDINARY | (SHADOW_STACK if row["wp, cet"][1] else 0)
        where = {
            level: TABLES[level] + 8 * (va >> (12 + 9 * (level - 1)) & 511) for level in entries
        }
        for kind, mode in itertools.product(range(len(KINDS)), range(len(MODES))):
            if allowed >> kind & 1:
                for level, value in entries.items():
                    self._memory.write_u64(where[level], value)
                wanted = self._wanted(va, root, entries, kind, mode)
                got = _walk(self._mmu, va, kind, mode)
                after = tuple(self._memory.read_u64(where[level]) for level in sorted(entries))
                yield Judgement(f"{MODES[mode]} {KINDS[kind]} of {row}", wanted, (*got, after))

    def _wanted(
        self, va: int, root: int, entries: dict[int, int], kind: int, mode: int
    ) -> tuple[Any, ...]:
        """Outcome, code, level, address and entries afterwards, by the oracle."""
        path, lib = self._path, self._lib
        lib.oracle_follow(self._oracle, self._ram, root, va, path)
        verdict = self._oracle.verdict[path.row][kind * len(MODES) + mode]
        after = {
            level: value | (A if path.used >> level & 1 else 0) for level, value in entries.items()
        }
        after[path.level] |= (A if verdict & lib.ORACLE_SET_A else 0) | (
            D if verdict & lib.ORACLE_SET_D else 0
        )
        in_order = tuple(after[level] for level in sorted(after))
        if verdict & lib.ORACLE_PF:
            return Outcome.PAGE_FAULT, verdict & lib.ORACLE_CODE, path.level, 0, in_order
        return Outcome.OK, 0, path.level, path.pa, in_order


def _walk(mmu: Mmu, va: int, kind: int, mode: int) -> tuple[Any, ...]:
    walk = mmu.walk(va, Access(kind), user=Privilege(mode), mode=WalkMode.QUIET)
    if walk.result == Outcome.PAGE_FAULT:
        return walk.result, walk.error_code, walk.level, 0
    return walk.result, 0, walk.level, walk.pa


@functools.cache
def sample(leaf: int) -> tuple[set[Pair], list[Row]]:
    """The pairs that must occur, and rows in which they do.

    One covering is of everything, the others are of what lets the walk come to the leaf.
    """
    everything, reaching = factors(leaf, reach=False), factors(leaf, reach=True)
    rows = covering_rows(everything)
    for seed in range(REACHING):
        rows += covering_rows(reaching, seed)
    return all_pairs(everything) | all_pairs(reaching), rows
