# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a kernel that forgets a flush is told on, at the access that meets the stale translation,
with what was freed.

That the mm as it is forgets none is checked at the end of every test that uses the fixture ``mm``
in exact.
"""

from __future__ import annotations

import pytest

from mmu.linux import mmu_gather
from mmu.linux.mm import Mm, boot
from mmu.linux.mman import MADV_DONTNEED, MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE
from mmu.linux.policy import FreeTables
from mmu.memory import Memory
from mmu.x86 import Access, Mmu, Outcome
from mmu.x86.check import StaleUse
from ucmmu.testing.mm import access_once

PAGE = 4096
RW = PROT_READ | PROT_WRITE


def _forget(*_: object) -> None:
    """A flush that is not made."""


@pytest.fixture
def careless(monkeypatch: pytest.MonkeyPatch) -> Mm:
    """An mm whose gathered flushes do nothing, and its checker."""
    monkeypatch.setattr(mmu_gather, "flush_tlb_mm_range", _forget)
    memory = Memory(16 << 20)
    mmu = Mmu(memory, geometry="tiny", engine="python", exact=True, check=True)
    return boot(memory, mmu, policy=FreeTables.REFCOUNT, engine="python")


def uses(mm: Mm) -> list[StaleUse]:
    assert mm.kernel.this_cpu.mmu.check is not None
    return mm.kernel.this_cpu.mmu.check.uses()


def mapped(mm: Mm, pages: int = 4) -> int:
    addr = mm.mmap(0, pages * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS)
    for i in range(pages):
        assert access_once(mm, addr + i * PAGE, Access.WRITE) is None
    return addr


def test_a_page_given_back_without_a_flush(careless: Mm) -> None:
    """The guest goes on writing to a frame that is free: use after free."""
    addr = mapped(careless)
    careless.madvise(addr, PAGE, MADV_DONTNEED)
    assert careless.kernel.this_cpu.mmu.translate(addr, Access.WRITE).result == Outcome.OK
    (use,) = uses(careless)
    assert use.used and use.freed and not use.table
    assert "whose frame was freed" in str(use)


def test_a_table_freed_without_a_flush(careless: Mm) -> None:
    """Its entries, and the way to it, may still be cached somewhere."""
    addr = mapped(careless)
    careless.munmap(addr, 4 * PAGE)
    careless.kernel.this_cpu.mmu.translate(addr, Access.READ)
    assert any(use.used and use.freed for use in uses(careless))


def test_a_page_made_read_only_without_a_flush(careless: Mm) -> None:
    addr = mapped(careless)
    careless.mprotect(addr, PAGE, PROT_READ)
    assert careless.kernel.this_cpu.mmu.translate(addr, Access.READ).result == Outcome.OK
    assert uses(careless) == []
    assert careless.kernel.this_cpu.mmu.translate(addr, Access.WRITE).result == Outcome.OK
    (use,) = uses(careless)
    assert use.used and not use.freed and use.access == Access.WRITE


def test_with_the_flush_nothing_is_told(monkeypatch: pytest.MonkeyPatch, careless: Mm) -> None:
    monkeypatch.undo()
    addr = mapped(careless)
    careless.madvise(addr, PAGE, MADV_DONTNEED)
    assert access_once(careless, addr, Access.WRITE) is None
    careless.munmap(addr, 4 * PAGE)
    careless.kernel.this_cpu.mmu.translate(addr, Access.READ)
    assert uses(careless) == []
