# SPDX-License-Identifier: GPL-2.0-or-later
"""Campaigns: many random states and kernels, on Bochs and on everything of ours."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field

from tests.oracles.bochs import compare
from tests.oracles.bochs.compare import KernelTally, Tally, Told
from tests.oracles.bochs.machine import Bochs
from tests.oracles.bochs.model import Model
from tests.oracles.bochs.states import State
from tests.oracles.bochs.walk import Walk

_EVERY: float = 0.5
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
        return any(t.failures for t in (*self.tallies.values(), *self.kernel_tallies.values()))

    def text(self) -> str:
        """For people."""
        lines = [f"seed {self.seed}"]
        for name, tally in self.tallies.items():
            excused = ", ".join(f"{n} {name}" for name, n in sorted(tally.excused.items()))
            lines.append(
                f"{name}: {tally.states} states, {len(tally.failures)} differ"
                + (f" ({excused})" if excused else "")
            )
        for name, kernels in self.kernel_tallies.items():
            lines.append(
                f"{name}: {kernels.kernels} kernels of {sum(kernels.ops.values())} operations,"
                f" {len(kernels.failures)} differ"
            )
        return "\n".join([*lines, *self.shown])


def run(seed: int, states: int, kernels: int, *, first: int = 0, progress: bool = False) -> Found:
    """Run a campaign."""
    walk, model = Walk(), Model()

    def told(what: str, count: int) -> Told:
        return Progress(what, count) if progress and sys.stderr.isatty() else None

    found = Found(seed)
    with Bochs() as bochs:
        if states:
            (tally,) = compare.compare(
                bochs, [(walk.run, False)], seed, states, first=first, told=told("states", states)
            )
            found.tallies["walk"] = tally
            if tally.failures:
                found.shown.append(_shown(bochs, walk.run, tally))
        if kernels:
            (kernel_tally,) = compare.compare_kernels(
                bochs, [model.run], seed, kernels, first=first, told=told("kernels", kernels)
            )
            found.kernel_tallies["model"] = kernel_tally
            if kernel_tally.failures:
                found.shown.append(_shown_kernel(bochs, model.run, kernel_tally))
    return found


def _shown(bochs: Bochs, runner: compare.Runner, tally: Tally) -> str:
    def one(state: State) -> Tally:
        tally = Tally()
        tally.judge(state, bochs.run([state])[0], runner, flags=False)
        return tally

    state = compare.minimised(tally.failures[0][0], lambda state: bool(one(state).failures))
    return compare.describe(*one(state).failures[0])


def _shown_kernel(bochs: Bochs, runner: compare.KernelRunner, tally: KernelTally) -> str:
    def one(kernel: compare.Kernel) -> KernelTally:
        tally = KernelTally()
        tally.judge(kernel, bochs.run([kernel])[0], runner)
        return tally

    kernel = compare.minimised_kernel(
        tally.failures[0][0], lambda kernel: bool(one(kernel).failures)
    )
    return compare.describe_kernel(*one(kernel).failures[0])
