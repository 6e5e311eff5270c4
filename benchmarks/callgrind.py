# SPDX-License-Identifier: GPL-2.0-or-later
"""Counting the instructions and the atomics that a function of mmu._native executes, by callgrind.

callgrind writes how often each instruction was executed. An atomic is an instruction with a LOCK
prefix, or an XCHG with memory, which locks without one (SDM vol. 3A 9.1.2.1): each executed address
of the module is disassembled to tell.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import BenchmarkError

_X86_OP_MEM = 3
_LOCK = 0xF0


@dataclass(frozen=True)
class Executed:
    """What one part of a run executed inside the function that was watched."""

    instructions: int
    atomics: int


def compiler() -> str:
    """The compiler that is here and its version: what it makes of the C code is what is counted.
    "" if there is none.
    """
    path = shutil.which(os.environ.get("CC", "gcc"))
    if path is None:
        return ""
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]


def executed(
    script: str, functions: Sequence[str], *, parts: str, module: Path, scratch: Path
) -> list[Executed]:
    """Run Python code, and count inside ``functions`` and what they call; a call of the function
    ``parts`` begins a new part.

    ``module`` is the shared object of both, ``scratch`` a directory. BenchmarkError without
    valgrind, and if the run fails.
    """
    command = [sys.executable, "-c", script]
    _callgrind(command, functions, [f"--dump-before={parts}"], scratch)
    numbered = sorted(scratch.glob("part.*"), key=lambda path: int(path.suffix[1:]))
    atomics = _atomics(module)
    return [_read(path, module, atomics) for path in [*numbered[1:], scratch / "part"]]


def executed_by(
    command: Sequence[str], functions: Sequence[str], *, module: Path, scratch: Path
) -> Executed:
    """Run a program, and count inside ``functions`` of it and what they call; the rest as
    executed().
    """
    _callgrind(command, functions, [], scratch)
    return _read(scratch / "part", module, _atomics(module))


def _callgrind(
    command: Sequence[str], functions: Sequence[str], options: Sequence[str], scratch: Path
) -> None:
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise BenchmarkError("valgrind is not installed: apt-get install valgrind")
    done = subprocess.run(
        [
            valgrind,
            "--tool=callgrind",
            *(f"--toggle-collect={function}" for function in functions),
            *options,
            "--dump-instr=yes",
            "--compress-strings=no",
            "--compress-pos=no",
            f"--callgrind-out-file={scratch / 'part'}",
            *command,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise BenchmarkError(f"callgrind ended with {done.returncode}: {lines[-1]}")


def _read(path: Path, module: Path, atomics: set[int]) -> Executed:
    """Sum the costs of a callgrind file; those of calls, which follow a line calls=, are in the
    callee as well.
    """
    instructions = locked = 0
    ours = inclusive = False
    for line in path.read_text().splitlines():
        if line.startswith("ob="):
            ours = Path(line[3:]).name == module.name
        elif line.startswith("calls="):
            inclusive = True
        elif line.startswith("0x"):
            address, _, cost = line.split()
            if not inclusive:
                instructions += int(cost)
                if ours and int(address, 16) in atomics:
                    locked += int(cost)
            inclusive = False
    return Executed(instructions, locked)


def _atomics(module: Path) -> set[int]:
    """The addresses of the module's atomics."""
    from capstone import CS_ARCH_X86, CS_MODE_64, Cs
    from elftools.elf.elffile import ELFFile

    decoder = Cs(CS_ARCH_X86, CS_MODE_64)
    decoder.detail = True
    decoder.skipdata = True
    with module.open("rb") as file:
        text = ELFFile(file).get_section_by_name(".text")
        code, start = text.data(), text["sh_addr"]
    return {
        insn.address
        for insn in decoder.disasm(code, start)
        if insn.id and (insn.prefix[0] == _LOCK or _exchanges_memory(insn))
    }


def _exchanges_memory(insn: object) -> bool:
    mnemonic, operands = getattr(insn, "mnemonic", ""), getattr(insn, "operands", ())
    return mnemonic == "xchg" and any(operand.type == _X86_OP_MEM for operand in operands)
