# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: an assertion of the plugin fails when what it asserts is false, and its marker narrows the
machines.
"""

from __future__ import annotations

import errno

import pytest

from mmu.linux.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE
from mmu.linux.policy import FreeTables

PAGE = 4096
BASE = 0x10_0000_0000
ANON = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED

pytestmark = pytest.mark.mmu(engines=["c"], policies=["refcount"])


@pytest.fixture
def mapped(mm, touch):
    mm.mmap(BASE, 2 * PAGE, 3, ANON)
    touch(BASE)
    return mm


def test_assert_walk(mapped, assert_walk):
    assert_walk(BASE, "write", dirty=True)
    for va, access, expected in [
        (BASE, "read", {"dirty": False}),
        (BASE, "fetch", {}),
        (BASE + PAGE, "read", {}),
        (BASE, "read", {"pa": 1}),
    ]:
        with pytest.raises(AssertionError):
            assert_walk(va, access, **expected)


def test_assert_fault(mapped, assert_fault):
    assert_fault(BASE, "fetch", error_code=0x15)
    with pytest.raises(AssertionError):
        assert_fault(BASE, "read")
    with pytest.raises(AssertionError):
        assert_fault(BASE + PAGE, "read", error_code=5)


def test_assert_refcounts(mapped, assert_refcounts):
    assert_refcounts({BASE: 1})
    assert_refcounts({BASE: 1, BASE + (4 << 20): 0})
    for wrong in ({BASE: 2}, {}, {BASE: 1, BASE + (2 << 20): 1}):
        with pytest.raises(AssertionError):
            assert_refcounts(wrong)


def test_a_wrong_count_is_seen_without_an_argument(mapped, assert_walk, assert_refcounts):
    table = mapped.memory.page((assert_walk(BASE).entry[2] & 0xFFFFFFFFFF000) >> 12)
    table.pte_refcount += 1
    with pytest.raises(AssertionError, match="1 entries and counts 2 references"):
        assert_refcounts()
    table.pte_refcount -= 1


def test_raises_errno(mapped, raises_errno):
    with raises_errno(errno.EINVAL):
        mapped.munmap(BASE + 1, PAGE)
    with pytest.raises(AssertionError), raises_errno(errno.ENOMEM):
        mapped.munmap(BASE + 1, PAGE)


def test_the_marker_narrows(mm, mmu, machine_config):
    assert (mmu.engine, mm.kernel.policy) == ("c", FreeTables.REFCOUNT)
    assert mm.kernel.this_cpu.mmu is mmu


@pytest.mark.mmu(ram=2 << 20, exact=False)
def test_the_marker_sizes_the_machine_and_keeps_what_it_does_not_say(mm, machine_config):
    assert mm.memory.size == 2 << 20
    assert machine_config.engine == "c"
    assert not machine_config.exact
