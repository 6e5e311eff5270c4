# SPDX-License-Identifier: GPL-2.0-or-later
"""What the supervised child gives up before its guest runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from contextlib import suppress

from cpu.fs.view import View
from cpu.walls import confine

_SELF = ("/proc/self", "/dev/null", "/dev/urandom")


def close_strays(kept: Collection[int]) -> None:
    """Close every descriptor of the process that is neither a standard stream nor ``kept``."""
    for fd in [int(name) for name in os.listdir("/proc/self/fd")]:
        if fd > 2 and fd not in kept:
            with suppress(OSError):
                os.close(fd)


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
