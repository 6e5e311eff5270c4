# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a page that has left its file is mapped nowhere, whatever faults, munmap(), mremap() or
another process do meanwhile; truncation unmaps it twice at most. The explorer finds each wrong way.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmu.linux.policy import FreeTables
from tests.races.truncate_variants import VARIANTS
from ucmmu.race.campaign import Search, run
from ucmmu.race.setting import Setting

FILE = Path(__file__).with_name("truncate_variants.py")
POINTS = {
    "NotLookedAtAgain": ("folio_lock", "folio_unlock"),
    "AroundNotLocked": ("frames", "folio_lock", "up_rwsem"),
    "UnlinkedEarly": ("rcu_read_lock", "up_rwsem", "folio_lock"),
    "NotUnmappedAgain": ("spin_lock", "folio_lock", "up_rwsem"),
    "NotLockedWhileMoved": ("spin_lock", "down_read", "pte_try_get"),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_explorer_finds_the_variant(name: str) -> None:
    variant = VARIANTS[name]
    (scenario,) = variant.scenarios
    setting = Setting(
        scenario, FreeTables.REFCOUNT.label, "sc", f"{FILE}:{name}", points=POINTS[name]
    )
    result = run(setting, Search(2, 200))
    assert result.failure is not None, result.verdict
    assert re.search(variant.seen, f"{result.failure.kind}: {result.failure.text}")
