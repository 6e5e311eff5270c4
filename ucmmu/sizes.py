# SPDX-License-Identifier: GPL-2.0-or-later
"""Sizes as people write them: ``4096``, ``64K``, ``1.5G``, ``2MiB``.  Units are powers of 1024."""

from __future__ import annotations

import re

_UNITS = "KMGTPE"
_SIZE = re.compile(
    r"(\d{1,20})(?:\.(\d{1,20}))?(?:([KMGTPE])(?:i?B)?|B)?", re.IGNORECASE | re.ASCII
)
_MAX = 1 << 63


def parse_size(text: str) -> int:
    """Return the bytes that ``text`` names; ``K`` is 1024, ``M`` 1024 K, up to ``E``.

    Raises ValueError, in words for the user, for anything else, for 0, for a fraction of a byte,
    and from 2**63 on.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"{text!r} is no size: write bytes, or a number with K, M, G or T, as in 16G"
        )
    whole, fraction, unit = match.groups()
    scale = 1 << 10 * (_UNITS.index(unit.upper()) + 1) if unit else 1
    fraction = fraction or ""
    parts: int = 10 ** len(fraction)
    size, rest = divmod(int(whole + fraction) * scale, parts)
    if rest:
        raise ValueError(f"{text!r} is no whole number of bytes")
    if size == 0:
        raise ValueError(f"{text!r} is no size: it must be more than 0")
    if size >= _MAX:
        raise ValueError(f"{text!r} is too large: sizes end below 8E")
    return size


def format_size(size: int) -> str:
    """Write ``size`` bytes with the largest unit that keeps it whole: 17179869184 is ``16G``."""
    for power in range(len(_UNITS), 0, -1):
        scale = 1 << 10 * power
        if size and size % scale == 0:
            return f"{size // scale}{_UNITS[power - 1]}"
    return str(size)


def format_kb(kb: int | None) -> str:
    """Write a figure of /proc in its own unit (kB, which is 1024 bytes there): ``102,640 kB``."""
    return "–" if kb is None else f"{kb:,} kB"
