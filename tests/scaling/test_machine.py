# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the model of many CPUs agrees with what theory knows of queues, and is the same for the
same seed.
"""

from __future__ import annotations

import random

import pytest

pytest.importorskip("simpy")

from benchmarks.scaling.machine import Line, Machine, SpinLock
from benchmarks.scaling.parameters import Parameters

PLAIN = Parameters(
    atomic=5, transfer=50, lock=8, lock_handoff=60, jitter=0, ipi_wait=0, ipi_each=0, ipi_receive=0
)


def test_a_line_of_one_cpu_costs_an_atomic_and_no_event():
    machine = Machine(1, PLAIN)
    (cpu,), line = machine.cpus, Line(machine)

    def thread():
        for _ in range(10):
            yield from line.modify(cpu)
        assert machine.env.now == 0
        yield from cpu.catch_up()

    machine.env.run(machine.env.process(thread()))
    assert (machine.env.now, machine.transfers) == (50, 0)


@pytest.mark.parametrize("cpus", [2, 7])
def test_a_full_line_serves_one_modification_a_transfer_and_an_atomic(cpus):
    machine = Machine(cpus, PLAIN)
    line = Line(machine)

    def thread(cpu):
        for _ in range(200):
            yield from line.modify(cpu)
            yield from cpu.catch_up()

    machine.env.run(machine.env.all_of([machine.env.process(thread(c)) for c in machine.cpus]))
    assert machine.env.now / (200 * cpus) == pytest.approx(50 + 5, rel=0.02)


@pytest.mark.parametrize("load", [0.3, 0.5, 0.7])
def test_a_line_asked_for_at_random_is_an_m_d_1_queue(load):
    """Mean wait of M/D/1: load * service / (2 * (1 - load))."""
    service, number = 55.0, 30_000
    machine = Machine(2, PLAIN)
    line = Line(machine)
    source, waits = random.Random(load), []

    def request(cpu):
        since = machine.env.now
        yield machine.env.timeout(line._moved(cpu, PLAIN.atomic))
        waits.append(machine.env.now - since - service)

    def arrivals():
        line._owner = 1
        for turn in range(number):
            yield machine.env.timeout(source.expovariate(load / service))
            machine.env.process(request(machine.cpus[turn % 2]))

    machine.env.process(arrivals())
    machine.env.run()
    expected = load * service / (2 * (1 - load))
    assert sum(waits) / number == pytest.approx(expected, rel=0.1)


def test_a_full_lock_serves_one_hold_a_hand_off():
    """Throughput is 1 / (hold + hand-off), whatever many CPUs want it."""
    hold, rounds = 300.0, 100
    machine = Machine(8, PLAIN)
    lock = SpinLock(machine)
    inside = []

    def thread(cpu):
        for _ in range(rounds):
            yield from lock.acquire(cpu)
            assert not inside
            inside.append(cpu)
            cpu.spend(hold)
            yield from cpu.catch_up()
            inside.remove(cpu)
            yield from lock.release(cpu)
        yield from cpu.catch_up()

    machine.env.run(machine.env.all_of([machine.env.process(thread(c)) for c in machine.cpus]))
    assert machine.env.now / (8 * rounds) == pytest.approx(hold + 60 + (8 - 5), rel=0.03)
    assert machine.lock_waits > 0.98 * 8 * rounds


def test_a_lock_alone_costs_what_was_measured():
    machine = Machine(1, PLAIN)
    (cpu,), lock = machine.cpus, SpinLock(machine)

    def thread():
        yield from lock.acquire(cpu)
        yield from lock.release(cpu)
        yield from cpu.catch_up()

    machine.env.run(machine.env.process(thread()))
    assert machine.env.now == 8


def test_readers_share_a_line_until_it_is_modified():
    machine = Machine(3, PLAIN)
    line = Line(machine)
    first, second, third = machine.cpus

    def thread():
        yield from line.modify(first)
        for _ in range(5):
            yield from line.read(second)
            yield from line.read(third)
        assert machine.transfers == 2
        yield from line.modify(first)
        yield from line.read(second)

    machine.env.run(machine.env.process(thread()))
    assert machine.transfers == 4


def test_a_far_cluster_takes_longer():
    machine = Machine(16, PLAIN.replace(far=3, cluster=8))
    assert (machine.transfer(0, 7), machine.transfer(7, 8)) == (50, 150)
    assert (machine.hand_off(0, 7), machine.hand_off(7, 8)) == (60, 180)


def test_an_interrupt_costs_a_cpu_that_works_and_not_one_that_waits():
    parameters = PLAIN.replace(ipi_wait=1000, ipi_receive=400)
    machine = Machine(4, parameters)
    sender, works, waits, first_works = machine.cpus
    ends = {}

    def send():
        yield from sender.flush_others()
        ends[sender] = machine.env.now

    def work():
        works.spend(100)
        yield from works.catch_up()
        yield from works.catch_up()
        ends[works] = machine.env.now

    def wait():
        yield from waits.wait(machine.env.timeout(2000))
        yield from waits.catch_up()
        ends[waits] = machine.env.now

    def work_and_wait():
        first_works.spend(100)
        yield from first_works.catch_up()
        yield from first_works.wait(machine.env.timeout(2000))
        yield from first_works.catch_up()
        ends[first_works] = machine.env.now

    for each in (wait, send, work, work_and_wait):
        machine.env.process(each())
    machine.env.run()
    assert [ends[cpu] for cpu in machine.cpus] == [1000, 500, 2000, 2500]


def test_a_callback_waits_for_a_grace_period_that_begins_after_it():
    machine = Machine(1, PLAIN.replace(grace_period=1000))
    freed = []

    def thread():
        machine.rcu.free_table(lambda: freed.append(machine.env.now))
        yield machine.env.timeout(400)
        machine.rcu.free_table(lambda: freed.append(machine.env.now))
        assert machine.rcu.pending == 2

    machine.env.process(thread())
    machine.env.run()
    assert freed == [1000, 2000]
    assert (machine.rcu.pending, machine.rcu.pending_max, machine.rcu.grace_periods) == (0, 2, 2)


def test_parameters_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="atomic is -1"):
        Parameters(atomic=-1)
    with pytest.raises(ValueError, match="jitter"):
        Parameters(jitter=2)
    with pytest.raises(ValueError, match="0 CPUs"):
        Machine(0, PLAIN)
