# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a refill tells what the next access would be told, keeps no trace of itself, and grants no
right too many.

W only once D is set, or where the write that asks sets it; a right of the other side only where
that side would say the same.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from hypothesis import given

from mmu.events import Event
from mmu.x86 import Access, Mmu, Outcome
from mmu.x86.entries import X86_A, X86_D, X86_P, X86_RW, X86_US, X86_XD
from mmu.x86.walk import PERM_R, PERM_W, PERM_X
from tests.x86.twins import Op, Twins, scripts
from ucmmu.testing.tables import SUPERVISOR, USER, VA, Tables

R, RW, RX, RWX = PERM_R, PERM_R | PERM_W, PERM_R | PERM_X, PERM_R | PERM_W | PERM_X
Counted = Callable[..., AbstractContextManager[None]]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    ("flags", "access", "perms"),
    [
        (USER, Access.READ, RX),
        (USER, Access.FETCH, RX),
        (USER, Access.WRITE, RWX),
        (USER | X86_D, Access.READ, RWX),
        (USER | X86_D, Access.FETCH, RWX),
        (USER | X86_XD, Access.READ, R),
        (USER | X86_D | X86_XD, Access.READ, RW),
        (X86_P | X86_US, Access.READ, RX),
        (X86_P | X86_US | X86_D, Access.READ, RX),
    ],
)
@pytest.mark.parametrize("level", [1, 2])
def test_rights_of_a_page_not_resident(
    tables: Tables, mmu: Mmu, level: int, flags: int, access: Access, perms: int, exact: bool
) -> None:
    mmu.exact = exact
    pa = tables.map(VA, flags=flags, level=level)
    answer = mmu.refill(VA + 5, access)
    assert (answer.result, answer.perms, answer.level) == (Outcome.OK, perms, level)
    assert answer.pa == pa + (VA + 5) % (1 << 12 if level == 1 else 1 << 21)


def test_rights_by_privilege(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA, flags=USER | X86_D)
    tables.map(VA + 4096, flags=SUPERVISOR | X86_D)
    assert mmu.refill(VA, Access.READ, user=False).perms == RW  # SMEP forbids the fetch
    assert mmu.refill(VA + 4096, Access.READ, user=False).perms == RWX
    assert mmu.refill(VA + 4096, Access.READ).result == Outcome.PAGE_FAULT


def test_in_exact_it_leaves_no_trace(
    tables: Tables, mmu: Mmu, counted: Counted, recorded: Callable[[], list[Event]]
) -> None:
    tables.map(VA)
    tables.map(VA + 4096)
    mmu.translate(VA, Access.READ)
    before = mmu.entries(), mmu.paging_structure_caches(), mmu.c.tlb.clock
    recorded()
    with counted({}):
        for va in (VA, VA + 4096, VA + 8192):
            for access in Access:
                mmu.refill(va, access)
    assert recorded() == []
    assert (mmu.entries(), mmu.paging_structure_caches(), mmu.c.tlb.clock) == before
    assert tables.get(VA + 4096, 1) & (X86_A | X86_D) == 0


def test_in_fast_it_sets_a_and_d(tables: Tables, mmu: Mmu, counted: Counted) -> None:
    """There it is the access, for no other call follows."""
    mmu.exact = False
    tables.map(VA)
    with counted({}):
        mmu.refill(VA, Access.READ)
        assert tables.get(VA, 1) & (X86_A | X86_D) == X86_A
        mmu.refill(VA, Access.WRITE)
        assert tables.get(VA, 1) & (X86_A | X86_D) == X86_A | X86_D


def test_a_resident_entry_decides(tables: Tables, mmu: Mmu) -> None:
    old = tables.map(VA)
    mmu.translate(VA, Access.WRITE)
    for flags in (X86_P | X86_US, USER | X86_A | X86_D):  # the second leaves a walk nothing to do
        tables.map(VA, flags=flags)
        mmu.tables_changed()
        answer = mmu.refill(VA, Access.READ)
        assert (answer.pa, answer.perms & RW) == (old, RW)


def test_a_clean_entry_does_not_serve_a_write(tables: Tables, mmu: Mmu) -> None:
    """The access will walk; so the refill tells what that walk will find."""
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    new = tables.map(VA)
    assert mmu.refill(VA, Access.WRITE).pa == new
    assert mmu.translate(VA, Access.WRITE).pa == new


