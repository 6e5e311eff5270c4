# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: where a walk finds nothing to do there is a shorter way, which says and does what the full
walk does.

The full walk counts its loads (WALK_HARDWARE, translate()); the short one does not (WALK_QUIET,
refill()). Each bit of each entry is turned over by itself, under registers of which the short way
knows, and some of which it does not. The Python engine has the full walk only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mmu.x86 import Access, Mmu, Privilege, Vendor, WalkMode
from mmu.x86.entries import X86_A, X86_D, X86_G, X86_PK_SHIFT, X86_RW, X86_US
from mmu.x86.registers import (
    CR0_PG,
    CR0_WP,
    CR4_CET,
    CR4_PGE,
    CR4_PKE,
    CR4_PKS,
    CR4_SMAP,
    CR4_SMEP,
    EFER_NXE,
    RESET_PAT,
)
from ucmmu.testing.tables import VA, Tables

pytestmark = pytest.mark.ucmmu(engine="c")
LEVELS = (4, 3, 2, 1)
ACCESSES = [
    (access, user) for access in (Access.READ, Access.WRITE, Access.FETCH) for user in Privilege
]

REGISTERS: dict[str, Callable[[Any], None]] = {
    "as after reset": lambda c: None,
    "without PGE": lambda c: setattr(c, "cr4", c.cr4 & ~CR4_PGE),
    "with SMAP, without SMEP": lambda c: setattr(c, "cr4", c.cr4 & ~CR4_SMEP | CR4_SMAP),
    "without WP": lambda c: setattr(c, "cr0", c.cr0 & ~CR0_WP),
    "without NXE": lambda c: setattr(c, "efer", c.efer & ~EFER_NXE),
    "with PKE": lambda c: setattr(c, "cr4", c.cr4 | CR4_PKE),
    "with PKS": lambda c: setattr(c, "cr4", c.cr4 | CR4_PKS),
    "with CET": lambda c: setattr(c, "cr4", c.cr4 | CR4_CET),
    "without paging": lambda c: setattr(c, "cr0", c.cr0 & ~CR0_PG),
    "AMD's": lambda c: setattr(c, "vendor", Vendor.AMD),
}


@pytest.fixture
def page(tables: Tables, mmu: Mmu) -> Tables:
    """A page that has been written, in fast: nothing is left to do in its tables."""
    mmu.exact = False
    tables.map(VA)
    for level in LEVELS:
        tables.change(VA, level, set=X86_A)
    tables.change(VA, 1, set=X86_D | X86_G | 5 << X86_PK_SHIFT)
    mmu.c.pkru = mmu.c.pkrs = 2 << 2 * 5
    mmu.c.pat = RESET_PAT ^ 1 << 32
    return tables


def differences(tables: Tables, mmu: Mmu, va: int = VA + 0xABC) -> list[str]:
    """The accesses that the two ways answer differently, or after which the entries differ."""
    memory = mmu.memory
    places = mmu.walk(va).entry_pa
    before = {pa: memory.read_u64(pa) for pa in places if pa and memory.holds(pa)}

    def then(answer: Any) -> tuple[Any, list[int]]:
        after = [memory.read_u64(pa) for pa in before]
        for pa, entry in before.items():
            memory.write_u64(pa, entry)
        return answer, after

    found = []
    for access, user in ACCESSES:
        quiet = then(mmu.walk(va, access, user=user, mode=WalkMode.QUIET))
        hardware = then(mmu.walk(va, access, user=user, mode=WalkMode.HARDWARE))
        refilled = then(mmu.refill(va, access, user=user))
        translated = then(mmu.translate(va, access, user=user))
        if quiet != hardware or refilled != translated:
            found.append(
                f"{access.name} {user.name}: {quiet}, {hardware}; {refilled}, {translated}"
            )
    return found


@pytest.mark.parametrize("registers", REGISTERS)
def test_each_bit_of_each_entry(page: Tables, mmu: Mmu, registers: str) -> None:
    REGISTERS[registers](mmu.c)
    assert differences(page, mmu) == []
    for level in LEVELS:
        entry = page.get(VA, level)
        for bit in range(64):
            page.put(VA, level, entry ^ 1 << bit)
            assert differences(page, mmu) == [], f"bit {bit} of level {level}"
        page.put(VA, level, entry)


@pytest.mark.parametrize("level", [4, 3, 2])
@pytest.mark.parametrize("taken", [X86_RW, X86_US, X86_RW | X86_US])
def test_a_shadow_stack_page(page: Tables, mmu: Mmu, level: int, taken: int) -> None:
    """R/W missing in the leaf, and here and there in a level above."""
    page.change(VA, 1, clear=X86_RW)
    assert mmu.walk(VA, mode=WalkMode.QUIET).shadow_stack
    page.change(VA, level, clear=taken)
    assert differences(page, mmu) == []


def test_what_no_bit_of_an_entry_is(page: Tables, mmu: Mmu) -> None:
    """CR3 whose table lies outside RAM, and an address that is not canonical."""
    for bit in range(47, 64):
        assert differences(page, mmu, VA ^ 1 << bit) == []
    mmu.c.cr3 = 1 << 40
    assert differences(page, mmu) == []
