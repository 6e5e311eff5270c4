# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the C and the Python engine agree on every state and event of an mm, whatever is done to
it.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmu._native import lib
from mmu.errors import LinuxError
from mmu.linux import change_protection, engine, mman, mmu_gather, pte_ref, tlbflush, zap
from mmu.linux.bug import MmBug
from mmu.linux.mman import MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, MS_SYNC
from mmu.linux.pagemap import pagemap_read
from mmu.linux.pgtable import pte_table
from mmu.linux.policy import FreeTables
from mmu.linux.uaccess import raw_copy_from_user, raw_copy_to_user
from mmu.units import PAGE_SIZE
from tests.linux.world import BASE, MAP_ANON, MAP_FIXED, World, assert_same, both
from ucmmu.policy_file import load_policy

SPAN = 3 * 512  # pages: three PTE tables
ADVICE = [
    mman.MADV_FREE,
    mman.MADV_REMOVE,
    mman.MADV_COLD,
    mman.MADV_PAGEOUT,
    mman.MADV_POPULATE_WRITE,
    mman.MADV_GUARD_INSTALL,
    mman.MADV_GUARD_REMOVE,
]
pages = st.integers(0, SPAN - 1)
lengths = st.sampled_from([1, 2, 3, 60, 511, 512, 513, 1024, SPAN])
few = st.sampled_from([1, 2, 3, 60, 513])
operation = st.one_of(
    st.tuples(st.just("map"), pages, lengths),
    st.tuples(st.just("write"), pages, st.integers(1, 12)),
    st.tuples(st.just("read"), pages, st.integers(1, 12)),
    st.tuples(st.just("map shared"), pages, lengths),
    st.tuples(st.just("map file"), pages, st.tuples(few, st.integers(0, 61), st.booleans())),
    st.tuples(st.just("msync"), pages, lengths),
    st.tuples(st.just("to user"), pages, st.integers(1, 5 * PAGE_SIZE)),
    st.tuples(st.just("from user"), pages, st.integers(1, 5 * PAGE_SIZE)),
    st.tuples(st.just("dontneed"), pages, lengths),
    st.tuples(st.just("madvise"), pages, st.tuples(few, st.sampled_from(ADVICE))),
    st.tuples(st.just("mlock"), pages, few),
    st.tuples(st.just("munmap"), pages, lengths),
    st.tuples(st.just("mprotect"), pages, st.tuples(lengths, st.integers(0, 7))),
    st.tuples(st.just("fast fault"), pages, st.sampled_from([4, 6, 7, 0x14])),
    st.tuples(st.just("marker"), pages, st.just(0)),
    st.tuples(st.just("no memory"), pages, st.integers(0, 4)),
    st.tuples(st.just("mremap"), pages, st.tuples(few, few)),
    st.tuples(st.just("collapse"), pages, st.just(0)),
    st.tuples(st.just("look"), pages, lengths),
    st.tuples(st.just("fork"), st.just(0), st.just(0)),
    st.tuples(st.just("quiesce"), st.just(0), st.just(0)),
)


def perform(world: World, what: str, page: int, argument: Any) -> object:
    """Do one operation; its outcome, which must be the same on both engines."""
    addr = BASE + page * PAGE_SIZE
    try:
        if what == "map":
            return world.mm.mmap(addr, argument * PAGE_SIZE, 3, MAP_ANON | MAP_FIXED)
        if what == "map shared":
            return world.mm.mmap(
                addr, argument * PAGE_SIZE, 3, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED
            )
        if what == "map file":
            nr, pgoff, shared = argument
            kind = MAP_FIXED | (MAP_SHARED if shared else MAP_PRIVATE)
            return world.mm.mmap(addr, nr * PAGE_SIZE, 3, kind, world.file, pgoff)
        if what == "msync":
            world.mm.msync(addr, argument * PAGE_SIZE, MS_SYNC)
            return world.disk.written
        if what == "to user":
            return raw_copy_to_user(world.mm, addr + 100, bytes([argument % 251]) * argument)
        if what == "from user":
            return raw_copy_from_user(world.mm, addr + 100, argument)
        if what == "madvise":
            return world.mm.madvise(addr, argument[0] * PAGE_SIZE, argument[1])
        if what == "mlock":
            return world.mm.mlock(addr, argument * PAGE_SIZE)
        if what in ("write", "read"):
            return [access(world, addr + i * PAGE_SIZE, what == "write") for i in range(argument)]
        if what == "dontneed":
            return world.mm.madvise(addr, argument * PAGE_SIZE, 4)
        if what == "munmap":
            return world.mm.munmap(addr, argument * PAGE_SIZE)
        if what == "mprotect":
            return world.mm.mprotect(addr, argument[0] * PAGE_SIZE, argument[1])
        if what == "fast fault":
            return bool(engine.mm_fast_fault(world.mm, addr, argument))
        if what == "marker":
            return set_marker(world, addr)
        if what == "no memory":
            return starved(world, addr, argument)
        if what == "mremap":
            old, new = argument
            return world.mm.mremap(addr, old * PAGE_SIZE, new * PAGE_SIZE, mman.MREMAP_MAYMOVE)
        if what == "collapse":
            return world.mm.collapse_huge_page(addr)
        if what == "look":
            return pagemap_read(world.mm, argument * 8, addr >> 9)
        if what == "fork":
            return world.mm.dup_mm().exit_mmap()
        return world.quiesce()
    except (LinuxError, MmBug) as error:
        return str(error)


