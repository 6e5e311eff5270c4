# SPDX-License-Identifier: GPL-2.0-or-later
"""The scenarios of the race explorer, by name: a file for each family."""

from __future__ import annotations

from typing import Final

from ucmmu.race.scenario import Scenario
from ucmmu.race.scenarios import flushing, freeing, huge, levels, sharing

SCENARIOS: Final[dict[str, Scenario]] = {
    scenario.name: scenario
    for family in (freeing, flushing, sharing, huge, levels)
    for scenario in family.SCENARIOS
}
"""In the order in which they are listed."""
