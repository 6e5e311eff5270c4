# SPDX-License-Identifier: GPL-2.0-or-later
"""Walls of the host's kernel around a process that runs guests (native/host/).

They stand behind what the files of a guest check themselves: what the process gave up, it cannot
have again, whoever leads it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable
from contextlib import suppress

from cpu._engine import ffi, lib

NAMESPACES, CAPABILITIES, LANDLOCK, SECCOMP = "namespaces", "capabilities", "landlock", "seccomp"
NO_NEW_PRIVS = "no_new_privs"


def confine(reads: Iterable[str], writes: Iterable[str], without: Container[str]) -> list[str]:
    """Give up for good what the process needs no more; returns the walls that stand now.

    What lies beneath the paths of ``reads`` may still be read, and beneath those of ``writes`` read
    and written; paths that are not there count for nothing. ``without`` names walls to leave out.
    One that this kernel, or this user, cannot have is left out too. To be called with no other
    thread running: Landlock holds the calling one, and those that it starts.
    """

    def landlock() -> int:
        return _landlock(list(reads), list(writes))

    walls: dict[str, Callable[[], int]] = {
        NO_NEW_PRIVS: lib.host_no_new_privs,
        NAMESPACES: lib.host_leave_namespaces,
        CAPABILITIES: lib.host_drop_capabilities,
        LANDLOCK: landlock,
        SECCOMP: lib.host_seccomp,
    }
    return [name for name, put_up in walls.items() if name not in without and put_up() == 0]


def landlock_abi() -> int:
    """The version of the kernel's Landlock; 0 if it has none."""
    return max(0, int(lib.host_landlock_abi()))


def _landlock(reads: list[str], writes: list[str]) -> int:
    fds: list[int] = []
    readable = 0
    try:
        for number, path in enumerate([*reads, *writes]):
            with suppress(OSError, ValueError):
                fds.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
                readable += number < len(reads)
        return int(lib.host_landlock(ffi.new("int[]", fds), readable, len(fds)))
    finally:
        for fd in fds:
            os.close(fd)
