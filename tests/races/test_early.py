# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what is taken early (StepAccess.early) stands for its coming later: no failure is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from mmu.linux import tlbflush
from mmu.linux.mm import Mm
from mmu.linux.rcu import call_rcu, rcu_read_lock, rcu_read_unlock
from mmu.linux.rcupdate import rcu_poll, rcu_qs, synchronize_rcu
from mmu.linux.smp import smp_call_function_single
from mmu.linux.state import Cpu, MmStruct
from mmu.linux.tlbflush import switch_mm
from mmu.units import PAGE_SHIFT
from ucmmu.race import operations as do
from ucmmu.race.dpor import Dpor
from ucmmu.race.kernel_program import KernelProgram
from ucmmu.race.scenarios.flushing import _known_to_both
from ucmmu.race.watched import WatchedMemory
from ucmmu.race.world import BASE, RaceWorld

BOTH = pytest.mark.parametrize("tso", [False, True])


class Words:
    """A world, two words of its RAM that CPUs tell each other things by, and what they do."""

    def __init__(self, cpus: int) -> None:
        self.world = RaceWorld(cpus=cpus, watched=True)
        memory = self.world.memory
        assert isinstance(memory, WatchedMemory)
        self.kernel, self.memory = self.world.kernel, memory
        self.frame = self._frame()
        self.words = [self._frame() << PAGE_SHIFT, self._frame() << PAGE_SHIFT]
        self.seen: dict[int, int] = {}

    def _frame(self) -> int:
        pfn = self.memory.alloc_pages()
        self.memory.private.discard(pfn)
        return pfn

    def runs(self) -> None:
        rcu_qs(self.kernel, self.kernel.this_cpu)

    def store(self, word: int) -> None:
        self.memory.write_u64(self.words[word], 1)

    def load(self, word: int) -> None:
        self.seen[self.kernel.this_cpu.id] = self.memory.read_u64(self.words[word])

    def spin(self, word: int = 0) -> None:
        self.kernel.scheduler.spin_until(lambda: self.memory.read_u64(self.words[word]) != 0, "it")

    def wait_for_frame(self) -> None:
        call_rcu(self.kernel, self.frame)
        page = self.memory.page(self.frame)
        self.kernel.wait_event(self.kernel.rcu_gp_wait, lambda: page._refcount == 0, "its frame")

    def wait_for_gp(self) -> None:
        synchronize_rcu(self.kernel)


Ops = Sequence[Callable[[], object]]


class Unsettled(KernelProgram):
    """One whose world is left as it is in the end."""

    def finish(self) -> None:
        self._leave()


def _failures(
    make: Callable[[], tuple[Words, Sequence[Ops]]], *, tso: bool, of_the_user: bool = False
) -> tuple[set[str], set[tuple[tuple[int, int], ...]]]:
    """The kinds of failures that Dpor finds, and what was seen in the end otherwise."""
    words: list[Words] = []

    def program() -> KernelProgram:
        mine, acts = make()
        words.append(mine)

        def in_order(ops: Ops) -> Callable[[], None]:
            def act() -> None:
                for op in ops:
                    op()
                    mine.kernel.point("op")

            return act

        bodies = {cpu: in_order(ops) for cpu, ops in enumerate(acts)}
        return Unsettled(mine.world, bodies, tso=tso, of_the_user=of_the_user)

    kinds, seen = set[str](), set[tuple[tuple[int, int], ...]]()
    for told in iter(Dpor(program).next_run, None):
        if told.run.failure is not None:
            kinds.add(told.run.failure.kind)
        elif not told.blocked:
            seen.add(tuple(sorted(words[-1].seen.items())))
    return kinds, seen


@BOTH
def test_who_waits_for_a_grace_period_may_wait_for_ever(tso: bool) -> None:
    """CPU 1, idle as the grace period begins, waits in a read section for who waits for its end."""

    def make() -> tuple[Words, Sequence[Ops]]:
        w = Words(2)
        k = w.kernel
        waits = (w.runs, w.wait_for_gp, lambda: w.store(0))
        return w, (waits, (lambda: rcu_read_lock(k), w.spin, lambda: rcu_read_unlock(k)))

    assert _failures(make, tso=tso)[0] == {"Deadlock"}


@BOTH
def test_the_handler_of_an_idle_cpu_may_keep_a_grace_period_from_its_end(tso: bool) -> None:
    def make() -> tuple[Words, Sequence[Ops]]:
        w = Words(3)
        k = w.kernel
        waits = (w.runs, w.wait_for_gp, lambda: w.store(0))
        kick = (
            lambda: smp_call_function_single(k, k.cpus[1], lambda _: w.spin(), None, wait=False),
        )
        return w, (waits, (lambda: w.store(1), lambda: w.store(1)), kick)

    assert _failures(make, tso=tso)[0] == {"Deadlock"}


@BOTH
def test_code_of_the_users_may_wait_for_a_frame(tso: bool) -> None:
    """Which RCU does not know: the CPU that was quiet before the grace period is not after it."""

    def make() -> tuple[Words, Sequence[Ops]]:
        w = Words(2)
        return w, ((w.runs, w.wait_for_frame, lambda: w.store(0)), (w.runs, w.spin))

    assert _failures(make, tso=tso, of_the_user=True)[0] == {"Deadlock"}


def test_a_poll_without_a_grace_period_waits_for_no_store() -> None:
    """Store buffering over rcu_poll(): each CPU may miss the other's store."""

    def make() -> tuple[Words, Sequence[Ops]]:
        w = Words(2)
        k = w.kernel
        return w, (
            (lambda: w.store(0), lambda: rcu_poll(k), lambda: w.load(1)),
            (lambda: w.store(1), k.smp_mb, lambda: w.load(0)),
        )

    assert ((0, 0), (1, 0)) in _failures(make, tso=True)[1]


@BOTH
def test_a_switch_may_come_to_tables_that_the_grace_period_frees(
    tso: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A switch that asks for no flush that it missed comes to cached ways through the table: only
    if the grace period ends after it.
    """
    real = tlbflush._choose_new_asid

    def make() -> KernelProgram:
        monkeypatch.setattr(tlbflush, "_choose_new_asid", real)
        world = RaceWorld(cpus=2, watched=True)
        _known_to_both(world)
        world.run_on(1)
        other = Mm(world.kernel)
        world.children.append(other)
        switch_mm(world.kernel, other)

        def choose(cpu: Cpu, mm: MmStruct, gen: int) -> tuple[int, bool]:
            asid, flush = real(cpu, mm, gen)
            return asid, flush and mm is not world.mm

        monkeypatch.setattr(tlbflush, "_choose_new_asid", choose)
        switch = do.in_order(lambda: world.kernel.point("user"), do.switch_to(world, world.mm))
        acts = {0: do.zap(world, BASE), 1: switch}
        return KernelProgram(world, acts, tso=tso, of_the_user=False)

    failures = [told.run.failure for told in iter(Dpor(make).next_run, None)]
    assert any("speculative walk" in failure.text for failure in failures if failure is not None)
