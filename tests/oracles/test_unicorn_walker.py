# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: Unicorn's own walker and our MMU do the same with the same code over the same tables (SDM
vol. 3A ch. 4).
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from cpu._engine import lib as engine_lib
from cpu.linkage import private_parts
from mmu.x86.entries import X86_A, X86_G, X86_P, X86_PS, X86_RW, X86_US
from mmu.x86.registers import CR3_NOFLUSH, CR4_LA57, CR4_PCIDE, CR4_PGE, CR4_SMAP, RFLAGS_AC
from tests.oracles.unicorn_walker import (
    CHOICES,
    DEVIATIONS,
    ENGINE,
    EXACT,
    FAST,
    WALKER,
    Walker,
    describe_failure,
)

SEED = 1
STATES = 300_000
FUZZ_STATES = 10_000 * int(os.environ.get("HYPOTHESIS_EXAMPLES", "1000"))
VCPU_EVERY = 32
BATCH = 100_000
FAULT_STATES = 20_000
EVERY_CODE = [
    0x0, 0x1, 0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x9, 0xB, 0xD, 0xF,
    0x10, 0x11, 0x14, 0x15, 0x19, 0x1D, 0x21, 0x23, 0x25, 0x27,
]  # fmt: skip
"""Every page-fault error code without shadow stacks: RSVD needs P, fetches have I/D and no key."""

USER = X86_P | X86_RW | X86_US
SUPERVISOR = X86_P | X86_RW
CR0, CR4, EFER = 0x80010001, 0x620, 0xD01
TABLES = {5: 0x100000, 4: 0x101000, 3: 0x103000, 2: 0x105000, 1: 0x107000}
PAGES = {1: 0x400000, 2: 0x800000, 3: 0x40000000}
VA = 0x40_3020_1000

needs_private = pytest.mark.skipif(
    private_parts() != engine_lib.PRIVATE_ALL,
    reason="without Unicorn's private parts a fault's exact address is not told in C",
)


@pytest.fixture(scope="module")
def walker() -> Iterator[Walker]:
    with Walker() as walker:
        yield walker


@pytest.fixture(autouse=True)
def _without_faults(walker: Walker) -> Iterator[None]:
    yield
    walker.plant()


@dataclass
class Given:
    """A state made by hand: one access at va; if ``level``, its page is mapped with ``flags``."""

    kind: str
    va: int = VA
    size: int = 8
    second: int = 0
    cpl: int = 3
    cr4: int = 0
    rflags: int = 2
    flags: int = USER
    level: int = 1
    more: dict[str, int] = field(default_factory=dict)
    """Other fields of struct state."""

    def make(self, walker: Walker) -> Any:
        five = self.cr4 & CR4_LA57
        state = walker.ffi.new("struct state *")
        state.kind = walker.names("KIND_")[self.kind]
        state.va, state.size, state.second, state.cpl = self.va, self.size, self.second, self.cpl
        state.cr0, state.cr4, state.efer, state.rflags = CR0, CR4 | self.cr4, EFER, self.rflags
        state.cr3 = state.reload = TABLES[5 if five else 4]
        for level in range(5 if five else 4, max(self.level, 1) - 1, -1):
            i = state.nr_entries
            state.entry_level[i] = level
            state.entry_pa[i] = TABLES[level] + (self.va >> 12 + 9 * (level - 1) & 511) * 8
            state.entry[i] = self._entry(level)
            state.nr_entries += 1
        for name, value in self.more.items():
            setattr(state, name, value)
        return state

    def _entry(self, level: int) -> int:
        if level == self.level:
            return PAGES[level] | self.flags | (X86_PS if level > 1 else 0)
        return TABLES[level - 1] | USER | X86_A if level > 1 else 0


LIMIT = {deviation.name: deviation.limit for deviation in DEVIATIONS}
ABSENT = 0
BEFORE_THE_GAP = 0x7FFF_FFFF_F000
WITNESSES = {
    "RMW_READS_FIRST": Given("ADD", level=ABSENT),
    "CANONICAL_LATE": Given("LOAD8", va=BEFORE_THE_GAP + 0xFFC, second=4, level=ABSENT),
    "STACK_IS_GP": Given("PUSH", va=1 << 60),
    "JUMP_ARRIVES": Given("FETCH", va=1 << 60, size=1),
    "IMPLICIT_AC": Given("DESCRIPTOR", cpl=0, cr4=CR4_SMAP, rflags=RFLAGS_AC | 2),
    "HUGE_ACCESSED": Given("LOAD8", flags=SUPERVISOR, level=3),
    "SECOND_FIRST": Given("STORE8", va=VA + 0xFFC, second=4),
    "RMW_ASKED_AS_LOAD": Given("ADD", flags=X86_P | X86_US),
}
"""For each deviation a state that shows it."""


