# SPDX-License-Identifier: GPL-2.0-or-later
"""What a futex's address means (kernel/futex/core.c, v6.18).

::

    private                       the mm and the address; the memory is not looked at
    shared, in private memory     the mm and the address, apart from private ones
    shared, in a shared mapping   the file's address_space and the byte in it: the same in every
                                  process, however each opened the file
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from cpu.futex.table import FutexKey
from mmu._native import lib
from mmu.errors import LinuxError
from mmu.linux.gup_fast import get_user_pages_fast
from mmu.linux.uaccess import access_ok
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
    writable = True
    try:
        (pfn,) = get_user_pages_fast(mm, addr, 1, write=True)
    except LinuxError:
        if write:
            raise
        writable = False
        (pfn,) = get_user_pages_fast(mm, addr, 1, write=False)
    try:
        return _shared_key(mm, addr, pfn, writable)
    finally:
        mm.memory.put_page(pfn)


def _shared_key(mm: Mm, addr: int, pfn: int, writable: bool) -> FutexKey:
    """Whose page it is: of the mm, if it is anonymous and can be written, or of a file."""
    page = mm.memory.page(pfn)
    if page.flags & lib.PG_anon and writable:
        return FutexKey(mm, addr, True)
    with mm.mmap_read_lock():
        vma = lib.find_vma(mm.c, addr)
        if page.flags & lib.PG_anon or not vma or vma.vm_start > addr or not vma.vm_file:
            raise LinuxError(errno.EFAULT)
        pgoff = vma.vm_pgoff + ((addr & PAGE_MASK) - vma.vm_start >> PAGE_SHIFT)
        mapping = mm.file(vma.vm_file).mapping
        return FutexKey(mapping, (pgoff << PAGE_SHIFT) + addr % PAGE_SIZE, True)


def get_user_u32(mm: Mm, addr: int) -> int:
    """The word at a user address; EFAULT. May wait, but not between the read and its return."""
    return int(_WORD.unpack(mm.copy_from_user(addr, FUTEX_SIZE))[0])


def put_user_u32(mm: Mm, addr: int, value: int) -> None:
    """Write the word at a user address; EFAULT. May wait."""
    mm.copy_to_user(addr, _WORD.pack(value))
