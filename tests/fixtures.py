# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures that the project's own tests have beside those of the plugin ucmmu."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from mmu.errors import LinuxError
from mmu.linux.fault import Segv
from ucmmu.testing import MmUnderTest


@pytest.fixture
def touch(mm: MmUnderTest) -> Callable[..., Segv | None]:
    """touch(addr, "read" | "write" | "fetch", pages=1): mm.touch()."""
    return mm.touch


@contextmanager
def _raises_errno(number: int) -> Iterator[None]:
    with pytest.raises(LinuxError) as caught:
        yield
    assert caught.value.errno == number, str(caught.value)


@pytest.fixture
def raises_errno() -> Callable[[int], AbstractContextManager[None]]:
    """with raises_errno(errno.EINVAL): the system call inside fails with just that."""
    return _raises_errno
