# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the error code has P, W/R, U/S, RSVD and I/D of a page fault, CR2 its address (SDM 4.7)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from mmu.errors import PageFault
from mmu.events import Event
from mmu.x86 import Access, Mmu, Outcome, Walk
from mmu.x86.entries import X86_P, X86_US
from mmu.x86.faults import PF_ID, PF_P, PF_PK, PF_RSVD, PF_SS, PF_US, PF_WR, describe_error_code
from mmu.x86.registers import CR4_PAE, CR4_SMEP, EFER_NXE
from ucmmu.testing.tables import USER, VA, Tables

AssertFault = Callable[..., Walk]
ACCESS_BITS = {"read": 0, "write": PF_WR, "fetch": PF_ID}


@pytest.mark.parametrize("level", [4, 3, 2, 1])
@pytest.mark.parametrize(("access", "user"), list(product(ACCESS_BITS, (False, True))))
def test_not_present(
    tables: Tables, assert_fault: AssertFault, level: int, access: str, user: bool
) -> None:
    tables.map(VA)
    tables.put(VA, level, tables.get(VA, level) & ~X86_P)
    assert_fault(
        VA, access, user=user, level=level, code=ACCESS_BITS[access] | (PF_US if user else 0)
    )


@pytest.mark.parametrize("level", [4, 3, 2, 1])
@pytest.mark.parametrize(("access", "user"), list(product(ACCESS_BITS, (False, True))))
def test_reserved(
    tables: Tables, assert_fault: AssertFault, level: int, access: str, user: bool
) -> None:
    tables.map(VA)
    tables.change(VA, level, set=1 << 51)
    code = PF_P | PF_RSVD | ACCESS_BITS[access] | (PF_US if user else 0)
    assert_fault(VA, access, user=user, level=level, code=code)


def test_protection(tables: Tables, assert_fault: AssertFault) -> None:
    tables.map(VA, flags=X86_P | X86_US)
    assert_fault(VA, "write", code=PF_P | PF_WR | PF_US, level=1)
    assert_fault(VA, "write", user=False, code=PF_P | PF_WR, level=1)
    assert_fault(VA, "fetch", user=False, code=PF_P | PF_ID, level=1)


def test_not_present_below_a_forbidding_entry(tables: Tables, assert_fault: AssertFault) -> None:
    """Rights are judged at the leaf: without one, the fault says P = 0."""
    tables.map(VA)
    tables.change(VA, 3, clear=X86_US)
    tables.put(VA, 1, 0)
    assert_fault(VA, "read", code=PF_US, level=1)


def test_other_bits_mean_nothing_without_p(tables: Tables, assert_fault: AssertFault) -> None:
    tables.map(VA)
    tables.put(VA, 1, 0xFFFF_FFFF_FFFF_FFFE)
    assert_fault(VA, "read", code=PF_US)


@pytest.mark.parametrize(
    ("smep", "nxe", "told"),
    [(False, False, False), (False, True, True), (True, False, True), (True, True, True)],
)
def test_when_fetches_are_told(
    tables: Tables, mmu: Mmu, assert_fault: AssertFault, smep: bool, nxe: bool, told: bool
) -> None:
    mmu.write_cr4(mmu.c.cr4 & ~CR4_SMEP | (CR4_SMEP if smep else 0))
    mmu.c.efer = mmu.c.efer & ~EFER_NXE | (EFER_NXE if nxe else 0)
    assert_fault(VA, "fetch", code=PF_US | (PF_ID if told else 0))


def test_nxe_tells_fetches_under_pae_only(
    tables: Tables, mmu: Mmu, assert_fault: AssertFault
) -> None:
    """A state that no legal write leads to with paging on; the rule names both bits."""
    mmu.c.cr4 &= ~(CR4_SMEP | CR4_PAE)
    assert_fault(VA, "fetch", code=PF_US)


@pytest.mark.parametrize("exact", [False, True])
def test_a_fault_happens(
    tables: Tables, mmu: Mmu, recorded: Callable[[], list[Event]], exact: bool
) -> None:
    """CR2 holds the exact address; it is counted and told once."""
    mmu.exact = exact
    recorded()
    answer = mmu.translate(VA + 0x678, Access.WRITE)
    assert (answer.result, answer.error_code, answer.perms) == (
        Outcome.PAGE_FAULT,
        PF_US | PF_WR,
        0,
    )
    assert mmu.c.cr2 == VA + 0x678
    assert mmu.counters()["page_faults_hw"] == 1
    told = [event.fields for event in recorded() if event.name == "page_fault"]
    assert told == [{"address": VA + 0x678, "error_code": PF_US | PF_WR}]


def test_a_fault_only_foretold_does_not_happen(tables: Tables, mmu: Mmu) -> None:
    assert mmu.refill(VA, Access.WRITE).error_code == PF_US | PF_WR
    assert mmu.walk(VA).error_code == PF_US
    assert mmu.c.cr2 == 0
    assert mmu.counters()["page_faults_hw"] == 0


def test_bits_are_where_the_manual_has_them() -> None:
    """SDM figure 4-12."""
    bits = PF_P, PF_WR, PF_US, PF_RSVD, PF_ID, PF_PK, PF_SS
    assert bits == tuple(1 << bit for bit in range(7))


def test_the_text_of_the_exception() -> None:
    assert str(PageFault(0x1000, PF_P | PF_RSVD, 0x42)) == (
        "page fault on 0x1000 at RIP 0x42, error code 0x9 (P|RSVD)"
    )
    assert str(PageFault(0x1000, 0)).endswith("error code 0x0 (none)")
    fault = PageFault(0x1000, PF_P, 0x42)
    assert (fault.vector, fault.address, fault.error_code, fault.rip) == (14, 0x1000, PF_P, 0x42)


def test_in_words(tables: Tables, mmu: Mmu) -> None:
    assert describe_error_code(PF_P | PF_WR | PF_US) == "user write: protection violation"
    assert describe_error_code(PF_ID) == "supervisor fetch: not-present page"
    assert describe_error_code(PF_P | PF_RSVD) == "supervisor read: reserved bit set"
    tables.map(VA, flags=USER)
    assert (
        str(mmu.refill(VA + 4096, Access.READ))
        == "#PF, error code 0x4 (user read: not-present page)"
    )
