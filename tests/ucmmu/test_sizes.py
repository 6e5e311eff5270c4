# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a size is read as people write it, in powers of 1024, and anything else is refused in
words.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucmmu.sizes import format_kb, format_size, parse_size

UNITS = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("50G", 50 << 30),
        ("1.5G", 3 << 29),
        ("2MiB", 2 << 20),
        ("64kb", 64 << 10),
        (" 1t ", 1 << 40),
    ],
)
def test_known_sizes(text, size):
    assert parse_size(text) == size


@given(number=st.integers(1, 1 << 12), unit=st.sampled_from(sorted(UNITS)), lower=st.booleans())
def test_number_and_unit_multiply(number, unit, lower):
    text = f"{number}{unit}"
    assert parse_size(text.lower() if lower else text) == number * UNITS[unit]


@given(st.integers(1, (1 << 63) - 1))
def test_formatted_sizes_read_back(size):
    assert parse_size(format_size(size)) == size


@given(st.text(max_size=30))
def test_any_text_gives_a_size_or_a_value_error(text):
    try:
        assert 0 < parse_size(text) < 1 << 63
    except ValueError as error:
        assert "\n" not in str(error).replace(text, "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "G",
        "-1",
        "0",
        "0G",
        "1X",
        "1GG",
        "1e9",
        "0x10",
        "1 G",
        "1.",
        ".5G",
        "0.3K",
        "8E",
        "٣G",
        "9" * 5000,
    ],
)
def test_refused(text):
    with pytest.raises(ValueError, match=r"size|number of bytes|too large"):
        parse_size(text)


def test_kb_is_shown_as_proc_has_it():
    assert format_kb(102640) == "102,640 kB"
    assert format_kb(None) == "–"
