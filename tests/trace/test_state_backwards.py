# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what is found by looking backwards from an event is what going through all events up to it
gives: entries, cached translations, counts with their visitors, loaded address spaces.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from mmu.trace import tables, tlbs
from mmu.trace.counts import CHANGES, Counts, count_before
from mmu.trace.reader import TraceFile
from mmu.trace.spaces import loaded_before
from mmu.trace.tables import Tables, entry_before
from mmu.trace.tlbs import cached_before
from mmu.trace.where import Where
from mmu.units import PAGE_SHIFT
from mmu.x86.entries import vpn_of
from tests.trace.truth import watched

NR_MOMENTS = 6
NR_PLACES = 8


@pytest.fixture(scope="module")
def trace() -> Iterator[TraceFile]:
    with (
        pytest.MonkeyPatch.context() as patch,
        watched(patch, "threads", cpus=2, fidelity="exact", quantum=2000, most=1) as (trace, _),
    ):
        yield trace


@pytest.fixture(scope="module")
def moments(trace: TraceFile) -> list[int]:
    return sorted(random.Random(12).sample(range(trace.nr_events), NR_MOMENTS))


def entries_of(held: Tables) -> list[int]:
    """Where entries are set."""
    return [
        (pfn << PAGE_SHIFT) + 8 * index
        for pfn in held.frames
        for index in held.table(pfn).nonzero()[0].tolist()
    ]


def test_entries(trace: TraceFile, moments: list[int]) -> None:
    chance = random.Random(3)
    for end in moments:
        held = tables.rebuild(trace, end)
        known = entries_of(held)
        for pa in chance.sample(known, min(NR_PLACES, len(known))):
            found = entry_before(trace, pa, end)
            assert found is not None
            assert found.value == held.read(pa)
            assert found.number < end


def test_an_entry_that_nothing_was_stored_to_is_zero(trace: TraceFile, moments: list[int]) -> None:
    end = moments[0]
    held = tables.rebuild(trace, end)
    for pfn in held.frames:
        free = int((held.table(pfn) == 0).nonzero()[0][0])
        found = entry_before(trace, (pfn << PAGE_SHIFT) + 8 * free, end)
        assert found is None or found.value == 0


def test_a_frame_without_events_is_unknown(trace: TraceFile) -> None:
    assert entry_before(trace, 0xFFFF_F000, trace.nr_events) is None


def test_cached_translations(trace: TraceFile, moments: list[int]) -> None:
    chance = random.Random(4)
    for end in moments:
        resident = [one for cpu in (0, 1) for one in tlbs.rebuild(trace, end).entries(cpu)]
        for one in chance.sample(resident, min(NR_PLACES, len(resident))):
            inside = one.va + 0x123
            serves = [o for o in resident if o.va == vpn_of(inside, o.level) << PAGE_SHIFT]
            assert cached_before(trace, inside, end) == serves
            assert one in serves


def test_nothing_is_cached_of_what_was_never_touched(trace: TraceFile) -> None:
    assert cached_before(trace, 0x1234_5678_9000, trace.nr_events) == []


def test_counts_and_visitors(trace: TraceFile, moments: list[int]) -> None:
    seen = 0
    for end in (*moments, trace.nr_events):
        counts = Counts(trace.descs, trace.sites)
        for batch in trace.batches(Where(events=frozenset((*CHANGES, "mm_page_alloc")), end=end)):
            counts.apply(batch)
        for pfn, count in counts.of.items():
            assert count_before(trace, pfn, end) == count
            seen += 1
    assert seen


def test_loaded_address_spaces(trace: TraceFile, moments: list[int]) -> None:
    loads = [
        (one.number, one.event.cpu, one.event["cr3" if one.event.name == "switch_mm" else "value"])
        for one in trace.events(Where(events=frozenset(("switch_mm", "mov_cr3"))))
    ]
    for end in (*moments, trace.nr_events):
        for cpu in (0, 1):
            before = [cr3 for number, its, cr3 in loads if its == cpu and number < end]
            loaded = loaded_before(trace, cpu, end)
            assert (loaded.cr3 if loaded else None) == (before[-1] if before else None)
    assert loads
