# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: whatever the order of steps of two CPUs, a PMD or PUD table is freed exactly once, when its
last entry is gone, and nobody comes to it afterwards; and what does it wrongly is found out.

Scenarios of ucmmu.race.scenarios.levels in every order with one preemption at the steps in which
upper tables are looked up, counted, freed and flushed: so at each gap of a free. With ``-m stress``
all of them, with two.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from mmu.linux.policy import FreeLevels, FreeTables
from tests.races.counted_variants import VARIANTS as COUNTED_VARIANTS
from tests.races.level_variants import VARIANTS
from ucmmu.race.campaign import Search, run
from ucmmu.race.interleaving import Interleaving, Step, explore
from ucmmu.race.scenario import Scenario
from ucmmu.race.scenarios.levels import SCENARIOS
from ucmmu.race.setting import Setting
from ucmmu.race.variant import Variant
from ucmmu.race.world import RaceWorld

COUNTED_FILE = Path(__file__).with_name("counted_variants.py")
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
GAPS = [
    *("pmd_tryget", "pmd_alloc", "pud_alloc", "pmd_install", "pmd_put", "pmd_cleared"),
    *("free_pmd_table", "free_pud_table", "pud_cleared", "tlb_flush_mmu", "gup_fast_pud"),
]
QUICK = [
    "fault-zap",
    "install-zap",
    "fault-guard",
    "zap-zap",
    "gup-zap",
    "walk-zap",
    "mremap-fault",
]


def every_order(scenario: Scenario, policy: FreeTables, *, preemptions: int = 1) -> int:
    """Run it in each; returns how many there were."""

    def in_order(schedule: Sequence[Step]) -> Interleaving:
        world = RaceWorld(
            policy,
            scenario.cpus,
            invlpgb=scenario.invlpgb,
            free_levels=scenario.free_levels,
        )
        actors = scenario.prepare(world)
        race = Interleaving(
            world.kernel, actors, schedule=schedule, points=GAPS, max_steps=500
        ).run()
        world.settle()
        return race

    return explore(in_order, preemptions=preemptions)


@pytest.mark.parametrize("name", [f"pud-{name}" for name in QUICK])
def test_at_each_gap(name: str) -> None:
    assert every_order(BY_NAME[name], FreeTables.REFCOUNT) > 8


@pytest.mark.parametrize("name", ["pmd-install-zap", "pud-zap-zap", "pmd-mremap-zap"])
def test_at_each_gap_under_the_pmd_lock(name: str) -> None:
    assert every_order(BY_NAME[name], FreeTables.REFCOUNT_PMDLOCK) > 8


@pytest.mark.stress
@pytest.mark.parametrize("policy", [FreeTables.REFCOUNT, FreeTables.REFCOUNT_PMDLOCK])
@pytest.mark.parametrize("name", list(BY_NAME))
def test_with_two_preemptions(name: str, policy: FreeTables) -> None:
    assert every_order(BY_NAME[name], policy, preemptions=2) > 8


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.__name__)
def test_the_variant_fails(variant: type[Variant]) -> None:
    """Each fails in the first of its scenarios, and for the reason that it should."""
    scenario = BY_NAME[variant.scenarios[0]]
    with variant.applied(FreeTables.REFCOUNT), pytest.raises(Exception, match=variant.seen):
        every_order(scenario, FreeTables.REFCOUNT, preemptions=2)


@pytest.mark.parametrize("name", COUNTED_VARIANTS)
def test_the_invariants_tell_the_variant(name: str) -> None:
    """By the check that it is for, in one step."""
    variant = COUNTED_VARIANTS[name]
    points = ("count_read",) if name == "LostIncrement" else ()
    spec = f"{COUNTED_FILE}:{name}"
    setting = Setting(variant.scenarios[0], "refcount", "sc", spec, points=points)
    result = run(setting, Search(1, 60))
    assert result.failure is not None, result.verdict
    assert result.failure.kind == "RaceViolation", result.failure.text
    assert result.failure.text.startswith(variant.seen), result.failure.text


def test_every_level_has_its_scenarios() -> None:
    of_level = {levels: [s for s in SCENARIOS if s.free_levels is levels] for levels in FreeLevels}
    assert not of_level[FreeLevels.PTE]
    assert len(of_level[FreeLevels.PMD]) >= 14 and len(of_level[FreeLevels.PUD]) >= 14
