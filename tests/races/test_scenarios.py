# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: no order of any scenario fails with our designs, in either memory model: here those without
preemptions, and some at random; `make races` takes them further.
"""

from __future__ import annotations

import pytest

from mmu.linux.policy import FreeTables
from ucmmu.race.campaign import BOUNDS, Search, run
from ucmmu.race.scenarios import SCENARIOS
from ucmmu.race.setting import Setting

OPERATIONS = {
    *("zap", "fault", "munmap", "fork", "mremap 2 MiB", "mprotect", "fast GUP", "lazy, load"),
    *("process exit", "OOM reaper", "reclaim", "flush"),
}
"""What the kernel does to a table; each is in a scenario."""


def test_every_operation_is_in_a_scenario() -> None:
    named = {operation for one in SCENARIOS.values() for operation in one.operations}
    assert named >= OPERATIONS


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_says_what_it_is(name: str) -> None:
    scenario = SCENARIOS[name]
    assert len(scenario.operations) in BOUNDS
    assert scenario.about and scenario.rules and scenario.policies
    assert set(scenario.policies) <= set(FreeTables)


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_order_fails(name: str) -> None:
    """CPU by CPU, and one order at random with store buffers, under each policy."""
    for policy in SCENARIOS[name].policies:
        for setting, search in (
            (Setting(name, policy.label, "sc"), Search(bound=0, schedules=2)),
            (Setting(name, policy.label, "tso"), Search(seed=1, schedules=1)),
        ):
            result = run(setting, search)
            assert result.failure is None, f"{setting}: {result.failure}"


@pytest.mark.stress
@pytest.mark.parametrize("name", SCENARIOS)
def test_no_order_fails_with_one_preemption(name: str) -> None:
    for policy in SCENARIOS[name].policies:
        result = run(Setting(name, policy.label), Search(bound=1))
        assert result.verdict == "passed", f"{policy}: {result.failure}"
