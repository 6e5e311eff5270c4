# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the last user of an mm unmaps everything, and the PGD stays while anybody keeps it."""

from __future__ import annotations

import pytest

from mmu.errors import MmuError
from mmu.linux.mm_count import mmdrop, mmgrab
from mmu.linux.mm_users import mmget, mmget_not_zero, mmput
from mmu.linux.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE

PAGE = 4096
BASE = 0x10_0000_0000

pytestmark = pytest.mark.ucmmu(policy="refcount")


@pytest.fixture
def other(mm):
    mm.mmap(BASE, PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
    mm.copy_to_user(BASE, b"x")
    return mm.dup_mm()


def test_the_last_user_unmaps(mm, other):
    mmget(other)
    mmput(other)
    assert other.vm_stats()["VmRSS"] == 4
    mmput(other)
    assert (other.mm_users, other.mm_count, int(other.c.pgd)) == (0, 0, 0)
    assert mm.kernel.mms == [mm]


def test_who_keeps_the_pgd_keeps_nothing_else(mm, other):
    frames = mm.memory.frames_in_use
    mmgrab(other)
    mmput(other)
    assert other.vm_stats()["VmRSS"] == other.vm_stats()["VmPTE"] == 0
    assert other.c.pgd and mm.memory.frames_in_use == frames - 3
    mmdrop(other)
    assert not other.c.pgd and mm.memory.frames_in_use == frames - 4


def test_nobody_comes_back_to_what_has_exited(mm, other):
    mmput(other)
    assert not mmget_not_zero(other)
    with pytest.raises(MmuError, match="nobody can use it"):
        mmget(other)
    with pytest.raises(MmuError, match="last user has gone"):
        mmput(other)
    other.exit_mmap()


def test_exit_mmap_is_the_end_whoever_uses_it(mm, other):
    mmget(other)
    other.exit_mmap()
    assert (other.mm_users, int(other.c.pgd)) == (0, 0)
