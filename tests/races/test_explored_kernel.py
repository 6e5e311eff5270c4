# SPDX-License-Identifier: GPL-2.0-or-later
"""What the explorer leaves out makes no difference: on the kernel itself, every order of steps with
few preemptions comes to the same final states as those that it tries.
"""

from __future__ import annotations

from collections.abc import Hashable

import pytest

from ucmmu.race.explore import explore
from ucmmu.race.kernel_program import KernelProgram
from ucmmu.race.program import Actor, Kind
from ucmmu.race.setting import Setting


def _final_states(setting: Setting, bound: int) -> set[Hashable]:
    """Those that the explorer comes to."""
    found: set[Hashable] = set()

    def make() -> KernelProgram:
        program = setting.program()
        finish = program.finish

        def noting() -> None:
            found.add(program.state())
            finish()

        program.finish = noting  # type: ignore[method-assign]
        return program

    result = explore(make, bound=bound)
    assert result.failure is None and not result.stopped
    return found


def _every_final_state(setting: Setting, bound: int) -> set[Hashable]:
    """Those of every order with no more than ``bound`` preemptions, none left out."""
    found: set[Hashable] = set()
    schedules: list[list[Actor]] = [[]]
    while schedules:
        given = schedules.pop()
        program, done, left = setting.program(), list[Actor](), 0
        try:
            last: Actor | None = None
            while not program.finished():
                able = list(program.enabled())
                on = [last] if last in able else able
                actor = given[len(done)] if len(done) < len(given) else on[0]
                if len(done) >= len(given):
                    for other in able:
                        costs = last in able and other != last and other.kind is Kind.CPU
                        if other != actor and left + costs <= bound:
                            schedules.append([*done, other])
                if last in able and actor != last and actor.kind is Kind.CPU:
                    left += 1
                program.step(actor)
                done.append(actor)
                last = actor if actor.kind is Kind.CPU else last
            found.add(program.state())
        finally:
            program.close()
    return found


@pytest.mark.fuzz
@pytest.mark.parametrize("bound", [0, 1])
@pytest.mark.parametrize("name", ["fault-fault", "fault-zap", "zap-zap", "lazy-zap"])
def test_what_is_left_out_makes_no_difference(name: str, bound: int) -> None:
    """The same final states, of all that CPUs share."""
    setting = Setting(name, "refcount")
    tried, every = _final_states(setting, bound), _every_final_state(setting, bound)
    assert every <= tried
