# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a policy of one's own is explored as ours are: the right examples pass, the wrong one
fails, and the defects that the explorer found in the others stay found.
"""

from __future__ import annotations

import pytest

from mmu.linux.bug import MmBug
from ucmmu.policy_file import load_policy
from ucmmu.race.campaign import Search, run
from ucmmu.race.kernel_program import KernelProgram
from ucmmu.race.program import Actor, Kind
from ucmmu.race.scenarios import SCENARIOS
from ucmmu.race.setting import Setting
from ucmmu.race.world import BASE, PAGE_SIZE, RaceWorld
from ucmmu.race.world import Actor as Act

OTHER = BASE + PAGE_SIZE
LATE = [(1, "this_cpu_add"), (0, "ended"), (1, "ended")]
"""CPU 1 has looked at ``live`` and not yet counted; CPU 0 frees the table meanwhile."""


def test_counters_that_others_still_change_are_not_added_up() -> None:
    """PerCpuRef waits for CPU 1, Unstopped does not: more is dropped than was held."""
    wrong = RaceWorld(load_policy("docs/policies/percpu_unstopped.py:Unstopped"))
    wrong.write(BASE)()
    with pytest.raises(MmBug, match="PTE_REF_UNDERFLOW"):
        wrong.race({0: wrong.dontneed(), 1: wrong.write(OTHER)}, LATE)
    right = RaceWorld(load_policy("docs/policies/percpu_ref.py:PerCpuRef"))
    right.write(BASE)()
    right.race({0: right.dontneed(), 1: right.write(OTHER)}, LATE)
    assert right.pte(OTHER)
    right.settle()


def test_a_table_that_never_had_an_entry_is_freed() -> None:
    """What a visitor installed, it frees again: PerCpuRef once added up for entries only."""
    world = RaceWorld(load_policy("docs/policies/percpu_ref.py:PerCpuRef"))
    world.visit(BASE)()
    assert not world.frame()
    world.settle()


def test_what_is_kept_may_be_given_up_before_the_put() -> None:
    """CPU 0, under the lock of a VMA, has the policy keep the table, and is stopped before its own
    put; CPU 1 has the policy give it up: CPU 0's put is the last, and frees. Deferring once took it
    for granted that not.
    """
    world = RaceWorld(load_policy("docs/policies/deferring.py:Impatient"))
    assert world.kernel.task_work is not None
    acts: dict[int, Act] = {0: world.visit(BASE), 1: world.kernel.task_work}
    world.race(acts, [(0, "visiting"), (0, "spin_unlock"), (1, "ended"), (0, "ended")])
    assert not world.frame() and world.counter("pte_tables_freed") == 1
    world.settle()


def _put_last_on_both(policy: str) -> RaceWorld:
    """Two CPUs zap the last two entries. Each adds up the counters while the other one's last
    addition waits in its store buffer.
    """
    world = RaceWorld(load_policy(policy), watched=True)
    world.write(BASE, OTHER)()
    count = world.kernel.free_tables.refs[world.frame()].count  # type: ignore[attr-defined]
    acts = {0: world.dontneed(BASE), 1: world.dontneed(OTHER)}
    program = KernelProgram(world, acts, tso=True)
    try:
        for number, last in ((0, count.values[0] - 1), (1, count.values[1] - 1)):
            while count.values[number] != last or program._actors[number].at != "per_cpu":
                _step(program, Actor(number))
        for number in (0, 1, 0, 1):  # two counters, of which each adds up both
            program.step(Actor(number))
        while not program.finished():
            program.step(next(iter(program.enabled())))
    finally:
        program.close()
    return world


def _step(program: KernelProgram, actor: Actor) -> None:
    """One step of the CPU; what it waits for is drained first."""
    while actor not in program.enabled():
        program.step(Actor(actor.cpu, Kind.DRAIN))
    program.step(actor)


def test_the_counters_are_added_up_behind_a_barrier() -> None:
    """this_cpu_add() is no locked instruction: without smp_mb() each CPU adds up what the other one
    had before, neither comes to 0, and the table stays. PerCpuRef once had no barrier there.
    """
    with pytest.raises(AssertionError, match="nobody freed it who dropped the last reference"):
        _put_last_on_both("docs/policies/percpu_unfenced.py:Unfenced").settle()
    _put_last_on_both("docs/policies/percpu_ref.py:PerCpuRef").settle()


@pytest.mark.parametrize(
    ("scenario", "search"),
    [
        pytest.param("rmap-munmap", Search(), id="munmap() finds what is about to be given up"),
        pytest.param("punch-fault-around", Search(bound=0), id="kept before the race"),
        pytest.param("truncate-cow", Search(bound=0), id="kept before the race, by truncate()"),
    ],
)
def test_what_impatient_failed_in(scenario: str, search: Search) -> None:
    """munmap() has mmap_lock for reading when it looks at what is kept, as task_work() had: what
    that one was giving up, munmap() met in its PMD. And the check of counts knew nothing of a
    reference that the policy had before the race began.
    """
    policy = "docs/policies/deferring.py:Impatient"
    result = run(Setting(scenario, policy, "sc"), search)
    assert result.verdict == "passed", str(result.failure)


@pytest.mark.parametrize("policy", ["deferring.py:Impatient", "percpu_ref.py:PerCpuRef"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_no_order_fails(name: str, policy: str) -> None:
    """The right ones hold in each scenario, CPU by CPU; `ucmmu race --all` takes them further."""
    result = run(Setting(name, f"docs/policies/{policy}"), Search(bound=0, schedules=2))
    assert result.failure is None, str(result.failure)
