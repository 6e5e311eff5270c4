# SPDX-License-Identifier: GPL-2.0-or-later
"""The C side of the benchmarks, built when first asked for."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from native import on_demand

HERE = Path(__file__).resolve().parent


@functools.cache
def load() -> Any:
    """The compiled module, with ``ffi`` and ``lib``."""
    return on_demand.load(
        "ucmmu_benchmark_peers", [HERE / "peers.h"], [HERE / "peers.c"], [str(HERE)]
    )


def address_of(ffi: Any, lib: Any, name: str) -> int:
    """The address of a C function of another cffi module."""
    return int(ffi.cast("uintptr_t", ffi.addressof(lib, name)))
