# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine of 1 to 128 CPUs as a discrete-event simulation (SimPy): cache lines, spinlocks, RCU.

What costs time here is what does on a real one when many CPUs meet:

- a **line** is modified by one CPU at a time. It comes from the CPU that had it last, which takes a
  transfer; those who want it stand in a queue, first come, first served;
- a **spinlock** has a word in a line and a queue (v6.18: qspinlock); from release to the next
  owner is a hand-off;
- **RCU** runs one grace period after the other while anything waits for it.

Everything else is time that a CPU spends alone (:meth:`Cpu.spend`).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Generator
from typing import Any

import simpy

from benchmarks.scaling.parameters import Parameters

Steps = Generator[simpy.Event, Any, None]
"""What a CPU does: it yields where it must wait."""


class Machine:
    """CPUs, and the clock (``env``) that they share; ns."""

    def __init__(self, nr_cpus: int, parameters: Parameters, seed: int = 0) -> None:
        if nr_cpus < 1:
            raise ValueError(f"a machine of {nr_cpus} CPUs")
        self.env = simpy.Environment()
        self.parameters = parameters
        self.cpus = [Cpu(self, number, seed) for number in range(nr_cpus)]
        self.rcu = Rcu(self)
        self.faults = 0
        self.transfers = 0
        self.lock_waits = 0
        self.lock_waited = 0.0
        self.interrupts = 0.0
        """What all interrupts of all other CPUs take from a CPU, since the start."""
        self.stopped = False
        """Its threads end at their next fault."""

    def run_faults(self, number: int) -> None:
        """Go on until so many more faults are done."""
        end = self.faults + number
        while self.faults < end:
            self.env.step()

    def drain(self) -> None:
        """Stop the threads, and let what is under way end, grace periods too."""
        self.stopped = True
        self.env.run()

    def transfer(self, source: int, target: int) -> float:
        """How long a line takes from one CPU to another."""
        return self.parameters.transfer * self._distance(source, target)

    def hand_off(self, source: int, target: int) -> float:
        """How long a lock that is waited for takes from one CPU to another."""
        return self.parameters.lock_handoff * self._distance(source, target)

    def _distance(self, source: int, target: int) -> float:
        parameters = self.parameters
        same = source // parameters.cluster == target // parameters.cluster
        return 1.0 if same else parameters.far


class Cpu:
    """One CPU. Time that it spends alone is gathered, and passes before it meets others."""

    def __init__(self, machine: Machine, number: int, seed: int) -> None:
        self.machine = machine
        self.number = number
        self.random = random.Random(f"{seed} {number}")
        self._more = random.Random(f"{seed} {number} more")
        self._owed = 0.0
        self._handled = 0.0

    def spend(self, ns: float) -> None:
        """Go on alone for so long."""
        self._owed += ns

    def work(self, ns: float) -> None:
        """spend(), more or less: as the parameter ``jitter`` says."""
        self._owed += ns * self._vary(self.random)

    def extra_work(self, ns: float) -> None:
        """work() that only some designs do: the times of what all do stay the same."""
        self._owed += ns * self._vary(self._more)

    def _vary(self, source: random.Random) -> float:
        return 1.0 + self.machine.parameters.jitter * (2.0 * source.random() - 1.0)

    def _interrupts(self) -> float:
        """Time that interrupts still to be handled will take."""
        return self.machine.interrupts - self._handled

    def catch_up(self) -> Steps:
        """Let the time pass that was spent, and that of interrupts meanwhile."""
        owed = self._owed + self._interrupts()
        if owed:
            self._owed, self._handled = 0.0, self.machine.interrupts
            yield self.machine.env.timeout(owed)

    def wait(self, event: simpy.Event) -> Steps:
        """Wait with interrupts on: those that come meanwhile cost nothing more."""
        env = self.machine.env
        since, before = env.now, self._interrupts()
        yield event
        self._handled += min(self._interrupts() - before, env.now - since)

    def flush_others(self) -> Steps:
        """Interrupt all other CPUs and wait for them; each loses the time of the interrupt."""
        parameters, others = self.machine.parameters, len(self.machine.cpus) - 1
        if others:
            yield from self.catch_up()
            self.machine.interrupts += parameters.ipi_receive
            self._handled += parameters.ipi_receive
            waits = parameters.ipi_wait + parameters.ipi_each * (others - 1)
            yield from self.wait(self.machine.env.timeout(waits))


