# SPDX-License-Identifier: GPL-2.0-or-later
"""What a futex's address means (kernel/futex/core.c, v6.18).

::

    private                       the mm and the address; the memory is not looked at
    shared, in private memory     the mm and the address, apart from private ones
    shared, in a shared mapping   the file and the byte in it: the same in every process
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from cpu.futex.table import FutexKey
from mmu._native import lib
from mmu.errors import LinuxError
from mmu.linux.gup import fault_in_page
from mmu.linux.handle_mm_fault import VM_FAULT_ERROR, peek_pte
from mmu.linux.pgtable import P, entry_pfn
from mmu.linux.uaccess import access_ok
from mmu.linux.vma import VM_READ, VM_SHARED, VM_WRITE
from mmu.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from mmu.linux.mm import Mm

FUTEX_SIZE: Final = 4
_WORD: Final = struct.Struct("<I")


def get_futex_key(mm: Mm, addr: int, *, shared: bool, write: bool = True) -> FutexKey:
    """get_futex_key(): the futex at a user address; ``write``: it will be written (FUTEX_WRITE).

    EINVAL: not at a multiple of 4. EFAULT: no user address, or, for a shared one, no memory that
    allows it. May wait.
    """
    if addr % FUTEX_SIZE:
        raise LinuxError(errno.EINVAL)
    if not access_ok(addr, FUTEX_SIZE):
        raise LinuxError(errno.EFAULT)
    if not shared:
        return FutexKey(mm, addr, False)
    with mm.mmap_read_lock():
        return _shared_key(mm, addr, write)


def _shared_key(mm: Mm, addr: int, write: bool) -> FutexKey:
    """get_user_pages_fast() of its page, for writing, or if that is not needed for reading; then
    whose page it is.
    """
    i = lib.vma_index_of(mm.c, addr)
    if i >= mm.c.vmas.nr or mm.c.vmas.vma[i].vm_start > addr:
        raise LinuxError(errno.EFAULT)
    vma = mm.c.vmas.vma[i]
    writable = bool(vma.vm_flags & VM_WRITE)
    if not (writable or (not write and vma.vm_flags & VM_READ)):
        raise LinuxError(errno.EFAULT)
    page = addr & PAGE_MASK
    if fault_in_page(mm, vma, page, writable) & VM_FAULT_ERROR:
        raise LinuxError(errno.EFAULT)
    if vma.vm_flags & VM_SHARED and vma.vm_file:
        file = mm.file(vma.vm_file)
        pgoff = vma.vm_pgoff + (page - vma.vm_start >> PAGE_SHIFT)
        return FutexKey(file, (pgoff << PAGE_SHIFT) + addr % PAGE_SIZE, True)
    if writable:
        return FutexKey(mm, addr, True)
    pte = peek_pte(mm, page)
    if not vma.vm_file or (pte & P and mm.memory.page(entry_pfn(pte)).flags & lib.PG_anon):
        raise LinuxError(errno.EFAULT)
    pgoff = vma.vm_pgoff + (page - vma.vm_start >> PAGE_SHIFT)
    return FutexKey(mm.file(vma.vm_file), (pgoff << PAGE_SHIFT) + addr % PAGE_SIZE, True)


def get_user_u32(mm: Mm, addr: int) -> int:
    """The word at a user address; EFAULT. May wait, but not between the read and its return."""
    return int(_WORD.unpack(mm.copy_from_user(addr, FUTEX_SIZE))[0])


def put_user_u32(mm: Mm, addr: int, value: int) -> None:
    """Write the word at a user address; EFAULT. May wait."""
    mm.copy_to_user(addr, _WORD.pack(value))
