# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of system calls by number, and the decorator that fills it."""

from __future__ import annotations

from collections.abc import Callable

from cpu.syscalls.numbers import NR_SYSCALLS, SYSCALL_NUMBERS
from mmu.units import U32

Handler = Callable[..., int]
"""Takes the Task and six arguments (u64 each); returns what goes into rax, or raises
LinuxError for -errno.
"""

TABLE: list[Handler | None] = [None] * NR_SYSCALLS
"""Handlers by number; None for an unknown call."""


def syscall(*names: str) -> Callable[[Handler], Handler]:
    """Make the function the handler of the calls named."""

    def register(handler: Handler) -> Handler:
        for name in names:
            TABLE[SYSCALL_NUMBERS[name]] = handler
        return handler

    return register


def s32(value: int) -> int:
    """The C int in the low half of a register."""
    value &= U32
    return value - (1 << 32) if value >> 31 else value


def s64(value: int) -> int:
    """The C long in a register."""
    return value - (1 << 64) if value >> 63 else value