class Line:
    """A cache line: who has it, and until when it is promised to those who asked before."""

    __slots__ = ("_free_at", "_machine", "_owner", "_readers", "private")

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._owner = -1
        self.private = True
        """One CPU alone has ever touched it: its accesses cost time, but no event."""
        self._readers: set[int] = set()
        self._free_at = 0.0

    def _is_private(self, cpu: Cpu) -> bool:
        if self._owner < 0:
            self._owner = cpu.number
            self._readers.add(cpu.number)
        elif self.private and self._owner != cpu.number:
            self.private = False
        return self.private

    def modify(self, cpu: Cpu) -> Steps:
        """A LOCK read-modify-write."""
        return self._write(cpu, self._machine.parameters.atomic)

    def store(self, cpu: Cpu) -> Steps:
        """A plain store: where it must fetch the line, who comes next waits for that as well."""
        return self._write(cpu, 0.0)

    def _write(self, cpu: Cpu, ns: float) -> Steps:
        if self._is_private(cpu):
            cpu.spend(ns)
            return
        yield from cpu.catch_up()
        env = self._machine.env
        if self._owner != cpu.number or len(self._readers) > 1:
            yield from cpu.wait(env.timeout(self._moved(cpu, ns)))
        else:
            yield from cpu.wait(env.timeout(self._queued(ns)))

    def _moved(self, cpu: Cpu, ns: float) -> float:
        """Take the line from its owner and its readers, and keep it for ``ns``."""
        machine = self._machine
        source = self._owner
        if source == cpu.number:
            source = next(reader for reader in self._readers if reader != cpu.number)
        machine.transfers += 1
        self._owner = cpu.number
        self._readers = {cpu.number}
        return self._queued(machine.transfer(source, cpu.number) + ns)

    def _queued(self, ns: float) -> float:
        """The time until a service of ``ns`` is over, behind those who came before."""
        now = self._machine.env.now
        self._free_at = max(now, self._free_at) + ns
        return self._free_at - now

    def read(self, cpu: Cpu) -> Steps:
        """A load: free if this CPU has a copy, else a transfer."""
        if self._is_private(cpu) or cpu.number in self._readers:
            return
        yield from cpu.catch_up()
        machine = self._machine
        machine.transfers += 1
        self._readers.add(cpu.number)
        delay = self._queued(machine.transfer(self._owner, cpu.number))
        yield from cpu.wait(machine.env.timeout(delay))


class SpinLock:
    """A lock whose word stands in ``line``, with whatever else does."""

    __slots__ = ("_from", "_holder", "_machine", "_queue", "line")

    def __init__(self, machine: Machine, line: Line | None = None) -> None:
        self._machine = machine
        self.line = line or Line(machine)
        self._holder: Cpu | None = None
        self._from = 0
        self._queue: deque[simpy.Event] = deque()

    def acquire(self, cpu: Cpu) -> Steps:
        """Take it, after those who asked before."""
        machine = self._machine
        yield from self.line.modify(cpu)
        if self._holder is None:
            self._holder = cpu
            return
        yield from cpu.catch_up()
        if self._holder is None:
            self._holder = cpu
            return
        since, turn = machine.env.now, machine.env.event()
        self._queue.append(turn)
        yield from cpu.wait(turn)
        self._holder = cpu
        yield machine.env.timeout(machine.hand_off(self._from, cpu.number))
        machine.lock_waits += 1
        machine.lock_waited += machine.env.now - since

    def release(self, cpu: Cpu) -> Steps:
        """Give it to the next."""
        parameters = self._machine.parameters
        cpu.spend(max(0.0, parameters.lock - parameters.atomic))
        if not self.line.private:
            yield from cpu.catch_up()
        if self._queue:
            self._from = cpu.number
            self._queue.popleft().succeed()
        else:
            self._holder = None


class Rcu:
    """Grace periods, one after the other while anybody waits."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._waiting: list[Callable[[], None]] = []
        self._runs = False
        self.grace_periods = 0
        self.pending = 0
        """Tables that wait to be freed."""
        self.pending_max = 0
        self.tables = 0
        """Tables that were given to free_table()."""
        self._table_ns, self._since = 0.0, 0.0

    def call(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called after a grace period that begins from now on."""
        self._waiting.append(callback)
        if not self._runs:
            self._runs = True
            self._machine.env.process(self._grace_periods())

    def free_table(self, freed: Callable[[], None] = lambda: None) -> None:
        """Have a table's frame freed after a grace period."""
        self._count(1)
        self.tables += 1
        self.pending_max = max(self.pending_max, self.pending)

        def free() -> None:
            self._count(-1)
            freed()

        self.call(free)

    def table_ns(self) -> float:
        """The times that all tables have waited, together."""
        self._count(0)
        return self._table_ns

    def _count(self, change: int) -> None:
        now = self._machine.env.now
        self._table_ns += self.pending * (now - self._since)
        self._since = now
        self.pending += change

    def _grace_periods(self) -> Steps:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            yield self._machine.env.timeout(self._machine.parameters.grace_period)
            self.grace_periods += 1
            for callback in batch:
                callback()
        self._runs = False
