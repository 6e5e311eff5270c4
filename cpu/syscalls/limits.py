# SPDX-License-Identifier: GPL-2.0-or-later
"""Resource limits: getrlimit(), setrlimit(), prlimit(). docs/architecture.md says which of them
bind, and where.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from cpu.syscalls.registry import s32, syscall
from mmu.errors import LinuxError
from mmu.linux.resource import Rlimit

if TYPE_CHECKING:
    from cpu.process import LinuxProcess

_RLIMIT = struct.Struct("<QQ")


def _read_rlimit(p: LinuxProcess, addr: int) -> Rlimit:
    return Rlimit(*_RLIMIT.unpack(p.mm.copy_from_user(addr, _RLIMIT.size)))


@syscall("prlimit64")
def sys_prlimit64(p: LinuxProcess, pid: int, resource: int, new: int, old: int, *_: int) -> int:
    """prlimit(2), of the process itself: there is no other."""
    wanted = _read_rlimit(p, new) if new else None
    if s32(pid) not in (0, p.pid):
        raise LinuxError(errno.ESRCH)
    was = p.rlimits.do_prlimit(resource & 0xFFFFFFFF, wanted)
    if old:
        p.mm.copy_to_user(old, _RLIMIT.pack(*was))
    return 0


@syscall("getrlimit")
def sys_getrlimit(p: LinuxProcess, resource: int, old: int, *_: int) -> int:
    """getrlimit(2)."""
    was = p.rlimits.do_prlimit(resource & 0xFFFFFFFF, None)
    p.mm.copy_to_user(old, _RLIMIT.pack(*was))
    return 0


@syscall("setrlimit")
def sys_setrlimit(p: LinuxProcess, resource: int, new: int, *_: int) -> int:
    """setrlimit(2)."""
    p.rlimits.do_prlimit(resource & 0xFFFFFFFF, _read_rlimit(p, new))
    return 0
