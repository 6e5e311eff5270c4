# SPDX-License-Identifier: GPL-2.0-or-later
"""The C runner, built when first asked for."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from native import on_demand

HERE = Path(__file__).resolve().parent


@functools.cache
def load() -> Any:
    """The compiled module, with ``ffi`` and ``lib``."""
    return on_demand.load("ucmmu_kvm_runner", [HERE / "runner.h"], [HERE / "runner.c"])
