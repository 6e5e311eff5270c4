# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a huge page is collapsed, split and zapped under faults, zaps, walks and users without a
count, a byte or a translation going wrong; the explorer finds each wrong way.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmu.linux.policy import FreeTables
from tests.races.huge_variants import VARIANTS
from ucmmu.race.campaign import Search, run
from ucmmu.race.setting import Setting

FILE = Path(__file__).with_name("huge_variants.py")
POINTS: dict[str, tuple[str, ...]] = {
    "CopiedBeforeTheFlush": (),
    "CopiedAfterThePmd": (),
    "D3Collapse": (),
    "D3Split": ("lazy", "pmdp_invalidate"),
    "D11Collapse": (),
    "PutAfterTheLock": ("unlocked", "pmd_populate"),
    "PinsNotCounted": ("pinned", "pmdp_collapse_flush"),
    "SplitBesideTheLarge": (),
    "CountedAfterThePmd": (),
    "NotPresentIsATable": (),
    "NothingOwed": (),
    "FreedAtOnce": ("spin_lock",),
}
"""The points that suffice to find each; none: all."""
CASES = [
    pytest.param(name, policy, id=f"{name}-{policy.label}")
    for name, variant in VARIANTS.items()
    for policy in variant.policies
]


def test_each_variant_is_explored() -> None:
    assert set(POINTS) == set(VARIANTS)


@pytest.mark.parametrize(("name", "policy"), CASES)
def test_the_explorer_finds_the_variant(name: str, policy: FreeTables) -> None:
    variant = VARIANTS[name]
    (scenario,) = variant.scenarios
    setting = Setting(scenario, policy.label, "sc", f"{FILE}:{name}", points=POINTS[name])
    result = run(setting, Search(2, 200))
    assert result.failure is not None, result.verdict
    assert re.search(variant.seen, f"{result.failure.kind}: {result.failure.text}")


@pytest.mark.parametrize("model", ["sc", "tso"])
@pytest.mark.parametrize("scenario", ["split-fault", "split-gup", "collapse-store"])
def test_ours_passes_in_every_order(scenario: str, model: str) -> None:
    result = run(Setting(scenario, FreeTables.REFCOUNT.label, model), Search(None))
    assert (result.verdict, result.complete) == ("passed", True), result.failure
