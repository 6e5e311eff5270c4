# SPDX-License-Identifier: GPL-2.0-or-later
"""The fixtures ``machine`` and ``guest``: programs on a machine of vCPUs, run to their end, or some
instructions at a time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from elftools.elf.elffile import ELFFile
from greenlet import getcurrent, greenlet
from unicorn import x86_const

from cpu.elf import ElfError
from cpu.fs.view import View, seen
from cpu.machine import Machine
from cpu.result import RunResult
from cpu.vcpu import Fidelity, VCpu
from mmu.errors import MmuError
from mmu.linux.mm import Mm
from mmu.memory import Memory
from mmu.x86 import Mmu
from ucmmu.exit_codes import Failure
from ucmmu.options import find_program
from ucmmu.testing.build import build_asm, build_c
from ucmmu.testing.options import MachineOptions
from ucmmu.testing.scene import Scene

if TYPE_CHECKING:
    from cpu.task import Process


_MAX_PATIENCE: Final = 1 << 40
"""Times the limit, in nanoseconds of virtual time, that all tasks of a guest may wait."""


class Guest:
    """A program on a machine, which has not begun. ``process`` is its first process; ``path`` where
    it lies.
    """

    def __init__(self, machine: Machine, path: Path, args: tuple[str, ...], **options: Any) -> None:
        """Spawn it; ``options`` are those of Machine.spawn(). Raises MmuError if it is no program
        that can run.
        """
        self.machine = machine
        self.path = path
        self.result: RunResult | None = None
        """What Machine.run() returned, when it has ended."""
        with ExitStack() as stack:
            self._streams = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
            self._closing = stack.pop_all()
        self._symbols: dict[str, int] | None = None
        self._test: greenlet | None = None
        self._hub: greenlet | None = None
        """What calls Machine.run(); the scheduler's hub."""
        self._paused: greenlet | None = None
        options.setdefault("view", View(given=seen(str(path))))
        stdin = options.pop("stdin", b"")
        self._streams[0].write(stdin)
        self._streams[0].seek(0)
        first, second, third = (stream.fileno() for stream in self._streams)
        try:
            self.process: Process = machine.spawn(
                str(path), args=args, streams=(first, second, third), **options
            )
        except ElfError as error:
            raise MmuError(str(error)) from None

    # Running.

    def run(self, *, instructions: int | None = None) -> RunResult:
        """Run all its processes to their end, with the checks of every run: tables and counters
        agree, and nothing is left. Returns the result. AssertionError if a check failed, or if it
        has not ended after so many ``instructions`` more, of all CPUs together; None: no limit.
        """
        if instructions is not None:
            self._run_at_most(instructions)
        while self.result is None:
            self._go_on()
        assert not self.result.problems, "\n".join(self.result.problems)
        return self.result

    def step(self, instructions: int = 1) -> bool:
        """Execute so many instructions more; False if it has ended before.

        Faults and system calls on the way are handled. What it has is then as between two
        instructions: registers, tables, TLBs. With several CPUs, so many nanoseconds of virtual
        time pass, in which each executes about one instruction a nanosecond.
        """
        if instructions < 1:
            raise MmuError(f"at least one instruction must be executed, not {instructions}")
        if self.result is not None:
            return False
        scheduler = self.machine.scheduler
        scheduler.add_timer(scheduler.now_ns() + instructions, self._pause)
        self._go_on()
        return self.result is None

    def _run_at_most(self, instructions: int) -> None:
        """Run so many instructions; AssertionError if it has not ended then, or if all its tasks
        wait for what does not come.
        """
        begun = self._executed()
        left, patience = instructions, 1
        while left > 0 and patience <= _MAX_PATIENCE and self.step(left * patience):
            before, left = left, begun + instructions - self._executed()
            patience = 1 if left < before else 2 * patience
        if self.result is None:
            why = "waits" if left > 0 else f"has not ended after {instructions:,} instructions"
            raise AssertionError(f"the guest {why}: it is at RIP {self.rip:#x}")

    def _executed(self) -> int:
        """Instructions so far."""
        return self.machine.progress()["instructions"] or 0

    def _go_on(self) -> None:
        """Run until _pause(), or the end; MmuError if it raised before."""
        self._test = getcurrent()
        if self._hub is None:
            self._hub = self._paused = greenlet(self._body)
        elif self._hub.dead:
            raise MmuError("this guest's machine failed before, and cannot go on")
        self._hub.parent = self._test
        assert self._paused is not None
        self._paused.switch()

    def _body(self) -> None:
        self.result = self.machine.run()

    def _pause(self) -> None:
        """Give the test a look, then go on just here: nobody of the machine sees it."""
        assert self._test is not None
        self._paused = getcurrent()
        self._test.switch()

    def close(self) -> None:
        """End it, if it has not ended."""
        if self._hub is not None and not self._hub.dead:
            self.machine.stop()
            while self.result is None:
                self._go_on()
        self._closing.close()

    # Looking.

    @property
    def mm(self) -> Mm:
        """The address space of its first process."""
        return self.process.leader.mm

    @property
    def vcpu(self) -> VCpu:
        """The vCPU that ran last."""
        return self.machine.vcpus[self.machine.kernel.this_cpu.id]

    @property
    def mmu(self) -> Mmu:
        """The MMU of the CPU that ran last."""
        return self.machine.kernel.this_cpu.mmu

    @property
    def rip(self) -> int:
        """Where it goes on."""
        return self.vcpu.rip

    def reg(self, name: str) -> int:
        """A register of at most 64 bits: "rax", "eflags". Raises MmuError if there is none."""
        number = getattr(x86_const, f"UC_X86_REG_{name.upper()}", None)
        if number is None:
            raise MmuError(f"no register {name!r}")
        return self.vcpu.read_reg(number)

    def symbol(self, name: str) -> int:
        """The address of a symbol of a program that is not position-independent. Raises MmuError if
        it has none of this name.
        """
        if self._symbols is None:
            self._symbols = _symbols_of(self.path)
        if name not in self._symbols:
            raise MmuError(f"the guest has no symbol {name!r}")
        return self._symbols[name]

    @property
    def stdout(self) -> str:
        """What it wrote to descriptor 1 so far."""
        return self._text(1)

    @property
    def stderr(self) -> str:
        """What it wrote to descriptor 2 so far."""
        return self._text(2)

    def _text(self, number: int) -> str:
        stream = self._streams[number]
        stream.seek(0)
        return stream.read().decode("utf-8", "replace")


