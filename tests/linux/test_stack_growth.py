# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: an access just below a stack grows it, within RLIMIT_STACK and 1 MiB above the next VMA."""

from __future__ import annotations

import errno

import pytest

from mmu.linux import procfs
from mmu.linux.layout import TASK_SIZE
from mmu.linux.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_GROWSDOWN, MAP_LOCKED, MAP_PRIVATE

PAGE = 4096
BASE = 0x10_0000_0000
MIB = 1 << 20
ANON = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED

pytestmark = pytest.mark.ucmmu(engine="c")


def test_exec_leaves_132_kb_for_one_page_of_arguments(mm):
    assert mm.setup_arg_pages(100) == TASK_SIZE
    assert (
        procfs.maps(mm)
        == "7ffffffde000-7ffffffff000 rw-p 00000000 00:00 0 ".ljust(73) + "[stack]\n"
    )
    assert mm.vm_stats()["VmStk"] == 132


def test_it_grows_to_its_limit_and_no_further(mm, touch):
    mm.setup_arg_pages(100)
    assert touch(TASK_SIZE - MIB) is None
    assert mm.vm_stats()["VmStk"] == 1024
    assert touch(TASK_SIZE - 8 * MIB) is None
    assert mm.vm_stats()["VmStk"] == 8192
    assert touch(TASK_SIZE - 8 * MIB - 1, "write").code == 1
    assert mm.vm_stats()["VmRSS"] == 8


def test_the_kernels_own_accesses_grow_it(mm):
    mm.setup_arg_pages(100)
    mm.copy_to_user(TASK_SIZE - MIB - 8, b"far below")
    assert mm.vm_stats()["VmStk"] == 1028


def test_memory_that_does_not_grow_down_does_not(mm, touch):
    mm.mmap(BASE, PAGE, 3, ANON)
    assert str(touch(BASE - 1)) == f"SIGSEGV (SEGV_MAPERR) at {BASE - 1:#x}"


def test_the_guard_gap_above_a_mapping(mm, touch):
    mm.mmap(BASE, PAGE, 3, ANON)
    mm.mmap(BASE + 4 * MIB, PAGE, 3, ANON | MAP_GROWSDOWN)
    assert touch(BASE + PAGE + MIB) is None
    assert touch(BASE + MIB).code == 1


def test_no_gap_is_kept_above_what_nobody_may_access(mm, touch):
    mm.mmap(BASE, PAGE, 0, ANON)
    mm.mmap(BASE + 4 * MIB, PAGE, 3, ANON | MAP_GROWSDOWN)
    assert touch(BASE + PAGE) is None


def test_growth_counts_against_every_limit(mm, touch):
    mm.mmap(BASE, PAGE, 3, ANON | MAP_GROWSDOWN)
    mm.rlimit.address_space = 2 * PAGE
    assert touch(BASE - PAGE) is None
    assert touch(BASE - 2 * PAGE).code == 1
    mm.rlimit.address_space = 1 << 60
    mm.kernel.overcommit_memory = 0
    mm.rlimit.stack = 1 << 40
    assert touch(BASE - mm.memory.size - MIB).code == 1


def test_growth_stops_at_mmap_min_addr(mm, touch):
    mm.mmap(mm.kernel.mmap_min_addr, PAGE, 3, ANON | MAP_GROWSDOWN)
    assert touch(mm.kernel.mmap_min_addr - 1).code == 1


def test_a_locked_stack_counts_what_it_grows(mm, touch):
    mm.mmap(BASE, PAGE, 3, ANON | MAP_GROWSDOWN | MAP_LOCKED)
    touch(BASE - PAGE)
    assert mm.vm_stats()["VmLck"] == 8
    mm.rlimit.memlock = 2 * PAGE
    assert touch(BASE - 2 * PAGE).code == 1


def test_arguments_that_do_not_fit(mm, raises_errno):
    mm.rlimit.address_space = 64 << 10
    with raises_errno(errno.ENOMEM):
        mm.setup_arg_pages(100)
