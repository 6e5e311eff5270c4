# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what docs/engine_limits.md lists differs from a processor here as the list says, and
nothing beside it does.

engine_limits.c runs on the host and here. A limit that is mended fails this test: then its row
goes.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.guests.build import build, run_natively
from tests.guests.machine import Run, run

PAGE = Path(__file__).parents[2] / "docs" / "engine_limits.md"

IMPRECISE = ("FSIN", "FCOS", "FSINCOS", "FPTAN", "FPATAN", "F2XM1", "FYL2X", "FYL2XP1")
SPECIAL = ("FYL2X-of-0", "FYL2X-of-minus-1", "F2XM1-of-minus-0", "FXTRACT-of-infinity")
X87_BITS_LOST = 11
"""64 bits of significand, computed to 53."""
UNSET_FLAGS = ("FSW-PE", "FSW-IE", "FSW-OE", "FSW-DE", "FSW-SF", "MXCSR-PE", "MXCSR-IE")
UNRAISED = ("SIMD-exception", "misaligned-MOVAPS", "misaligned-PADDD", "alignment-check")
CONSTANTS = ("FCW-down-FLDPI", "FCW-chop-FLDPI")
OTHERS = ("FNSTENV-upper-halves", "MMX-exponent")
MODEL = {"RCPSS", "RSQRTSS"}
"""Approximations of which each processor has its own."""


@cache
def _ours(fidelity: str) -> Run:
    return run(_program(), fidelity=fidelity)


def _program() -> Path:
    return build("engine_limits.c", "-O1", "-static", "-no-pie", "-mno-red-zone")


def _values(text: str) -> dict[str, tuple[int, ...]]:
    lines = (line.split() for line in text.splitlines())
    return {name: tuple(int(word, 16) for word in words) for name, *words in lines}


@cache
def _native() -> dict[str, tuple[int, ...]]:
    return _values(run_natively(_program()).decode())


@pytest.mark.parametrize("fidelity", ["fast", "exact"])
def test_only_what_is_listed_differs(fidelity: str) -> None:
    native, ours = _native(), _values(_ours(fidelity).text)
    assert native.keys() == ours.keys()
    differing = {name for name in native if native[name] != ours[name]}
    assert differing - MODEL == {*IMPRECISE, *SPECIAL, *UNSET_FLAGS, *UNRAISED, *CONSTANTS, *OTHERS}


@pytest.mark.parametrize("name", IMPRECISE)
def test_x87_is_right_to_about_53_bits(name: str) -> None:
    """Neither better, which would end the limit, nor much worse."""
    (exponent, significand), (our_exponent, ours) = (
        _native()[name],
        _values(_ours("fast").text)[name],
    )
    assert exponent == our_exponent
    assert ours % (1 << X87_BITS_LOST) == 0
    assert 16 < abs(ours - significand) < 1 << 14


def test_flags_are_missing_not_invented() -> None:
    native, ours = _native(), _values(_ours("fast").text)
    for name in UNSET_FLAGS:
        assert not ours[name][0] & ~native[name][0], name
    for name in UNRAISED:
        assert native[name][0] and not ours[name][0], name


def test_a_guest_is_told_what_it_met() -> None:
    notes = "\n".join(_ours("fast").result.notes)
    assert "about 53 of their 64 bits" in notes
    assert "reads or writes MXCSR" in notes


def test_the_page_has_every_name() -> None:
    page = PAGE.read_text()
    for name in (*IMPRECISE, *SPECIAL, *UNSET_FLAGS, *UNRAISED, *CONSTANTS, *OTHERS, *MODEL):
        assert re.search(rf"`{re.escape(name)}`", page), name
