# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: an assertion that is called with something else than it asks for says in one line how it is
called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mmu.errors import MmuError
from ucmmu.testing import (
    MmUnderTest,
    assert_events,
    assert_fault,
    assert_flushed,
    assert_refcounts,
    assert_walk,
    event,
    read,
)

VA = 0x400000
WRONG: list[tuple[Callable[[MmUnderTest], Any], type[Exception], str]] = [
    (lambda mm: assert_walk(mm, VA), TypeError, "an address is a number"),
    (lambda mm: assert_walk(VA, 7), MmuError, "no access 7: known are read, write, fetch"),
    (lambda mm: assert_walk(VA, physical=1), TypeError, "knows no 'physical'"),
    (lambda mm: assert_fault("read"), TypeError, "begins with an access"),
    (lambda mm: assert_flushed(0, read(VA)), TypeError, "an address is a number"),
    (lambda mm: assert_refcounts({VA: 1}), TypeError, "an mm comes first"),
    (lambda mm: assert_events("tlb_miss"), TypeError, "a pattern is a list"),
    (lambda mm: assert_events(event("tlb_miss")), TypeError, "a pattern is a list"),
]


@pytest.mark.parametrize(("call", "error", "words"), WRONG)
@pytest.mark.ucmmu(engine="c", policy="refcount")
def test_it_says_how_it_is_called(
    mm: MmUnderTest, call: Callable[[MmUnderTest], Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        call(mm)
    assert "\n" not in str(caught.value)
