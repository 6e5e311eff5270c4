# SPDX-License-Identifier: GPL-2.0-or-later
"""The race explorer: orders in a second of one CPU, and how many of them were run before."""

from __future__ import annotations

import time
from collections.abc import Collection, Hashable, Iterator, Sequence
from functools import partial

from benchmarks.measure import Result, compare
from ucmmu.race.bounded import Bounded
from ucmmu.race.explore import Limits, explore
from ucmmu.race.kernel_program import KernelProgram
from ucmmu.race.program import Actor, MakeProgram, Step, StepAccess
from ucmmu.race.setting import Setting

_SCHEDULES = 40
_SETTINGS = (
    Setting("fault-fault", "refcount", "sc"),
    Setting("fault-fault", "refcount", "tso"),
    Setting("zap-midway-zap", "refcount", "sc"),
)
_THREE = Setting("zap-zap-fault", "refcount", "tso")


class _LooksAgain:
    """A program that takes no step again: each is looked at, and checked, in every run."""

    fixed = False

    def __init__(self, program: KernelProgram) -> None:
        self._program = program

    @property
    def actors(self) -> Sequence[Actor]:
        return self._program.actors

    def enabled(self) -> Collection[Actor]:
        return self._program.enabled()

    def step(self, actor: Actor) -> Step:
        return self._program.step(actor)

    def pending(self, actor: Actor) -> StepAccess | None:
        return self._program.pending(actor)

    def finished(self) -> bool:
        return self._program.finished()

    def finish(self) -> None:
        self._program.finish()

    def state(self) -> Hashable:
        return self._program.state()

    def close(self) -> None:
        self._program.close()


def _looking_again(setting: Setting) -> _LooksAgain:
    return _LooksAgain(setting.program())


def explorer_again() -> Iterator[Result]:
    """Orders a second, with what two runs share looked at once, and in each of them."""
    for setting in _SETTINGS:
        yield compare(
            f"explorer_again_{setting.scenario}_{setting.model}".replace("-", "_"),
            partial(_rate, setting.program),
            partial(_rate, partial(_looking_again, setting)),
            unit="orders/CPU s",
            goal=">= 1.1",
            note=f"the first {_SCHEDULES} orders; peer: the steps that an order shares with the"
            " last are looked at and checked again",
            rounds=3,
        )


def explorer_bound() -> Iterator[Result]:
    """Orders run of three operations without a preemption, against how many differ."""
    exploration = Bounded(_THREE.program, 0)
    traces: set[int] = set()
    runs = 0
    while (told := exploration.next_run()) is not None:
        runs += 1
        if told.trace is not None:
            traces.add(told.trace)
    ratio = runs / len(traces)
    yield Result(
        name="explorer_bound_" + _THREE.scenario.replace("-", "_"),
        ours=runs,
        peer=len(traces),
        unit="orders",
        goal="<= 6",
        ratios=(ratio, ratio),
        note="zap, zap and fault under TSO without a preemption; peer: the Mazurkiewicz traces",
    )


def _rate(make: MakeProgram) -> float:
    """Orders in a second of CPU time."""
    started = time.process_time()
    found = explore(make, limits=Limits(schedules=_SCHEDULES))
    return found.schedules / (time.process_time() - started)
