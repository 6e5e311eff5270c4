# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the C and the Python engine are one machine.

Whatever the tables hold and whatever is asked, in any order: same answers, counters and events, and the
same bytes of ``struct mmu_unit``, guest RAM and ``struct page`` after every operation.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from mmu.x86 import Geometry, list_geometries
from tests.x86.twins import TORTURE, Op, Twins, scripts

Script = tuple[int, list[Op]]


def _run(script: Script, geometry: str | Geometry, levels: int = 4) -> None:
    base, operations = script
    twins = Twins(base, geometry, levels)
    try:
        twins.run(operations)
    finally:
        twins.close()


@settings(max_examples=5 * settings().max_examples)
@given(scripts)
def test_any_sequence(script: Script) -> None:
    _run(script, "tiny")


@settings(max_examples=2 * settings().max_examples)
@given(scripts)
def test_any_sequence_with_five_levels(script: Script) -> None:
    _run(script, "tiny", levels=5)


@settings(max_examples=5 * settings().max_examples)
@given(scripts)
def test_any_sequence_on_arrays_of_every_kind(script: Script) -> None:
    _run(script, TORTURE)


@pytest.mark.parametrize("name", [name for name in list_geometries() if name != "tiny"])
@settings(max_examples=max(1, settings().max_examples // 5))
@given(script=scripts)
def test_any_sequence_on_a_real_processor(name: str, script: Script) -> None:
    """Few sequences: two first levels of 64 ways and a second of thousands of entries take their time in Python."""
    _run(script, name)
