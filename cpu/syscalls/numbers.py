# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of the x86-64 system calls by number, from syscall_64.tbl."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

_TABLE: Final = os.path.join(os.path.dirname(__file__), "syscall_64.tbl")


def _read_table() -> dict[int, str]:
    names = {}
    with open(_TABLE, encoding="ascii") as table:
        for line in table:
            if not line.startswith("#"):
                number, name = line.split()
                names[int(number)] = name
    return names


NR_SYSCALLS: Final = 512
"""Numbers that are told apart; all above are unknown."""
SYSCALL_NAMES: Final = _read_table()
SYSCALL_NUMBERS: Final = {name: number for number, name in SYSCALL_NAMES.items()}


def syscall_name(number: int) -> str:
    """Return the call's name, or ``syscall NUMBER`` where Linux has none."""
    return SYSCALL_NAMES.get(number, f"syscall {number}")


def calls_by_name(calls: Sequence[int]) -> dict[str, int]:
    """The calls that were made at all, of counts by number; those above the last are "others"."""
    made = {syscall_name(nr): count for nr, count in enumerate(calls[:NR_SYSCALLS]) if count}
    return made | ({"others": calls[NR_SYSCALLS]} if calls[NR_SYSCALLS] else {})
