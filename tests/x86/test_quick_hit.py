# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: mmu_hit() names the entry by which an access would only be counted and touch it; for any
other it is silent.

Only the C engine offers it, to a consumer that asks again and again.
"""

from __future__ import annotations

from typing import Any

import pytest

from mmu._native import ffi, lib
from mmu.x86 import Access, Mmu
from mmu.x86.entries import X86_P, X86_US
from mmu.x86.registers import CR0_PG
from ucmmu.testing.tables import USER, VA, Tables

pytestmark = pytest.mark.ucmmu(engine="c")
STEP = 2 << 12
"""Pages this far apart share a set of the first level of ``tiny``, which has two ways."""


def hit(mmu: Mmu, va: int = VA, access: int = Access.READ, *, user: int = True) -> Any | None:
    """The entry, if there is one."""
    entry = lib.mmu_hit(mmu.c, va, access, user)
    return None if entry == ffi.NULL else entry


@pytest.fixture
def read(tables: Tables, mmu: Mmu) -> Tables:
    """VA was read."""
    tables.map(VA)
    assert hit(mmu) is None
    mmu.translate(VA, Access.READ)
    assert hit(mmu) is not None
    return tables


def test_it_is_the_first_levels_entry(read: Tables, mmu: Mmu) -> None:
    entry, resident = hit(mmu), mmu.resident(VA)
    assert entry is not None and resident is not None
    assert (entry.frame, entry.array, entry.used) == (resident.pa, 0, resident.used)
    assert (
        hit(mmu, access=Access.FETCH) is None
    )  # which would be entered there from the second level


def test_a_write_that_must_set_d(read: Tables, mmu: Mmu) -> None:
    assert hit(mmu, access=Access.WRITE) is None
    assert hit(mmu, access=Access.RMW) is None
    mmu.translate(VA, Access.WRITE)
    assert hit(mmu, access=Access.WRITE) is not None


@pytest.mark.parametrize(
    ("flags", "access", "user"), [(USER, 0, 0), (X86_P, 0, 1), (X86_P | X86_US, 1, 1)]
)
def test_an_access_that_faults(
    tables: Tables, mmu: Mmu, flags: int, access: int, user: int
) -> None:
    """Under SMAP, of a supervisor page, of a read-only one."""
    mmu.write_cr4(mmu.c.cr4 | 1 << 21)
    tables.map(VA, flags=flags)
    mmu.translate(VA, Access.READ, user=not user if flags == USER or not flags & X86_US else True)
    assert mmu.resident(VA) is not None
    assert hit(mmu, VA, access, user=user) is None


def test_fast_has_none(read: Tables, mmu: Mmu) -> None:
    mmu.exact = False
    assert hit(mmu) is None


def test_without_paging(read: Tables, mmu: Mmu) -> None:
    mmu.c.cr0 &= ~CR0_PG
    assert hit(mmu) is None


def test_an_address_that_is_not_canonical(read: Tables, mmu: Mmu) -> None:
    """None has an entry; should one have, the access is #GP all the same."""
    entry = hit(mmu)
    assert entry is not None
    entry.vpn |= 1 << 63 - 12
    assert hit(mmu, VA | 1 << 63) is None


def test_asking_changes_nothing(read: Tables, mmu: Mmu) -> None:
    before = mmu.entries(), mmu.counters(), mmu.c.tlb.clock
    hit(mmu)
    assert (mmu.entries(), mmu.counters(), mmu.c.tlb.clock) == before


def test_a_touch_makes_young(read: Tables, mmu: Mmu) -> None:
    """As the access would: of two entries of a full set the other one goes."""
    for i in (1, 2):
        read.map(VA + i * STEP)
    mmu.translate(VA + STEP, Access.READ)
    lib.mmu_touch(mmu.c, hit(mmu))
    mmu.translate(VA + 2 * STEP, Access.READ)
    assert hit(mmu) is not None and hit(mmu, VA + STEP) is None
