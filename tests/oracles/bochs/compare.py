# SPDX-License-Identifier: GPL-2.0-or-later
"""Bochs' result of a state beside ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from mmu.x86.entries import describe_entry
from tests.oracles.bochs import deviations, states
from tests.oracles.bochs.machine import Bochs
from tests.oracles.bochs.states import DONE, KINDS, NO_VECTOR, Register, Result, State

RFLAGS_RF: Final = 1 << 16
BATCH: Final = 500

Runner = Callable[[State], Result]


def told_alike(result: Result, *, flags: bool) -> Result:
    """A result of Bochs as ours would tell it: its UD2 is the end, RF is of the frame only."""
    done = result.vector == DONE
    return result._replace(
        vector=NO_VECTOR if done else result.vector,
        rflags=result.rflags & ~RFLAGS_RF if flags else 0,
    )


def excuse(state: State, bochs: Result, ours: Result, runner: Runner) -> str | None:
    """Which deviation makes this difference; None if none does. ``runner`` is ours."""
    if deviations.with_upper_accessed(state, bochs, ours) == ours:
        return deviations.UPPER_ACCESSED.name
    if deviations.heeds_ac(state):
        other = runner(deviations.as_bochs_heeds_it(state))
        if deviations.with_upper_accessed(state, bochs, other) == other:
            return deviations.IMPLICIT_AC.name
    return None


@dataclass
class Tally:
    """What a campaign found."""

    states: int = 0
    by_code: Counter[tuple[int, int]] = field(default_factory=Counter)
    """By vector and error code, NO_VECTOR if the instruction was done."""
    by_kind: Counter[int] = field(default_factory=Counter)
    excused: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[State, Result, Result]] = field(default_factory=list)
    """State, Bochs' result, ours."""

    def judge(self, state: State, bochs: Result, runner: Runner, *, flags: bool) -> None:
        """Run a state on ours, and compare."""
        bochs, ours = told_alike(bochs, flags=flags), runner(state)
        if not flags:
            ours = ours._replace(rflags=0)
        self.states += 1
        self.by_code[bochs.vector, bochs.error] += 1
        self.by_kind[state.kind] += 1
        if bochs == ours:
            return

        def again(other: State) -> Result:
            return runner(other) if flags else runner(other)._replace(rflags=0)

        name = excuse(state, bochs, ours, again)
        if name is None:
            self.failures.append((state, bochs, ours))
        else:
            self.excused[name] += 1


def batches(seed: int, first: int, count: int) -> Iterator[list[State]]:
    """Random states, in batches."""
    for begin in range(first, first + count, BATCH):
        end = min(begin + BATCH, first + count)
        yield [states.random_state(seed, index) for index in range(begin, end)]


def with_bochs(
    bochs: Bochs, source: Iterator[Sequence[State]]
) -> Iterator[tuple[Sequence[State], list[Result]]]:
    """Each batch with what Bochs did, which works ahead."""
    ahead: Sequence[State] | None = None
    for batch in source:
        done = None if ahead is None else (ahead, bochs.receive())
        bochs.send(batch)
        if done is not None:
            yield done
        ahead = batch
    if ahead is not None:
        yield ahead, bochs.receive()


def compare(
    bochs: Bochs,
    runners: Sequence[tuple[Runner, bool]],
    seed: int,
    count: int,
    *,
    first: int = 0,
    told: Callable[[int], object] | None = None,
) -> list[Tally]:
    """Run random states on Bochs and on each of ours, which come with whether they tell RFLAGS; a
    tally for each. ``told`` hears how many are done.
    """
    tallies = [Tally() for _ in runners]
    for batch, results in with_bochs(bochs, batches(seed, first, count)):
        for tally, (runner, flags) in zip(tallies, runners, strict=True):
            for state, result in zip(batch, results, strict=True):
                tally.judge(state, result, runner, flags=flags)
        if told is not None:
            told(tallies[0].states)
    return tallies


def minimised(state: State, differs: Callable[[State], bool]) -> State:
    """The state with as few unusual bits as still make it differ."""
    for name in ("rflags", "cr4", "efer", "cr0"):
        value = getattr(state, name)
        for bit in _BITS[name]:
            smaller = state._replace(**{name: value & ~bit})
            if value & bit and differs(smaller):
                state, value = smaller, value & ~bit
    words = list(state.words)
    for i, (pa, _) in enumerate(words):
        for bit in (1 << n for n in (63, *range(52, 63), *range(8, 12), 6, 5, 4, 3)):
            value = words[i][1]
            if value & bit:
                words[i] = (pa, value & ~bit)
                if not differs(state._replace(words=tuple(words))):
                    words[i] = (pa, value)
    return state._replace(words=tuple(words))


_BITS: Final = {
    "rflags": (states.RFLAGS_AC,),
    "cr4": (states.CR4_SMAP, states.CR4_SMEP, states.CR4_PGE, states.CR4_PCIDE),
    "efer": (states.EFER_NXE,),
    "cr0": (states.CR0_WP,),
}


def describe(state: State, bochs: Result, ours: Result) -> str:
    """A difference, for people."""
    lines = [
        f"seed {state.seed} state {state.index}: {KINDS[state.kind].name!r} at CPL {state.cpl},"
        f" cr0 {state.cr0:#x} cr3 {state.cr3:#x} cr4 {state.cr4:#x} efer {state.efer:#x}"
        f" rflags {state.rflags:#x}",
        "  " + " ".join(f"{r.name.lower()} {state.registers[r]:#x}" for r in Register),
    ]
    lines += [f"  at {pa:#x}: {describe_entry(value, 1)}" for pa, value in state.words]
    for name in Result._fields:
        its, mine = getattr(bochs, name), getattr(ours, name)
        if its != mine:
            lines.append(f"  {name}: Bochs {_text(its)}, ours {_text(mine)}")
    return "\n".join(lines)


def _text(value: object) -> str:
    if isinstance(value, int):
        return hex(value)
    if isinstance(value, tuple):
        return " ".join(_text(item) for item in value)
    return value.hex() if isinstance(value, bytes) else str(value)
