# SPDX-License-Identifier: GPL-2.0-or-later
"""Build and load the C runner, when first asked for, below build/tests.

Each process builds its own, for tests run side by side.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import tempfile
from pathlib import Path
from typing import Any

import cffi

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[2] / "build" / "tests"


@functools.cache
def load() -> Any:
    """The compiled module, with ``ffi`` and ``lib``."""
    text = (HERE / "runner.h").read_text()
    declarations = re.findall(r"/\* cffi-begin \*/(.*?)/\* cffi-end \*/", text, re.DOTALL)
    ffi = cffi.FFI()
    ffi.cdef("".join(declarations))
    ffi.set_source(
        "ucmmu_kvm_runner",
        '#include "runner.h"',
        sources=[str(HERE / "runner.c")],
        include_dirs=[str(HERE)],
        extra_compile_args=["-std=c11", "-O2", "-D_GNU_SOURCE=1"],
    )
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as directory:
        path = ffi.compile(tmpdir=directory)
        spec = importlib.util.spec_from_file_location("ucmmu_kvm_runner", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module
