# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: an access is allowed by the combined rights, its privilege, and CR0.WP, CR4.SMEP, SMAP,
EFER.NXE, AC (SDM 4.6).

Every combination is tried against an oracle that reads like the SDM's list.
"""

from __future__ import annotations

import itertools

import pytest

from mmu.x86 import Access, Mmu, Outcome, Vendor, WalkMode
from mmu.x86.entries import X86_P, X86_RW, X86_US, X86_XD
from mmu.x86.registers import CR0_WP, CR4_SMAP, CR4_SMEP, EFER_NXE, RFLAGS_AC
from ucmmu.testing.tables import USER, VA, Tables

FLAGS = [X86_RW, X86_US, X86_XD]
ORDINARY = (Access.READ, Access.WRITE, Access.FETCH)
"""Shadow-stack accesses have a test file of their own."""


def subsets(*bits: int) -> list[int]:
    return [sum(chosen) for n in range(len(bits) + 1) for chosen in itertools.combinations(bits, n)]


def allowed(
    rw: bool,
    us: bool,
    xd: bool,
    access: Access,
    user: bool,
    *,
    wp: bool,
    smep: bool,
    smap: bool,
    ac: bool,
) -> bool:
    """SDM 4.6.1, NXE on."""
    if user:
        if not us:
            return False
        return {Access.READ: True, Access.WRITE: rw, Access.FETCH: not xd}[access]
    if access == Access.FETCH:
        return not xd and not (us and smep)
    if us and smap and not ac:
        return False
    return access == Access.READ or rw or not wp


def set_registers(mmu: Mmu, *, wp: bool, smep: bool, smap: bool, ac: bool) -> None:
    mmu.write_cr0(mmu.c.cr0 & ~CR0_WP | (CR0_WP if wp else 0))
    mmu.write_cr4(
        mmu.c.cr4 & ~(CR4_SMEP | CR4_SMAP) | (CR4_SMEP if smep else 0) | (CR4_SMAP if smap else 0)
    )
    mmu.c.rflags = RFLAGS_AC if ac else 0


REGISTERS = [
    dict(zip(("wp", "smep", "smap", "ac"), bits, strict=True))
    for bits in itertools.product((False, True), repeat=4)
]


@pytest.mark.parametrize("level", [4, 3, 2, 1])
def test_every_combination(tables: Tables, mmu: Mmu, level: int) -> None:
    """The rights are taken away at one level only: each level has a veto."""
    tables.map(VA)
    for registers in REGISTERS:
        set_registers(mmu, **registers)
        for flags in subsets(*FLAGS):
            entry = tables.get(VA, level) & ~(X86_RW | X86_US | X86_XD) | flags
            tables.put(VA, level, entry)
            rights = bool(flags & X86_RW), bool(flags & X86_US), bool(flags & X86_XD)
            for access, user in itertools.product(ORDINARY, (False, True)):
                expected = (
                    Outcome.OK
                    if allowed(*rights, access, user, **registers)
                    else Outcome.PAGE_FAULT
                )
                walk = mmu.walk(VA, access, user=user)
                assert walk.result == expected, f"{registers} {access!r} user={user}\n{walk}"


@pytest.mark.parametrize("vendor", Vendor)
def test_the_tlb_judges_as_the_walk_does(tables: Tables, mmu: Mmu, vendor: Vendor) -> None:
    """Entries keep the combined rights; registers are those of the moment of the access."""
    mmu.c.vendor = vendor
    for flags in subsets(*FLAGS):
        tables.map(VA, tables.root, X86_P | flags)
        for registers in REGISTERS:
            set_registers(mmu, **registers)
            for first, second in itertools.product(
                itertools.product(ORDINARY, (False, True)), repeat=2
            ):
                mmu.flush_all()
                mmu.translate(VA, first[0], user=first[1])
                asked = mmu.refill(VA, second[0], user=second[1]).result
                answer = mmu.translate(VA, second[0], user=second[1])
                expected = mmu.walk(VA, second[0], user=second[1])
                assert asked == answer.result == expected.result, (
                    f"{registers} {first} {second}\n{expected}"
                )


def test_rights_combine_over_the_levels(tables: Tables, mmu: Mmu) -> None:
    """R/W and U/S by AND, XD by OR."""
    tables.map(VA)
    tables.change(VA, 4, clear=X86_RW)
    tables.change(VA, 3, set=X86_XD)
    walk = mmu.walk(VA)
    assert (walk.rights, walk.xd) == (X86_US, True)
    assert mmu.refill(VA, Access.READ).perms == 1


def test_xd_means_nothing_to_an_entry_cached_under_nxe(tables: Tables, mmu: Mmu) -> None:
    """With EFER.NXE off, a cached XD forbids no fetch (SDM 4.6.1); read from a table, the bit is
    reserved.
    """
    tables.map(VA, flags=USER | X86_XD)
    mmu.translate(VA, Access.READ)
    mmu.c.efer &= ~EFER_NXE
    assert mmu.translate(VA, Access.FETCH).result == Outcome.OK
    mmu.flush_all()
    assert mmu.translate(VA, Access.FETCH).result == Outcome.PAGE_FAULT


@pytest.mark.parametrize("level", [2, 3])
def test_large_pages_too(tables: Tables, mmu: Mmu, level: int) -> None:
    tables.map(VA, flags=X86_P | X86_RW, level=level)
    assert not mmu.walk(VA, Access.READ).ok
    assert mmu.walk(VA, Access.WRITE, user=False, mode=WalkMode.QUIET).ok
