# SPDX-License-Identifier: GPL-2.0-or-later
"""Another agent that changes table entries at the worst moment: when a walk is about to set A or D
in one.

In Python it acts before the engine's compare_exchange(), in C within a page fault of its LOCK
CMPXCHG (other_agent.h).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mmu._native import ffi as _mmu_ffi
from mmu.memory import Exchange, Memory
from mmu.x86 import Mmu, walk
from native import on_demand

HERE = Path(__file__).resolve().parent

Traps = dict[int, dict[int, int]]
"""By the guest-physical address of a table: what is written, before the first A or D is set there.
"""


@contextmanager
def other_agent(mmu: Mmu, traps: Traps, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Inside, the traps lie in wait; each must be sprung, and in C by a LOCK CMPXCHG."""
    wait = _in_c if mmu.engine == "c" else _in_python
    with wait(mmu.memory, traps, patch) as sprung:
        yield
    assert sprung == [len(traps)]


@contextmanager
def _in_python(memory: Memory, traps: Traps, patch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    left, sprung = dict(traps), [0]
    exchange = walk.compare_exchange

    def raced(of: Memory, pa: int, old: int, new: int) -> Exchange:
        writes = left.pop(pa & -4096, None)
        if writes is not None:
            sprung[0] += 1
            for at, value in writes.items():
                of.write_u64(at, value)
        return exchange(of, pa, old, new)

    with patch.context() as inside:
        inside.setattr(walk, "compare_exchange", raced)
        yield sprung


@contextmanager
def _in_c(memory: Memory, traps: Traps, _patch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    module, sprung = _load(), [0]
    ffi, lib = module.ffi, module.lib
    ram = int(_mmu_ffi.cast("uintptr_t", memory.c.ram)) - memory.base
    try:
        for table, writes in traps.items():
            made = [(ffi.cast("uint64_t *", ram + pa), value) for pa, value in writes.items()]
            page = ffi.cast("void *", ram + table)
            assert lib.agent_trap(page, ffi.new("struct agent_write[]", made), len(made)) == 0
        yield sprung
    finally:
        sprung[0] = lib.agent_release()


@functools.cache
def _load() -> Any:
    """The compiled module."""
    return on_demand.load("ucmmu_other_agent", [HERE / "other_agent.h"], [HERE / "other_agent.c"])
