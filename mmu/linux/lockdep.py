# SPDX-License-Identifier: GPL-2.0-or-later
"""A validator of locking (kernel/locking/lockdep.c, v6.18), on with ``Kernel(lockdep=True)``.

It learns in which order *classes* of locks are taken, whatever the instances: taking B with A held
is the order A, B. The first order that closes a circle is told, though nothing has deadlocked yet.
A trylock cannot deadlock and teaches no order. Locks of one class may be taken inside each other
only with another ``subclass``, as by spin_lock_nested().

It also knows what each CPU holds, and so tells who sleeps with a spinlock held, in an RCU read
section or with interrupts off, and who returns to user mode with anything of that.

Locks held belong to the task. A task stays on its CPU but when it sleeps: sleep() takes them off
the CPU, wake() puts them on the one where it goes on.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from mmu.linux.bug import Bug, MmBug
from mmu.linux.contention import LOCK_NAMES, LOCK_PAGE_TABLE

if TYPE_CHECKING:
    from mmu._native import struct_cpu_ptr, struct_kernel_ptr

_SPINLOCKS: Final = LOCK_PAGE_TABLE
"""Kinds up to this one spin; the others sleep."""

Kind = int | str
"""LOCK_*; a spinlock of a policy of the user's own (mmu.linux.shared) has its name."""
Class = tuple[Kind, int]
"""Kind of lock and subclass."""


@dataclass(frozen=True)
class HeldLock:
    """struct held_lock."""

    lock: Hashable
    kind: Kind
    name: str
    read: bool
    subclass: int = 0

    @property
    def key(self) -> Class:
        """Its class."""
        return self.kind, self.subclass

    @property
    def spins(self) -> bool:
        """Whether who holds it must not sleep."""
        return isinstance(self.kind, str) or self.kind <= _SPINLOCKS

    def __str__(self) -> str:
        return f"{self.name} ({'read' if self.read else 'write'})" if not self.spins else self.name


def _class_name(key: Class) -> str:
    kind, subclass = key
    name = kind if isinstance(kind, str) else LOCK_NAMES[kind]
    return name + (f"/{subclass}" if subclass else "")


class Lockdep:
    """The validator of one kernel, whose ``struct kernel *`` is given."""

    def __init__(self, c: struct_kernel_ptr) -> None:
        self._c = c
        self._held: dict[int, list[HeldLock]] = {}
        self._after: dict[Class, dict[Class, str]] = {}

    def held(self, cpu: int | None = None) -> list[HeldLock]:
        """What the task on that CPU (None: the one that runs) holds, oldest first."""
        return self._held.setdefault(self._cpu if cpu is None else cpu, [])

    @property
    def _cpu(self) -> int:
        return int(self._c.this_cpu.id)

    # Taking and dropping.

    def acquire(
        self, lock: Hashable, kind: Kind, name: str, *, read: bool = False, subclass: int = 0
    ) -> None:
        """Before a lock is taken that may have to be waited for.

        MmBug LOCK_HELD if the task holds it already, LOCK_ORDER if the order closes a circle,
        SLEEP_IN_ATOMIC for a sleeping lock where none may be taken.
        """
        new = HeldLock(lock, kind, name, read, subclass)
        if not new.spins:
            self.might_sleep(f"takes {new}")
        for held in self.held():
            if held.lock == lock:
                raise self._bug(Bug.LOCK_HELD, f"takes {new}, which it holds")
            self._add_order(held, new)

    def acquired(
        self,
        lock: Hashable,
        kind: Kind,
        name: str,
        *,
        read: bool = False,
        subclass: int = 0,
        trylock: bool = False,
    ) -> None:
        """A lock is held now. ``trylock``: without acquire() before."""
        self.held().append(HeldLock(lock, kind, name, read, subclass))

    def release(self, lock: Hashable) -> None:
        """A lock is dropped; the last taken first, or in any other order. MmBug LOCK_NOT_HELD."""
        stack = self.held()
        for i in range(len(stack) - 1, -1, -1):
            if stack[i].lock == lock:
                del stack[i]
                return
        raise self._bug(Bug.LOCK_NOT_HELD, f"drops {lock}, which it does not hold")

    def downgrade(self, lock: Hashable) -> None:
        """A lock that is held for writing is held for reading from now on."""
        stack = self.held()
        for i, held in enumerate(stack):
            if held.lock == lock:
                stack[i] = HeldLock(lock, held.kind, held.name, True, held.subclass)

    def _add_order(self, first: HeldLock, then: HeldLock) -> None:
        known = self._after.setdefault(first.key, {})
        if then.key in known:
            return
        chain = self._path(then.key, first.key)
        if chain is not None:
            circle = " -> ".join(map(_class_name, [first.key, *chain]))
            seen = "; ".join(
                f"{_class_name(b)} was taken inside {_class_name(a)} by CPU {self._after[a][b]}"
                for a, b in pairwise(chain)
            )
            raise self._bug(
                Bug.LOCK_ORDER,
                f"takes {then} inside {first}: the circle {circle}" + (f"; {seen}" if seen else ""),
            )
        held = ", ".join(map(str, self.held()))
        known[then.key] = f"{self._cpu} (holding {held})"

    def _path(self, start: Class, end: Class) -> list[Class] | None:
        """A chain of orders from start to end, both included; None without one."""
        paths, seen = [[start]], {start}
        for path in paths:
            if path[-1] == end:
                return path
            for following in self._after.get(path[-1], {}):
                if following not in seen:
                    seen.add(following)
                    paths.append([*path, following])
        return None

    # Sleeping, and going back to user mode.

    def might_sleep(self, what: str) -> None:
        """MmBug SLEEP_IN_ATOMIC if the task may not sleep now; ``what`` says what it does."""
        why = [str(held) for held in self.held() if held.spins]
        why += self._atomic(self._c.this_cpu)
        if why:
            raise self._bug(Bug.SLEEP_IN_ATOMIC, f"{what} in atomic context: {', '.join(why)}")

    @staticmethod
    def _atomic(cpu: struct_cpu_ptr) -> list[str]:
        why = []
        if cpu.rcu_nesting:
            why.append(f"{cpu.rcu_nesting} RCU read sections")
        if cpu.irqs_disabled:
            why.append("interrupts off")
        return why

    def sleep(self, what: str) -> list[HeldLock]:
        """The task sleeps: what it holds leaves the CPU with it. MmBug SLEEP_IN_ATOMIC."""
        self.might_sleep(f"waits for {what}")
        return self._held.pop(self._cpu, [])

    def wake(self, held: list[HeldLock]) -> None:
        """The task goes on, on the CPU that runs now."""
        self._held[self._cpu] = held

    def quiescent(self, cpu: int) -> None:
        """That CPU returns to user mode, changes tasks or goes idle (lockdep_sys_exit(),
        schedule_debug()): MmBug LOCK_KEPT if it has a lock, a read section or disabled interrupts.
        """
        c = self._c.cpu[cpu]
        why = [str(held) for held in self.held(cpu)] + self._atomic(c)
        if why:
            self._held.pop(cpu, None)
            raise MmBug(Bug.LOCK_KEPT, 0, f"CPU {cpu} has {', '.join(why)}")

    def _bug(self, bug: Bug, what: str) -> MmBug:
        held = ", ".join(map(str, self.held())) or "nothing"
        return MmBug(bug, 0, f"CPU {self._cpu} {what} (it holds {held})")
