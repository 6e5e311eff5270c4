# SPDX-License-Identifier: GPL-2.0-or-later
"""Build and load the oracle and the loops that drive an engine, when first asked for, in build/enumerate."""

from __future__ import annotations

import fcntl
import functools
import importlib.util
import re
from pathlib import Path
from typing import Any

import cffi

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
NATIVE = ROOT / "native"
BUILD = ROOT / "build" / "enumerate"
HEADERS = ("paging_oracle.h", "enumerate.h")
SOURCES = ("paging_oracle.c", "enumerate.c")


@functools.cache
def load() -> Any:
    """The compiled module, with ``ffi`` and ``lib``."""
    text = "".join((HERE / name).read_text() for name in HEADERS)
    declarations = re.findall(r"/\* cffi-begin \*/(.*?)/\* cffi-end \*/", text, re.DOTALL)
    ffi = cffi.FFI()
    ffi.cdef(re.sub(r"/\*.*?\*/", "", "".join(declarations), flags=re.DOTALL))
    ffi.set_source(
        "ucmmu_enumerate",
        '#include "enumerate.h"',
        sources=[str(HERE / name) for name in SOURCES],
        include_dirs=[str(HERE), str(NATIVE)],
        depends=[
            str(path) for path in (*HERE.glob("*.[ch]"), *NATIVE.glob("**/*.h"), *NATIVE.glob("**/*.def"))
        ],
        extra_compile_args=["-std=c11", "-O2", "-D_GNU_SOURCE=1"],
    )
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as lock:  # tests run in several processes
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = ffi.compile(tmpdir=str(BUILD))
    spec = importlib.util.spec_from_file_location("ucmmu_enumerate", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
