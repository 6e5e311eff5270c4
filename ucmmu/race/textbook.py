# SPDX-License-Identifier: GPL-2.0-or-later
"""A language for races in textbooks: threads that load, store and lock a few shared variables.

A thread is a Python generator that yields what it does and gets its result::

    def writer() -> Thread:
        yield Store("x", 1)
        seen = yield Load("y")
        return seen

Each of these is one step, but what only the thread itself sees is none. The memory is sequentially
consistent, or with ``tso`` that of x86: plain stores wait in a buffer of their CPU, ``0d`` is the
step that makes the oldest of CPU 0's visible (ucmmu.race.tso). Rmw, Cas, Fence, Lock and Kick wait
until their CPU's buffer is empty, and so does an interrupt; Unlock is a plain store, as that of a
spinlock on x86.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ucmmu.race.program import Actor, Kind, Step, StepAccess
from ucmmu.race.tso import StoreBuffer

Variable: TypeAlias = Hashable
Memory: TypeAlias = Mapping[Variable, int]


@dataclass(frozen=True, slots=True)
class Load:
    """Read a variable; the value is the result."""

    variable: Variable


@dataclass(frozen=True, slots=True)
class Store:
    """A plain store; no result."""

    variable: Variable
    value: int


@dataclass(frozen=True, slots=True)
class Rmw:
    """Replace a variable's value by ``change(value)``, atomically; the old one is the result."""

    variable: Variable
    change: Callable[[int], int]


@dataclass(frozen=True, slots=True)
class Cas:
    """Store ``new`` if the variable has ``old``, atomically; whether it was so is the result."""

    variable: Variable
    old: int
    new: int


@dataclass(frozen=True, slots=True)
class Fence:
    """MFENCE: wait until this CPU's stores are visible. A step of TSO only."""


@dataclass(frozen=True, slots=True)
class Lock:
    """Wait until nobody holds the lock, and take it."""

    name: Variable


@dataclass(frozen=True, slots=True)
class Unlock:
    """Let go of a lock that this thread holds."""

    name: Variable


@dataclass(frozen=True, slots=True)
class Await:
    """Wait until ``ready(value)`` of a variable; the value is the result."""

    variable: Variable
    ready: Callable[[int], bool]


@dataclass(frozen=True, slots=True)
class Kick:
    """Send that CPU an interrupt, by a locked instruction."""

    cpu: int


Op: TypeAlias = Load | Store | Rmw | Cas | Fence | Lock | Unlock | Await | Kick
Thread: TypeAlias = Generator[Op, Any, Any]


@dataclass(frozen=True)
class Text:
    """A program: its threads, what its variables are at first (0 if not said), and the check at
    its end, which gets the memory and what the threads returned and raises AssertionError.
    """

    threads: Sequence[Callable[[], Thread]]
    initial: Memory | None = None
    check: Callable[[Memory, Sequence[Any]], None] | None = None
    outcome: Callable[[Memory, Sequence[Any]], Hashable] | None = None
    """What state() says of a run that ended; None: memory and results."""
    handlers: Sequence[Sequence[Load | Rmw]] = ()
    """What each CPU does when it takes an interrupt, all in one step. Its results follow what the
    threads returned."""


class _Cpu:
    """A thread, the operation that it does next, and its store buffer."""

    __slots__ = (
        *("buffer", "drained", "ended", "handled", "kicked", "next", "result", "stored", "thread"),
    )

    def __init__(self, thread: Thread) -> None:
        self.thread = thread
        self.buffer: StoreBuffer[Variable] = StoreBuffer()
        self.stored = self.drained = 0
        self.next: Op | None = None
        self.result: Any = None
        self.ended = self.kicked = False
        self.handled: list[object] = []
        self.go_on(None)

    def go_on(self, value: object) -> None:
        """Have the thread run to its next operation."""
        try:
            self.next = self.thread.send(value)
        except StopIteration as end:
            self.next, self.result, self.ended = None, end.value, True


