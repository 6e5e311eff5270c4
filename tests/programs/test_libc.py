# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what libc does (threads, files, signals, streams, text, arithmetic, memory, processes,
conversations) has the same outcome natively and in a guest: ``libc_*.c``, with glibc and musl.
"""

from __future__ import annotations

import pytest

from tests.programs.harness import Scratch
from tests.programs.libc import libc_checks, names_of_checks


def by_check(text: bytes) -> dict[str, list[bytes]]:
    """The lines of each check, without its name; lines of other programs are under ''."""
    found: dict[str, list[bytes]] = {}
    for line in text.splitlines():
        name, colon, rest = line.partition(b": ")
        check = name.decode(errors="replace") if colon and b" " not in name else ""
        found.setdefault(check, []).append(rest if check else line)
    return found


@pytest.mark.parametrize(("compiler", "cpus"), [("gcc", 1), ("musl-gcc", 2)])
def test_libc(compiler: str, cpus: int, scratch: Scratch) -> None:
    program = str(libc_checks(compiler))
    natively = scratch.natively(program)
    here = scratch.here(program, options=["--cpus", str(cpus)])
    expected, found = by_check(natively.stdout), by_check(here.stdout)
    assert set(expected) >= set(names_of_checks()) - {"memory_break"}
    assert found == expected
    assert here.files == natively.files
    assert here.code == natively.code == 0
