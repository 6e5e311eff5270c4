# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a guest in this process, and hold what came of it against what must be."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cpu.fs.view import View, seen
from cpu.machine import Machine
from cpu.result import RunResult
from cpu.scheduler import DEFAULT_QUANTUM
from cpu.vcpu import Fidelity
from mmu.events import EventRing
from mmu.linux.policy import FreeTables
from mmu.memory import Memory

BUILD = Path(__file__).resolve().parents[2] / "guest_programs" / "build"
HAS_JEMALLOC = (BUILD / "jemalloc_churn").exists()
POLICIES = ("never", "scan", "refcount", "refcount-pmdlock")
FIDELITIES = ("fast", "exact", "trace")


def vm_line(text: str, label: str = "end") -> dict[str, int]:
    """The Vm line with this label that a guest printed about itself, kB."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"{label}: ")]
    words = line.removeprefix(f"{label}: ").replace(",", "").split()
    return {words[i]: int(words[i + 1]) for i in range(0, len(words), 3)}


@dataclass
class Run:
    """A guest's end: its result, and what it wrote."""

    result: RunResult
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """What it wrote to stdout."""
        return self.stdout.decode()

    @property
    def figures(self) -> dict[str, Any]:
        """All that must not depend on engine and fidelity."""
        figures = self.result.as_dict()
        del figures["seconds"], figures["counters"]
        return {**figures, "stdout": self.stdout, "stderr": self.stderr}


@contextmanager
def guest_machine(
    program: str | Path,
    *args: str,
    cpus: int = 1,
    policy: str = "refcount",
    fidelity: str = "fast",
    engine: str = "c",
    ram: int = 1 << 30,
    seed: int = 0,
    quantum: int = DEFAULT_QUANTUM,
    count: bool = True,
    fast_faults: bool = True,
    ring: EventRing | None = None,
    check_tlb: bool = False,
    lockdep: bool = False,
    view: View | None = None,
    **options: Any,
) -> Iterator[Machine]:
    """A machine whose first process is about to run a program; a bare name is a guest of ours."""
    path = str(program) if "/" in str(program) else str(BUILD / program)
    memory = Memory(ram)
    try:
        with Machine(
            memory,
            cpus=cpus,
            policy=FreeTables.from_label(policy),
            fidelity=Fidelity.from_label(fidelity),
            engine=engine,
            seed=seed,
            quantum=quantum,
            count=count,
            fast_faults=fast_faults,
            check=check_tlb,
            ring=ring,
            lockdep=lockdep,
        ) as machine:
            view = view or View()
            view = replace(view, given=(*seen(path), *view.given))
            machine.spawn(path, args=args, view=view, **options)
            yield machine
    finally:
        memory.close()


def run(program: str | Path, *args: str, stdin: bytes = b"", **options: Any) -> Run:
    """Run a program to its end and check that nothing of ucmmu's own went wrong."""
    with (
        tempfile.TemporaryFile() as inp,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        inp.write(stdin)
        inp.seek(0)
        streams = (inp.fileno(), out.fileno(), err.fileno())
        with guest_machine(program, *args, streams=streams, **options) as machine:
            result = machine.run()
        assert result.problems == []
        assert result.pte_tables_freed == result.pte_tables_allocated
        out.seek(0)
        err.seek(0)
        return Run(result, out.read(), err.read())


def native(program: str, *args: str) -> tuple[int, str]:
    """Run a guest on the host without address randomisation: its exit status and stdout."""
    command = ["setarch", "-R", str(BUILD / program), *args]
    done = subprocess.run(command, env={}, cwd="/", capture_output=True, timeout=60, check=False)
    return done.returncode, done.stdout.decode()
