# SPDX-License-Identifier: GPL-2.0-or-later
"""What the test that runs has made: the MMU, the mm and the events that an assertion is about if it
is not told otherwise, and that a failed test's report shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmu.linux.state import Cpu, Kernel
from mmu.x86 import Mmu
from ucmmu.testing.recorder import Recorder

if TYPE_CHECKING:
    from mmu.linux.mm import Mm
    from mmu.memory import Memory


@dataclass
class Scene:
    """The fixtures' objects of one test. ``address`` is the one that was asked about last."""

    mmu: Mmu | None = None
    kernel: Kernel | None = None
    mm: Mm | None = None
    recorder: Recorder = field(default_factory=Recorder)
    address: int | None = None

    def record(self, memory: Memory) -> None:
        """Have the events of this RAM recorded."""
        memory.record(self.recorder.ring)

    def this_mmu(self) -> Mmu:
        """The MMU of the CPU that runs. AssertionError if the test has none."""
        if self.kernel is not None:
            return self.kernel.this_cpu.mmu
        if self.mmu is None:
            raise AssertionError(
                "this test has no MMU: ask for the fixture mmu, mm or guest, or say mmu="
            )
        return self.mmu

    def cpu(self, cpu: int | Cpu | Mmu) -> tuple[str, Mmu]:
        """A CPU by its number, as ``mm.kernel.cpus`` has it, or by its MMU: its name, its MMU."""
        if isinstance(cpu, Mmu):
            return f"CPU {cpu.c.cpu}", cpu
        if isinstance(cpu, Cpu):
            return f"CPU {cpu.id}", cpu.mmu
        if self.kernel is not None:
            if not 0 <= cpu < len(self.kernel.cpus):
                raise AssertionError(f"no CPU {cpu}: there are {len(self.kernel.cpus)}")
            return f"CPU {cpu}", self.kernel.cpus[cpu].mmu
        if cpu:
            raise AssertionError(f"no CPU {cpu}: the fixture mmu is one processor's, CPU 0")
        return "CPU 0", self.this_mmu()


_scenes: list[Scene] = []


def begin_scene() -> Scene:
    """A test begins."""
    _scenes.append(Scene())
    return _scenes[-1]


def end_scene(scene: Scene) -> None:
    """The test is over."""
    _scenes.remove(scene)


def scene() -> Scene:
    """The scene of the test that runs; AssertionError outside of one."""
    if not _scenes:
        raise AssertionError(
            "no test with a fixture of ucmmu runs: ask for ram, mmu, mm, machine or guest"
        )
    return _scenes[-1]
