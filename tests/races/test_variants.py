# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the explorer finds each defect of the published versions by itself, within so many
preemptions and schedules, and tells it by its reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from mmu.linux.policy import FreeTables
from tests.races.variants import VARIANTS
from ucmmu.race.campaign import BOUNDS, Search, run
from ucmmu.race.setting import Setting

FILE = Path(__file__).with_name("variants.py")


@dataclass(frozen=True)
class Within:
    """The bound that a variant is found within, and the points that suffice; none: all."""

    preemptions: int
    schedules: int
    points: tuple[str, ...] = ()
    model: str = "sc"


FOUND: dict[str, Within] = {
    "D1": Within(0, 3),
    "D2": Within(1, 40),
    "D2Locked": Within(1, 40),
    "D3": Within(1, 40),
    "D4": Within(3, 400, ("visiting", "tlb_flush_mmu", "pmd_cleared")),
    "D4Gathered": Within(1, 30),
    "D5": Within(1, 60),
    "D6": Within(1, 60),
    "D6Locked": Within(1, 60),
    "D7": Within(1, 20),
    "D8": Within(0, 3),
    "D9": Within(1, 40),
    "D10": Within(0, 5),
    "D11": Within(1, 40),
    "D12": Within(0, 3),
    "ScanMidway": Within(1, 60),
    "ScanWaits": Within(0, 60),
    "ScanNotLookedAtAgain": Within(1, 60),
    "ABA": Within(1, 30),
    "NotAtomic": Within(1, 20),
    "NoInterrupt": Within(1, 20),
    "NoBarrier": Within(1, 300, model="tso"),
}

CASES = [
    pytest.param(name, scenario, policy, id=f"{name}-{scenario}-{policy.label}")
    for name, variant in VARIANTS.items()
    for scenario in variant.scenarios
    for policy in variant.policies
]


def test_each_variant_is_explored() -> None:
    assert set(FOUND) == set(VARIANTS)


@pytest.mark.parametrize(("name", "scenario", "policy"), CASES)
def test_the_explorer_finds_the_variant(name: str, scenario: str, policy: FreeTables) -> None:
    within, variant = FOUND[name], VARIANTS[name]
    setting = Setting(scenario, policy.label, within.model, f"{FILE}:{name}", points=within.points)
    result = run(setting, Search(within.preemptions, within.schedules))
    assert result.failure is not None, result.verdict
    assert re.search(variant.seen, f"{result.failure.kind}: {result.failure.text}")


def _as_asked_for_without_options(name: str, scenario: str, policy: FreeTables) -> None:
    setting = Setting(scenario, policy.label, FOUND[name].model, f"{FILE}:{name}")
    result = run(setting, Search(BOUNDS[setting.nr_operations], 3000))
    assert result.failure is not None, result.verdict
    assert re.search(VARIANTS[name].seen, f"{result.failure.kind}: {result.failure.text}")


@pytest.mark.parametrize("policy", VARIANTS["ABA"].policies, ids=lambda policy: policy.label)
def test_aba_is_among_the_orders_that_matter(policy: FreeTables) -> None:
    """What is wrong is when the reference was taken: the check looks at the PMD then."""
    _as_asked_for_without_options("ABA", "move-lookup", policy)


@pytest.mark.stress
@pytest.mark.parametrize(("name", "scenario", "policy"), CASES)
def test_each_is_found_as_asked_for_without_options(
    name: str, scenario: str, policy: FreeTables
) -> None:
    _as_asked_for_without_options(name, scenario, policy)


def test_a_missing_barrier_shows_with_store_buffers_alone() -> None:
    """Every order of the same steps passes where each store is seen at once."""
    setting = Setting("flush-switch-page", "refcount", "sc", f"{FILE}:NoBarrier")
    result = run(setting, Search(None))
    assert result.complete and result.verdict == "passed"
