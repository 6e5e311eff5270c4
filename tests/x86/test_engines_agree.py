# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the C and the Python engine are one machine.

Whatever the tables hold and whatever is asked, in any order: same answers, counters and events, and the
same bytes of ``struct mmu_unit``, guest RAM and ``struct page`` after every operation.
"""

from __future__ import annotations

from hypothesis import given, settings

from tests.x86.twins import Op, Twins, scripts


@settings(max_examples=5 * settings().max_examples)
@given(scripts)
def test_any_sequence(script: tuple[int, list[Op]]) -> None:
    base, operations = script
    twins = Twins(base)
    try:
        twins.run(operations)
    finally:
        twins.close()


@settings(max_examples=2 * settings().max_examples)
@given(scripts)
def test_any_sequence_with_five_levels(script: tuple[int, list[Op]]) -> None:
    base, operations = script
    twins = Twins(base, levels=5)
    try:
        twins.run(operations)
    finally:
        twins.close()


@given(scripts)
def test_any_sequence_on_skylake(script: tuple[int, list[Op]]) -> None:
    base, operations = script
    twins = Twins(base, "skylake")
    try:
        twins.run(operations)
    finally:
        twins.close()
