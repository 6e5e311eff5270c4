# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a guest in this process, and hold what came of it against what must be."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cpu.elf import read_executable
from cpu.process import LinuxProcess, RunResult
from cpu.vcpu import Fidelity, VCpu
from mmu.linux.mm import MmStruct
from mmu.linux.pt_reclaim import FreeTables
from mmu.memory import Memory
from mmu.x86 import Mmu

BUILD = Path(__file__).resolve().parents[2] / "guest_programs" / "build"


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

    def vm(self, label: str = "end") -> dict[str, int]:
        """The guest's own Vm line with this label, kB."""
        (line,) = [line for line in self.text.splitlines() if line.startswith(f"{label}: ")]
        words = line.removeprefix(f"{label}: ").replace(",", "").split()
        return {words[i]: int(words[i + 1]) for i in range(0, len(words), 3)}


def run(
    program: str | Path,
    *args: str,
    policy: str = "refcount",
    fidelity: str = "fast",
    engine: str = "c",
    ram: int = 1 << 30,
    count: bool = True,
    fast_faults: bool = True,
    stdin: bytes = b"",
    **options: Any,
) -> Run:
    """Run a program (a bare name is a guest of ours) and check that nothing of ucmmu's own went wrong."""
    path = str(program) if "/" in str(program) else str(BUILD / program)
    with tempfile.TemporaryFile() as inp, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        inp.write(stdin)
        inp.seek(0)
        memory = Memory(ram)
        try:
            mmu = Mmu(memory, engine=engine, exact=fidelity != "fast")
            mm = MmStruct(memory, mmu, policy=FreeTables.from_label(policy), engine=engine)
            vcpu = VCpu(
                memory,
                mmu,
                mm,
                fidelity=Fidelity[fidelity.upper()],
                engine=engine,
                count=count,
                fast_faults=fast_faults,
            )
            streams = (inp.fileno(), out.fileno(), err.fileno())
            process = LinuxProcess(vcpu, mm, read_executable(path), args=args, streams=streams, **options)
            result = process.run()
            vcpu.close()
        finally:
            memory.close()
        out.seek(0)
        err.seek(0)
        assert result.problems == [], result.problems
        return Run(result, out.read(), err.read())


def native(program: str, *args: str) -> tuple[int, bytes]:
    """Run a guest on the host without address randomisation: its exit status and stdout."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _exec_native(program, args, reader, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        output = pipe.read()
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), output


ADDR_NO_RANDOMIZE = 0x0040000


def _exec_native(program: str, args: Sequence[str], reader: int, writer: int) -> None:
    import ctypes

    try:
        os.close(reader)
        os.dup2(writer, 1)
        os.chdir("/")
        ctypes.CDLL(None).personality(ADDR_NO_RANDOMIZE)
        path = str(BUILD / program)
        os.execve(path, [path, *args], {})
    finally:
        os._exit(127)
