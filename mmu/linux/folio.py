# SPDX-License-Identifier: GPL-2.0-or-later
"""The lock of a page of a file, and the page cache under it (include/linux/pagemap.h,
mm/filemap.c, v6.18).

Here a folio is one page, named by its frame. Its lock, PG_locked in its flags, keeps it in its
file: truncation takes it, sees to it that no PTE maps the page, and takes the page out of the
cache; a fault takes it and looks whether the page is still the file's before it maps it. So a page
that a PTE maps is in its file's cache.

A folio lock sleeps. It is taken inside mmap_lock and the VMA lock, outside i_mmap_rwsem and the
locks of page tables; inside those it is only tried. Who waits for one, or tries it, has an owner's
reference of the frame: a frame that was freed, and is another page by now, would be locked else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmu._native import lib
from mmu.linux.bug import Bug, MmBug
from mmu.linux.contention import LCB_F_WRITE, LOCK_FOLIO, contention_begin, contention_end
from mmu.linux.state import Kernel

if TYPE_CHECKING:
    from mmu.linux.filemap import AddressSpace


def _name(pfn: int) -> str:
    return f"the folio lock of frame {pfn:#x}"


def _lock(kernel: Kernel, pfn: int) -> bool:
    """test_and_set_bit(PG_locked): whether it was free."""
    kernel.lock_prefix()
    page = kernel.memory.page(pfn)
    flags = page.flags
    if flags & lib.PG_locked:
        return False
    page.flags = flags | lib.PG_locked
    return True


def folio_trylock(kernel: Kernel, pfn: int) -> bool:
    """Take the lock if it is free; whether it was. Never sleeps. A reference as in folio_lock(), or
    a PTE that maps the page and whose lock is held.
    """
    kernel.point("folio_trylock")
    taken = _lock(kernel, pfn)
    if taken and kernel.lockdep is not None:
        kernel.lockdep.acquired(("folio", pfn), LOCK_FOLIO, _name(pfn), trylock=True)
    return taken


def folio_lock(kernel: Kernel, pfn: int) -> None:
    """Take the lock; may sleep. The caller owns a reference of the frame."""
    page, name = kernel.memory.page(pfn), _name(pfn)
    if kernel.lockdep is not None:
        kernel.lockdep.acquire(("folio", pfn), LOCK_FOLIO, name)
    kernel.point("folio_lock", lambda: not page.flags & lib.PG_locked, sleeps_for=name)
    if not _lock(kernel, pfn):
        _folio_wait(kernel, pfn)
    if kernel.lockdep is not None:
        kernel.lockdep.acquired(("folio", pfn), LOCK_FOLIO, name)


def _folio_wait(kernel: Kernel, pfn: int) -> None:
    """__folio_lock(): sleep until it could be taken."""
    page = kernel.memory.page(pfn)
    contention_begin(kernel, pfn, LOCK_FOLIO, LCB_F_WRITE)
    error = 0
    while not error and not _lock(kernel, pfn):
        error = kernel.wait_event(
            kernel.folio_wait, lambda: not page.flags & lib.PG_locked, _name(pfn)
        )
    contention_end(kernel, pfn, LOCK_FOLIO, error & 0xFFFF_FFFF)
    if error:
        raise MmBug(Bug.LOCK_HELD, pfn, _name(pfn))


def folio_unlock(kernel: Kernel, pfn: int) -> None:
    """Drop the lock, and have those who wait look again."""
    kernel.lock_prefix()
    page = kernel.memory.page(pfn)
    flags = page.flags
    if not flags & lib.PG_locked:
        raise MmBug(Bug.LOCK_NOT_HELD, pfn, _name(pfn))
    if kernel.lockdep is not None:
        kernel.lockdep.release(("folio", pfn))
    page.flags = flags & ~lib.PG_locked
    if kernel.folio_wait.waiters:
        kernel.scheduler.wake_up(kernel.folio_wait)
    kernel.point("folio_unlock")


# The page cache.


def folio_try_get(kernel: Kernel, pfn: int) -> bool:
    """Take a reference of a frame that may be free by now: whether it was not."""
    kernel.lock_prefix()
    page = kernel.memory.page(pfn)
    if not page._refcount:
        return False
    page._refcount += 1
    return True


def filemap_get_folio(kernel: Kernel, mapping: AddressSpace, pgoff: int) -> int | None:
    """The frame of the file's page ``pgoff``, with a reference that the caller owns; None if it is
    not in the cache. It may leave the cache, but not be freed, until that is dropped.
    """
    while True:
        kernel.instrument_read(kernel, "i_pages")
        pfn = mapping.cached(pgoff)
        if pfn is None:
            return None
        if folio_try_get(kernel, pfn):
            if mapping.cached(pgoff) == pfn:
                return pfn
            kernel.memory.put_page(pfn)


def filemap_lock_folio(kernel: Kernel, mapping: AddressSpace, pgoff: int) -> int | None:
    """The same, locked, and the file's still now that it is: None if there is none. May sleep."""
    while (pfn := filemap_get_folio(kernel, mapping, pgoff)) is not None:
        folio_lock(kernel, pfn)
        kernel.instrument_read(kernel, "i_pages")
        if mapping.cached(pgoff) == pfn:
            return pfn
        folio_unlock_put(kernel, pfn)
    return None


def next_uptodate_folio(kernel: Kernel, mapping: AddressSpace, pgoff: int) -> int:
    """The same where nothing may sleep: 0 if page ``pgoff`` is not in the cache, or its lock is
    taken.
    """
    pfn = filemap_get_folio(kernel, mapping, pgoff)
    if pfn is None:
        return 0
    if folio_trylock(kernel, pfn):
        if mapping.cached(pgoff) == pfn:
            return pfn
        folio_unlock(kernel, pfn)
    kernel.memory.put_page(pfn)
    return 0


def folio_unlock_put(kernel: Kernel, pfn: int) -> None:
    """Drop what filemap_lock_folio() or next_uptodate_folio() got: the lock, and the reference."""
    folio_unlock(kernel, pfn)
    kernel.memory.put_page(pfn)


def filemap_remove_folio(kernel: Kernel, mapping: AddressSpace, pgoff: int) -> None:
    """Take page ``pgoff``, which is locked and in the cache, out of it. No PTE maps it, which is
    looked at: PAGE_CACHE_MAPPED.
    """
    pfn = mapping.cached(pgoff)
    assert pfn is not None
    if kernel.memory.page(pfn)._mapcount:
        kernel.bug(Bug.PAGE_CACHE_MAPPED, pfn)
    kernel.instrument_write(kernel, "i_pages")
    mapping.truncate_range(pgoff, pgoff + 1)
