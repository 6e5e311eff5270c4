# SPDX-License-Identifier: GPL-2.0-or-later
"""The oracle and the loops that drive an engine, in C, built when first asked for."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from native import on_demand

HERE = Path(__file__).resolve().parent
NAMES = ("paging_oracle", "enumerate")


@functools.cache
def load() -> Any:
    """The compiled module, with ``ffi`` and ``lib``."""
    headers, sources = ([HERE / f"{name}.{kind}" for name in NAMES] for kind in "hc")
    return on_demand.load("ucmmu_enumerate", headers, sources)
