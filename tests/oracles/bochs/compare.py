# SPDX-License-Identifier: GPL-2.0-or-later
"""Bochs' result of a state beside ours."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from mmu.x86.entries import X86_A, X86_PS, describe_entry
from mmu.x86.registers import (
    CR0_WP,
    CR4_PCIDE,
    CR4_PGE,
    CR4_SMAP,
    CR4_SMEP,
    EFER_NXE,
    RFLAGS_AC,
)
from tests.oracles.bochs import deviations, kernels, states
from tests.oracles.bochs.kernels import Kernel, KernelResult, Op
from tests.oracles.bochs.machine import Bochs
from tests.oracles.bochs.model import Model
from tests.oracles.bochs.states import DONE, KINDS, NO_VECTOR, Register, Result, State
from tests.oracles.bochs.walk import Walk

RFLAGS_RF: Final = 1 << 16
BATCH: Final = 500

Runner = Callable[[State], Result]
KernelRunner = Callable[[Kernel], KernelResult]
Told = Callable[[int], object] | None


@dataclass(frozen=True)
class Leg:
    """One of ours: what executes a state."""

    name: str
    run: Runner
    tells_flags: bool = False
    every: int = 1
    """It gets each state whose number is a multiple."""
    oracle: Walk | None = None
    """Our walk, which can do what an attached instance is known to do otherwise."""

    def result(self, state: State) -> Result:
        """What it does with a state."""
        result = self.run(state)
        return result if self.tells_flags else result._replace(rflags=0)


@dataclass(frozen=True)
class KernelLeg:
    """One of ours: what executes a kernel."""

    name: str
    run: KernelRunner
    every: int = 1
    oracle: Model | None = None
    """Our model, which can do what an attached instance is known to do otherwise."""


def told_alike(result: Result, *, flags: bool) -> Result:
    """A result of Bochs as ours would tell it: its UD2 is the end, RF is of the frame only."""
    done = result.vector == DONE
    return result._replace(
        vector=NO_VECTOR if done else result.vector,
        rflags=result.rflags & ~RFLAGS_RF if flags else 0,
    )


def excuse(state: State, bochs: Result, ours: Result, leg: Leg) -> tuple[str, ...]:
    """Which deviations make this difference; none if none do."""
    if deviations.with_upper_accessed(state, bochs, ours) == ours:
        return (deviations.UPPER_ACCESSED.name,)
    if leg.oracle is not None:
        return _excuse_by_quirks(state, bochs, ours, leg.name, leg.oracle)
    if deviations.heeds_ac(state):
        other = leg.result(deviations.as_bochs_heeds_it(state))
        if deviations.with_upper_accessed(state, bochs, other) == other:
            return (deviations.IMPLICIT_AC.name,)
    return ()


def _excuse_by_quirks(
    state: State, bochs: Result, ours: Result, name: str, oracle: Walk
) -> tuple[str, ...]:
    """As few quirks as possible with which our walk does just what an attached instance did; RFLAGS
    are the walk's, or Bochs'.
    """
    for chosen in deviations.combinations(name):
        expected = oracle.run(state, deviations.quirks_of(chosen))
        if ours in (expected, expected._replace(rflags=bochs.rflags)):
            return tuple(deviation.name for deviation in chosen)
    return ()


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

    def judge(self, state: State, bochs: Result, leg: Leg) -> None:
        """Run a state on ours, and compare."""
        bochs, ours = told_alike(bochs, flags=leg.tells_flags), leg.result(state)
        if leg.oracle is not None and deviations.heeds_ac(state):
            bochs = leg.oracle.run(state)  # for Bochs is wrong there
        self.states += 1
        self.by_code[bochs.vector, bochs.error] += 1
        self.by_kind[state.kind] += 1
        if bochs == ours:
            return
        names = excuse(state, bochs, ours, leg)
        self.excused.update(names)
        if not names:
            self.failures.append((state, bochs, ours))


Case = TypeVar("Case", State, Kernel)


def batches(make: Callable[[int], Case], first: int, count: int) -> Iterator[list[Case]]:
    """Random cases, in batches."""
    for begin in range(first, first + count, BATCH):
        yield [make(index) for index in range(begin, min(begin + BATCH, first + count))]


def with_bochs(bochs: Bochs, source: Iterator[Sequence[Case]]) -> Iterator[tuple[Case, Any]]:
    """Each case with what Bochs did, which works a batch ahead."""
    ahead: Sequence[Case] = ()
    for batch in source:
        results = bochs.receive() if ahead else []
        bochs.send(batch)
        yield from zip(ahead, results, strict=True)
        ahead = batch
    if ahead:
        yield from zip(ahead, bochs.receive(), strict=True)


def compare(
    bochs: Bochs,
    legs: Sequence[Leg],
    seed: int,
    count: int,
    *,
    first: int = 0,
    told: Told = None,
) -> list[Tally]:
    """Run random states on Bochs and on each of ours; a tally for each. ``told`` hears how many are
    done.
    """
    tallies = [Tally() for _ in legs]
    source = batches(functools.partial(states.random_state, seed), first, count)
    for number, (state, result) in enumerate(with_bochs(bochs, source)):
        for tally, leg in zip(tallies, legs, strict=True):
            if number % leg.every == 0:
                tally.judge(state, result, leg)
        if told is not None:
            told(number + 1)
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
    "rflags": (RFLAGS_AC,),
    "cr4": (CR4_SMAP, CR4_SMEP, CR4_PGE, CR4_PCIDE),
    "efer": (EFER_NXE,),
    "cr0": (CR0_WP,),
}


def _kernel_words_agree(kernel: Kernel, bochs: KernelResult, ours: KernelResult) -> bool:
    """Whether tables are equal but for the choice UPPER_ACCESSED."""
    for (pa, _), its, mine in zip(kernel.words, bochs.words, ours.words, strict=True):
        if its != mine:
            place = kernels.place_at().get(pa)
            level = place.level if place else 4
            refers = level == 4 or (level > 1 and not mine & X86_PS)
            if not refers or mine != its | X86_A:
                return False
    return True


def kernel_differences(kernel: Kernel, bochs: KernelResult, ours: KernelResult) -> list[str]:
    """What of a kernel differs, a line for each thing."""
    lines = []
    logs = zip(bochs.log, ours.log, strict=False)
    place = next((i for i, (its, mine) in enumerate(logs) if mine not in (None, its)), None)
    if place is not None:
        lines.append(
            f"log[{place}]: Bochs {_text(bochs.log[place])}, ours {_text(ours.log[place])}"
        )
    elif len(bochs.log) != len(ours.log):
        lines.append(f"length of the log: Bochs {len(bochs.log)}, ours {len(ours.log)}")
    if bochs.control != ours.control:
        lines.append(f"registers: Bochs {_text(bochs.control)}, ours {_text(ours.control)}")
    if bochs.data != ours.data:
        its, mine = ({hex(pa) for pa, _ in found} for found in (bochs.data, ours.data))
        lines.append(f"data: Bochs changed {sorted(its)}, ours {sorted(mine)}")
    told = tuple(event for event in bochs.invalidations if event[0] in COMPARED_EVENTS)
    if told != ours.invalidations:
        lines.append(f"invalidations: Bochs {told}, ours {ours.invalidations}")
    if not _kernel_words_agree(kernel, bochs, ours):
        lines += [
            f"entry at {pa:#x}: Bochs {its:#x}, ours {mine:#x}"
            for (pa, _), its, mine in zip(kernel.words, bochs.words, ours.words, strict=True)
            if its != mine
        ]
    return lines


COMPARED_EVENTS: Final = ("cr3", "invlpg", "invpcid")


@dataclass
class KernelTally:
    """What a campaign of kernels found."""

    kernels: int = 0
    ops: Counter[str] = field(default_factory=Counter)
    excused: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[Kernel, KernelResult, KernelResult]] = field(default_factory=list)
    """Kernel, Bochs' result, ours."""

    def judge(self, kernel: Kernel, bochs: KernelResult, leg: KernelLeg) -> None:
        """Run a kernel on ours, and compare."""
        ours = leg.run(kernel)
        self.kernels += 1
        self.ops.update(op.name for op in kernel.ops)
        if not kernel_differences(kernel, bochs, ours):
            return
        names = _excuse_kernel(kernel, bochs, ours, leg)
        self.excused.update(names)
        if not names:
            self.failures.append((kernel, bochs, ours))


