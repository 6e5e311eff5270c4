# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: install_special_mapping() maps pages of the kernel's, as the vDSO, with just these rights;
a child has them too.
"""

from __future__ import annotations

import pytest

from mmu.linux.filemap import MappedFile
from mmu.linux.tlbflush import switch_mm
from mmu.linux.vma import VM_EXEC, VM_MAYEXEC, VM_MAYREAD, VM_READ

BASE = 0x10_0000_0000
PAGE = 4096

pytestmark = pytest.mark.ucmmu(policy="refcount")


@pytest.fixture
def special(mm):
    file = MappedFile.special_mapping(b"a" * PAGE + b"b" * PAGE, "[vdso]")
    flags = VM_READ | VM_EXEC | VM_MAYREAD | VM_MAYEXEC
    mm.install_special_mapping(BASE, 2 * PAGE, flags, file)
    return mm


def test_rights(special, assert_walk, assert_refcounts):
    assert special.copy_from_user(BASE + PAGE - 1, 2) == b"ab"
    assert special.touch(BASE, "fetch") is None
    assert special.touch(BASE, "write").signal == 11
    assert_walk(BASE, "fetch", rights="rxu")
    assert_refcounts(special)


def test_it_can_be_unmapped(special, assert_refcounts, assert_flushed):
    special.touch(BASE, "read", pages=2)
    special.munmap(BASE, 2 * PAGE)
    assert_flushed(0, BASE)
    assert_refcounts(special, {})


def test_a_child_has_it(special):
    child = special.dup_mm()
    switch_mm(special.kernel, child)
    assert child.copy_from_user(BASE, 1) == b"a"
    child.exit_mmap()
