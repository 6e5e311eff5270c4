# SPDX-License-Identifier: GPL-2.0-or-later
"""What is explored: a scenario under a policy and a memory model, or a variant of the kernel."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from mmu.linux.policy import FreeTables, class_of
from ucmmu.policy_file import find_policy
from ucmmu.race.kernel_program import KernelProgram
from ucmmu.race.scenarios import SCENARIOS
from ucmmu.race.variant import load_variant
from ucmmu.race.world import RaceWorld

if TYPE_CHECKING:
    from mmu.events import EventRing
    from mmu.linux.free_tables import FreeTablesPolicy
    from ucmmu.race.scenario import Scenario


@dataclass(frozen=True)
class Setting:
    """One thing to explore: the names of scenario and policy, the memory model, and the variant, as
    FILE.py:CLASS, that takes the place of our functions. ``fine``: CPUs may be left before each
    thing that others see, not only at the points that the kernel names. ``points``: only at the
    points of these names (none: at all), and where a CPU waits.
    """

    scenario: str
    policy: str
    model: str = "sc"
    variant: str | None = None
    fine: bool = False
    points: tuple[str, ...] = ()

    @property
    def found(self) -> Scenario:
        """The scenario."""
        return SCENARIOS[self.scenario]

    @property
    def nr_operations(self) -> int:
        """How many operations the scenario has, each on its CPU."""
        return len(self.found.operations)

    @property
    def of_the_user(self) -> bool:
        """Whether code of the user's runs in it: a variant, or a policy of their own."""
        return self.variant is not None or not isinstance(find_policy(self.policy), FreeTables)

    def program(
        self, ring: EventRing | None = None, called: set[str] | None = None
    ) -> KernelProgram:
        """A new run of it, whose events go to ``ring``. A variant's functions are in the place of
        ours from the beginning of the race until it is closed; ``called`` gets the names of those
        that are called.
        """
        scenario = self.found
        world = RaceWorld(
            self._policy(called),
            scenario.cpus,
            invlpgb=scenario.invlpgb,
            free_levels=scenario.free_levels,
            ring=ring,
            watched=True,
        )
        acts = scenario.prepare(world)
        changed = ExitStack()
        changed.enter_context(self._applied(called))
        tso = self.model == "tso"
        return KernelProgram(
            world,
            acts,
            fine=self.fine,
            tso=tso,
            reuse=scenario.reuse,
            of_the_user=self.of_the_user,
            points=self.points or None,
            on_close=changed.close,
        )

    def _policy(self, called: set[str] | None) -> FreeTables | type[FreeTablesPolicy]:
        policy = find_policy(self.policy)
        if self.variant is None:
            return policy
        base = class_of(policy) if isinstance(policy, FreeTables) else policy
        return load_variant(self.variant).policy(cast("type[FreeTablesPolicy]", base), called)

    def _applied(self, called: set[str] | None) -> AbstractContextManager[None]:
        if self.variant is None:
            return nullcontext()
        policy = find_policy(self.policy)
        assert isinstance(policy, FreeTables)
        return load_variant(self.variant).applied(policy, called)
