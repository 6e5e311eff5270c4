# SPDX-License-Identifier: GPL-2.0-or-later
"""Machine code from Intel-syntax assembly, by the system's assembler."""

from __future__ import annotations

import subprocess
import tempfile
from functools import cache
from pathlib import Path


@cache
def assemble(source: str) -> bytes:
    """The bytes of ``source``, to run at any address that its own branches do not care about."""
    with tempfile.TemporaryDirectory() as folder:
        obj, out = Path(folder, "code.o"), Path(folder, "code.bin")
        text = f".intel_syntax noprefix\n.text\n{source}\n"
        subprocess.run(["as", "--64", "-o", str(obj), "-"], input=text, text=True, check=True)
        subprocess.run(["objcopy", "-O", "binary", "-j", ".text", str(obj), str(out)], check=True)
        return out.read_bytes()
