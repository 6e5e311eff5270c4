# SPDX-License-Identifier: GPL-2.0-or-later
"""Impossible RAM is refused in one clear line."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmu.errors import MmuError
from mmu.memory import Memory


@pytest.mark.parametrize(
    ("size", "base"),
    [
        (0, 0),
        (-4096, 0),
        (4096, 0),
        (4097, 0),
        (1 << 64, 0),
        (1 << 63, 0),
        (16 << 40, 0),
        (1 << 20, 1),
        (1 << 20, -4096),
        (1 << 20, 1 << 52),
        (1 << 20, (1 << 64) - 4096),
    ],
)
def test_sizes_and_places_that_cannot_be(size: int, base: int) -> None:
    with pytest.raises(MmuError, match="guest RAM must be whole pages") as error:
        Memory(size, base=base)
    assert "\n" not in str(error.value)


@pytest.fixture
def little_address_space() -> Iterator[None]:
    """Let the process map no more than 4 GiB beyond what it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + (4 << 30), hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_what_the_host_refuses_is_named(little_address_space: None) -> None:
    with pytest.raises(
        MmuError, match="the host cannot map 1 TiB of guest RAM: Cannot allocate memory"
    ):
        Memory(1 << 40)


def test_the_smallest_ram() -> None:
    assert Memory(8192).size == 8192