def _excuse_kernel(
    kernel: Kernel, bochs: KernelResult, ours: KernelResult, leg: KernelLeg
) -> tuple[str, ...]:
    """As few quirks as possible with which our model does just what an attached instance did: what
    it does not tell must be Bochs'.
    """
    if leg.oracle is None:
        return ()
    for chosen in deviations.combinations(leg.name):
        expected = leg.oracle.run(kernel, deviations.quirks_of(chosen))
        logs = zip(expected.log, bochs.log, strict=False)
        log = tuple([its if word is None else word for word, its in logs])
        if ours == expected._replace(log=log):
            return tuple(deviation.name for deviation in chosen)
    return ()


def compare_kernels(
    bochs: Bochs,
    legs: Sequence[KernelLeg],
    seed: int,
    count: int,
    *,
    first: int = 0,
    told: Told = None,
) -> list[KernelTally]:
    """As compare(), of random kernels."""
    tallies = [KernelTally() for _ in legs]
    source = batches(functools.partial(kernels.random_kernel, seed), first, count)
    for number, (kernel, result) in enumerate(with_bochs(bochs, source)):
        for tally, leg in zip(tallies, legs, strict=True):
            if number % leg.every == 0:
                tally.judge(kernel, result, leg)
        if told is not None:
            told(number + 1)
    return tallies


def minimised_kernel(kernel: Kernel, differs: Callable[[Kernel], bool]) -> Kernel:
    """The kernel without the operations that it does not need to differ."""
    step = len(kernel.ops) // 2
    while step:
        begin = 0
        while begin + step < len(kernel.ops):  # "end" stays
            ops: tuple[Op, ...] = kernel.ops[:begin] + kernel.ops[begin + step :]
            smaller = kernel._replace(ops=ops)
            if kernels.is_defined(smaller) and differs(smaller):
                kernel = smaller
            else:
                begin += step
        step //= 2
    return kernel


def describe_kernel(kernel: Kernel, bochs: KernelResult, ours: KernelResult) -> str:
    """A difference, for people."""
    lines = [
        f"seed {kernel.seed} kernel {kernel.number}: cr0 {kernel.cr0:#x} cr3 {kernel.cr3:#x}"
        f" cr4 {kernel.cr4:#x} efer {kernel.efer:#x}"
    ]
    lines += [f"  {op.name} {op.rbx:#x} {op.rcx:#x} {op.rdx:#x}" for op in kernel.ops]
    return "\n".join([*lines, *kernel_differences(kernel, bochs, ours)])


def describe(state: State, bochs: Result, ours: Result) -> str:
    """A difference, for people."""
    lines = [
        f"seed {state.seed} state {state.number}: {KINDS[state.kind].name!r} at CPL {state.cpl},"
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
