# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: assert_events() passes just when the events are those of the pattern, in its order."""

from __future__ import annotations

from typing import Any

import pytest

from mmu.events import EVENT_ID
from mmu.memory import Memory
from ucmmu.testing import assert_events, clear_events, event, events
from ucmmu.testing.recorder import Recorder
from ucmmu.testing.scene import Scene, scene

pytestmark = pytest.mark.ucmmu(engine="c")


def happen(*names: str) -> None:
    for number, name in enumerate(names):
        scene().recorder.ring.emit(EVENT_ID[name], number)


@pytest.mark.parametrize(
    "pattern",
    [
        ["invlpg", "page_fault", "invlpg"],
        [...],
        [..., "invlpg"],
        ["invlpg", ...],
        [..., "page_fault", ...],
        [..., "invlpg", ..., "invlpg", ...],
        ["invlpg", ..., ..., "page_fault", "invlpg", ...],
        [event("invlpg", address=0), ..., event("invlpg", address=2, on=0)],
    ],
)
def test_it_fits(ram: Memory, pattern: list[Any]) -> None:
    happen("invlpg", "page_fault", "invlpg")
    assert_events(pattern)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ([], "3 events come after the pattern's last item"),
        (["invlpg", "page_fault"], "1 events come after"),
        (["invlpg", "invlpg"], "item 1 of the pattern, invlpg, does not come"),
        ([..., "page_fault"], "1 events come after"),
        ([..., "page_fault", "page_fault", ...], "item 2 of the pattern, page_fault,"),
        ([..., "tlb_hit", ...], "item 1 of the pattern, tlb_hit, does not come"),
        ([..., event("invlpg", address=1), ...], "item 1 of the pattern, invlpg address=0x1,"),
        ([..., event("invlpg", on=1), ...], "invlpg on=0x1, does not come"),
        (["invlpg", ..., "invlpg", ..., "invlpg"], "item 4 of the pattern, invlpg, does not"),
    ],
)
def test_it_does_not_fit(ram: Memory, pattern: list[Any], message: str) -> None:
    happen("invlpg", "page_fault", "invlpg")
    with pytest.raises(AssertionError) as caught:
        assert_events(pattern)
    assert message in str(caught.value)
    assert "cpu 0 page_fault address=0x1" in str(caught.value)


def test_the_place_is_marked(ram: Memory) -> None:
    happen("invlpg", "page_fault", "invlpg")
    with pytest.raises(AssertionError) as caught:
        assert_events(["invlpg", "tlb_hit", ...])
    marked = [line.split()[1:] for line in str(caught.value).splitlines() if "->" in line]
    assert [words[:1] for words in marked] == [["tlb_hit"], ["1"]]


def test_among_and_cpu(ram: Memory) -> None:
    happen("invlpg", "page_fault", "invlpg")
    assert_events(["page_fault"], among=["page_fault", "tlb_hit"])
    assert_events([], cpu=1)
    assert_events({0: ["invlpg", ...], 1: []})
    with pytest.raises(AssertionError, match="of CPU 1"):
        assert_events({0: [...], 1: ["invlpg"]})


def test_clear_and_events(ram: Memory) -> None:
    happen("invlpg", "page_fault")
    assert [one.name for one in events()] == ["invlpg", "page_fault"]
    assert [one["address"] for one in events("page_fault")] == [1]
    clear_events()
    assert events() == []
    assert_events([])


def test_names_and_fields_that_there_are_not(ram: Memory) -> None:
    with pytest.raises(ValueError, match="no event 'tlb_mis': is 'tlb_miss' meant"):
        assert_events(["tlb_mis"])
    with pytest.raises(ValueError, match="event invlpg has no pa: it has address, on"):
        event("invlpg", pa=1)


def test_too_many_events_are_said(ucmmu_scene: Scene) -> None:
    ucmmu_scene.recorder = Recorder(16)
    happen(*["invlpg"] * 40)
    with pytest.raises(AssertionError, match=r"the first \d+ events are forgotten"):
        events()
    last = ucmmu_scene.recorder.events()[-1]
    assert last["address"] == 39
    clear_events()
    happen("invlpg")
    assert_events(["invlpg"])
