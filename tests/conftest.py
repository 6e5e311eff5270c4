# SPDX-License-Identifier: GPL-2.0-or-later
"""What all tests share: how hard Hypothesis looks, and fixtures for RAM and events."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from mmu.events import EventRing
from mmu.memory import Memory

pytest_plugins = ["pytester", "tests.fixtures", "tests.programs.harness"]

if "libasan" in os.environ.get("LD_PRELOAD", ""):
    vars(os).pop("RTLD_DEEPBIND", None)
    """AddressSanitizer refuses it, and capstone's package loads its library with it."""

for _signal in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    # who runs the tests in the background has them ignored, and so would have what they start
    if signal.getsignal(_signal) == signal.SIG_IGN:
        signal.signal(_signal, signal.SIG_DFL)

_COMMON = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}

_EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "1000"))

settings.register_profile(
    "default", max_examples=40, stateful_step_count=30, derandomize=True, **_COMMON
)
settings.register_profile("fuzz", max_examples=_EXAMPLES, stateful_step_count=100, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_collection_finish() -> None:
    """Thousands of tests stay: no collection of garbage, and no fork's, looks at them again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def memory() -> Iterator[Memory]:
    """64 MiB of guest RAM from guest-physical 0 on."""
    memory = Memory(64 << 20)
    yield memory
    memory.close()


@pytest.fixture
def ring() -> EventRing:
    """A ring of 65,536 records, switched on."""
    ring = EventRing(1 << 16)
    ring.enable()
    return ring
