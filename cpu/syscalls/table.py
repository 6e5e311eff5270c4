# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of system calls by number, filled by importing every module that defines some."""

from __future__ import annotations

from cpu.syscalls import (
    clock,
    epoll,
    exec,
    files,
    futex,
    identity,
    io,
    limits,
    membarrier,
    memory,
    pidfd,
    pipes,
    poll,
    prctl,
    process,
    process_memory,
    sched,
    signals,
    sockets,
    task,
    timers,
    wait,
)
from cpu.syscalls.registry import NR_SYSCALLS, TABLE

__all__ = [
    "NR_SYSCALLS",
    "TABLE",
    "clock",
    "epoll",
    "exec",
    "files",
    "futex",
    "identity",
    "io",
    "limits",
    "membarrier",
    "memory",
    "pidfd",
    "pipes",
    "poll",
    "prctl",
    "process",
    "process_memory",
    "sched",
    "signals",
    "sockets",
    "task",
    "timers",
    "wait",
]
