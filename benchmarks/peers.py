# SPDX-License-Identifier: GPL-2.0-or-later
"""Build and load the C side of the benchmarks, when first asked for, in build/benchmarks."""

from __future__ import annotations

import functools
import importlib.util
import re
from pathlib import Path
from typing import Any

import cffi

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "benchmarks"


@functools.cache
def load() -> Any:
    """The compiled module, with ``ffi`` and ``lib``."""
    text = (HERE / "peers.h").read_text()
    declarations = re.findall(r"/\* cffi-begin \*/(.*?)/\* cffi-end \*/", text, re.DOTALL)
    ffi = cffi.FFI()
    ffi.cdef("".join(declarations))
    ffi.set_source(
        "ucmmu_benchmark_peers",
        '#include "peers.h"',
        sources=[str(HERE / "peers.c")],
        include_dirs=[str(HERE)],
        depends=[str(HERE / "peers.c"), str(HERE / "peers.h")],
        extra_compile_args=["-std=c11", "-O2", "-D_GNU_SOURCE=1"],
    )
    BUILD.mkdir(parents=True, exist_ok=True)
    path = ffi.compile(tmpdir=str(BUILD))
    spec = importlib.util.spec_from_file_location("ucmmu_benchmark_peers", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def address_of(ffi: Any, lib: Any, name: str) -> int:
    """The address of a C function of another cffi module."""
    return int(ffi.cast("uintptr_t", ffi.addressof(lib, name)))
