# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/sys: what the kernel can be asked and, by one who may, told (kernel/sysctl.c, v6.18)."""

from __future__ import annotations

import errno
import random
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from cpu.fs.files import RLIMIT_NOFILE
from cpu.fs.pipes import PIPE_MAX_SIZE
from cpu.fs.pseudo_fs import Inode, TextFile
from cpu.task import PID_MAX
from mmu.errors import LinuxError
from mmu.linux.state import OVERCOMMIT_GUESS, OVERCOMMIT_NEVER

if TYPE_CHECKING:
    from cpu.system import System

THREADS_MAX: Final = 2 * PID_MAX
INT_MAX: Final = (1 << 31) - 1
FILE_MAX: Final = (1 << 63) - 1

_CONSTANTS: Final[dict[str, object]] = {
    "fs/file-max": FILE_MAX,
    "fs/file-nr": f"0\t0\t{FILE_MAX}",
    "fs/aio-max-nr": 65536,
    "fs/aio-nr": 0,
    "fs/inotify/max_user_instances": 0,
    "fs/inotify/max_user_watches": 0,
    "fs/lease-break-time": 45,
    "fs/mount-max": 100000,
    "fs/nr_open": RLIMIT_NOFILE,
    "fs/overflowgid": 65534,
    "fs/overflowuid": 65534,
    "fs/pipe-max-size": PIPE_MAX_SIZE,
    "fs/protected_fifos": 0,
    "fs/protected_hardlinks": 0,
    "fs/protected_regular": 0,
    "fs/protected_symlinks": 0,
    "fs/suid_dumpable": 0,
    "kernel/cap_last_cap": 40,
    "kernel/core_pattern": "core",
    "kernel/core_uses_pid": 0,
    "kernel/dmesg_restrict": 1,
    "kernel/kptr_restrict": 1,
    "kernel/msgmax": 8192,
    "kernel/msgmnb": 16384,
    "kernel/msgmni": 32000,
    "kernel/ngroups_max": 65536,
    "kernel/overflowgid": 65534,
    "kernel/overflowuid": 65534,
    "kernel/panic": 0,
    "kernel/perf_event_paranoid": 4,
    "kernel/pid_max": PID_MAX,
    "kernel/printk": "4\t4\t1\t7",
    "kernel/random/entropy_avail": 256,
    "kernel/random/poolsize": 256,
    "kernel/random/urandom_min_reseed_secs": 60,
    "kernel/random/write_wakeup_threshold": 256,
    "kernel/randomize_va_space": 0,
    "kernel/sched_rr_timeslice_ms": 100,
    "kernel/sem": "32000\t1024000000\t500\t32000",
    "kernel/shm_rmid_forced": 0,
    "kernel/shmall": 18446744073692774399,
    "kernel/shmmax": 18446744073692774399,
    "kernel/shmmni": 4096,
    "kernel/tainted": 0,
    "kernel/threads-max": THREADS_MAX,
    "kernel/yama/ptrace_scope": 0,
    "vm/dirty_background_ratio": 10,
    "vm/dirty_ratio": 20,
    "vm/legacy_va_layout": 0,
    "vm/min_free_kbytes": 0,
    "vm/nr_hugepages": 0,
    "vm/nr_overcommit_hugepages": 0,
    "vm/oom_kill_allocating_task": 0,
    "vm/overcommit_kbytes": 0,
    "vm/overcommit_ratio": 50,
    "vm/page-cluster": 3,
    "vm/panic_on_oom": 0,
    "vm/swappiness": 60,
    "vm/vfs_cache_pressure": 100,
    "vm/zone_reclaim_mode": 0,
}
"""What never changes here: Linux's defaults, or what is so on this machine."""


def sysctl_files(system: System) -> dict[str, Inode]:
    """The files below /proc/sys, by their path there."""
    kernel = system.kernel
    files: dict[str, Inode] = {name: _constant(value) for name, value in _CONSTANTS.items()}
    names = ("domainname", "hostname", "osrelease", "ostype", "version", "arch")
    files |= {f"kernel/{name}": _name(system, name) for name in names}
    boot_id = _uuid(random.Random(f"boot {system.seed}"))
    files |= {
        "kernel/random/boot_id": _constant(boot_id),
        "kernel/random/uuid": TextFile(lambda: f"{_uuid(system.random)}\n"),
        "vm/drop_caches": TextFile(lambda: "0\n", lambda data: _number(data, 1, 4, _nothing), 0),
        "vm/max_map_count": _setting(
            lambda: kernel.max_map_count,
            lambda value: setattr(kernel, "max_map_count", value),
            (0, INT_MAX),
        ),
        "vm/mmap_min_addr": _setting(
            lambda: kernel.mmap_min_addr,
            lambda value: setattr(kernel, "mmap_min_addr", value),
            (0, INT_MAX),
        ),
        "vm/overcommit_memory": _setting(
            lambda: kernel.overcommit_memory,
            lambda value: setattr(kernel, "overcommit_memory", value),
            (OVERCOMMIT_GUESS, OVERCOMMIT_NEVER),
        ),
    }
    return {f"sys/{name}": inode for name, inode in sorted(files.items())}


def _constant(value: object) -> Inode:
    return TextFile(lambda: f"{value}\n")


_UTS: Final = {
    "arch": "machine",
    "hostname": "nodename",
    "osrelease": "release",
    "ostype": "sysname",
}


def _name(system: System, name: str) -> Inode:
    """A name of uname()'s."""
    return TextFile(lambda: getattr(system.uts, _UTS.get(name, name)) + b"\n")


def _uuid(chance: random.Random) -> str:
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))


def _nothing(_value: int) -> None:
    """What no file has no use for is not kept in any case."""


def _number(data: bytes, least: int, most: int, put: Callable[[int], None]) -> None:
    """proc_dointvec_minmax(): EINVAL for anything but one number in bounds."""
    try:
        value = int(data.strip(b" \t\n\0"))
    except ValueError:
        raise LinuxError(errno.EINVAL) from None
    if not least <= value <= most:
        raise LinuxError(errno.EINVAL)
    put(value)


def _setting(get: Callable[[], int], put: Callable[[int], None], bounds: tuple[int, int]) -> Inode:
    """A number that root may set."""
    return TextFile(lambda: f"{get()}\n", lambda data: _number(data, *bounds, put))
