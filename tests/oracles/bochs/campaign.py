# SPDX-License-Identifier: GPL-2.0-or-later
"""Campaigns: many random states and kernels, on Bochs and on everything of ours."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Final

from tests.oracles.bochs import compare
from tests.oracles.bochs.attached import Attached, KernelInstance
from tests.oracles.bochs.compare import KernelLeg, KernelTally, Leg, Tally, Told
from tests.oracles.bochs.kernels import Kernel
from tests.oracles.bochs.machine import Bochs
from tests.oracles.bochs.model import Model
from tests.oracles.bochs.states import State
from tests.oracles.bochs.walk import Walk

_EVERY: Final = 0.5
"""Seconds from one line of progress to the next."""


class Progress:
    """A line on a terminal that says how many are done."""

    def __init__(self, what: str, count: int) -> None:
        self.what, self.count = what, count
        self.begin = self.last = time.monotonic()

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now - self.last > _EVERY or done == self.count:
            self.last = now
            rate = done / max(now - self.begin, 1e-3)
            end = "\n" if done == self.count else ""
            text = f"\r{done} of {self.count} {self.what}, {rate:.0f} a second{end}"
            print(text, end="", file=sys.stderr, flush=True)


@dataclass
class Found:
    """What a campaign found."""

    seed: int
    tallies: dict[str, Tally] = field(default_factory=dict)
    kernel_tallies: dict[str, KernelTally] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)
    """The first difference of each of ours, minimised."""

    @property
    def failed(self) -> bool:
        states = any(tally.failures for tally in self.tallies.values())
        return states or any(tally.failures for tally in self.kernel_tallies.values())

    def text(self) -> str:
        """For people."""
        lines = [f"seed {self.seed}"]
        for name, tally in self.tallies.items():
            lines.append(
                f"{name}: {tally.states} states, {len(tally.failures)} differ"
                + _excused(tally.excused)
            )
        for name, kernels in self.kernel_tallies.items():
            lines.append(
                f"{name}: {kernels.kernels} kernels of {sum(kernels.ops.values())} operations,"
                f" {len(kernels.failures)} differ" + _excused(kernels.excused)
            )
        return "\n".join([*lines, *self.shown])


def _excused(names: Counter[str]) -> str:
    told = ", ".join(f"{n} {name}" for name, n in sorted(names.items()))
    return f" ({told})" if told else ""


def run(
    seed: int,
    states: int,
    kernels: int,
    *,
    first: int = 0,
    attached_every: int = 1,
    progress: bool = False,
) -> Found:
    """Run a campaign; attached instances get each state and kernel whose number is a multiple of
    ``attached_every``.
    """

    def told(what: str, count: int) -> Told:
        return Progress(what, count) if progress else None

    found = Found(seed)
    with Bochs() as bochs, ExitStack() as stack:
        if states:
            legs = state_legs(stack, attached_every)
            tallies = compare.compare(
                bochs, legs, seed, states, first=first, told=told("states", states)
            )
            for leg, tally in zip(legs, tallies, strict=True):
                found.tallies[leg.name] = tally
                if tally.failures:
                    found.shown.append(_shown(bochs, leg, tally))
        if kernels:
            kernel_legs_ = kernel_legs(stack, attached_every)
            kernel_tallies = compare.compare_kernels(
                bochs, kernel_legs_, seed, kernels, first=first, told=told("kernels", kernels)
            )
            for kernel_leg, kernel_tally in zip(kernel_legs_, kernel_tallies, strict=True):
                found.kernel_tallies[kernel_leg.name] = kernel_tally
                if kernel_tally.failures:
                    found.shown.append(_shown_kernel(bochs, kernel_leg, kernel_tally))
    return found


FIDELITIES: Final = ("fast", "exact")


def state_legs(stack: ExitStack, attached_every: int = 1) -> list[Leg]:
    """Our walk, and attached instances."""
    walk = stack.enter_context(closing(Walk()))
    legs = [Leg("walk", walk.run)]
    for fidelity in FIDELITIES:
        attached = stack.enter_context(closing(Attached(fidelity)))
        legs.append(Leg(fidelity, attached.run, True, attached_every, walk))
    return legs


def kernel_legs(stack: ExitStack, attached_every: int = 1) -> list[KernelLeg]:
    """Our TLB model, and attached instances."""
    model = stack.enter_context(closing(Model()))
    legs = [KernelLeg("model", model.run)]
    for fidelity in FIDELITIES:
        attached = stack.enter_context(closing(KernelInstance(fidelity)))
        legs.append(KernelLeg(fidelity, attached.run, attached_every, model))
    return legs


def _shown(bochs: Bochs, leg: Leg, tally: Tally) -> str:
    def one(state: State) -> Tally:
        tally = Tally()
        tally.judge(state, bochs.run([state])[0], leg)
        return tally

    state = tally.failures[0][0]
    if not one(state).failures:
        return f"{leg.name}: seed {state.seed} state {state.number} differs after others only"
    state = compare.minimised(state, lambda state: bool(one(state).failures))
    return f"{leg.name}: {compare.describe(*one(state).failures[0])}"


def _shown_kernel(bochs: Bochs, leg: KernelLeg, tally: KernelTally) -> str:
    def one(kernel: Kernel) -> KernelTally:
        tally = KernelTally()
        tally.judge(kernel, bochs.run([kernel])[0], leg)
        return tally

    kernel = tally.failures[0][0]
    if not one(kernel).failures:
        return f"{leg.name}: seed {kernel.seed} kernel {kernel.number} differs after others only"
    kernel = compare.minimised_kernel(kernel, lambda kernel: bool(one(kernel).failures))
    return f"{leg.name}: {compare.describe_kernel(*one(kernel).failures[0])}"
