# SPDX-License-Identifier: GPL-2.0-or-later
"""What the supervised child gives up before its guest runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection

from cpu.fs.view import View
from cpu.walls import confine

_SELF = ("/proc/self", "/dev/null", "/dev/urandom")


def open_descriptors() -> frozenset[int]:
    """The descriptors of the process."""
    listed = [int(name) for name in os.listdir("/proc/self/fd")]
    return frozenset(fd for fd in listed if _is_open(fd))


def _is_open(fd: int) -> bool:
    """False of the one by which they were listed."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def close_strays(found: Collection[int], kept: Collection[int]) -> None:
    """Close those descriptors ``found`` at the start that are neither standard streams nor
    ``kept``.
    """
    for fd in found:
        if fd > 2 and fd not in kept:
            try:
                os.close(fd)
            except OSError:
                continue


def isolate(view: View, without: Collection[str]) -> list[str]:
    """Keep the right to read what guests see and what Python may still load, and to write where
    guests write; give up the rest. Returns the walls that stand now.
    """
    reads = [one.host for one in view.given if not one.writable]
    writes = [one.host for one in view.given if one.writable]
    if view.upper is not None:
        writes.append(view.upper)
    return confine([*reads, *_of_python(), *_SELF], writes, without)


def _of_python() -> list[str]:
    """Where modules that are imported late, and their libraries, come from."""
    places = [sys.prefix, sys.exec_prefix, sys.base_prefix, os.path.dirname(os.__file__)]
    places += [os.path.abspath(place) for place in sys.path if place]
    places.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return [place for place in dict.fromkeys(places) if place != "/"]
