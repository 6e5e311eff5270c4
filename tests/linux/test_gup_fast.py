# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: fast GUP takes a page with no lock, or leaves it to the slow way; what it looked at may not
have changed when it has its reference (gup_fast(), mm/gup.c, v6.18).
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mmu.errors import LinuxError
from mmu.linux.gup_fast import get_user_pages_fast, gup_fast_pte
from mmu.linux.mman import MADV_DONTNEED
from mmu.linux.policy import FreeTables
from mmu.linux.smp import local_irqs_off
from mmu.units import PAGE_SHIFT, PAGE_SIZE
from tests.linux.cpus import BASE, Cpus
from ucmmu.race.interleaving import Interleaving, Step, explore


@pytest.fixture(params=["c", "python"])
def cpus(request: pytest.FixtureRequest) -> Cpus:
    return Cpus(request.param)


def refcount(cpus: Cpus, pfn: int) -> int:
    return int(cpus.mm.memory.page(pfn)._refcount)


def test_a_page_that_is_there_needs_no_fault(cpus: Cpus) -> None:
    mm = cpus.mm
    assert mm.handle_user_fault(BASE, 6) is None
    faults = mm.counters()["pgfault"]
    cpus.ring.read()
    (pfn,) = get_user_pages_fast(mm, BASE + 5, 1, write=True)
    assert (refcount(cpus, pfn), mm.counters()["pgfault"]) == (2, faults)
    assert not [e for e in cpus.ring.read() if e.name.startswith("mmap_lock")]
    mm.memory.put_page(pfn)


def test_the_rest_is_faulted_in(cpus: Cpus) -> None:
    mm = cpus.mm
    assert mm.handle_user_fault(BASE, 6) is None
    frames = get_user_pages_fast(mm, BASE, 4, write=True)
    assert len(set(frames)) == 4
    assert [refcount(cpus, pfn) for pfn in frames] == [2] * 4
    for pfn in frames:
        mm.memory.put_page(pfn)


def test_the_zero_page_and_read_only_pages_go_the_slow_way(cpus: Cpus) -> None:
    mm = cpus.mm
    assert mm.handle_user_fault(BASE, 4) is None
    assert gup_fast_pte(mm, BASE, False) is None
    (pfn,) = get_user_pages_fast(mm, BASE, 1, write=False)
    assert pfn == mm.memory.zero_pfn
    mm.memory.put_page(pfn)
    (pfn,) = get_user_pages_fast(mm, BASE, 1, write=True)
    assert pfn != mm.memory.zero_pfn, "a private copy, as for a write"
    mm.memory.put_page(pfn)


@pytest.mark.parametrize("addr", [0x1000, BASE - PAGE_SIZE, 1 << 47, (1 << 64) - PAGE_SIZE])
def test_what_is_not_mapped_is_efault(cpus: Cpus, addr: int) -> None:
    with pytest.raises(LinuxError, match="EFAULT"):
        get_user_pages_fast(cpus.mm, addr, 1, write=False)


def test_as_many_as_there_are(cpus: Cpus) -> None:
    mm = cpus.mm
    frames = get_user_pages_fast(mm, BASE + 510 * PAGE_SIZE, 5, write=True)
    assert len(frames) == 2
    for pfn in frames:
        mm.memory.put_page(pfn)


def test_rights_are_those_of_the_vma(cpus: Cpus) -> None:
    cpus.mm.mprotect(BASE, PAGE_SIZE, 1)
    with pytest.raises(LinuxError, match="EFAULT"):
        get_user_pages_fast(cpus.mm, BASE, 1, write=True)


@pytest.mark.parametrize("policy", list(FreeTables), ids=lambda policy: policy.label)
def test_it_never_takes_a_page_that_is_freed(policy: FreeTables) -> None:
    """Against a zap that frees page and table, in every order of their steps: what it got is a page
    that was mapped, and is nobody else's while it is held; no frame of a table is freed under it.
    """
    outcomes = set()

    def scenario(schedule: Sequence[Step]) -> Interleaving:
        cpus = Cpus("python", policy=policy)
        mm, kernel = cpus.mm, cpus.kernel
        assert mm.handle_user_fault(BASE, 6) is None
        mm.memory.write(_pa(cpus), b"mine")

        def gup() -> str:
            with local_irqs_off(kernel):
                pfn = gup_fast_pte(mm, BASE, True)
            if pfn is None:
                return "slow"
            assert mm.memory.read(pfn << PAGE_SHIFT, 4) == b"mine"
            assert refcount(cpus, pfn) >= 1
            mm.memory.put_page(pfn)
            return "got"

        def zap() -> None:
            mm.madvise(BASE, 512 * PAGE_SIZE, MADV_DONTNEED)

        race = Interleaving(kernel, {0: gup, 1: zap}, schedule=schedule, points=_POINTS).run()
        outcomes.add(race.results[0])
        assert mm.check_tables().ok
        mm.exit_mmap()
        mm.memory.close()
        return race

    assert explore(scenario, preemptions=2) > 10
    assert outcomes == {"got", "slow"}


_POINTS = {"gup_fast_pmd", "gup_fast_pte", "gup_fast_grabbed", "spin_lock", "spin_unlock"}


def _pa(cpus: Cpus) -> int:
    (pfn,) = get_user_pages_fast(cpus.mm, BASE, 1, write=True)
    cpus.mm.memory.put_page(pfn)
    return pfn << PAGE_SHIFT
