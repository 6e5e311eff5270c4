# SPDX-License-Identifier: GPL-2.0-or-later
"""Slices under the scheduler: each CPU's turn ends at exactly its instruction, the same for one
seed in each fidelity; a task that needs no kernel code is not woken for it, and one that does is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from cpu.scheduler import Scheduler
from cpu.thread import NEVER, Thread
from cpu.vcpu import VCpu, VmExit
from mmu.errors import BadTable
from tests.cpu.several import Several, several
from tests.cpu.world import DATA, FAST, FIDELITIES, How, reg

SPIN = "1: inc rax; cmp rax, rbx; jne 1b; syscall"
RACE = f"""
1:  mov rax, [{DATA}]
    inc rax
    mov [{DATA}], rax
    dec ecx
    jnz 1b
    syscall
"""


class Runner(Thread):
    """A task whose kernel notes each return to it: CPU, count, RIP, whether a slice ended there."""

    def __init__(self, machine: Machine, number: int, due: int | None = None) -> None:
        vcpu = machine.several.vcpus[number]
        super().__init__(machine.several.mm, vcpu.save_context())
        self.machine = machine
        self.due = due
        self.number = number
        self.work = False
        self.returns: list[tuple[int, int, int | None]] = []

    def work_pending(self) -> bool:
        return self.work

    def main(self) -> None:
        """Until a system call."""
        scheduler = self.machine.scheduler
        while True:
            scheduler.end_slice_if_over(self)
            self.work = False
            assert self.rq is not None
            due = NEVER if self.due is None else self.rq.count[0] + self.due
            reason = scheduler.user_slice(self, due)
            exit_ = self.rq.vcpu.exit
            self.returns.append((self.rq.cpu.id, reason, self.rq.vcpu.instructions))
            if reason == VmExit.SYSCALL:
                return
            if reason == VmExit.PAGE_FAULT:
                mm = self.machine.several.mm
                assert mm.handle_user_fault(exit_.address, exit_.error_code) is None


class Machine:
    """Several vCPUs under a scheduler; ``slices`` notes where each run of a vCPU ends."""

    def __init__(self, s: Several, *, seed: int = 1, quantum: int = 40) -> None:
        self.several = s
        self.scheduler = Scheduler(s.kernel, s.vcpus, seed=seed, quantum=quantum)
        self.slices: list[tuple[int, int | None, int]] = []
        for number, vcpu in enumerate(s.vcpus):
            self._note(number, vcpu, vcpu.enter)

    def _note(self, number: int, vcpu: VCpu, enter: Callable[[int, int], int]) -> None:
        def noting(limit: int, look: int = NEVER) -> int:
            reason = enter(limit, look)
            if reason == VmExit.LIMIT:
                self.slices.append((number, vcpu.instructions, vcpu.rip))
            return reason

        vcpu.enter = noting  # type: ignore[method-assign]

    def run(self, *tasks: Runner) -> None:
        for task in tasks:
            self.scheduler.add(task)
        self.scheduler.run()


def test_the_schedule_is_the_seeds_in_each_fidelity() -> None:
    """And so is the number of updates that the race on a word loses."""
    runs: dict[int, list[tuple[list[tuple[int, int | None, int]], int]]] = {}
    for seed in (1, 1, 2):
        for how in FIDELITIES:
            with several(RACE, how, starts=(0, 0, 0), regs={"RCX": 300}) as s:
                machine = Machine(s, seed=seed)
                machine.run(*(Runner(machine, number) for number in range(3)))
                runs.setdefault(seed, []).append((machine.slices, s.read_u64()))
    for same in runs.values():
        assert all(run == same[0] for run in same)
    assert runs[1][0] != runs[2][0]
    assert len(runs[1][0][0]) > 50
    assert all(300 < same[0][1] < 900 for same in runs.values())


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_a_task_without_work_is_not_woken_for_its_slices(how: How) -> None:
    """Its kernel code runs when guest code calls it, with that exit."""
    with several(SPIN, how, regs={"RAX": 0, "RBX": 2000}) as s:
        machine = Machine(s)
        one, other = Runner(machine, 0), Runner(machine, 1)
        machine.run(one, other)
        assert len(machine.slices) > 100
        for task in (one, other):
            reasons = [reason for _, reason, _ in task.returns]
            assert reasons.count(VmExit.SYSCALL) == 1
            assert reasons.count(VmExit.LIMIT) <= 1
        assert sum(vcpu.instructions or 0 for vcpu in s.vcpus) == 2 * 6001


def test_what_is_due_is_due_at_its_instruction() -> None:
    with several(SPIN, FAST, regs={"RAX": 0, "RBX": 2000}) as s:
        machine = Machine(s)
        one, other = Runner(machine, 0, due=777), Runner(machine, 1)
        machine.run(one, other)
        due = [count for _, reason, count in one.returns if reason == VmExit.LIMIT]
        assert due == [777 * n for n in range(1, 8)]


def test_a_task_with_work_is_woken_before_its_next_instruction() -> None:
    with several(SPIN, FAST, regs={"RAX": 0, "RBX": 2000}) as s:
        machine = Machine(s)
        one, other = Runner(machine, 0), Runner(machine, 1)
        counts: list[int | None] = []

        def fire() -> None:
            counts.append(s.vcpus[0].instructions)
            one.work = True

        machine.scheduler.add_timer(1500, fire)
        machine.run(one, other)
        returned = [count for _, reason, count in one.returns if reason == VmExit.LIMIT]
        assert len(counts) == 1 and counts[0] in returned


def test_a_cpu_that_others_want_is_shared() -> None:
    """Three tasks on two CPUs: each gets its turns, and all end."""
    with several(SPIN, FAST, regs={"RAX": 0, "RBX": 1000}) as s:
        machine = Machine(s)
        tasks = [Runner(machine, 0), Runner(machine, 1), Runner(machine, 1)]
        machine.run(*tasks)
        for task in tasks:
            assert task.returns[-1][1] == VmExit.SYSCALL
        assert sum(vcpu.instructions or 0 for vcpu in s.vcpus) == 3 * 3001
        assert {cpu for task in tasks for cpu, _, _ in task.returns} == {0, 1}


class Spinner(Runner):
    """A task that ends when its vCPU is stopped."""

    stopped = False

    def main(self) -> None:
        """Guest code for ever."""
        scheduler = self.machine.scheduler
        while not self.stopped:
            scheduler.end_slice_if_over(self)
            self.stopped = scheduler.user_slice(self, NEVER) == VmExit.STOPPED


@pytest.mark.parametrize("quantum", [500, 1 << 40], ids=["many_slices", "one_slice"])
def test_another_thread_stops_every_cpu(quantum: int) -> None:
    """The one that executes just then, and those that stand still."""
    with several("1: jmp 1b", FAST, starts=(0, 0, 0)) as s:
        machine = Machine(s, quantum=quantum)
        tasks = [Spinner(machine, number) for number in range(3)]
        timer = threading.Timer(0.05, machine.scheduler.stop)
        timer.start()
        machine.run(*tasks)
        timer.join()
        assert all(task.stopped for task in tasks)
        assert (s.vcpus[0].instructions or 0) > 0


def test_an_error_of_a_vcpu_ends_the_run() -> None:
    """A page table that leads out of memory, met in a slice that no task was woken for."""
    source = f"1: inc rax; cmp rax, rbx; jne 1b; mov rcx, [{DATA}]; syscall"
    with several(source, FAST, regs={"RAX": 0, "RBX": 500}) as s:
        s.mm.copy_to_user(DATA, b"x")
        entry = s.kernel.cpus[0].mmu.walk(DATA).entry_pa[1]
        own = s.memory.read_u64(entry)
        s.memory.write_u64(entry, own | 1 << 40)
        machine = Machine(s)
        with pytest.raises(BadTable):
            machine.run(Runner(machine, 0), Runner(machine, 1))
        assert machine.scheduler.rq is None
        s.memory.write_u64(entry, own)
        assert s.vcpus[0].read_reg(reg("RCX")) == 0 or s.vcpus[1].read_reg(reg("RCX")) == 0
