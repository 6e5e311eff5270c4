# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what is rebuilt from events alone is what the machine holds: every table byte for byte,
every entry of every TLB array and paging-structure cache, every count with its holders.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmu.events import EVENT_ID
from mmu.linux.mman import MADV_COLD, MADV_DONTNEED
from mmu.linux.policy import FreeTables
from mmu.trace.reader import Batch
from mmu.trace.where import Where
from tests.linux.test_engines_agree import operation, perform
from tests.linux.world import BASE, World
from tests.trace.truth import Rebuilt, truth_of, unread, watched

COUNTED = ("refcount", "refcount-pmdlock")


@pytest.mark.parametrize("engine", ["c", "python"])
@pytest.mark.parametrize("policy", list(FreeTables), ids=lambda policy: policy.label)
@settings(max_examples=5)
@given(operations=st.lists(operation, max_size=15))
def test_after_each_operation(
    engine: str, policy: FreeTables, operations: list[tuple[str, int, Any]]
) -> None:
    world = World(engine, policy)
    world.map(BASE, 3 * 512)
    rebuilt, events = Rebuilt(), 0
    for what, page, argument in operations:
        perform(world, what, page, argument)
        batch = unread(world.ring, events)
        events += len(batch.numbers)
        rebuilt.apply(batch)
        rebuilt.check(truth_of(world.mm.kernel, events), counted=policy.label in COUNTED)


def hold(monkeypatch: pytest.MonkeyPatch, program: str, *args: str, **options: Any) -> None:
    """Run a guest, and hold what is rebuilt against the truth wherever that was taken."""
    with watched(monkeypatch, program, *args, **options) as (trace, truths):
        rebuilt, begin = Rebuilt(), 0
        for truth in truths:
            for batch in trace.batches(Where(begin=begin, end=truth.end)):
                rebuilt.apply(batch)
            begin = truth.end
            rebuilt.check(truth, counted=options.get("policy", "refcount") in COUNTED)
        assert any(truth.counts for truth in truths)


@pytest.mark.parametrize("policy", ["never", "refcount"])
def test_of_a_guest(monkeypatch: pytest.MonkeyPatch, policy: str) -> None:
    hold(monkeypatch, "sparse", "64M", policy=policy, fidelity="exact", every=2, most=20)


def test_of_threads_on_two_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    hold(monkeypatch, "threads", cpus=2, fidelity="exact", quantum=2000, every=5, most=12)


@pytest.mark.stress
@pytest.mark.parametrize("policy", ["never", "scan", "refcount", "refcount-pmdlock"])
@pytest.mark.parametrize(
    ("program", "args"),
    [
        ("fork_tree", ()),
        ("threads", ()),
        ("signals", ()),
        ("jemalloc_churn", ()),
        ("dontneed_loop", ("64M", "64K")),
        ("multi_fault", ("4", "64")),
    ],
)
def test_of_long_guests(
    monkeypatch: pytest.MonkeyPatch, program: str, args: tuple[str, ...], policy: str
) -> None:
    hold(monkeypatch, program, *args, policy=policy, cpus=2, every=20, most=40, fidelity="exact")


@pytest.mark.stress
@pytest.mark.parametrize("program", ["hello", "sparse"])
def test_of_the_python_engine(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    hold(monkeypatch, program, engine="python", fidelity="exact")


@pytest.mark.parametrize("kind", ["set_pte", "walk_set_ad", "tlb_fill", "tlb_drop", "pte_get"])
def test_a_missing_event_is_seen(kind: str) -> None:
    """The comparison above is worth something: without one kind of event it fails."""
    world = World()
    world.map(BASE, 8)
    for page in range(8):
        world.touch(BASE + page * 4096)
    world.mm.madvise(BASE + 7 * 4096, 4096, MADV_COLD)
    world.touch(BASE + 7 * 4096)
    world.mm.mprotect(BASE, 4 * 4096, 1)
    world.mm.madvise(BASE + 4 * 4096, 4096, MADV_DONTNEED)
    batch = unread(world.ring, 0)
    kept = batch.records["id"] != EVENT_ID[kind]
    assert not kept.all()
    rebuilt = Rebuilt()
    rebuilt.apply(Batch(batch.numbers[kept], batch.records[kept]))
    with pytest.raises(AssertionError):
        rebuilt.check(truth_of(world.mm.kernel, len(batch.numbers)), counted=True)
