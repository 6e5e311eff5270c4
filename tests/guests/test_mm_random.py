# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: random memory system calls and accesses leave a process here as they leave it on the host's
kernel.

After each call its result, VmSize, VmPeak, VmData, VmStk, VmLck, each Rss, VmPTE, and every
mapping's extent and rights are compared, and now and then what can be read. The host's kernel is
6.18 with CONFIG_PT_RECLAIM: policy scan.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cpu.cred import Cred
from tests.guests.machine import run
from tests.guests.ordinary_user import (
    UID,
    native,
    require_linux_6_18,
    require_no_protection_keys,
    with_small_folios,
)
from tests.guests.test_native import host_policy

USER = Cred.of(UID, UID)
SEEDS_OF_A_CAMPAIGN, CALLS_OF_A_CAMPAIGN, PARTS = 200, 1000, 20


@pytest.fixture(autouse=True)
def _the_host_is_an_oracle() -> Iterator[None]:
    require_linux_6_18()
    require_no_protection_keys()
    if host_policy() != "scan":
        pytest.skip("the host's kernel has no CONFIG_PT_RECLAIM")
    yield


def compare(seed: int, calls: int, engine: str, fidelity: str = "fast") -> None:
    """Both runs, row by row; the first difference says how to see it again."""
    program = with_small_folios("mm_random")
    theirs = native(program, str(seed), str(calls)).splitlines()
    options = {"policy": "scan", "engine": engine, "fidelity": fidelity}
    ours = run(program, str(seed), str(calls), cred=USER, **options).text.splitlines()
    for nr, (native_row, our_row) in enumerate(zip(theirs, ours, strict=True)):
        before = theirs[nr - 1] if nr else ""
        assert our_row == native_row, (
            f"mm_random {seed} {calls} {nr}: row {nr} differs (engine {engine})\n"
            f"  before {before}\n  native {native_row}\n  ours   {our_row}"
        )
    assert len(ours) == calls


@pytest.mark.parametrize("engine", ["c", "python"])
@pytest.mark.parametrize("seed", [3, 9, 21, 32])
def test_a_sample(seed: int, engine: str) -> None:
    compare(seed, 200, engine)


def test_a_sample_through_the_tlb_model() -> None:
    compare(15, 200, "c", "exact")


def test_a_difference_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is worth something: without anon_vmas in the test of neighbours, a row
    differs.
    """
    from mmu.linux import vma

    monkeypatch.setattr(vma, "_is_mergeable_anon_vma", lambda a, b: True)
    with pytest.raises(AssertionError, match="differs"):
        for seed in (12, 17, *range(8)):
            compare(seed, 300, "c")


@pytest.mark.fuzz
@pytest.mark.parametrize("part", range(PARTS))
def test_a_campaign(part: int) -> None:
    for seed in range(part, SEEDS_OF_A_CAMPAIGN, PARTS):
        compare(seed, CALLS_OF_A_CAMPAIGN, "c")
    compare(part, CALLS_OF_A_CAMPAIGN, "python")
