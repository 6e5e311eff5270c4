# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures of the tests of what silicon does: page tables, counted differences, recorded events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from mmu.events import Event, EventRing
from mmu.x86 import Mmu
from ucmmu.testing.tables import Tables


@pytest.fixture
def tables(mmu: Mmu) -> Tables:
    """Empty page tables, loaded with PCID 0."""
    tables = Tables(mmu)
    tables.load()
    mmu.take_soft_flush()
    return tables


@pytest.fixture
def counted(mmu: Mmu) -> Callable[..., AbstractContextManager[None]]:
    """with counted({"dTLB-loads": 1}): inside, these counters grow by so much, and no other
    changes.
    """

    @contextmanager
    def counted(expected: dict[str, int]) -> Iterator[None]:
        before = mmu.counters()
        yield
        grown = {
            name: value - before[name]
            for name, value in mmu.counters().items()
            if value != before[name]
        }
        assert grown == expected

    return counted


DROPS = ("tlb_drop", "walk_cache_drop")


@pytest.fixture
def causes(recorded: Callable[[], list[Event]]) -> Callable[[], list[str]]:
    """causes(): recorded(), as text, without the entries that went (test_tlb_events.py)."""

    def causes() -> list[str]:
        return [str(event) for event in recorded() if event.name not in DROPS]

    return causes


@pytest.fixture
def recorded(mmu: Mmu, ring: EventRing) -> Callable[[], list[Event]]:
    """recorded(): the events since the last call; the first call starts recording."""

    def recorded() -> list[Event]:
        mmu.ring = ring
        return ring.read()

    return recorded
