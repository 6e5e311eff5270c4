# SPDX-License-Identifier: GPL-2.0-or-later
"""Where in a TOML text its keys stand: what the standard parser does not tell.

For text that the parser has accepted. A key is a path of names and, in lists, of indices::

    [[array]]                         ("array", 0)
    ways = { value = 12 }             ("array", 0, "ways")  ("array", 0, "ways", "value")
"""

from __future__ import annotations

import re
from typing import Final

Key = tuple[str | int, ...]

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_STRING: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|' r"'''.*?'{3,5}|" r'"(?:\\.|[^"\\\n])*"|' r"'[^'\n]*'", re.DOTALL
)
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR: Final = re.compile(r"[^,\]}#\n]+")
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_ESCAPES: Final = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b"}


def key_lines(text: str) -> dict[Key, int]:
    """The line, from 1, of every key, header and list item of a valid TOML text."""
    return _Scan(text).lines


def line_of(lines: dict[Key, int], key: Key) -> int:
    """The line of a key, or of the innermost table around it that stands somewhere; else line 1."""
    while key and key not in lines:
        key = key[:-1]
    return lines.get(key, 1)


class _Scan:
    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self.lines: dict[Key, int] = {}
        self._items: dict[Key, int] = {}  # by list of tables: how many headers it has had
        table: Key = ()
        while self._skip_blank():
            table = self._header() if self._peek() == "[" else self._pair(table)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip_blank(self) -> bool:
        """Go past blanks, comments and line ends; False at the end of the text."""
        self._at = self._take(_BLANK).end()
        return self._at < len(self._text)

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self._text, self._at)
        assert match, f"not TOML at {self._at}"
        self._at = match.end()
        return match

    def _mark(self, key: Key) -> Key:
        self.lines.setdefault(key, self._text.count("\n", 0, self._at) + 1)
        return key

    def _name(self) -> str:
        """One part of a dotted key."""
        if self._peek() not in "\"'":
            return self._take(_BARE_KEY).group()
        quoted = self._take(_STRING).group()
        return quoted[1:-1] if quoted[0] == "'" else _ESCAPE.sub(_unescape, quoted[1:-1])

    def _names(self, end: str) -> list[str]:
        """A dotted key, and the sign after it."""
        names: list[str] = []
        while True:
            self._skip_blank()
            names.append(self._name())
            self._skip_blank()
            sign, self._at = self._peek(), self._at + 1
            if sign == end:
                return names

    def _header(self) -> Key:
        start = self._at
        many = self._text.startswith("[[", start)
        self._at += 2 if many else 1
        names = self._names("]")
        self._at += many
        key: Key = ()
        for number, name in enumerate(names, 1):
            key = (*key, name)
            if many and number == len(names):
                self._items[key] = self._items.get(key, 0) + 1
            if key in self._items:
                key = (*key, self._items[key] - 1)
        end, self._at = self._at, start
        if key[-1] == 0:
            self._mark(key[:-1])
        self._mark(key)
        self._at = end
        return key

    def _pair(self, table: Key) -> Key:
        """``key = value``; gives the table back."""
        start = self._at
        names = self._names("=")
        end, self._at = self._at, start
        for number in range(1, len(names) + 1):
            self._mark((*table, *names[:number]))
        self._at = end
        self._value((*table, *names))
        return table

    def _value(self, key: Key) -> None:
        self._skip_blank()
        first = self._peek()
        if first == "[":
            self._list(key)
        elif first == "{":
            self._inline_table(key)
        else:
            self._take(_STRING if first in "\"'" else _SCALAR)

    def _list(self, key: Key) -> None:
        self._at += 1
        index = 0
        while self._skip_blank() and self._peek() != "]":
            self._value(self._mark((*key, index)))
            index += 1
            self._skip_comma()
        self._at += 1

    def _inline_table(self, key: Key) -> None:
        self._at += 1
        while self._skip_blank() and self._peek() != "}":
            self._pair(key)
            self._skip_comma()
        self._at += 1

    def _skip_comma(self) -> None:
        self._skip_blank()
        self._at += self._peek() == ","


def _unescape(match: re.Match[str]) -> str:
    what = match.group(1)
    return chr(int(what[1:], 16)) if what[0] in "uU" and len(what) > 1 else _ESCAPES.get(what, what)
