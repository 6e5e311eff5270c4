# SPDX-License-Identifier: GPL-2.0-or-later
"""How strace writes strings, addresses, flags and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

DEFAULT_STRLEN: Final = 32
"""Bytes of a buffer that are shown (strace -s)."""
_ESCAPES: Final = {
    ord('"'): '\\"', ord("\\"): "\\\\", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r",
}  # fmt: skip
_DIGITS: Final = b"0123456789"

Flag = tuple[int, str]


def quoted(data: bytes, *, more: bool = False, hexadecimal: bool = False) -> str:
    """The bytes as a C string; ``more`` of them follow, ``hexadecimal``: each by its number."""
    if hexadecimal:
        text = "".join(f"\\x{byte:02x}" for byte in data)
    else:
        text = "".join(_character(data, i) for i in range(len(data)))
    return f'"{text}"{"..." if more else ""}'


def _character(data: bytes, at: int) -> str:
    byte = data[at]
    if byte in _ESCAPES:
        return _ESCAPES[byte]
    if 0x20 <= byte < 0x7F:
        return chr(byte)
    following = data[at + 1 : at + 2]
    return f"\\{byte:03o}" if following and following in _DIGITS else f"\\{byte:o}"


def pointer(addr: int) -> str:
    """An address."""
    return hex(addr) if addr else "NULL"


def octal(mode: int) -> str:
    """Rights, with the leading 0 of an octal number, at least three digits."""
    return f"0{mode:o}".rjust(3, "0") if mode else "000"


def flags(value: int, names: Sequence[Flag], prefix: str, none: str = "0") -> str:
    """Flags by name; what has none as a number, and says whose names it lacks."""
    if not value:
        return none
    found, rest = [], value
    for bits, name in names:
        if bits and rest & bits == bits:
            found.append(name)
            rest &= ~bits
    if rest:
        found.append(hex(rest) + ("" if found else f" /* {prefix}_??? */"))
    return "|".join(found)


def one_of(value: int, names: Iterable[Flag], prefix: str) -> str:
    """A value by its name."""
    for number, name in names:
        if number == value:
            return name
    return f"{value:#x} /* {prefix}_??? */"


def limit(value: int) -> str:
    """A resource's limit: as a multiple of 1024 where it is one."""
    if value == (1 << 64) - 1:
        return "RLIM64_INFINITY"
    return f"{value >> 10}*1024" if value > 1024 and value % 1024 == 0 else str(value)
