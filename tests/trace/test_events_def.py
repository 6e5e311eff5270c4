# SPDX-License-Identifier: GPL-2.0-or-later
"""events.def is the one list of events and counters: each is complete, each name is used once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmu._native import ffi, lib
from mmu.events import (
    COUNTER_DESCS,
    COUNTER_ID,
    COUNTERS,
    EVENT_ID,
    EVENTS,
    KERNEL_COUNTER_DESCS,
    KERNEL_COUNTER_ID,
    KERNEL_COUNTERS,
    MM_COUNTER_DESCS,
    MM_COUNTER_ID,
    MM_COUNTERS,
)
from ucmmu.reading.names import LOCK

TEXT = (Path(__file__).parents[2] / "native/trace/events.def").read_text()
DESCS = [*EVENTS, *COUNTER_DESCS, *MM_COUNTER_DESCS, *KERNEL_COUNTER_DESCS]


def listed(kind: str) -> list[str]:
    """The names that events.def lists under a kind, in order."""
    return re.findall(rf'^{kind}\(\w+, "([^"]+)"', TEXT, re.MULTILINE)


def test_every_kind_of_lock_is_named() -> None:
    contention_begin = EVENTS[EVENT_ID["contention_begin"]]
    kinds = [f"{kind} {LOCK[kind]}" for kind in range(lib.NR_LOCK_KINDS)]
    assert f"({', '.join(kinds)})" in contention_begin.meaning


def test_python_knows_exactly_what_is_listed_in_order() -> None:
    assert [event.name for event in EVENTS] == listed("EVENT")
    assert listed("COUNTER") == COUNTERS
    assert listed("MM_COUNTER") == MM_COUNTERS
    assert listed("KERNEL_COUNTER") == KERNEL_COUNTERS


def test_numbers_are_positions() -> None:
    for ids, names in (
        (EVENT_ID, listed("EVENT")),
        (COUNTER_ID, COUNTERS),
        (MM_COUNTER_ID, MM_COUNTERS),
        (KERNEL_COUNTER_ID, KERNEL_COUNTERS),
    ):
        assert [ids[name] for name in names] == list(range(len(names)))


def test_no_name_and_no_identifier_is_used_twice() -> None:
    names = [desc.name for desc in DESCS]
    assert len(set(names)) == len(names)
    for kind in ("EVENT", "COUNTER", "MM_COUNTER", "KERNEL_COUNTER"):
        idents = re.findall(rf"^{kind}\((\w+),", TEXT, re.MULTILINE)
        assert len(set(idents)) == len(idents)


@pytest.mark.parametrize("desc", DESCS, ids=lambda desc: desc.name)
def test_each_has_a_meaning(desc: object) -> None:
    meaning = str(desc.meaning)  # type: ignore[attr-defined]
    assert len(meaning.split()) >= 4
    assert not meaning.endswith(".")


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_each_field_of_an_event_is_named_once_and_explained_or_plain(event: object) -> None:
    fields = event.fields  # type: ignore[attr-defined]
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", field) for field in fields)
    assert len(set(fields)) == len(fields)


def test_unused_fields_come_last() -> None:
    for fields in re.findall(
        r'^EVENT\(\w+, "[^"]+", "([^"]*)", "([^"]*)", "([^"]*)"', TEXT, re.MULTILINE
    ):
        used = [bool(field) for field in fields]
        assert used == sorted(used, reverse=True)


def test_nothing_lies_past_the_last() -> None:
    assert lib.event_describe(len(EVENTS)) == ffi.NULL
    assert lib.counter_describe(len(COUNTERS)) == ffi.NULL
    assert lib.mm_counter_describe(len(MM_COUNTERS)) == ffi.NULL
    assert lib.kernel_counter_describe(len(KERNEL_COUNTERS)) == ffi.NULL
    assert len(EVENTS) == lib.NR_EVENTS
    assert len(COUNTERS) == lib.NR_COUNTERS
    assert len(MM_COUNTERS) == lib.NR_MM_COUNTERS
    assert len(KERNEL_COUNTERS) == lib.NR_KERNEL_COUNTERS
