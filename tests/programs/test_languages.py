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


@pytest.mark.parametrize("name", PROGRAMS)
def test_script(name: str, scratch: Scratch) -> None:
    interpreter, source = PROGRAMS[name]
    require(interpreter)
    scratch.files["script"] = source
    scratch.same(interpreter, "script")