def check(walker: Walker, tally: Any) -> None:
    assert not tally.failures, describe_failure(walker, tally)


def shares(tally: Any) -> dict[tuple[str, int], float]:
    """What share of the states each deviation excused, for each of those it is known of."""
    return {
        (deviation.name, who): tally.excused[who][number] / max(tally.walks[who], 1)
        for number, deviation in enumerate(DEVIATIONS)
        for who in deviation.who
    }


def test_random_states(walker: Walker) -> None:
    tally = walker.run(SEED, STATES, vcpu_every=VCPU_EVERY)
    check(walker, tally)
    assert tally.states == tally.walks[WALKER] == STATES
    for (name, who), share in shares(tally).items():
        assert share <= LIMIT[name], (name, who)
        assert share > 0 or who != WALKER, name
    assert min(tally.by_kind) > 1000
    assert min(tally.by_code[code] for code in EVERY_CODE) > 100
    assert sum(tally.by_code[code] for code in EVERY_CODE) == sum(tally.by_code)
    assert tally.completed > STATES // 4
    assert tally.defined > STATES // 20
    assert tally.gp > 1000


@needs_private
def test_states_through_our_mmu(walker: Walker) -> None:
    """The same states, all of them also as guest code that translates through us."""
    tally = walker.run(SEED + 1, 20_000, vcpu_every=1)
    check(walker, tally)
    for who in (FAST, EXACT):
        assert tally.walks[who] == 20_000


def test_both_answers_are_given_where_both_are_right(walker: Walker) -> None:
    """Our TLB model keeps what it may, and forgets: else sequences would prove nothing of it."""
    tally = walker.run(SEED + 2, 20_000)
    check(walker, tally)
    assert tally.answered_old[ENGINE] > 20
    assert tally.answered_new[ENGINE] > 20
    assert tally.answered_old[WALKER] > 20


def test_replay(walker: Walker) -> None:
    """A state depends on its seed and number, not on those before it."""
    for index in (0, 7, 4321):
        one, other = walker.state(SEED, index), walker.state(SEED, index)
        assert bytes(walker.ffi.buffer(one)) == bytes(walker.ffi.buffer(other))
    assert bytes(walker.ffi.buffer(walker.state(1, 2))) != bytes(
        walker.ffi.buffer(walker.state(2, 2))
    )


def test_list_is_complete(walker: Walker) -> None:
    """The deviations of the C side, in its order, each with a state that shows it."""
    bits = walker.names("DEVIATION_")
    assert [bits[deviation.name] for deviation in DEVIATIONS] == [
        1 << n for n in range(len(DEVIATIONS))
    ]
    assert len(DEVIATIONS) == walker.lib.NR_DEVIATIONS == len(bits)
    assert WITNESSES.keys() == bits.keys()


@pytest.mark.parametrize(
    ("number", "who"),
    [
        pytest.param(number, who, marks=[needs_private] if who != WALKER else [])
        for number, deviation in enumerate(DEVIATIONS)
        for who in deviation.who
    ],
)
def test_deviation_still_occurs(walker: Walker, number: int, who: int) -> None:
    """If this fails, Unicorn or our use of it got better: take the deviation off the list."""
    tally = walker.attempt(WITNESSES[DEVIATIONS[number].name].make(walker), vcpu=who != WALKER)
    check(walker, tally)
    assert tally.excused[who][number] == 1
    assert tally.states_excused[who] == 1


def sequence(walker: Walker, **more: int) -> dict[str, int]:
    """Load, take the page away, MOV CR3, load."""
    return {"sequence": 1, "flush": walker.lib.FLUSH_CR3, "edited": 3, "new_entry": 0, **more}


