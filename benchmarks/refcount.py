# SPDX-License-Identifier: GPL-2.0-or-later
"""What counting costs in C: a visitor's pte_get and pte_put against the bare pair of C11 atomics
that they stand on, and what a page fault executes more than where nothing is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import peers
from benchmarks.callgrind import Executed, executed
from benchmarks.measure import Result, compare
from mmu import _native
from mmu.linux import engine
from mmu.linux.mm import boot
from mmu.linux.policy import FreeLevels
from mmu.memory import Memory
from mmu.x86 import Mmu

PAIRS = 1_000_000
ADDRESS = 1 << 30

POLICIES = ("never", "refcount", "refcount-pmdlock")
FAULTS = 511
INSTRUCTIONS, ATOMICS = 40, 3
"""What one fault may execute more: the goals of refcount_fault()."""

REFILL_POLICIES = ("never", "scan", "refcount", "refcount-pmdlock")

_REFILL = f"""
from mmu._native import lib
from mmu.linux import engine
from mmu.linux.mm import boot
from mmu.linux.policy import FreeTables
from mmu.linux.rcupdate import rcu_poll
from mmu.memory import Memory
from mmu.x86 import Mmu

for policy in {REFILL_POLICIES}:
    memory = Memory(64 << 20)
    mm = boot(memory, Mmu(memory), policy=FreeTables.from_label(policy))
    mm.mmap({ADDRESS}, 2 << 20, 3, 0x32)
    engine.do_anonymous_fault(mm, {ADDRESS}, True)
    for _ in range({FAULTS}):
        tlb = engine.tlb_gather_mmu(mm)
        engine.unmap_page_range(tlb, {ADDRESS}, {ADDRESS} + 4096, 0)
        engine.tlb_finish_mmu(tlb)
        rcu_poll(mm.kernel)
        if not lib.mm_fast_fault(mm.c, {ADDRESS}, lib.PF_WR | lib.PF_US):
            raise SystemExit("the page was not mapped")
"""

_FAULTS = """
from mmu._native import lib
from mmu.linux import engine
from mmu.linux.mm import boot
from mmu.linux.policy import FreeLevels, FreeTables
from mmu.memory import Memory
from mmu.x86 import Mmu

for policy, levels in {settings}:
    memory = Memory(64 << 20)
    policy, levels = FreeTables.from_label(policy), FreeLevels.from_label(levels)
    mm = boot(memory, Mmu(memory), policy=policy, free_levels=levels)
    mm.mmap({address}, 2 << 20, 3, 0x32)
    engine.do_anonymous_fault(mm, {address}, True)
    for page in range(1, {faults} + 1):
        if not lib.mm_fast_fault(mm.c, {address} + page * 4096, lib.PF_WR | lib.PF_US):
            raise SystemExit(f"page {{page}} was not mapped")
"""


def _first_touches(settings: Sequence[tuple[str, str]]) -> list[Executed]:
    """What the first touches of the pages of one table that exists execute, by the path that the
    fill hook takes, under each policy and --free-levels; the ring of events is off.
    """
    with TemporaryDirectory() as scratch:
        parts = executed(
            _FAULTS.format(settings=list(settings), address=ADDRESS, faults=FAULTS),
            ["mm_fast_fault"],
            parts="memory_init",
            module=Path(_native.__file__),
            scratch=Path(scratch),
        )
    return parts[-len(settings) :]


def refcount_pair() -> Iterator[Result]:
    """One table with one entry set, visited again and again; the ring of events is off."""
    module = peers.load()
    memory = Memory(64 << 20)
    mm = boot(memory, Mmu(memory))
    pmd = engine.pmd_alloc(mm, ADDRESS)
    assert pmd is not None
    _, table = engine.pte_alloc_get(mm, pmd, ADDRESS)
    get = module.ffi.cast("get_fn", peers.address_of(_native.ffi, _native.lib, "pte_get"))
    put = module.ffi.cast("put_fn", peers.address_of(_native.ffi, _native.lib, "pte_put"))
    c_mm = module.ffi.cast("void *", int(_native.ffi.cast("uintptr_t", mm.c)))
    c_table = module.ffi.cast("void *", table)
    count = module.ffi.new("uint32_t *", 1)
    yield compare(
        "refcount_pair",
        lambda: float(module.lib.time_pairs(get, put, c_mm, c_table, ADDRESS, PAIRS)),
        lambda: float(module.lib.time_atomic_pairs(count, PAIRS)),
        unit="ns",
        goal="<= 1.2",
        rounds=41,
        note="pte_get and pte_put of a table held by an entry, one CPU, against fetch_add and"
        " fetch_sub",
    )
    if mm.kernel.c.bug or count[0] != 1:
        raise AssertionError("the pairs did not balance")


def refcount_fault() -> Iterator[Result]:
    """What counting adds to a first touch in a table that exists."""
    base, *counted = _first_touches([(policy, "pte") for policy in POLICIES])
    for policy, part in zip(POLICIES[1:], counted, strict=True):
        for what, ours, without, bound in (
            ("instructions", part.instructions, base.instructions, INSTRUCTIONS),
            ("atomics", part.atomics, base.atomics, ATOMICS),
        ):
            added = (ours - without) / FAULTS
            yield Result(
                f"refcount_fault_{what}_{policy}",
                added,
                bound,
                what,
                "<= 1",
                (added / bound, added / bound),
                f"{what} that a first touch executes more under {policy} than under never, of"
                f" {without / FAULTS:.1f}; the peer is the goal",
                {"of": ours / FAULTS},
            )


def free_levels_fault() -> Iterator[Result]:
    """What a first touch executes where empty PMD and PUD tables are freed too."""
    base, *freed = _first_touches([("refcount", levels.label) for levels in FreeLevels])
    for levels, part in zip(tuple(FreeLevels)[1:], freed, strict=True):
        for what, ours, peer, goal in (
            ("instructions", part.instructions, base.instructions, "<= 1.25"),
            ("atomics", part.atomics, base.atomics, "<= 2"),
        ):
            yield Result(
                f"free_levels_fault_{what}_{levels.label}",
                ours / FAULTS,
                peer / FAULTS,
                what,
                goal,
                (ours / peer, ours / peer),
                f"{what} of a first touch with --free-levels {levels.label}, against pte",
            )


def refcount_refill() -> Iterator[Result]:
    """The workload on which eager freeing loses: the only page of a table given back by
    MADV_DONTNEED and touched again, over and over. (A scan frees what one call covers whole: not
    this.) C code of zap, flush, grace period and fault.
    """
    with TemporaryDirectory() as scratch:
        parts = executed(
            _REFILL,
            ["unmap_page_range", "tlb_finish_mmu", "rcu_report_qs", "mm_fast_fault"],
            parts="memory_init",
            module=Path(_native.__file__),
            scratch=Path(scratch),
        )
    base, *counted = [part.instructions / FAULTS for part in parts[-len(REFILL_POLICIES) :]]
    for policy, ours in zip(REFILL_POLICIES[1:], counted, strict=True):
        yield Result(
            f"refcount_refill_{policy}",
            ours,
            base,
            "instructions",
            "<= 4",
            (ours / base, ours / base),
            f"one page given back and touched again under {policy}, which may free its table and"
            " make it anew, against never, which keeps it",
        )
