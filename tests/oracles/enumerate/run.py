# SPDX-License-Identifier: GPL-2.0-or-later
"""Run slices on an engine, and say in words where it and the oracle differ."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mmu._native import ffi as mmu_ffi
from mmu._native import lib as mmu_lib
from mmu.memory import Memory
from mmu.x86 import Mmu
from tests.oracles.enumerate.cases import (
    BITS,
    KINDS,
    MODES,
    RAM_SIZE,
    RW,
    TABLES,
    US,
    P,
    Slice,
    entry,
)
from tests.oracles.enumerate.native import load

SHOWN = 5
"""Mismatches of a run that are told in full."""
NO_ACCESS = 0xFFFF_FFFF
BIT_NAMES = ("P", "R/W", "U/S", "A", "D", "PS", "G", "XD")
LEVEL_NAMES = {5: "PML5E", 4: "PML4E", 3: "PDPTE", 2: "PDE", 1: "PTE"}
CODE_NAMES = ("P", "W/R", "U/S", "RSVD", "I/D", "PK", "SS")
_OUTCOMES = {0: "allowed", 13: "#GP", 14: "#PF", 64: "bad table"}


class World:
    """RAM, one MMU over it, and the engine's functions as enumerate.c takes them."""

    def __init__(self, *, engine: str = "c") -> None:
        self.memory = Memory(RAM_SIZE)
        self.mmu = Mmu(self.memory, geometry="tiny", engine=engine)
        module = load()
        for number, name in enumerate(("mmu_unit", "walk", "translation")):
            built = module.lib.enum_sizeof(number)
            assert built == mmu_ffi.sizeof(f"struct {name}"), "build the C extensions again"
        self.engine = module.ffi.new("struct enum_engine *")
        self.engine.unit = _pointer(module.ffi, "void *", self.mmu.c)
        for name, kind in (("walk", "walk"), ("translate", "translate"), ("flush_all", "flush")):
            function = mmu_ffi.addressof(mmu_lib, f"mmu_{name}")
            setattr(self.engine, name, _pointer(module.ffi, f"enum_{kind}_fn", function))

    def set_below(self, what: Slice) -> None:
        """Give the address entries below the slice's leaf, for leaves without PS."""
        for level in range(1, what.leaf_level):
            index = what.address >> (12 + 9 * (level - 1)) & 511
            self.memory.write_u64(TABLES[level] + 8 * index, entry(level, P | RW | US))


def _pointer(ffi: Any, kind: str, pointer: Any) -> Any:
    return ffi.cast(kind, int(mmu_ffi.cast("uintptr_t", pointer)))


@dataclass
class Tally:
    """What some slices came to."""

    cases: int = 0
    faults: int = 0
    mismatches: int = 0
    seconds: float = 0.0
    """Of the processor, not of the clock."""
    shown: list[str] = field(default_factory=list)

    def __iadd__(self, other: Tally) -> Tally:
        self.cases += other.cases
        self.faults += other.faults
        self.mismatches += other.mismatches
        self.seconds += other.seconds
        self.shown = (self.shown + other.shown)[:SHOWN]
        return self


def run_slice(
    world: World,
    what: Slice,
    *,
    stride: int = 1,
    phase: int = 0,
    defect: int = 0,
    through_tlb: bool = False,
    step: int = 0,
    progress: Callable[[int], None] = lambda cases: None,
) -> Tally:
    """Run a slice, or each stride-th row of it, step processor states at a time (0: all)."""
    module = load()
    plan = what.plan(world.engine[0], stride=stride, phase=phase, defect=defect)
    result = module.ffi.new("struct enum_result *")
    shown = module.ffi.new("struct enum_case[]", SHOWN)
    result.shown, result.max_shown = shown, SHOWN
    run = module.lib.enum_translations if through_tlb else module.lib.enum_walks
    states = len(what.processors)
    world.set_below(what)
    started = time.process_time()
    for first in range(0, states, step or states):
        before = result.cases
        run(plan.c, first, min(step or states, states - first), result)
        progress(result.cases - before)
    seconds = time.process_time() - started
    texts = [describe(shown[i], what.leaf_level) for i in range(result.nr_shown)]
    return Tally(result.cases, result.faults, result.mismatches, seconds, texts)


def describe(case: Any, leaf_level: int) -> str:
    """One mismatch in words: registers, entries, access, and what each says."""
    p = case.processor
    on = [
        name.upper()
        for name in ("wp", "smep", "smap", "pke", "pks", "nxe", "ac")
        if getattr(p, name)
    ]
    vendor = "AMD" if p.amd else "Intel"
    lines = [
        f"{MODES[case.mode]} {KINDS[case.kind]} of {case.va:#018x}, {vendor}, {p.levels} levels,"
        f" leaf of level {leaf_level},"
        f" MAXPHYADDR {p.maxphyaddr}{'' if p.page1gb else ', no 1-GiB pages'}",
        f"  registers: {' '.join(on) or 'none of WP … AC'}; PKRU {p.pkru:#010x}"
        f" PKRS {p.pkrs:#010x}",
    ]
    if case.first != NO_ACCESS:
        kind, mode = divmod(case.first, len(MODES))
        lines.append(f"  after a {MODES[mode]} {KINDS[kind]} that filled the TLB")
    for level in range(p.levels, 0, -1):
        before, wanted, got = case.before[level], case.wanted[level], case.got[level]
        lines.append(f"  {LEVEL_NAMES[level]:5} {before:#018x} {flags(before)}")
        if wanted != got:
            lines.append(
                f"        oracle leaves {wanted:#018x} {flags(wanted)}, engine {got:#018x}"
                f" {flags(got)}"
            )
    for who in ("wanted", "got"):
        result, code, level, pa = (
            getattr(case, f"{who}_{what}") for what in ("result", "code", "level", "pa")
        )
        name = "oracle" if who == "wanted" else "engine"
        told = f"error code {code:#x} {code_flags(code)}" if result == 14 else f"pa {pa:#x}"
        lines.append(f"  {name}: {_OUTCOMES.get(result, result)} at level {level}, {told}")
    return "\n".join(lines)


def flags(entry: int) -> str:
    """The bits of an entry by name, with the key: ``P R/W XD key 3``."""
    named = [name for name, bit in zip(BIT_NAMES, BITS, strict=True) if entry & bit]
    return " ".join([*named, f"key {entry >> 59 & 15}"])


def code_flags(code: int) -> str:
    """The bits of an error code by name."""
    return "(" + " ".join(name for bit, name in enumerate(CODE_NAMES) if code >> bit & 1) + ")"
