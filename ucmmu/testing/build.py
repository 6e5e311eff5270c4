# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs from a few lines of assembly or C, for the fixture ``guest``."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

_WRAPPED = """.intel_syntax noprefix
.text
.globl _start
_start:
{source}
  mov eax, 231
  xor edi, edi
  syscall
.bss
.balign 4096
.globl data
data: .skip 65536
"""
"""A program of a snippet: what comes behind it is exit_group(0)."""


def build_asm(source: str) -> Path:
    """A static program that executes these instructions (Intel syntax) and exits with 0.

    ``data`` names 64 KiB of zeroed memory. Raises ValueError with what the assembler says; skips
    the test where there is none.
    """
    return _build(_WRAPPED.format(source=source), "s", ["-nostdlib", "-static", "-no-pie"])


def build_c(source: str, *flags: str) -> Path:
    """A static program of this C source, which has main(). Raises ValueError with what the compiler
    says; skips the test where there is none.
    """
    return _build(source, "c", ["-static", "-no-pie", "-g", "-O1", *flags])


def _build(source: str, suffix: str, flags: list[str]) -> Path:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc: guests of a test's own source need it (apt-get install gcc)")
    key = hashlib.sha256(repr((source, flags)).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir(), f"ucmmu-guests-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    program = folder / key
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} is somebody else's")
    if program.exists():
        return program
    with tempfile.TemporaryDirectory() as scratch:
        text, unfinished = Path(scratch, f"guest.{suffix}"), Path(scratch, "guest")
        text.write_text(source)
        done = subprocess.run(
            [compiler, *flags, "-o", str(unfinished), str(text)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ValueError(f"the guest cannot be built:\n{done.stderr.strip()}")
        waiting = folder / f"{key}.{os.getpid()}"
        shutil.copy(unfinished, waiting)
        os.replace(waiting, program)
    return program