def access(world: World, addr: int, write: bool) -> object:
    """One access and, if it faults, one fault."""
    translation = world.mmu.translate(addr, lib.ACCESS_WRITE if write else lib.ACCESS_READ)
    if translation.result == lib.XLATE_OK:
        return translation
    return str(world.mm.handle_user_fault(addr, translation.error_code)), translation


def set_marker(world: World, addr: int) -> object:
    """An entry that is neither none nor present, in a VMA and a table that exist: as a swap entry
    or a marker is.
    """
    mm = world.mm
    vma = lib.find_vma(mm.c, addr)
    if not vma or vma.vm_start > addr:
        return None
    pmd = engine.mm_find_pmd(mm, addr)
    if pmd is None or (pte := engine.pte_tryget_map_lock(mm, pmd, addr)) is None:
        return None
    if not world.memory.read_u64(pte):
        engine.set_pte_at(mm, addr, pte, lib.PTE_GUARD_MARKER)
        engine.pte_entries_set(mm, pte_table(pte), 1)
    engine.pte_unlock(mm, pte_table(pte))
    engine.pte_put(mm, pte_table(pte), addr)
    return world.memory.read_u64(pte)


def starved(world: World, addr: int, allocations: int) -> object:
    """A write that may run out of memory at any of its allocations."""
    world.memory.c.fail_after = allocations
    try:
        return int(engine.do_anonymous_fault(world.mm, addr, True))
    finally:
        world.memory.c.fail_after = (1 << 64) - 1


@pytest.mark.parametrize("policy", list(FreeTables), ids=lambda policy: policy.label)
@given(operations=st.lists(operation, max_size=25))
def test_random_operations(policy: FreeTables, operations: list[tuple[str, int, Any]]) -> None:
    c, python = both(policy)
    for world in (c, python):
        world.map(BASE, SPAN)
    for what, page, argument in operations:
        assert perform(c, what, page, argument) == perform(python, what, page, argument), what
    assert_same(c, python)
    assert c.disk.data == python.disk.data
    for world in (c, python):
        assert world.mm.check_tables().ok
        world.mm.exit_mmap()
        world.quiesce()
    assert_same(c, python)


@pytest.mark.parametrize("policy", ["deferring.py:Impatient", "percpu_ref.py:PerCpuRef"])
@settings(max_examples=8 if settings().max_examples < 1000 else settings().max_examples)
@given(operations=st.lists(operation, max_size=12))
def test_a_policy_of_ones_own(policy: str, operations: list[tuple[str, int, Any]]) -> None:
    """The MMU in C under a mm in Python, and all in Python."""
    c, python = both(load_policy(f"docs/policies/{policy}"))
    for what, page, argument in [("map", 0, SPAN), *operations]:
        assert perform(c, what, page, argument) == perform(python, what, page, argument), what
        for world in (c, python):
            assert world.mm.kernel.task_work is not None
            world.mm.kernel.task_work()
    for _ in range(2):
        assert_same(c, python)
        for world in (c, python):
            world.mm.exit_mmap()
            world.quiesce()


FAULTS = {
    "an entry forgets its reference": (pte_ref, "pte_entries_set", lambda *_: None),
    "a table is never dropped": (zap, "pte_put_tlb", lambda *_: None),
    "a changed right is not flushed": (change_protection, "pte_needs_flush", lambda *_: False),
    "a table is freed without a word to lazy CPUs": (
        mmu_gather,
        "flush_tlb_mm_range",
        lambda mm, start, end, shift, _: tlbflush.flush_tlb_mm_range(mm, start, end, shift, 0),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_seeded_fault_is_seen(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above is worth something: a defect planted in one engine makes it fail."""
    from mmu.linux import anon

    module, name, wrong = FAULTS[fault]
    for place in (module, anon):
        if hasattr(place, name):
            monkeypatch.setattr(place, name, wrong)
    c, python = both()
    with pytest.raises((AssertionError, MmBug)):
        for world in (c, python):
            world.map(BASE, 512)
            for page in range(40):
                world.touch(BASE + page * PAGE_SIZE)
            world.mm.mprotect(BASE, 4 * PAGE_SIZE, 1)
            world.dontneed(BASE, 512)
        assert_same(c, python)