class TextProgram:
    """One run of a Text (ucmmu.race.program.Program)."""

    def __init__(self, text: Text, *, tso: bool = False) -> None:
        self.text = text
        self.fixed = not tso  # a load looks at memory once the CPU's own store has drained
        self.tso = tso
        self.memory: dict[Variable, int] = dict(text.initial or {})
        self._cpus = [_Cpu(thread()) for thread in text.threads]
        kinds = [Kind.CPU, *([Kind.INTERRUPT] if text.handlers else [])]
        kinds += [Kind.DRAIN] if tso else []
        self._actors = [Actor(cpu, kind) for kind in kinds for cpu in range(len(self._cpus))]

    @property
    def actors(self) -> Sequence[Actor]:
        """The threads, the interrupts of their CPUs, and with TSO their store buffers."""
        return self._actors

    def enabled(self) -> Collection[Actor]:
        """See Program."""
        return [actor for actor in self._actors if self._can(actor)]

    def _can(self, actor: Actor) -> bool:
        cpu = self._cpus[actor.cpu]
        if actor.kind is Kind.DRAIN:
            return len(cpu.buffer) > 0
        if actor.kind is Kind.INTERRUPT:
            return cpu.kicked and not len(cpu.buffer)
        op = cpu.next
        if op is None or (len(cpu.buffer) and isinstance(op, Rmw | Cas | Fence | Lock | Kick)):
            return False
        if isinstance(op, Lock):
            return not self.memory.get(_word(op), 0)
        return not isinstance(op, Await) or op.ready(self._load(cpu, op.variable))

    def step(self, actor: Actor) -> Step:
        """See Program."""
        cpu = self._cpus[actor.cpu]
        if actor.kind is Kind.DRAIN:
            return self._drain(actor, cpu)
        if actor.kind is Kind.INTERRUPT:
            return self._interrupt(actor, cpu)
        op = cpu.next
        assert op is not None
        access = self._access(actor.cpu, cpu, op)
        cpu.go_on(self._do(actor.cpu, cpu, op))
        return Step(actor, type(op).__name__.lower(), access, _words(op))

    def _drain(self, actor: Actor, cpu: _Cpu) -> Step:
        variable, value = cpu.buffer.drain()
        self.memory[variable] = value
        token = ("store", actor.cpu, cpu.drained)
        cpu.drained += 1
        lock = isinstance(variable, tuple) and variable[:1] == ("lock",)
        frees = frozenset({token, variable} if lock else {token})
        access = StepAccess(writes=frozenset({variable}), frees=frees)
        return Step(actor, "drain", access, f"{variable} = {value}")

    def _interrupt(self, actor: Actor, cpu: _Cpu) -> Step:
        """It waits for the CPU's stores; to come before them is as good (StepAccess.early)."""
        number, handler = actor.cpu, self.text.handlers[actor.cpu]
        waits = frozenset({("store", number, cpu.stored - 1)} if cpu.stored else ())
        stores = ("stores", number)
        access = StepAccess(
            reads=frozenset(op.variable for op in handler if isinstance(op, Load)),
            writes=frozenset(
                [("irq", number), stores, *(op.variable for op in handler if isinstance(op, Rmw))]
            ),
            waits=waits,
            early=waits | {stores},
        )
        cpu.kicked = False
        cpu.handled += [self._do(number, cpu, op) for op in handler]
        return Step(actor, "interrupt", access)

    def _load(self, cpu: _Cpu, variable: Variable) -> int:
        value = cpu.buffer.load(variable)
        return self.memory.get(variable, 0) if value is None else value

    def _do(self, number: int, cpu: _Cpu, op: Op) -> object:
        """Do it; its result."""
        if isinstance(op, Load | Await):
            return self._load(cpu, op.variable)
        if isinstance(op, Store):
            self._store(cpu, op.variable, op.value)
        elif isinstance(op, Rmw | Cas):
            old = self.memory.get(op.variable, 0)
            if isinstance(op, Rmw):
                self.memory[op.variable] = op.change(old)
                return old
            if old == op.old:
                self.memory[op.variable] = op.new
            return old == op.old
        elif isinstance(op, Lock):
            self.memory[_word(op)] = number + 1
        elif isinstance(op, Unlock):
            holder = self._load(cpu, _word(op))
            assert holder == number + 1, f"CPU {number} unlocks {op.name}, which it does not hold"
            self._store(cpu, _word(op), 0)
        elif isinstance(op, Kick):
            self._cpus[op.cpu].kicked = True
        return None

    def _store(self, cpu: _Cpu, variable: Variable, value: int) -> None:
        if self.tso:
            cpu.buffer.store(variable, value)
            cpu.stored += 1
        else:
            self.memory[variable] = value

    def _access(self, number: int, cpu: _Cpu, op: Op) -> StepAccess:
        """What the operation, about to be done, touches."""
        if isinstance(op, Store | Unlock) and self.tso:
            reads = frozenset({("stores", number)} if self.text.handlers else ())
            return StepAccess(reads=reads, takes=frozenset({("store", number, cpu.stored)}))
        if isinstance(op, Load | Await):
            return StepAccess(reads=frozenset({self._seen(number, cpu, op.variable)}))
        last = ("store", number, cpu.stored - 1)
        waits: frozenset[Hashable] = frozenset({last}) if cpu.stored else frozenset()
        if isinstance(op, Store | Rmw | Cas):  # a Cas that fails too: others decide whether it does
            return StepAccess(writes=frozenset({op.variable}), waits=waits)
        if isinstance(op, Kick):
            return StepAccess(writes=frozenset({("irq", op.cpu)}), waits=waits)
        if isinstance(op, Fence):
            return StepAccess(waits=waits)
        lock = frozenset({_word(op)})
        if isinstance(op, Lock):
            return StepAccess(waits=waits | lock, takes=lock)
        return StepAccess(frees=lock)

    def _seen(self, number: int, cpu: _Cpu, variable: Variable) -> Hashable:
        """What a load of the variable looks at: the newest store to it in the buffer, or memory."""
        for back, (stored, _) in enumerate(reversed(list(cpu.buffer))):
            if stored == variable:
                return ("store", number, cpu.stored - 1 - back)
        return variable

    def pending(self, actor: Actor) -> StepAccess | None:
        """See Program."""
        cpu = self._cpus[actor.cpu]
        if actor.kind is not Kind.CPU or cpu.next is None:
            return None
        return self._access(actor.cpu, cpu, cpu.next)

    def waiting(self) -> str:
        """Who waits for what, in words."""
        waits = [(n, cpu.next) for n, cpu in enumerate(self._cpus) if cpu.next is not None]
        return "; ".join(f"CPU {number} waits: {_words(op)}" for number, op in waits)

    def finished(self) -> bool:
        """See Program."""
        return all(cpu.ended and not len(cpu.buffer) for cpu in self._cpus)

    def finish(self) -> None:
        """See Program."""
        if self.text.check is not None:
            self.text.check(self.memory, self.results)

    @property
    def results(self) -> list[Any]:
        """What the threads returned so far, and what their interrupts did."""
        handled = [tuple(cpu.handled) for cpu in self._cpus if self.text.handlers]
        return [*(cpu.result for cpu in self._cpus), *handled]

    def state(self) -> Hashable:
        """See Program."""
        if self.text.outcome is not None and self.finished():
            return self.text.outcome(self.memory, self.results)
        return frozenset(self.memory.items()), tuple(self.results)

    def close(self) -> None:
        """See Program."""
        for cpu in self._cpus:
            cpu.thread.close()


def _word(op: Lock | Unlock) -> Variable:
    """The variable of a lock: 0, or the number of the CPU that holds it and 1."""
    return ("lock", op.name)


def _words(op: Op) -> str:
    """The operation, for a reader."""
    if isinstance(op, Store):
        return f"{op.variable} = {op.value}"
    if isinstance(op, Cas):
        return f"{op.variable}: {op.old} -> {op.new}"
    if isinstance(op, Fence):
        return "fence"
    if isinstance(op, Kick):
        return f"CPU {op.cpu}"
    return str(op.name if isinstance(op, Lock | Unlock) else op.variable)
