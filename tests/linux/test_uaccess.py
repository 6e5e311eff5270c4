# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the kernel reads and writes user memory through the tables, faults it in, and says EFAULT,
never more.
"""

from __future__ import annotations

import errno

import pytest

from mmu._native import lib
from mmu.errors import BadTable, MmuError
from mmu.linux.filemap import MappedFile
from mmu.linux.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE
from mmu.linux.uaccess import raw_copy_from_user, raw_copy_to_user, user_atomic_u32

PAGE = 4096
BASE = 0x10_0000_0000
ANON = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED


def test_across_pages_in_both_directions(mm, assert_refcounts):
    mm.mmap(BASE, 4 * PAGE, 3, ANON)
    data = bytes(range(256)) * 40
    mm.copy_to_user(BASE + 1000, data)
    assert mm.copy_from_user(BASE + 1000, len(data)) == data
    assert mm.copy_from_user(BASE, 1000) == bytes(1000)
    mm.copy_to_user(BASE, b"")
    assert mm.copy_from_user(BASE, 0) == b""
    assert_refcounts(mm, {BASE: 3})


def test_memoryviews_are_taken(mm):
    mm.mmap(BASE, PAGE, 3, ANON)
    mm.copy_to_user(BASE, memoryview(bytearray(b"abcdefgh")).cast("Q"))
    assert mm.copy_from_user(BASE, 8) == b"abcdefgh"


def test_efault_and_how_far_it_came(mm, raises_errno):
    mm.mmap(BASE, 2 * PAGE, 3, ANON)
    with raises_errno(errno.EFAULT):
        mm.copy_to_user(BASE, bytes(3 * PAGE))
    with raises_errno(errno.EFAULT):
        mm.copy_from_user(BASE, 3 * PAGE)
    assert raw_copy_to_user(mm, BASE + 100, bytes(3 * PAGE)) == 2 * PAGE - 100
    assert len(raw_copy_from_user(mm, BASE + 100, 3 * PAGE)) == 2 * PAGE - 100


@pytest.mark.parametrize(
    "addr",
    [0, BASE, 0x7FFFFFFFEFFF, 0x7FFFFFFFF000, 1 << 47, 0xFFFF_8000_0000_0000, (1 << 64) - 8, -8],
)
@pytest.mark.ucmmu(policy="refcount")
def test_addresses_that_are_not_the_users(mm, raises_errno, addr):
    with raises_errno(errno.EFAULT):
        mm.copy_from_user(addr, 16)
    with raises_errno(errno.EFAULT):
        mm.copy_to_user(addr, bytes(16))
    with raises_errno(errno.EFAULT):
        mm.strncpy_from_user(addr, 16)


def test_rights_bind_the_kernel_too(mm, raises_errno):
    mm.mmap(BASE, PAGE, 1, ANON)
    with raises_errno(errno.EFAULT):
        mm.copy_to_user(BASE, b"x")
    mm.mprotect(BASE, PAGE, 0)
    with raises_errno(errno.EFAULT):
        mm.copy_from_user(BASE, 1)


def test_it_goes_by_smap_with_ac_set_meanwhile(mm, mmu, assert_fault):
    mm.mmap(BASE, PAGE, 3, ANON)
    mmu.write_cr4(mmu.c.cr4 | lib.CR4_SMAP)
    mm.copy_to_user(BASE, b"x")
    assert not mmu.c.rflags & lib.RFLAGS_AC
    assert_fault(BASE, "read", user=False, code=1)


def test_copy_on_write_and_sigbus(mm, raises_errno):
    file = MappedFile(b"the file")
    mm.mmap(BASE, 2 * PAGE, 3, MAP_PRIVATE | MAP_FIXED, file)
    mm.copy_to_user(BASE, b"a copy")
    assert mm.memory.read(file.cached(0) << 12, 8) == b"the file"
    with raises_errno(errno.EFAULT):
        mm.copy_from_user(BASE + PAGE, 1)


def test_strings(mm, raises_errno):
    mm.mmap(BASE, 2 * PAGE, 3, ANON)
    mm.copy_to_user(BASE + PAGE - 3, b"hello\0rest")
    assert mm.strncpy_from_user(BASE + PAGE - 3, 100) == b"hello"
    assert mm.strncpy_from_user(BASE + PAGE - 3, 4) == b"hell"
    assert mm.strncpy_from_user(BASE + PAGE - 3, 5) == b"hello"
    assert mm.strncpy_from_user(BASE + PAGE - 3, 0) == b""
    mm.copy_to_user(BASE + 2 * PAGE - 2, b"zz")
    with raises_errno(errno.EFAULT):
        mm.strncpy_from_user(BASE + 2 * PAGE - 2, 100)
    mm.copy_to_user(BASE + 2 * PAGE - 1, b"\0")
    assert mm.strncpy_from_user(BASE + 2 * PAGE - 2, 100) == b"z"


def test_writes_to_frames_that_held_code_are_told(mm, touch, assert_walk):
    mm.mmap(BASE, 2 * PAGE, 3, ANON)
    cpu = mm.kernel.this_cpu
    touch(BASE, pages=2)
    pa = assert_walk(BASE).pa
    mm.memory.page(pa >> 12).flags |= lib.PG_code
    mm.copy_to_user(BASE + PAGE, b"x")
    assert not cpu.c.code_written.nr
    mm.copy_to_user(BASE + 100, b"x")
    written = cpu.c.code_written
    assert (written.all, list(written.page[0 : written.nr])) == (0, [pa])
    mm.memory.page(pa >> 12).flags &= ~lib.PG_code


@pytest.mark.ucmmu(policy="refcount")
def test_out_of_memory_is_efault(mm, raises_errno):
    """For the kernel's own access the shortage is the system call's failure; no process is killed
    for it.
    """
    mm.mmap(BASE, PAGE, 3, ANON)
    mm.memory.c.fail_after = 0
    with raises_errno(errno.EFAULT):
        mm.copy_to_user(BASE, b"x")


@pytest.mark.ucmmu(policy="refcount")
def test_a_table_outside_ram(mm, assert_walk, touch):
    mm.mmap(BASE, PAGE, 3, ANON)
    touch(BASE)
    pde = assert_walk(BASE).entry_pa[2]
    good = mm.memory.read_u64(pde)
    mm.memory.write_u64(pde, 0x3F_FFFF_F000 | 0x67)
    mm.kernel.this_cpu.mmu.flush_all()
    with pytest.raises(BadTable):
        mm.copy_from_user(BASE, 1)
    mm.memory.write_u64(pde, good)
    mm.kernel.this_cpu.mmu.flush_all()


def test_only_of_the_loaded_mm(mm):
    """Another's bytes are not what the processor would reach: refused, not read from this mm."""
    mm.mmap(BASE, PAGE, 3, ANON)
    mm.copy_to_user(BASE, b"parent")
    child = mm.dup_mm()
    for access in (
        lambda: child.copy_from_user(BASE, 6),
        lambda: child.copy_to_user(BASE, b"child"),
        lambda: user_atomic_u32(child, BASE, lambda value: None),
    ):
        with pytest.raises(MmuError, match=r"CPU 0 does not have .* loaded: switch_mm\(\)"):
            access()
    assert mm.copy_from_user(BASE, 6) == b"parent"
    child.exit_mmap()
