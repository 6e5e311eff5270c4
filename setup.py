# SPDX-License-Identifier: GPL-2.0-or-later
"""Build the two C extensions and the wheel's guest programs; all else is in pyproject.toml.

The extensions use CPython's stable ABI only, so one wheel serves every CPython from 3.10 on.
"""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

GUESTS = (
    "hello",
    "dontneed_loop",
    "memory_loop",
    "sparse",
    "multi_fault",
    "threads",
    "fork_tree",
    "signals",
    "one_table",
    "jemalloc_churn",
)
"""The guest programs that go into a wheel; jemalloc_churn where libjemalloc.a is installed."""


class BuildWithGuests(build_py):
    """Put the guest programs beside the package ``ucmmu``, unless it is installed in place."""

    def run(self) -> None:
        """Build them by their Makefile; without a C library to link statically, leave them out."""
        super().run()
        if self.editable_mode:
            return
        source, target = Path("guest_programs"), Path(self.build_lib, "ucmmu", "guests")
        try:
            subprocess.run(["make", "-s", "-C", str(source)], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            self.warn(f"the guest programs are left out: {error}")
            return
        target.mkdir(parents=True, exist_ok=True)
        for name in GUESTS:
            if (source / "build" / name).is_file():
                shutil.copy(source / "build" / name, target / name)


options = {}
if not sysconfig.get_config_var("Py_GIL_DISABLED"):
    options["bdist_wheel"] = {"py_limited_api": "cp310"}

setup(
    cffi_modules=["native/build_mmu.py:ffi", "native/build_engine.py:ffi"],
    cmdclass={"build_py": BuildWithGuests},
    options=options,
)
