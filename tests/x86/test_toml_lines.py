# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: each key of a TOML file is found on its line, however the file is written."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import pytest

from mmu.x86 import list_geometries
from mmu.x86.geometry import _SHIPPED
from mmu.x86.toml_lines import Key, key_lines, line_of

_toml: Any = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

TEXT = '''# a comment = "with a key"
top = 1
"quoted # key" = 'it''
'single' = """
[[array]]
not = "a key" \\"""" # the string ends with a quote
dotted.a . "b" = 0x1F

[table] # head
list = [ # of three
  1,
  { x = 1, y = [2, { z = "}]" }] },
  "a]",
]
date = 1979-05-27 07:32:00
[[array]]
ways = { value = 1, source = "x" }
[array.inner]
deep = true
[[array]]
[[array.more]]
a = 1
  [[array.more]]
  b = 2
'''.replace("'it''", "'it'")


def test_by_hand() -> None:
    lines = key_lines(TEXT)
    expected: dict[Key, int] = {
        ("top",): 2,
        ("quoted # key",): 3,
        ("single",): 4,
        ("dotted",): 7,
        ("dotted", "a", "b"): 7,
        ("table",): 9,
        ("table", "list"): 10,
        ("table", "list", 0): 11,
        ("table", "list", 1, "x"): 12,
        ("table", "list", 1, "y", 1, "z"): 12,
        ("table", "list", 2): 13,
        ("table", "date"): 15,
        ("array",): 16,
        ("array", 0): 16,
        ("array", 0, "ways"): 17,
        ("array", 0, "ways", "source"): 17,
        ("array", 0, "inner"): 18,
        ("array", 0, "inner", "deep"): 19,
        ("array", 1): 20,
        ("array", 1, "more", 0, "a"): 22,
        ("array", 1, "more", 1): 23,
        ("array", 1, "more", 1, "b"): 24,
    }
    assert {key: lines.get(key) for key in expected} == expected


def paths(value: Any, key: Key = ()) -> set[Key]:
    """Every key of parsed TOML."""
    found: set[Key] = {key} if key else set()
    if isinstance(value, dict):
        for name, inner in value.items():
            found |= paths(inner, (*key, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            found |= paths(inner, (*key, number))
    return found


@pytest.mark.parametrize(
    "text", [TEXT, *((_SHIPPED / f"{name}.toml").read_text() for name in list_geometries())]
)
def test_exactly_the_keys_of_the_parser(text: str) -> None:
    assert key_lines(text).keys() == paths(_toml.loads(text))


def test_what_stands_nowhere_is_in_the_table_around_it() -> None:
    lines = key_lines(TEXT)
    assert line_of(lines, ("array", 0, "ways", "confidence")) == 17
    assert line_of(lines, ("array", 1, "name")) == 20
    assert line_of(lines, ("nothing",)) == 1
