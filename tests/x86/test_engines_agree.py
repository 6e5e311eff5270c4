# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the C and the Python engine are one machine.

Whatever the tables hold and whatever is asked, in any order: same answers, counters and events, and
the same bytes of ``struct mmu_unit``, guest RAM and ``struct page``. A million operations here, a
million sequences by ``make fuzz``; Hypothesis, which compares the bytes after every operation, adds
what it thinks of.
"""

from __future__ import annotations

import os
import random
import time

import pytest
from hypothesis import Phase, given, settings

from mmu.events import COUNTERS, EVENT_ID, EVENTS
from mmu.x86 import Geometry, list_geometries
from mmu.x86.faults import PF_ID, PF_P, PF_PK, PF_RSVD, PF_SS, PF_US, PF_WR
from mmu.x86.walk import Outcome
from tests.x86.hunt import Hunt
from tests.x86.twins import BASES, TORTURE, Op, Outside, Twins, scripts

Script = tuple[int, list[Op]]
World = tuple[str | Geometry, int]

SHARES: dict[World, int] = {
    ("tiny", 4): 300,
    ("tiny", 5): 200,
    (TORTURE, 4): 300,
    (TORTURE, 5): 150,
    ("skylake", 4): 16,
    ("golden_cove", 4): 12,
    ("zen2", 4): 8,
    ("zen3", 4): 6,
    ("zen4", 4): 4,
    ("zen4", 5): 4,
}
"""Of every 1000. Real processors get few: two first levels of 64 ways and a second of thousands
take Python long.
"""
OPERATIONS = 1_000_000
CHUNK = 50_000
FUZZ_SEQUENCES = 1000 * int(os.environ.get("HYPOTHESIS_EXAMPLES", "1000"))
FUZZ_CHUNKS = 4


def _name(world: World) -> str:
    geometry, levels = world
    return f"{geometry if isinstance(geometry, str) else 'torture'}-{levels}"


def _chunks() -> list[tuple[World, int, int]]:
    """World, seed and operations of each test."""
    chunks: list[tuple[World, int, int]] = []
    for world, share in SHARES.items():
        left = share * OPERATIONS // 1000
        while left:
            part = min(left, CHUNK)
            chunks.append((world, len(chunks), part))
            left -= part
    return chunks


def test_a_million_in_all() -> None:
    """The shares sum to 1,000, every shipped geometry has one, and the chunks cover all of it."""
    assert sum(SHARES.values()) == 1000
    assert {name for name, _ in SHARES if isinstance(name, str)} == set(list_geometries())
    assert sum(operations for _, _, operations in _chunks()) == OPERATIONS


@pytest.mark.parametrize(
    ("world", "seed", "operations"),
    [pytest.param(*c, id=f"{_name(c[0])}-{c[1]}") for c in _chunks()],
)
def test_a_million_operations(world: World, seed: int, operations: int) -> None:
    hunt = Hunt(seed, *world)
    try:
        assert hunt.run(operations=operations).operations >= operations
    finally:
        hunt.close()


@pytest.mark.fuzz
@pytest.mark.parametrize("world", SHARES, ids=_name)
@pytest.mark.parametrize("_chunk", range(FUZZ_CHUNKS))
def test_a_million_sequences(world: World, _chunk: int, capfd: pytest.CaptureFixture[str]) -> None:
    """1000 sequences for each example that `make fuzz` asks for, all worlds together, from new
    seeds.
    """
    seed, begin = random.SystemRandom().getrandbits(31), time.perf_counter()
    sequences = -(-FUZZ_SEQUENCES * SHARES[world] // (1000 * FUZZ_CHUNKS))
    hunt = Hunt(seed, *world, least=10, most=40)
    try:
        tally = hunt.run(sequences=sequences)
    finally:
        hunt.close()
    seconds = time.perf_counter() - begin
    told = (
        f"{tally.sequences} sequences, {tally.operations} operations of seed {seed}"
        f" in {seconds:.0f} s"
    )
    with capfd.disabled():
        os.write(2, f"\nC and Python agree on {_name(world)}: {told}\n".encode())


def test_sequences_reach_everything() -> None:
    """Each outcome, bit of the error code, event and counter of the MMU occurs: agreement on
    nothing is none.
    """
    outcomes: set[Outcome] = set()
    events: set[str] = set()
    grown: set[str] = set()
    codes = 0
    for world in (("tiny", 4), (TORTURE, 4), (TORTURE, 5)):
        twins = Twins(BASES[0], *world)
        hunt = Hunt(7, *world)
        mmu = twins.mmus[0]
        for number in range(120):
            twins.reset()
            for op in hunt.sequence(number):
                answer = twins.do(mmu, *op)
                for told in answer if isinstance(answer, (list, tuple)) else [answer]:
                    outcomes.add(
                        told if isinstance(told, Outcome) else getattr(told, "result", Outcome.OK)
                    )
                    codes |= getattr(told, "error_code", 0)
                events |= {event.name for event in mmu.ring.read()}
            grown |= {name for name, value in mmu.counters().items() if value}
        hunt.close()
        twins.close()
    assert outcomes == set(Outcome)
    assert codes == PF_P | PF_WR | PF_US | PF_RSVD | PF_ID | PF_PK | PF_SS
    assert events == {
        desc.name for desc in EVENTS[EVENT_ID["tlb_hit"] : EVENT_ID["page_fault_user"]]
    }
    assert grown == set(COUNTERS)


def _run(
    script: Script,
    geometry: str | Geometry,
    levels: int = 4,
    outside: Outside | None = None,
) -> None:
    base, operations = script
    twins = Twins(base, geometry, levels, outside)
    try:
        twins.run(operations)
    finally:
        twins.close()


_as_it_comes = settings(
    phases=[Phase.explicit, Phase.reuse, Phase.generate], report_multiple_bugs=False
)
"""Hypothesis would shrink a sequence for minutes; a seed's is shrunk in seconds."""


@_as_it_comes
@given(scripts)
def test_any_sequence(script: Script) -> None:
    _run(script, "tiny")


@_as_it_comes
@given(scripts)
def test_any_sequence_with_five_levels(script: Script) -> None:
    _run(script, "tiny", levels=5)


@_as_it_comes
@given(scripts)
def test_any_sequence_on_arrays_of_every_kind(script: Script) -> None:
    _run(script, TORTURE)


@pytest.mark.parametrize("outside", Outside, ids=lambda outside: outside.name.lower())
@_as_it_comes
@given(scripts)
def test_any_sequence_with_tables_outside_ram(outside: Outside, script: Script) -> None:
    _run(script, TORTURE, outside=outside)


@_as_it_comes
@given(scripts)
def test_any_sequence_with_five_levels_outside_ram(script: Script) -> None:
    _run(script, "tiny", levels=5, outside=Outside.IN_PLACE)
