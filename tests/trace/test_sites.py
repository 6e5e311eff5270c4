# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a ring numbers the functions that its events name in the order of their first event."""

from __future__ import annotations

import pytest

from mmu._native import ffi, lib
from mmu.events import EVENT_ID, EventRing

SET_PTE, INVLPG = EVENT_ID["set_pte"], EVENT_ID["invlpg"]


@pytest.fixture
def ring() -> EventRing:
    ring = EventRing(1 << 10)
    ring.enable()
    return ring


def test_numbers_come_in_the_order_of_the_first_event(ring: EventRing) -> None:
    for site in ("zap_pte_range", "handle_pte_fault", "zap_pte_range", ""):
        ring.emit(SET_PTE, site=site)
    assert ring.sites() == ["", "zap_pte_range", "handle_pte_fault"]
    assert [event.site for event in ring.read()] == [
        *("zap_pte_range", "handle_pte_fault", "zap_pte_range", "")
    ]
    assert ring.c.nr_sites == 2


def test_an_event_without_a_site_has_none_after_one_with(ring: EventRing) -> None:
    ring.emit(SET_PTE, site="zap_pte_range")
    ring.emit(INVLPG, 1)
    assert [event.site for event in ring.read()] == ["zap_pte_range", ""]


def test_nothing_recorded_names_nothing(ring: EventRing) -> None:
    ring.enable(False)
    ring.emit(SET_PTE, site="zap_pte_range")
    assert ring.sites() == [""]


def test_a_name_has_one_number_whoever_gives_it(ring: EventRing) -> None:
    """C and Python give the same text from other addresses."""
    names = [ffi.new("char[]", b"copy_pte_range") for _ in range(3)]
    assert {lib.ring_site(ring.c, name) for name in names} == {ring.site("copy_pte_range")}


def test_many_names(ring: EventRing) -> None:
    """More than the table begins with, and no two alike."""
    names = [f"function_{number}" for number in range(300)]
    for name in names:
        ring.emit(SET_PTE, site=name)
    assert ring.sites() == ["", *names]
    assert [event.site for event in ring.read()] == names


def test_a_number_that_is_none_has_no_name(ring: EventRing) -> None:
    assert ffi.string(lib.ring_site_name(ring.c, 1)) == b""
    assert ffi.string(lib.ring_site_name(ring.c, 1 << 31)) == b""
