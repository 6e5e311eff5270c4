# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a huge page is collapsed, split and zapped under faults, zaps, walks and users without a
count, a byte or a translation going wrong; the explorer finds each wrong way.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmu._native import lib
from mmu.linux.handle_mm_fault import peek_pte
from mmu.linux.policy import FreeTables
from tests.races.huge_variants import VARIANTS
from ucmmu.race.campaign import Search, run
from ucmmu.race.kernel_program import KernelProgram
from ucmmu.race.run import Run
from ucmmu.race.setting import Setting
from ucmmu.race.world import BASE

FILE = Path(__file__).with_name("huge_variants.py")
CASES = [
    pytest.param(name, policy, id=f"{name}-{policy.label}")
    for name, variant in VARIANTS.items()
    for policy in variant.policies
]


@pytest.mark.parametrize(("name", "policy"), CASES)
def test_the_explorer_finds_the_variant(name: str, policy: FreeTables) -> None:
    variant = VARIANTS[name]
    (scenario,) = variant.scenarios
    setting = Setting(scenario, policy.label, "sc", f"{FILE}:{name}")
    result = run(setting, Search(2, 200))
    assert result.failure is not None, result.verdict
    assert re.search(variant.seen, f"{result.failure.kind}: {result.failure.text}")


@pytest.mark.parametrize("model", ["sc", "tso"])
@pytest.mark.parametrize("scenario", ["split-fault", "split-gup", "collapse-store"])
def test_ours_passes_in_every_order(scenario: str, model: str) -> None:
    result = run(Setting(scenario, FreeTables.REFCOUNT.label, model), Search(None))
    assert (result.verdict, result.complete) == ("passed", True), result.failure


@pytest.mark.parametrize("policy", list(FreeTables), ids=lambda policy: policy.label)
def test_what_comes_after_the_zap_of_a_huge_page_stays(policy: FreeTables) -> None:
    """zap_pmd_range() goes on to the next PMD entry: it does not come to this one again."""
    run = Run(Setting("huge-zap-fault", policy.label, "sc").program, 10_000)
    program = run.program
    assert isinstance(program, KernelProgram)
    zap, fault = run.enabled()
    while run.enabled() and not (run.steps and run.steps[-1].label == "pmd_cleared"):
        run.step(zap)
    ptes = []
    while able := run.enabled():
        run.step(fault if fault in able else able[0])
        ptes.append(peek_pte(program.world.mm, BASE))
    run.close()
    assert run.failure is None
    assert ptes[0] == 0
    assert ptes[-1] & lib.X86_P
