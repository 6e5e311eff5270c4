# SPDX-License-Identifier: GPL-2.0-or-later
"""State that several CPUs share, for a policy of one's own (mmu.linux.free_tables).

Each access is a step that the race explorer knows of, and another CPU may come before it. Kept in
plain attributes of Python, the same state would be one that nobody sees to be shared.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from mmu.linux.bug import Bug, MmBug
from mmu.linux.lockdep import Lockdep
from mmu.linux.smp import local_irqs_off as local_irqs_off
from mmu.linux.smp import smp_mb as smp_mb
from mmu.linux.state import Kernel


class Atomic:
    """atomic_t: one word, each of whose operations is one locked instruction.

    ``name`` tells it from the others of its kernel. ``value`` is a look at it for reports: no CPU's
    access.
    """

    def __init__(self, kernel: Kernel, name: str, value: int = 0) -> None:
        self.kernel = kernel
        self.name = name
        self.value = value

    def read(self) -> int:
        """atomic_read()."""
        self.kernel.point("atomic_read")
        self.kernel.instrument_read(self, "value")
        return self.value

    def set(self, value: int) -> None:
        """atomic_set(), and a full barrier (smp_store_mb())."""
        self._write("atomic_set")
        self.value = value

    def add_return(self, nr: int) -> int:
        """atomic_add_return(): what it is then."""
        self._write("atomic_add_return")
        self.value += nr
        return self.value

    def add_unless(self, nr: int, unless: int) -> bool:
        """atomic_add_unless(): add, unless it is that value; whether it was not."""
        self._write("atomic_add_unless")
        if self.value == unless:
            return False
        self.value += nr
        return True

    def xchg(self, value: int) -> int:
        """atomic_xchg(): what it was."""
        self._write("atomic_xchg")
        old, self.value = self.value, value
        return old

    def cmpxchg(self, old: int, new: int) -> int:
        """atomic_cmpxchg(): set it to new if it is old; what it was."""
        self._write("atomic_cmpxchg")
        found = self.value
        if found == old:
            self.value = new
        return found

    def _write(self, point: str) -> None:
        self.kernel.point(point)
        self.kernel.instrument_write(self, "value")


class _Word:
    """One word, which plain loads and stores are of."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.value = 0


class PerCpu:
    """A per-CPU variable (DEFINE_PER_CPU()): one number for each CPU of the kernel.

    No access is a barrier: another CPU may see an addition later, after what this CPU has loaded
    since, but in the order of its stores.

    What looks at its own CPU's and then changes it has interrupts off meanwhile
    (``local_irqs_off(kernel)``), if an interrupt, or whoever waits for one to be taken, must not
    come in between. ``values`` is a look at all, for reports.
    """

    def __init__(self, kernel: Kernel, name: str) -> None:
        self.kernel = kernel
        self.name = name
        self._words = [_Word(f"{name}[{cpu.id}]") for cpu in kernel.cpus]

    @property
    def values(self) -> list[int]:
        """Each CPU's, as it sees it itself."""
        return [self.kernel.peek(word, "value") for word in self._words]

    def add(self, nr: int) -> int:
        """this_cpu_add_return(), one instruction: what this CPU's is then."""
        cpu = self.kernel.c.this_cpu.id
        self.kernel.point("this_cpu_add")
        word = self._words[cpu]
        value = self.kernel.read_once(word, "value") + nr
        self.kernel.write_once(word, "value", value)
        return value

    def set(self, value: int) -> None:
        """this_cpu_write()."""
        self.kernel.point("this_cpu_write")
        self.kernel.write_once(self._words[self.kernel.c.this_cpu.id], "value", value)

    def read(self, cpu: int) -> int:
        """per_cpu(): that CPU's, which may be changing it."""
        self.kernel.point("per_cpu")
        return self.kernel.read_once(self._words[cpu], "value")

    def take(self, cpu: int) -> int:
        """That CPU's, which is 0 then; it must not be changing it."""
        self.kernel.point("per_cpu")
        value = self.kernel.read_once(self._words[cpu], "value")
        self.kernel.write_once(self._words[cpu], "value", 0)
        return value

    def sum(self) -> int:
        """All of them added up, one after the other: what the sum never was, if some change."""
        return sum(self.read(cpu) for cpu in range(len(self._words)))


class SpinLock:
    """spinlock_t (include/linux/spinlock.h), ``with lock:``. Who holds it does not sleep. Locks of
    one ``name`` are of one class (mmu.linux.lockdep): one is not taken inside another, nor in both
    orders with one of another name. What is broken of that is told by Kernel.check(): LOCK_ORDER,
    LOCK_HELD, LOCK_NOT_HELD; SLEEP_IN_ATOMIC and LOCK_KEPT where they are met.
    """

    def __init__(self, kernel: Kernel, name: str) -> None:
        self.kernel = kernel
        self.name = name
        self.owner = 0
        """The CPU's number + 1."""

    def __enter__(self) -> None:
        kernel = self.kernel
        kernel.point("spin_lock")
        self._tell(lambda lockdep: lockdep.acquire(self, self.name, self.name))
        kernel.instrument_write(self, "owner")
        had = True
        while self.owner and had:
            what = f"{self.name}, which CPU {self.owner - 1} holds"
            had = kernel.scheduler.spin_until(lambda: not self.owner, what)
        if not had:
            kernel.bug(Bug.LOCK_HELD)
        self.owner = kernel.c.this_cpu.id + 1
        self._tell(lambda lockdep: lockdep.acquired(self, self.name, self.name))

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _where: TracebackType | None,
    ) -> None:
        if self.owner != self.kernel.c.this_cpu.id + 1:
            self.kernel.bug(Bug.LOCK_NOT_HELD)
        else:
            self._tell(lambda lockdep: lockdep.release(self))
        self.kernel.write_once(self, "owner", 0)
        self.kernel.point("spin_unlock")

    def _tell(self, what: Callable[[Lockdep], None]) -> None:
        """Have lockdep look, if it is on; what it finds is kept for Kernel.check()."""
        if self.kernel.lockdep is not None:
            try:
                what(self.kernel.lockdep)
            except MmBug as error:
                self.kernel.keep_error(error)
