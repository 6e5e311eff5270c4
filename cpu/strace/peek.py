# SPDX-License-Identifier: GPL-2.0-or-later
"""A look into a task's memory that changes nothing: no page is faulted in, no counter moves."""

from __future__ import annotations

from mmu.errors import LinuxError
from mmu.linux.filemap import MappedFile
from mmu.linux.handle_mm_fault import peek_pte
from mmu.linux.mm import Mm
from mmu.linux.pgtable import entry_pfn, pte_present
from mmu.linux.vma import find_vma_intersection
from mmu.units import PAGE_SHIFT, PAGE_SIZE


def peek(mm: Mm, addr: int, size: int) -> bytes:
    """[addr, addr + size), as the program would read it; cut off where it could not."""
    parts = []
    while size > 0:
        here = min(size, PAGE_SIZE - addr % PAGE_SIZE)
        data = _peek_page(mm, addr, here)
        if data is None:
            break
        parts.append(data)
        addr, size = addr + here, size - here
    return b"".join(parts)


def peek_string(mm: Mm, addr: int, most: int) -> tuple[bytes, bool] | None:
    """The string at ``addr``, up to ``most`` bytes, and whether it ends there; None: unreadable."""
    text = b""
    while len(text) < most:
        here = min(most - len(text), PAGE_SIZE - (addr + len(text)) % PAGE_SIZE)
        data = peek(mm, addr + len(text), here)
        end = data.find(b"\0")
        if end >= 0:
            return text + data[:end], True
        if len(data) < here:
            return None
        text += data
    return text, False


def _peek_page(mm: Mm, addr: int, size: int) -> bytes | None:
    """Bytes of one page."""
    pte = peek_pte(mm, addr)
    if pte_present(pte):
        return mm.memory.read(entry_pfn(pte) << PAGE_SHIFT | addr % PAGE_SIZE, size)
    index = find_vma_intersection(mm, addr, addr + 1)
    if index is None:
        return None
    vma = mm.c.vmas.vma[index]
    if not vma.vm_file:
        return bytes(size)
    offset = (vma.vm_pgoff << PAGE_SHIFT) + addr - vma.vm_start
    return _of_file(mm, mm.file(vma.vm_file), offset, size)


def _of_file(mm: Mm, file: MappedFile, offset: int, size: int) -> bytes | None:
    pfn = file.cached(offset >> PAGE_SHIFT)
    if pfn is not None:
        return mm.memory.read(pfn << PAGE_SHIFT | offset % PAGE_SIZE, size)
    page = bytearray(PAGE_SIZE)
    try:
        file.mapping.ops.readahead(offset >> PAGE_SHIFT, [memoryview(page)])
    except LinuxError:
        return None
    return bytes(page[offset % PAGE_SIZE :][:size])
