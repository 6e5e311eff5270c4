# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's processor and kernel as an oracle: instructions run natively, and the exceptions they
raise.
"""

from __future__ import annotations

import functools
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

NONCANONICAL = 0x8000000000000000
_RUNNER = Path(__file__).with_suffix(".c")


class Fault(NamedTuple):
    """What one instruction ended in; all 0 if in nothing."""

    signo: int
    vector: int
    error_code: int


class Natively(NamedTuple):
    """The same instruction on a page that is absent, on a read-only one, and on a non-canonical
    address.
    """

    absent: Fault
    read_only: Fault
    noncanonical: Fault


@functools.cache
def run_natively(sources: tuple[str, ...]) -> dict[str, Natively]:
    """Run each of the instructions, whose operand RDI points to; skips the test where that cannot
    be.
    """
    compiler = shutil.which("gcc")
    if compiler is None or platform.machine() != "x86_64":
        pytest.skip("the native oracle needs gcc on x86-64")
    functions = "".join(
        f'void f{n}(void);\n__asm__("f{n}: .intel_syntax noprefix; {source}; ret; .att_syntax");\n'
        for n, source in enumerate(sources)
    )
    names = ", ".join(f"f{n}" for n in range(len(sources)))
    table = f"void (*const instructions[])(void) = {{ {names} }};\n"
    table += f"const unsigned long nr_instructions = {len(sources)};\n"
    with tempfile.TemporaryDirectory() as folder:
        generated, program = Path(folder, "instructions.c"), Path(folder, "natively")
        generated.write_text(functions + table)
        subprocess.run(
            [
                compiler,
                "-O1",
                "-mno-red-zone",
                "-fno-pie",
                "-no-pie",
                "-o",
                program,
                _RUNNER,
                generated,
            ],
            check=True,
        )
        lines = subprocess.run(
            [program], check=True, capture_output=True, text=True
        ).stdout.splitlines()
    faults = [Fault(*map(int, line.split())) for line in lines]
    return {source: Natively(*faults[3 * n : 3 * n + 3]) for n, source in enumerate(sources)}
