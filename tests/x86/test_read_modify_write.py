# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the load of a read-modify-write needs the rights of a write, sets D, and says W/R; else it
is a load.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from mmu.x86 import Access, Mmu, Outcome
from mmu.x86.entries import X86_A, X86_D, X86_P, X86_PK_SHIFT, X86_RW, X86_US
from mmu.x86.faults import PF_P, PF_US, PF_WR
from mmu.x86.registers import CR0_WP, CR4_PKE
from ucmmu.testing.tables import USER, VA, Tables

READ_ONLY = X86_P | X86_US


@pytest.mark.parametrize("flags", [USER, READ_ONLY, X86_P | X86_RW, X86_P, READ_ONLY | X86_D, 0])
@pytest.mark.parametrize("key", [0, 5])
@pytest.mark.parametrize("wp", [True, False])
@pytest.mark.parametrize("user", [True, False])
def test_it_may_what_a_write_may(
    tables: Tables, mmu: Mmu, user: bool, wp: bool, key: int, flags: int
) -> None:
    """Of key 5 no writes."""
    mmu.c.cr4 |= CR4_PKE
    mmu.write_pkru(2 << 2 * 5)
    mmu.c.cr0 = mmu.c.cr0 if wp else mmu.c.cr0 & ~CR0_WP
    tables.map(VA, 0, flags | key << X86_PK_SHIFT, table_flags=USER)
    for ask in (mmu.walk, mmu.refill, mmu.translate):
        write, modify = ask(VA, Access.WRITE, user=user), ask(VA, Access.RMW, user=user)
        assert (modify.result, modify.error_code, modify.pa) == (
            write.result,
            write.error_code,
            write.pa,
        )


@pytest.mark.parametrize("exact", [True, False])
def test_it_sets_d(tables: Tables, mmu: Mmu, exact: bool) -> None:
    mmu.exact = exact
    tables.map(VA)
    assert mmu.translate(VA, Access.RMW).ok
    assert tables.get(VA, 1) & (X86_A | X86_D) == X86_A | X86_D


def test_a_clean_entry_does_not_serve_it(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    walks = mmu.counters()["dtlb_load_misses.miss_causes_a_walk"]
    mmu.translate(VA, Access.RMW)
    assert tables.get(VA, 1) & X86_D
    assert mmu.counters()["dtlb_load_misses.miss_causes_a_walk"] == walks + 1


def test_it_counts_as_a_load(
    tables: Tables, mmu: Mmu, counted: Callable[..., AbstractContextManager[None]]
) -> None:
    tables.map(VA)
    mmu.translate(VA, Access.RMW)
    with counted({"dTLB-loads": 1}):
        mmu.translate(VA, Access.RMW)


def test_its_fault(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA, flags=READ_ONLY)
    mmu.translate(VA, Access.READ)
    answer = mmu.translate(VA, Access.RMW)
    assert (answer.result, answer.error_code) == (Outcome.PAGE_FAULT, PF_P | PF_WR | PF_US)
