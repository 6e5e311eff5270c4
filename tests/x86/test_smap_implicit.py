# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: under CR4.SMAP RFLAGS.AC opens user pages to explicit supervisor accesses, not to implicit
ones (SDM 4.6.1).
"""

from __future__ import annotations

import itertools

import pytest

from mmu.x86 import Access, Mmu, Privilege
from mmu.x86.faults import PF_P, PF_US, PF_WR
from mmu.x86.registers import CR4_SMAP, RFLAGS_AC
from ucmmu.testing.tables import SUPERVISOR, USER, VA, Tables


@pytest.mark.parametrize("access", [Access.READ, Access.WRITE])
def test_every_combination(tables: Tables, mmu: Mmu, access: Access) -> None:
    for flags, smap, ac, privilege in itertools.product(
        (USER, SUPERVISOR),
        (0, CR4_SMAP),
        (0, RFLAGS_AC),
        (Privilege.SUPERVISOR, Privilege.IMPLICIT),
    ):
        tables.map(VA, flags=flags)
        mmu.c.cr4 = mmu.c.cr4 & ~CR4_SMAP | smap
        mmu.c.rflags = ac
        denied = flags == USER and smap and not (ac and privilege == Privilege.SUPERVISOR)
        walk = mmu.walk(VA, access, user=privilege)
        assert walk.ok == (not denied), f"{flags:#x} {smap:#x} {ac:#x} {privilege!r}"
        if denied:
            assert walk.error_code == PF_P | (PF_WR if access == Access.WRITE else 0)


def test_an_implicit_access_is_no_user_access(tables: Tables, mmu: Mmu) -> None:
    """Whatever the CPL: supervisor pages are open to it, and its faults say U/S = 0."""
    tables.map(VA, flags=SUPERVISOR)
    assert mmu.translate(VA, Access.WRITE, user=Privilege.IMPLICIT).ok
    assert not mmu.translate(VA + 4096, Access.READ, user=Privilege.IMPLICIT).error_code & PF_US
    assert mmu.translate(VA, Access.READ, user=True).error_code == PF_P | PF_US
