# SPDX-License-Identifier: GPL-2.0-or-later
"""A visitor's pte_get and pte_put in C against the bare pair of C11 atomics that they stand on."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import peers
from benchmarks.measure import Result, compare
from mmu import _native
from mmu.linux import engine
from mmu.linux.mm import boot
from mmu.memory import Memory
from mmu.x86 import Mmu

PAIRS = 1_000_000
ADDRESS = 1 << 30


def refcount_pair() -> Iterator[Result]:
    """One table with one entry set, visited again and again; the ring of events is off."""
    module = peers.load()
    memory = Memory(64 << 20)
    mm = boot(memory, Mmu(memory))
    pmd = engine.pmd_alloc(mm, ADDRESS)
    assert pmd is not None
    engine.pte_alloc_get(mm, pmd, ADDRESS)
    get = module.ffi.cast("get_fn", peers.address_of(_native.ffi, _native.lib, "pte_get"))
    put = module.ffi.cast("put_fn", peers.address_of(_native.ffi, _native.lib, "pte_put"))
    c_mm = module.ffi.cast("void *", int(_native.ffi.cast("uintptr_t", mm.c)))
    ram = int(_native.ffi.cast("uintptr_t", memory.c.ram)) - memory.base
    c_pmd = module.ffi.cast("void *", ram + pmd)
    count = module.ffi.new("uint32_t *", 1)
    yield compare(
        "refcount_pair",
        lambda: float(module.lib.time_pairs(get, put, c_mm, c_pmd, ADDRESS, PAIRS)),
        lambda: float(module.lib.time_atomic_pairs(count, PAIRS)),
        unit="ns",
        goal="<= 1.2",
        rounds=41,
        note="pte_get and pte_put of a table held by an entry, one CPU, against fetch_add and"
        " fetch_sub",
    )
    if mm.kernel.c.bug or count[0] != 1:
        raise AssertionError("the pairs did not balance")