class GuestMaker:
    """The fixture ``guest``: ``guest("hello")`` is a program by its name or path, ``guest.asm(…)``
    and ``guest.c(…)`` one of a few lines. Each returns a Guest that has not begun; a test has one.
    """

    def __init__(self, machine: Machine, scene: Scene) -> None:
        self._machine = machine
        self._scene = scene
        self._made: Guest | None = None

    def __call__(self, program: str | Path, *args: str, **options: Any) -> Guest:
        """A program: a guest of `ucmmu list`, a path, or a name in PATH. ``stdin`` is what it
        reads, bytes; other ``options`` are those of Machine.spawn(). Raises MmuError if it cannot
        run.
        """
        try:
            path = find_program(str(program))
        except Failure as failure:
            raise MmuError(str(failure)) from None
        return self._make(path, args, options)

    def asm(self, source: str, **options: Any) -> Guest:
        """A program that executes these instructions, Intel syntax, then exits with 0; ``data``
        names 64 KiB of zeroed memory. Raises ValueError if it cannot be assembled.
        """
        return self._make(build_asm(source), (), options)

    def c(self, source: str, *args: str, flags: tuple[str, ...] = (), **options: Any) -> Guest:
        """A static C program, which has main(). Raises ValueError if it cannot be compiled."""
        return self._make(build_c(source, *flags), args, options)

    def _make(self, path: Path, args: tuple[str, ...], options: Mapping[str, Any]) -> Guest:
        if self._made is not None:
            raise MmuError("this test's machine runs a guest already: one test, one guest")
        self._made = Guest(self._machine, path.resolve(), args, **options)
        self._scene.mm = self._made.mm
        return self._made

    def close(self) -> None:
        """End the guest."""
        if self._made is not None:
            self._made.close()


@contextmanager
def machine_under_test(options: MachineOptions, memory: Memory, scene: Scene) -> Iterator[Machine]:
    """The machine of a fixture, over this RAM."""
    machine = Machine(
        memory,
        cpus=options.cpus,
        policy=options.free_tables,
        free_levels=options.levels_freed,
        fidelity=Fidelity.from_label(options.fidelity or "trace"),
        engine=options.engine,
        geometry=options.geometry,
        seed=options.seed,
        ring=scene.recorder.ring,
        lockdep=True,
    )
    scene.kernel = machine.kernel
    with ExitStack() as stack:
        stack.callback(machine.close)
        yield machine


def _symbols_of(path: Path) -> dict[str, int]:
    with open(path, "rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        if table is None:
            return {}
        return {symbol.name: int(symbol["st_value"]) for symbol in table.iter_symbols()}
