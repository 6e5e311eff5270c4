# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux system calls, one small function each, in one table by number."""

from __future__ import annotations

from cpu.syscalls import clock, identity, io, limits, memory, signals, task
from cpu.syscalls.numbers import SYSCALL_NAMES, syscall_name
from cpu.syscalls.registry import NR_SYSCALLS, TABLE

__all__ = [
    "NR_SYSCALLS",
    "SYSCALL_NAMES",
    "TABLE",
    "clock",
    "identity",
    "io",
    "limits",
    "memory",
    "signals",
    "syscall_name",
    "task",
]
