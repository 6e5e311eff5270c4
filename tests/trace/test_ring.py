# SPDX-License-Identifier: GPL-2.0-or-later
"""The event ring keeps records in order, calls its owner when full, and counts what it loses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmu._native import ffi, lib
from mmu.errors import MmuError
from mmu.events import EVENT_ID, EventRing

INVLPG = EVENT_ID["invlpg"]
SET_PTE = EVENT_ID["set_pte"]


def addresses(ring: EventRing) -> list[int]:
    """The first field of every unread record."""
    return [event.values[0] for event in ring.read()]


def test_a_record_carries_fields_instruction_and_cpu(ring: EventRing) -> None:
    ring.c.cpu, ring.c.instruction = 3, 1 << 40
    ring.emit(SET_PTE, 0x7FFF_FFFF_F000, 0, (1 << 64) - 1, 0x1008)
    (event,) = ring.read()
    assert (event.name, event.cpu, event.instruction) == ("set_pte", 3, 1 << 40)
    assert event.fields == {
        "address": 0x7FFF_FFFF_F000,
        "old": 0,
        "new": (1 << 64) - 1,
        "entry_pa": 0x1008,
    }
    assert event["new"] == (1 << 64) - 1
    assert (
        str(event)
        == "set_pte address=0x7ffffffff000 old=0x0 new=0xffffffffffffffff entry_pa=0x1008"
    )


def test_a_field_that_the_event_lacks_is_an_error(ring: EventRing) -> None:
    ring.emit(INVLPG, 1)
    with pytest.raises(KeyError):
        ring.read()[0]["pfn"]


def test_nothing_is_recorded_while_disabled() -> None:
    ring = EventRing(4)
    ring.emit(INVLPG, 1)
    lib.ring_emit(ring.c, INVLPG, [2, 0, 0, 0])
    ring.enable()
    ring.emit(INVLPG, 3)
    ring.enable(False)
    ring.emit(INVLPG, 4)
    assert addresses(ring) == [3]


def test_reading_makes_room_and_the_ring_wraps() -> None:
    ring = EventRing(4)
    ring.enable()
    for start in range(0, 30, 3):
        for address in range(start, start + 3):
            ring.emit(INVLPG, address)
        assert addresses(ring) == [start, start + 1, start + 2]
    assert ring.lost == 0


def test_without_an_owner_the_newest_are_lost_and_counted() -> None:
    ring = EventRing(4)
    ring.enable()
    for address in range(7):
        ring.emit(INVLPG, address)
    assert (addresses(ring), ring.lost) == ([0, 1, 2, 3], 3)


def test_a_full_ring_calls_its_owner_who_drains_it() -> None:
    seen: list[int] = []
    ring = EventRing(4, on_full=lambda ring: seen.extend(addresses(ring)))
    ring.enable()
    for address in range(11):
        ring.emit(INVLPG, address)
    assert seen == list(range(8))
    assert addresses(ring) == [8, 9, 10]
    assert ring.lost == 0


def test_an_owner_who_drains_nothing_loses_records() -> None:
    calls: list[EventRing] = []
    ring = EventRing(2, on_full=calls.append)
    ring.enable()
    for address in range(4):
        ring.emit(INVLPG, address)
    assert calls == [ring, ring]
    assert ring.lost == 2


def test_two_rings_are_drained_by_their_own_owners() -> None:
    seen: dict[str, list[int]] = {"a": [], "b": []}
    a = EventRing(1, on_full=lambda ring: seen["a"].extend(addresses(ring)))
    b = EventRing(1, on_full=lambda ring: seen["b"].extend(addresses(ring)))
    for ring in (a, b):
        ring.enable()
    for address in range(4):
        (a, b)[address & 1].emit(INVLPG, address)
    assert seen == {"a": [0], "b": [1]}


@pytest.mark.parametrize("capacity", [0, -1, 3, 6, 1000])
def test_capacities_that_are_no_power_of_two(capacity: int) -> None:
    with pytest.raises(MmuError, match="power of two"):
        EventRing(capacity)
    assert capacity < 0 or lib.ring_create(capacity) == ffi.NULL


def test_a_capacity_beyond_the_host_s_memory() -> None:
    with pytest.raises(MmuError, match="no host memory"):
        EventRing(1 << 60)


@given(
    exponent=st.integers(0, 6),
    steps=st.lists(st.one_of(st.integers(1, 100), st.just("read")), max_size=30),
)
def test_against_a_list(exponent: int, steps: list[object]) -> None:
    ring = EventRing(1 << exponent)
    ring.enable()
    expected: list[int] = []
    lost, address = 0, 0
    for step in steps:
        if step == "read":
            assert addresses(ring) == expected
            expected = []
            continue
        for _ in range(int(str(step))):
            ring.emit(INVLPG, address)
            if len(expected) < 1 << exponent:
                expected.append(address)
            else:
                lost += 1
            address += 1
    assert addresses(ring) == expected
    assert ring.lost == lost
