# SPDX-License-Identifier: GPL-2.0-or-later
"""What all tests share: how hard Hypothesis looks, and fixtures for RAM and events."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from mmu.events import EventRing
from mmu.memory import Memory

pytest_plugins = ["pytester", "tests.fixtures", "tests.programs.harness"]

if "libasan" in os.environ.get("LD_PRELOAD", ""):
    vars(os).pop("RTLD_DEEPBIND", None)
    """AddressSanitizer refuses it, and capstone's package loads its library with it."""

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


# Until every test is written with the plugin: the old marker and the old forms.


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "mmu: the marker ucmmu, as it was")


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for marker in list(metafunc.definition.iter_markers("mmu")):
        new = {"engines": "engine", "policies": "policy"}
        kwargs = {new.get(name, name): value for name, value in marker.kwargs.items()}
        if "exact" in kwargs:
            kwargs["fidelity"] = "exact" if kwargs.pop("exact") else "fast"
        metafunc.definition.add_marker(pytest.mark.ucmmu(**kwargs))


@pytest.fixture
def assert_refcounts(ucmmu_scene: Any) -> Any:
    def assert_refcounts(mm: Any = None, expected: Any = None, **rest: Any) -> None:
        from ucmmu.testing import assert_refcounts

        if mm is None or isinstance(mm, dict):
            mm, expected = ucmmu_scene.mm, mm
        assert_refcounts(mm, expected, **rest)

    return assert_refcounts


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
