# SPDX-License-Identifier: GPL-2.0-or-later
"""Build C helpers of the tests and the benchmarks when they are first asked for, below
build/on_demand.

Their headers give Python what stands between ``/* cffi-begin */`` and ``/* cffi-end */``, as those
of native/ do.
"""

from __future__ import annotations

import fcntl
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cffi

from native import cdef

BUILD = cdef.ROOT / "build" / "on_demand"
COMPILE_ARGS = ["-std=c11", "-O2", "-g"]


def load(
    name: str, headers: Sequence[Path], sources: Sequence[Path], include_dirs: Sequence[str] = ()
) -> Any:
    """The compiled module, with ``ffi`` and ``lib``; built anew if a header or a source has
    changed.

    ``headers`` stand in the order in which they include each other, all in one folder; the last is
    included. ``include_dirs`` are folders besides this one and native/. One process builds, others
    wait for it.
    """
    folder = headers[-1].parent
    looked_in = [folder, *map(Path, include_dirs)]
    ffi = cffi.FFI()
    ffi.cdef(cdef.declarations([cdef.NATIVE / "types.h", *headers]))
    ffi.set_source(
        name,
        f'#include "types.h"\n#include "{headers[-1].name}"\n',
        sources=[str(path) for path in sources],
        depends=[
            *(str(path) for each in looked_in for path in each.glob("*.h")),
            *(str(cdef.ROOT / path) for path in cdef.inputs()),
        ],
        include_dirs=[str(folder), str(cdef.NATIVE), *include_dirs],
        define_macros=cdef.MACROS,
        extra_compile_args=COMPILE_ARGS,
    )
    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = ffi.compile(tmpdir=str(BUILD))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