def test_a_clean_entry_and_a_stale_table(tables: Tables, mmu: Mmu) -> None:
    """That walk begins at CR3, not at the paging-structure cache entry of the old table."""
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    tables.put(VA, 2, 0)
    new = tables.map(VA)
    assert mmu.refill(VA, Access.WRITE).pa == new
    assert mmu.translate(VA, Access.WRITE).pa == new


def test_what_comes_through_an_old_cache_entry_does_not_last(tables: Tables, mmu: Mmu) -> None:
    """A fetch would find the same page now; but nobody will say so when it no longer does."""
    tables.map(VA)
    tables.map(VA + 4096)
    mmu.translate(VA, Access.READ)
    assert mmu.refill(VA + 4096, Access.READ).perms == RX
    mmu.tables_changed()
    assert mmu.refill(VA + 4096, Access.READ).perms == R
    mmu.flush_all()
    assert mmu.refill(VA + 4096, Access.READ).perms == RX


def test_the_other_side_may_hold_another_page(tables: Tables, mmu: Mmu) -> None:
    """No X for the old data page when a fetch would find the new one, and the other way round."""
    old = tables.map(VA, flags=USER | X86_D)
    mmu.translate(VA, Access.READ)
    for i in (1, 2):
        tables.map(VA + i * (3 << 12))
        mmu.translate(VA + i * (3 << 12), Access.FETCH)
    new = tables.map(VA, flags=USER | X86_D)
    mmu.tables_changed()
    data, code = mmu.refill(VA, Access.READ), mmu.refill(VA, Access.FETCH)
    assert (data.pa, data.perms) == (old, RW)
    assert (code.pa, code.perms) == (new, PERM_X)


def test_a_side_speaks_for_itself_only(tables: Tables, mmu: Mmu) -> None:
    """The data side's entry lacks D; that a fetch's walk would find D set gives no W, only X."""
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    for i in (1, 2):  # the second level forgets the page
        tables.map(VA + i * (3 << 12))
        mmu.translate(VA + i * (3 << 12), Access.FETCH)
    tables.change(VA, 1, set=X86_D)
    assert mmu.resident(VA, Access.FETCH) is None
    assert mmu.refill(VA, Access.READ).perms == RX
    assert mmu.refill(VA, Access.FETCH).perms == RX


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("access", Access)
def test_a_fault_is_only_told(
    tables: Tables, mmu: Mmu, counted: Counted, access: Access, exact: bool
) -> None:
    mmu.exact = exact
    tables.map(VA)
    tables.put(VA, 1, 0)
    with counted({}):
        answer = mmu.refill(VA, access)
    assert (answer.result, answer.pa, answer.perms) == (Outcome.PAGE_FAULT, 0, 0)
    assert answer.error_code == mmu.translate(VA, access).error_code


@given(scripts)
def test_the_next_access_agrees(script: tuple[int, list[Op]]) -> None:
    """Whatever came before: what refill says of an access, translate says when it follows."""
    base, operations = script
    twins = Twins(base)
    mmu = twins.mmus[0]
    try:
        for op in operations:
            if op[0] == "translate":
                _, va, access, user = op
                told = mmu.refill(va, access, user=user)
                came = mmu.translate(va, access, user=user)
                assert (told.result, told.error_code, told.pa) == (
                    came.result,
                    came.error_code,
                    came.pa,
                )
                assert not told.ok or told.perms >> access & 1
            else:
                twins.do(mmu, *op)
    finally:
        twins.close()


def test_every_granted_right_is_one_that_translate_grants(tables: Tables, mmu: Mmu) -> None:
    """After the access, what the refill allowed is what the model allows, on both sides."""
    for flags in (USER, USER | X86_D, USER | X86_XD, X86_P | X86_US, X86_P | X86_RW):
        for access in Access:
            mmu.flush_all()
            tables.map(VA, tables.root, flags)
            told = mmu.refill(VA, access)
            if not told.ok:
                continue
            mmu.translate(VA, access)
            for other in Access:
                if told.perms >> other & 1:
                    came = mmu.translate(VA, other)
                    assert (came.ok, came.pa) == (True, told.pa)
