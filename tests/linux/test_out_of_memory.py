# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: when an allocation fails, at whichever it is, the operation fails cleanly: nothing leaks, a
retry succeeds.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mmu.errors import LinuxError, OutOfMemory
from mmu.linux import engine
from mmu.linux.fault import OomKill
from mmu.linux.filemap import MappedFile
from mmu.linux.mm import Mm, boot
from mmu.linux.mman import (
    MADV_POPULATE_WRITE,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_POPULATE,
    MAP_PRIVATE,
    MAP_SHARED,
)
from mmu.memory import Memory
from mmu.x86 import Mmu
from ucmmu.testing.mm import access_once, check_mm
from ucmmu.testing.units import ACCESS

PAGE = 4096
BASE = 0x10_0000_0000
ANON = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
NEVER = (1 << 64) - 1


def anonymous(mm: Mm, access: str) -> None:
    mm.mmap(BASE, PAGE, 3, ANON)
    access_once(mm, BASE, ACCESS[access])


def file(mm: Mm, accesses: str) -> None:
    mm.mmap(BASE, 4 * PAGE, 3, MAP_PRIVATE | MAP_FIXED, MappedFile(b"data" * PAGE))
    for access in accesses.split():
        access_once(mm, BASE, ACCESS[access])


def shared(mm: Mm) -> None:
    mm.mmap(BASE, 2 * PAGE, 3, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED)
    access_once(mm, BASE, ACCESS["write"])
    access_once(mm, BASE + PAGE, ACCESS["read"])


OPERATIONS: dict[str, Callable[[Mm], object]] = {
    "anonymous write": lambda mm: anonymous(mm, "write"),
    "anonymous read": lambda mm: anonymous(mm, "read"),
    "zero page, then write": lambda mm: (
        anonymous(mm, "read"),
        access_once(mm, BASE, ACCESS["write"]),
    ),
    "file read": lambda mm: file(mm, "read"),
    "file write": lambda mm: file(mm, "write"),
    "file read, then write": lambda mm: file(mm, "read write"),
    "shared": shared,
    "populate": lambda mm: mm.mmap(BASE, 8 * PAGE, 3, ANON | MAP_POPULATE),
    "madvise populate": lambda mm: (
        mm.mmap(BASE, 8 * PAGE, 3, ANON),
        mm.madvise(BASE, 8 * PAGE, MADV_POPULATE_WRITE),
    ),
    "copy_to_user": lambda mm: (
        mm.mmap(BASE, 8 * PAGE, 3, ANON),
        mm.copy_to_user(BASE, bytes(8 * PAGE)),
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_allocation_fails_once(mm, name):
    """Fail the first, the second, ... allocation of the operation, until it makes no more."""
    operation = OPERATIONS[name]
    failures = 0
    for nth in range(100):
        mm.memory.c.fail_after = nth
        try:
            operation(mm)
        except (OomKill, LinuxError):
            failures += 1
        unused = mm.memory.c.fail_after
        mm.memory.c.fail_after = NEVER
        check_mm(mm)
        operation(mm)
        check_mm(mm)
        mm.munmap(BASE, 8 * PAGE)
        engine.rcu_process_callbacks(mm.kernel)
        assert mm.vm_stats()["VmPTE"] == 0
        assert mm.memory.frames_in_use == 1, "something leaked"
        if unused != NEVER:
            break
    else:
        raise AssertionError("it never ends")
    assert failures or name == "populate", "an allocation that fails is felt"


def test_ram_runs_out_for_good(mm, touch):
    """A guest that wants more than there is ends in OomKill with the figures; what it has goes back
    at exit.
    """
    mm.mmap(BASE, 1 << 30, 3, ANON)
    with pytest.raises(OomKill, match="guest RAM is out at address 0x"):
        touch(BASE, "write", 1 << 18)
    assert mm.memory.free_frames < 8
    check_mm(mm)
    mm.munmap(BASE, 1 << 30)
    engine.rcu_process_callbacks(mm.kernel)
    assert mm.memory.frames_in_use == 1


test_ram_runs_out_for_good = pytest.mark.ucmmu(ram=2 << 20)(test_ram_runs_out_for_good)


@pytest.mark.ucmmu(engine="c", policy="refcount", ram=2 << 20)
def test_the_page_cache_gives_way(mm, touch):
    """Reclaim takes clean pages of files before it lets a process die."""
    data = MappedFile(bytes(100 * PAGE))
    mm.mmap(BASE, 100 * PAGE, 1, MAP_PRIVATE | MAP_FIXED, data)
    touch(BASE, "read", 100)
    mm.madvise(BASE, 100 * PAGE, 4)
    mm.mmap(BASE + (1 << 30), 480 * PAGE, 3, ANON)
    assert touch(BASE + (1 << 30), "write", 480) is None
    assert data.nr_cached < 100


def test_no_frame_for_the_pgd():
    memory = Memory(1 << 20)
    unit = Mmu(memory)
    memory.c.fail_after = 0
    with pytest.raises(OutOfMemory):
        boot(memory, unit)
