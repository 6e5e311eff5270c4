# SPDX-License-Identifier: GPL-2.0-or-later
"""Ask the C compiler for the values of constants in the host's headers."""

from __future__ import annotations

import subprocess
import sysconfig
from collections.abc import Iterable
from pathlib import Path


def values(folder: Path, headers: Iterable[str], names: Iterable[str]) -> dict[str, int]:
    """The value of each name that these headers define; the program is built in ``folder``."""
    source, program = folder / "constants.c", folder / "constants"
    lines = ["#define _GNU_SOURCE 1", "#include <stdio.h>"]
    lines += [f"#include <{header}>" for header in headers]
    lines += ["int main(void)", "{"]
    for name in names:
        lines += [f"#ifdef {name}", f'\tprintf("{name} %llu\\n", (unsigned long long){name});']
        lines += ["#endif"]
    source.write_text("\n".join([*lines, "}", ""]))
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    subprocess.run([compiler, source, "-o", program], check=True)
    printed = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return {name: int(value) for name, value in map(str.split, printed.splitlines())}
