# SPDX-License-Identifier: GPL-2.0-or-later
"""Resource limits of a process: getrlimit(), setrlimit(), prlimit() (kernel/sys.c,
asm-generic/resource.h, v6.18).
"""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import Final, NamedTuple

from mmu.errors import LinuxError
from mmu.units import U64

RLIM_INFINITY: Final = U64


class Rlimit(NamedTuple):
    """A soft and a hard limit: struct rlimit."""

    cur: int
    max: int


class Resource(IntEnum):
    """RLIMIT_*: what is limited."""

    CPU = 0
    FSIZE = 1
    DATA = 2
    STACK = 3
    CORE = 4
    RSS = 5
    NPROC = 6
    NOFILE = 7
    MEMLOCK = 8
    AS = 9
    LOCKS = 10
    SIGPENDING = 11
    MSGQUEUE = 12
    NICE = 13
    RTPRIO = 14
    RTTIME = 15


# Each resource's line in /proc/self/limits: its name and unit (lnames[] of fs/proc/base.c).
_LINES: Final = (
    ("Max cpu time", "seconds"),
    ("Max file size", "bytes"),
    ("Max data size", "bytes"),
    ("Max stack size", "bytes"),
    ("Max core file size", "bytes"),
    ("Max resident set", "bytes"),
    ("Max processes", "processes"),
    ("Max open files", "files"),
    ("Max locked memory", "bytes"),
    ("Max address space", "bytes"),
    ("Max file locks", "locks"),
    ("Max pending signals", "signals"),
    ("Max msgqueue size", "bytes"),
    ("Max nice priority", ""),
    ("Max realtime priority", ""),
    ("Max realtime timeout", "us"),
)

# What a process starts with, where that is not RLIM_INFINITY: INIT_RLIMITS, and what distributions
# make of it.
_DEFAULTS: Final = {
    Resource.STACK: Rlimit(8 << 20, RLIM_INFINITY),
    Resource.CORE: Rlimit(0, 0),
    Resource.MEMLOCK: Rlimit(8 << 20, 8 << 20),
    Resource.MSGQUEUE: Rlimit(819200, 819200),
    Resource.NICE: Rlimit(0, 0),
    Resource.RTPRIO: Rlimit(0, 0),
}


class Rlimits:
    """The limits of one process; bytes, or what the resource counts.

    Those of memory bind in the mm: ``address_space``, ``data``, ``stack`` and ``memlock`` are their
    soft limits, which may be set directly, beyond the hard limit too.
    """

    def __init__(self) -> None:
        self._limits = [
            _DEFAULTS.get(resource, Rlimit(RLIM_INFINITY, RLIM_INFINITY)) for resource in Resource
        ]
        self._nr_open = RLIM_INFINITY
        self.stack = self[Resource.STACK].cur
        self.data = self[Resource.DATA].cur
        self.address_space = self[Resource.AS].cur
        self.memlock = self[Resource.MEMLOCK].cur

    def copy(self) -> Rlimits:
        """Limits of their own for a child process, which are these at first."""
        limits = Rlimits()
        limits.__dict__.update(self.__dict__, _limits=list(self._limits))
        return limits

    def set_nofile(self, nofile: int) -> None:
        """No process may have more open files than this (sysctl nr_open), and this one starts with
        that limit.
        """
        self._nr_open = nofile
        self._limits[Resource.NOFILE] = Rlimit(nofile, nofile)

    def __getitem__(self, resource: Resource) -> Rlimit:
        """The limits in force."""
        return self._limits[resource]

    def do_prlimit(self, resource: int, new: Rlimit | None, *, capable: bool = False) -> Rlimit:
        """Set the limits of a resource, if new ones are given; returns the old ones.

        ``capable``: the caller has CAP_SYS_RESOURCE. Errors: EINVAL (no such resource, soft above
        hard), EPERM (a hard limit raised by an unprivileged process, or more open files than any
        process may have).
        """
        if not 0 <= resource < len(self._limits):
            raise LinuxError(errno.EINVAL)
        old = self._limits[resource]
        if new is None:
            return old
        if new.cur > new.max:
            raise LinuxError(errno.EINVAL)
        if resource == Resource.NOFILE and new.max > self._nr_open:
            raise LinuxError(errno.EPERM)
        if new.max > old.max and not capable:
            raise LinuxError(errno.EPERM)
        self.force(Resource(resource), new)
        return old

    def force(self, resource: Resource, new: Rlimit) -> None:
        """Have these limits, whatever they were."""
        self._limits[resource] = new
        self._bind(resource, new)

    def _bind(self, resource: Resource, new: Rlimit) -> None:
        if resource is Resource.STACK:
            self.stack = new.cur
        elif resource is Resource.DATA:
            self.data = new.cur
        elif resource is Resource.AS:
            self.address_space = new.cur
        elif resource is Resource.MEMLOCK:
            self.memlock = new.cur

    def proc_limits(self) -> str:
        """/proc/self/limits."""
        lines = [f"{'Limit':<25} {'Soft Limit':<20} {'Hard Limit':<20} {'Units':<10}\n"]
        for (name, unit), limit in zip(_LINES, self._limits, strict=True):
            soft, hard = ("unlimited" if value == RLIM_INFINITY else str(value) for value in limit)
            lines.append(f"{name:<25} {soft:<20} {hard:<20} {unit.ljust(10) if unit else ''}\n")
        return "".join(lines)
