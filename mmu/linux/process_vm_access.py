# SPDX-License-Identifier: GPL-2.0-or-later
"""Copying between two address spaces: process_vm_readv(), process_vm_writev()
(mm/process_vm_access.c, v6.18).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import suppress

from mmu._native import lib
from mmu.errors import LinuxError
from mmu.linux.gup_fast import get_user_pages
from mmu.linux.state import MmStruct
from mmu.linux.uaccess import raw_copy_from_user, raw_copy_to_user
from mmu.linux.vmscan import mapped_files
from mmu.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE

PVM_MAX_PAGES = 64
"""Pages that are held at once."""

Vector = Sequence[tuple[int, int]]
"""(address, length) of each piece, bytes."""


class _Local:
    """The caller's pieces as one run of bytes (struct iov_iter); ``faulted``: one could not be
    accessed.
    """

    def __init__(self, mm: MmStruct, vector: Vector) -> None:
        self._mm = mm
        self._pieces = [(addr, size) for addr, size in vector if size]
        self.faulted = False

    def left(self) -> int:
        return sum(size for _, size in self._pieces)

    def read(self, n: int) -> bytes:
        """Up to n bytes; fewer where the memory cannot be read."""
        data = b""
        for addr, size in self._take(n):
            part = raw_copy_from_user(self._mm, addr, size)
            data += part
            if len(part) < size:
                self.faulted = True
                break
        return data

    def write(self, data: bytes) -> int:
        """Write; returns how many bytes could be."""
        done = 0
        for addr, size in self._take(len(data)):
            written = raw_copy_to_user(self._mm, addr, data[done : done + size])
            done += written
            if written < size:
                self.faulted = True
                break
        return done

    def _take(self, n: int) -> Iterator[tuple[int, int]]:
        while n and self._pieces:
            addr, size = self._pieces.pop(0)
            if size > n:
                self._pieces.insert(0, (addr + n, size - n))
            yield addr, min(size, n)
            n -= min(size, n)


def process_vm_rw(
    mm: MmStruct, local: Vector, remote_mm: MmStruct, remote: Vector, *, write: bool
) -> int:
    """process_vm_rw_core(): copy between pieces of mm and of remote_mm, into the latter if
    ``write``; returns how many bytes were copied.

    Fewer than asked for where one side ends or cannot be accessed; EFAULT if that is so from the
    start. Takes remote_mm's mmap_lock for reading, PVM_MAX_PAGES at a time. May sleep.
    """
    ours, copied = _Local(mm, local), 0
    try:
        for addr, size in remote:
            done = _single_vec(ours, remote_mm, addr, min(size, ours.left()), write)
            copied += done
            if done < size:
                break
    except LinuxError:
        if not copied:
            raise
    if not copied and ours.faulted:
        raise LinuxError(errno.EFAULT)
    return copied


def _single_vec(ours: _Local, mm: MmStruct, addr: int, size: int, write: bool) -> int:
    """process_vm_rw_single_vec(): one remote piece."""
    done = 0
    while done < size:
        at = addr + done
        pages = min((at % PAGE_SIZE + size - done + PAGE_SIZE - 1) >> PAGE_SHIFT, PVM_MAX_PAGES)
        try:
            frames = get_user_pages(mm, at & PAGE_MASK, pages, write=write)
        except LinuxError:
            if done:
                return done
            raise
        n = min(size - done, len(frames) * PAGE_SIZE - at % PAGE_SIZE)
        try:
            copied = _rw_pages(ours, mm, frames, at % PAGE_SIZE, n, write)
        finally:
            for pfn in frames:
                mm.memory.put_page(pfn)
        done += copied
        if copied < n or len(frames) < pages:
            break
    return done


def _set_page_dirty(mm: MmStruct, pfn: int) -> None:
    """set_page_dirty_lock(): the page of a file may have been written back, and be clean, since it
    was taken hold of.
    """
    page = mm.memory.page(pfn)
    page.flags |= lib.PG_dirty
    if page.flags & lib.PG_anon:
        return
    for mapping in mapped_files(mm.kernel):
        if mapping.writenotify and mapping.cached(page.index) == pfn:
            with suppress(LinuxError):
                mapping.set_dirty(page.index)


def _rw_pages(
    ours: _Local, mm: MmStruct, frames: Sequence[int], offset: int, n: int, write: bool
) -> int:
    """process_vm_rw_pages(): copy n bytes from offset in the first frame on."""
    memory, done = mm.memory, 0
    for pfn in frames:
        size = min(n - done, PAGE_SIZE - offset)
        pa = (pfn << PAGE_SHIFT) + offset
        if write:
            data = ours.read(size)
            if memory.page(pfn).flags & lib.PG_code:
                mm.kernel.note_code_written(pa & PAGE_MASK)
            memory.write(pa, data)
            _set_page_dirty(mm, pfn)
            copied = len(data)
        else:
            copied = ours.write(memory.read(pa, size))
        done += copied
        offset = 0
        if copied < size:
            break
    return done
