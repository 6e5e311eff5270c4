# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: interpreters do here what they do natively: lua, perl, python, ruby, tcl."""

from __future__ import annotations

import pytest

from tests.programs.harness import Scratch, require, source

PROGRAMS = {
    "lua": ("lua5.4", source("language.lua")),
    "perl": ("perl", source("language.pl")),
    "ruby": ("ruby", source("language.rb")),
    "tcl": ("tclsh", source("language.tcl")),
    "python": ("/usr/bin/python3", source("language.python")),
    "multiprocessing": ("/usr/bin/python3", source("multiprocessing.python")),
    "asyncio": ("/usr/bin/python3", source("asyncio.python")),
}


LONG = ("ruby", "multiprocessing", "asyncio")


def _run(name: str, scratch: Scratch) -> None:
    interpreter, text = PROGRAMS[name]
    require(interpreter)
    scratch.files["script"] = text
    scratch.same(interpreter, "script")


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in LONG])
def test_script(name: str, scratch: Scratch) -> None:
    _run(name, scratch)


@pytest.mark.stress
@pytest.mark.parametrize("name", LONG)
def test_long_script(name: str, scratch: Scratch) -> None:
    _run(name, scratch)
