# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the tools of a developer do here what they do natively: git, make, gcc (compiling and
linking a program that then runs), sqlite3 on disk, openssl.
"""

from __future__ import annotations

import pytest

from tests.programs.harness import Scratch, require, source

SUM = "int sum(int n) { int s = 0; for (int i = 1; i <= n; i++) s += i * i; return s; }\n"


def test_git(scratch: Scratch) -> None:
    require("git")
    scratch.files["git.sh"] = source("git.sh")
    natively = scratch.natively("sh", "git.sh")
    here = scratch.here("sh", "git.sh")
    report = here.stderr.decode(errors="replace")
    assert natively.code == 0
    assert (here.text, here.code) == (natively.text, 0), report
    checked_out = {name for name in natively.files if ".git/" not in name}
    assert checked_out == {name for name in here.files if ".git/" not in name}
    objects = {name for name in natively.files if "/objects/" in name}
    assert objects == {name for name in here.files if "/objects/" in name}


@pytest.mark.stress
def test_make_and_gcc(scratch: Scratch) -> None:
    require("make", "gcc")
    scratch.files |= {
        "Makefile": source("Makefile"),
        "main.c": source("main.c"),
        "sum.c": SUM,
        "sum.h": "int sum(int);\n",
    }
    scratch.same("make", timeout=400)


def test_make(scratch: Scratch) -> None:
    """Rules, patterns, parallel jobs, what is up to date.

    ``v`` waits for ``again``: two goals of -j3 print in the order in which they happen to end.
    """
    require("make")
    scratch.files["Makefile"] = (
        "all: a.out b.out c.out\n\t@cat $^\n%.out: %.in\n\t@sed s/x/y/ $< >$@; echo made $@ >&2\n"
        "again: all\n\t@$(MAKE) --no-print-directory a.out\n"
        "$(shell touch made-by-shell)V := $(words a b c)$(patsubst %.c,%.o,x.c)\n"
        "v: again\n\t@echo $(V)\n"
    )
    scratch.files |= {f"{name}.in": f"{name} x\n" for name in "abc"}
    scratch.same("make", "-j3", "-Otarget", "again", "v")


def test_sqlite_on_disk(scratch: Scratch) -> None:
    require("sqlite3")
    scratch.files["script"] = source("script.sql")
    scratch.same("sh", "-c", "sqlite3 data.db <script")


def test_openssl_and_curl(scratch: Scratch) -> None:
    require("openssl", "curl")
    scratch.files["openssl.sh"] = source("openssl.sh")
    scratch.same("sh", "openssl.sh")