CHOSEN: dict[str, Callable[[Walker], Given]] = {
    "global": lambda walker: Given(
        "LOAD8", cpl=0, cr4=CR4_PGE, flags=SUPERVISOR | X86_G, more=sequence(walker)
    ),
    "pcid": lambda walker: Given(
        "LOAD8",
        cpl=0,
        cr4=CR4_PCIDE,
        flags=SUPERVISOR,
        more=sequence(walker, reload=TABLES[4] | CR3_NOFLUSH),
    ),
}


@pytest.mark.parametrize("name", [choice.name for choice in CHOICES])
def test_choice(walker: Walker, name: str) -> None:
    """The TLB model keeps the translation, which it may; Unicorn's walker has dropped it, which it
    may too.
    """
    tally = walker.attempt(CHOSEN[name](walker).make(walker))
    check(walker, tally)
    assert (tally.answered_old[ENGINE], tally.answered_new[ENGINE]) == (1, 0)
    assert (tally.answered_old[WALKER], tally.answered_new[WALKER]) == (0, 1)


def test_without_the_choice(walker: Walker) -> None:
    """Neither global nor kept by bit 63: MOV CR3 leaves no choice."""
    tally = walker.attempt(
        Given("LOAD8", cpl=0, flags=SUPERVISOR, more=sequence(walker)).make(walker)
    )
    check(walker, tally)
    assert tally.defined == 1


def test_bit_63_of_cr3_with_five_levels(walker: Walker) -> None:
    """Why random states do not set it: Unicorn's walker loses its way (CR3_BIT_63), and only it."""
    more = sequence(walker, reload=TABLES[5] | CR3_NOFLUSH, edited=4)
    given = Given("LOAD8", cpl=0, cr4=CR4_PCIDE | CR4_LA57, flags=SUPERVISOR, more=more)
    tally = walker.attempt(given.make(walker), vcpu=private_parts() == engine_lib.PRIVATE_ALL)
    assert tally.failures == 1
    assert tally.failed_who == WALKER


FAULTS = [
    *(("CODE", bit) for bit in range(6)),
    *(("NO_ACCESSED", level) for level in range(1, 6)),
    ("NO_DIRTY", 0),
    ("ALWAYS_DIRTY", 0),
    ("FRAME", 0),
    ("ALLOW", 0),
    ("CANONICAL", 0),
    ("SECOND_PAGE", 0),
    ("FORGETS", 0),
]


@pytest.mark.parametrize(("wrong", "bit"), FAULTS)
def test_planted_fault_is_caught(walker: Walker, wrong: str, bit: int) -> None:
    """One rule of our engine's broken: some state tells, and nothing excuses it."""
    walker.plant(walker.names("WRONG_")[wrong], bit)
    tally = walker.run(SEED, FAULT_STATES)
    assert tally.failures > 5


def test_every_fault_is_planted(walker: Walker) -> None:
    assert {wrong for wrong, _ in FAULTS} | {"NOTHING"} == walker.names("WRONG_").keys()


def test_failure_tells_how_to_replay(walker: Walker) -> None:
    walker.plant(walker.lib.WRONG_CODE, 1)
    tally = walker.run(SEED, FAULT_STATES)
    index = tally.failed.index
    assert f"unicorn_walker {SEED} {index}" in describe_failure(walker, tally)
    again = walker.run(SEED, 1, first=index)
    assert again.failures == 1


@pytest.mark.fuzz
def test_many_random_states(walker: Walker, capfd: pytest.CaptureFixture[str]) -> None:
    """10,000 states for each example that `make fuzz` asks for, from a new seed."""
    seed = random.SystemRandom().getrandbits(48)
    begin, through = time.perf_counter(), [0, 0, 0]
    for first in range(0, FUZZ_STATES, BATCH):
        tally = walker.run(
            seed, min(BATCH, FUZZ_STATES - first), first=first, vcpu_every=VCPU_EVERY
        )
        check(walker, tally)
        through = [total + n for total, n in zip(through, tally.walks, strict=True)]
        for (name, who), share in shares(tally).items():
            assert share <= LIMIT[name], (name, who, share)
    rate = FUZZ_STATES / (time.perf_counter() - begin)
    with capfd.disabled():
        line = (
            f"\nUnicorn's walker: {through[WALKER]} states of seed {seed} agree,"
            f" {rate:.0f} a second;"
            f" through our MMU {through[FAST]} fast, {through[EXACT]} exact\n"
        )
        os.write(2, line.encode())
