# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a subclass of FreeTablesPolicy decides when tables are freed: counts at rest are entries,
what it keeps is its own, and nothing is left at exit (F3, F7).
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from mmu.linux.bug import MmBug
from mmu.linux.free_tables import FreeTablesPolicy, Holder
from mmu.linux.policies import policy_of
from mmu.linux.state import Kernel
from mmu.memory import Memory
from ucmmu.policy_file import load_policy
from ucmmu.race.world import BASE, PAGE_SIZE, SLOT, RaceWorld

ROOT = Path(__file__).parents[2]
EXAMPLES = (
    "docs/policies/percpu_ref.py:PerCpuRef",
    "docs/policies/deferring.py:Deferring",
    "docs/policies/deferring.py:Impatient",
)


def code_of(page: str) -> str:
    """The first Python program of a page of the documentation."""
    return (ROOT / page).read_text().partition("```python\n")[2].partition("```")[0]


def contents(world: RaceWorld) -> list[bool]:
    return [bool(world.pte(BASE + page * PAGE_SIZE)) for page in (0, 1, 2, 511, 512, 513, 1023)]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_maps_what_refcount_maps(example: str) -> None:
    """The same faults and zaps leave the same entries; settle() looks at counts and at the end."""
    choice = random.Random(example)
    own, ours = RaceWorld(load_policy(example)), RaceWorld()
    for _ in range(60):
        cpu, page = choice.randrange(2), choice.choice((0, 1, 2, 511, 512, 513, 1023))
        fill, pages = choice.random() < 0.5, choice.choice((1, 2, 512))
        for world in (own, ours):
            world.run_on(cpu)
            start = BASE + page * PAGE_SIZE
            if fill:
                world.write(start)()
            else:
                world.dontneed(start, min(pages * PAGE_SIZE, BASE + 2 * SLOT - start))()
            if world.kernel.task_work is not None:
                world.kernel.task_work()
        assert contents(own) == contents(ours)
    assert own.mm.check_tables().ok
    own.settle()


def test_per_cpu_references_free_at_once() -> None:
    """The last entry goes on another CPU than that which set it."""
    world = RaceWorld(load_policy("docs/policies/percpu_ref.py:PerCpuRef"))
    world.write(BASE)()
    world.run_on(1)
    world.write(BASE + PAGE_SIZE)()
    table = world.frame()
    assert policy_of(world.kernel).references(table) == 2
    assert world.kernel.policy_figures() == {
        "per-CPU counts folded": 0,
        "memory kept at most, bytes": 8,
    }
    world.dontneed(BASE, SLOT)()
    assert (world.frame(), world.counter("pte_tables_freed")) == (0, 1)
    world.settle()


def deferring_world(**numbers: int) -> RaceWorld:
    kind = load_policy("docs/policies/deferring.py:Deferring")
    world = RaceWorld(type("Deferring", (kind,), numbers))
    world.kernel.now_ns = lambda: world.now  # type: ignore[attr-defined]
    world.now = 0  # type: ignore[attr-defined]
    return world


def test_deferring_frees_what_stays_empty() -> None:
    """Until WAIT_NS is over the table stays, its refill needs no new one, and is reported."""
    world = deferring_world(WAIT_NS=100)
    assert world.kernel.task_work is not None
    world.write(BASE)()
    world.dontneed()()
    table = world.frame()
    assert table and policy_of(world.kernel).references(table) == 0
    assert policy_of(world.kernel).memory_kept() == PAGE_SIZE
    world.now = 99  # type: ignore[attr-defined]
    world.kernel.task_work()
    world.write(BASE)()
    assert (world.frame(), world.counter("pte_tables_allocated")) == (table, 1)
    world.dontneed()()
    world.now = 198  # type: ignore[attr-defined]
    world.kernel.task_work()
    assert world.frame() == table
    world.now = 199  # type: ignore[attr-defined]
    world.kernel.task_work()
    assert (world.frame(), world.counter("pte_tables_freed")) == (0, 1)
    assert world.kernel.policy_figures()["freed after they waited"] == 1
    world.settle()


def test_deferring_keeps_at_most_so_many() -> None:
    """Beyond MOST a table is freed at once."""
    world = deferring_world(WAIT_NS=100, MOST=1)
    world.write(BASE, BASE + SLOT)()
    world.dontneed(BASE, 2 * SLOT)()
    assert (bool(world.frame(BASE)), world.frame(BASE + SLOT)) == (True, 0)
    world.settle()


def test_a_kept_table_is_given_up_where_it_is_unmapped() -> None:
    """munmap() of its addresses, and of those it was moved to."""
    world = deferring_world(WAIT_NS=100)
    world.write(BASE)()
    world.dontneed()()
    assert world.move_table(BASE, BASE + SLOT)()
    world.mm.munmap(BASE, SLOT)
    assert world.frame(BASE + SLOT)
    world.mm.munmap(BASE + SLOT, SLOT)
    assert world.counter("pte_tables_freed") == 1
    world.settle()


def test_a_zap_that_always_looks() -> None:
    """The policy of docs/policies.md: a change of the merged scan, which looks at the whole table
    before it frees it, after a zap of any size.
    """
    names: dict[str, Any] = {}
    exec(code_of("docs/policies.md"), names)
    world = RaceWorld(names["ScanAlways"])
    world.write(BASE, BASE + PAGE_SIZE)()
    world.dontneed()()
    assert world.counter("pte_tables_freed") == 0
    assert world.pte(BASE + PAGE_SIZE)
    world.dontneed(BASE + PAGE_SIZE)()
    assert world.counter("pte_tables_freed") == 1
    world.settle()


def test_a_policy_that_frees_too_early_is_caught() -> None:
    """PTE_TABLE_NOT_EMPTY: entries are counted once, whatever their number."""

    class Once(FreeTablesPolicy):
        def table_get(self, mm, table, nr, holder):
            if holder is Holder.VISITOR or self.references(table) < 2:
                super().table_get(mm, table, nr, holder)

    world = RaceWorld(Once)
    world.write(BASE, BASE + PAGE_SIZE)()
    assert "2 entries and counts 1 references" in str(world.mm.check_tables())
    with pytest.raises(MmBug, match="PTE_TABLE_NOT_EMPTY"):
        world.dontneed()()


def test_the_c_engine_takes_one() -> None:
    """For the MMU: a mm with a policy in Python is in Python."""

    class Mine(FreeTablesPolicy):
        pass

    kernel = Kernel(Memory(1 << 20), policy=Mine, engine="c")
    assert (kernel.engine, kernel.native) == ("c", False)
