# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a grace period ends when each CPU that was busy as it began has passed a quiescent state
since, and not before (kernel/rcu/tree.c, v6.18).
"""

from __future__ import annotations

import pytest

from mmu.linux import engine, pgalloc, rcu
from mmu.linux.bug import Bug, MmBug
from mmu.linux.rcupdate import rcu_barrier, rcu_qs, synchronize_rcu
from mmu.linux.smp import local_irqs_off
from tests.linux.cpus import Cpus
from ucmmu.race.interleaving import Interleaving


@pytest.fixture(params=["c", "python"])
def cpus(request: pytest.FixtureRequest) -> Cpus:
    """Three CPUs, of which the third is idle."""
    cpus = Cpus(request.param, nr=3)
    for cpu in cpus.kernel.cpus[:2]:
        rcu_qs(cpus.kernel, cpu)
    return cpus


def queue(cpus: Cpus) -> int:
    frame = pgalloc.table_alloc(cpus.mm)
    assert frame is not None
    engine.call_rcu(cpus.kernel, frame)
    return frame


def is_free(cpus: Cpus, frame: int) -> bool:
    return not cpus.mm.memory.page(frame)._refcount


def test_every_busy_cpu_must_report(cpus: Cpus) -> None:
    kernel, (one, two, _) = cpus.kernel, cpus.kernel.cpus
    frame = queue(cpus)
    rcu_qs(kernel, one)
    assert not is_free(cpus, frame)
    rcu_qs(kernel, one)
    assert not is_free(cpus, frame), "once is enough, twice is not two"
    rcu_qs(kernel, two)
    assert is_free(cpus, frame)


def test_what_comes_later_waits_for_the_next(cpus: Cpus) -> None:
    """A CPU may have reported for this grace period and begun to read since."""
    kernel, (one, two, _) = cpus.kernel, cpus.kernel.cpus
    first = queue(cpus)
    rcu_qs(kernel, one)
    second = queue(cpus)
    rcu_qs(kernel, two)
    assert is_free(cpus, first) and not is_free(cpus, second)
    rcu_qs(kernel, one)
    assert is_free(cpus, second), "two was quiescent since the second began"


def test_a_reader_does_not_report(cpus: Cpus) -> None:
    kernel, (one, two, _) = cpus.kernel, cpus.kernel.cpus
    cpus.on(1)
    engine.rcu_read_lock(kernel)
    cpus.on(0)
    frame = queue(cpus)
    rcu_qs(kernel, one)
    engine.rcu_report_qs(kernel, 1)
    assert not is_free(cpus, frame)
    cpus.on(1)
    engine.rcu_read_unlock(kernel)
    rcu_qs(kernel, two)
    assert is_free(cpus, frame)


def test_going_idle_is_one_long_quiescent_state(cpus: Cpus) -> None:
    kernel, (one, two, three) = cpus.kernel, cpus.kernel.cpus
    frame = queue(cpus)
    rcu_qs(kernel, two, idle=True)
    rcu_qs(kernel, one)
    assert is_free(cpus, frame)
    rcu_qs(kernel, three)  # busy again: the next one waits for it
    frame = queue(cpus)
    rcu_qs(kernel, one)
    assert not is_free(cpus, frame)
    rcu_qs(kernel, three, idle=True)
    assert is_free(cpus, frame)


def test_an_idle_cpu_that_reads_is_waited_for(cpus: Cpus) -> None:
    kernel = cpus.kernel
    cpus.on(2)
    engine.rcu_read_lock(kernel)
    frame = queue(cpus)
    for cpu in kernel.cpus[:2]:
        engine.rcu_report_qs(kernel, cpu.id)
    assert not is_free(cpus, frame)
    engine.rcu_read_unlock(kernel)
    engine.rcu_report_qs(kernel, 0)
    assert is_free(cpus, frame)


def test_interrupts_off_are_a_read_section(cpus: Cpus) -> None:
    """What fast GUP relies on where no flush sends an interrupt."""
    frame = queue(cpus)
    cpus.on(1)
    with local_irqs_off(cpus.kernel):
        for cpu in cpus.kernel.cpus[:2]:
            engine.rcu_report_qs(cpus.kernel, cpu.id)
        assert not is_free(cpus, frame)
    engine.rcu_report_qs(cpus.kernel, 1)
    assert is_free(cpus, frame)


def test_a_thread_ends_what_is_over_and_begins_what_is_needed() -> None:
    """Where the scheduler runs the grace-period thread, who reports ends nothing."""
    cpus = Cpus("python", nr=3)
    kernel, (one, two, three) = cpus.kernel, cpus.kernel.cpus
    kernel.gp_kthread = True
    for cpu in (one, two):
        rcu_qs(kernel, cpu)
    frame = queue(cpus)
    assert rcu.rcu_needs_gp(kernel)
    assert rcu.rcu_gp_kthread(kernel) == 0 and not rcu.rcu_needs_gp(kernel)
    second = queue(cpus)
    assert not rcu.rcu_gp_is_over(kernel)
    rcu_qs(kernel, one)
    rcu_qs(kernel, two, idle=True)
    assert rcu.rcu_gp_is_over(kernel), "CPU 2 was idle from before"
    rcu_qs(kernel, three)
    assert rcu.rcu_gp_is_over(kernel) and not is_free(cpus, frame)
    assert rcu.rcu_gp_kthread(kernel) == 1
    assert is_free(cpus, frame) and not is_free(cpus, second)
    assert not rcu.rcu_gp_is_over(kernel), "the next one waits for CPUs 0 and 2"
    for cpu in (one, three):
        rcu_qs(kernel, cpu)
    assert rcu.rcu_gp_kthread(kernel) == 1 and is_free(cpus, second)
    assert kernel.c.rcu.gp_seq == 2 and not kernel.c.rcu.gp_running


def test_one_cpu_frees_on_its_way_to_user_mode() -> None:
    cpus = Cpus("c", nr=1)
    rcu_qs(cpus.kernel, cpus.kernel.cpus[0])
    frames = [queue(cpus) for _ in range(3)]
    rcu_qs(cpus.kernel, cpus.kernel.cpus[0])
    assert all(is_free(cpus, frame) for frame in frames)
    assert cpus.kernel.c.rcu.gp_seq == 1


def test_events_and_counters(cpus: Cpus) -> None:
    kernel = cpus.kernel
    cpus.ring.read()
    for _ in range(3):
        queue(cpus)
    for cpu in (0, 1):
        cpus.on(cpu)
        rcu_qs(kernel, kernel.cpus[cpu])
    told = [(e["gp_seq"], e["event"]) for e in cpus.ring.read() if e.name == "rcu_grace_period"]
    assert told == [(1, 0), (1, 1), (1, 1), (1, 2)]
    assert (kernel.counters()["rcu_callbacks"], kernel.counters()["rcu_pending_max"]) == (3, 3)
    assert kernel.c.rcu.nr_pending == 0


def test_synchronize_rcu_waits_for_the_readers_of_before(cpus: Cpus) -> None:
    kernel, order = cpus.kernel, []

    def reader() -> None:
        engine.rcu_read_lock(kernel)
        order.append("reads")
        kernel.scheduler.spin_until(lambda: bool(kernel.c.rcu.gp_running), "the updater")
        order.append("still reads")
        engine.rcu_read_unlock(kernel)

    def updater() -> None:
        kernel.scheduler.spin_until(lambda: bool(order), "the reader")
        synchronize_rcu(kernel)
        order.append("synchronized")

    Interleaving(kernel, {0: updater, 1: reader}, points=()).run()
    assert order == ["reads", "still reads", "synchronized"]


def test_synchronize_rcu_begins_a_grace_period_of_its_own(cpus: Cpus) -> None:
    """One that is running may be older than a reader that it must wait for."""
    kernel = cpus.kernel
    queue(cpus)
    rcu_qs(kernel, kernel.cpus[0])
    assert kernel.c.rcu.gp_running
    rcu_qs(kernel, kernel.cpus[1], idle=True)
    before = kernel.c.rcu.gp_seq
    synchronize_rcu(kernel)
    assert kernel.c.rcu.gp_seq == before + 1


def test_rcu_barrier_frees_all(cpus: Cpus) -> None:
    kernel = cpus.kernel
    rcu_qs(kernel, kernel.cpus[1], idle=True)
    frames = [queue(cpus) for _ in range(5)]
    rcu_barrier(kernel)
    assert all(is_free(cpus, frame) for frame in frames)
    seq = kernel.c.rcu.gp_seq
    rcu_barrier(kernel)
    assert kernel.c.rcu.gp_seq == seq, "nothing waits, nothing ends"


def test_a_grace_period_that_cannot_end_is_told(cpus: Cpus) -> None:
    cpus.on(1)
    engine.rcu_read_lock(cpus.kernel)
    cpus.on(0)
    with pytest.raises(MmBug, match=r"grace period 1 waits for CPUs \[1\]") as caught:
        synchronize_rcu(cpus.kernel)
    assert caught.value.bug == Bug.RCU_STALL
