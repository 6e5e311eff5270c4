# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a new mapping goes (mm/vma.c, mm/mmap.c, arch/x86/kernel/sys_x86_64.c, mm/huge_memory.c,
v6.18).

Top-down below ``mmap_base`` (mmu.linux.layout has the picture), as Linux places mappings with
address-space randomisation off.
Private anonymous mappings of whole 2 MiB are placed at multiples of 2 MiB, as with
CONFIG_TRANSPARENT_HUGEPAGE.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from mmu._native import lib
from mmu.errors import LinuxError
from mmu.linux.layout import TASK_SIZE, TASK_UNMAPPED_BASE
from mmu.linux.mman import MAP_32BIT, MAP_ABOVE4G, MAP_FIXED, MAP_SHARED, MAP_TYPE
from mmu.linux.pgtable import PMD_SIZE
from mmu.linux.state import MmStruct
from mmu.linux.vma import vm_start_gap
from mmu.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from mmu.linux.filemap import MappedFile


def _bottom_up(mm: MmStruct, length: int, low: int, high: int) -> int | None:
    """The lowest address with length free bytes in [low, high); None if there is none."""
    vmas = mm.c.vmas
    addr = low
    for i in range(lib.vma_index_of(mm.c, low), vmas.nr):
        if addr + length <= min(vm_start_gap(vmas.vma[i]), high):
            return addr
        addr = max(addr, vmas.vma[i].vm_end)
    return addr if addr + length <= high else None


def _top_down(mm: MmStruct, length: int, low: int, high: int) -> tuple[int | None, bool]:
    """The highest address with length free bytes in [low, high), None if there is none; whether a
    guard gap counted.

    unmapped_area_topdown(): a hole is looked for as if stacks had no guard gap. Where one is found
    just below a stack, the search goes on below that stack's guard gap; smaller holes that lie in a
    guard gap are none to it.
    """
    vma, above = mm.c.vmas.vma, lib.vma_index_of(mm.c, high - 1)
    gap_end = min(high, vma[above].vm_start) if above < mm.c.vmas.nr else high
    guarded = False
    for i in range(above, -1, -1):
        gap_start = max(low, vma[i - 1].vm_end) if i else low
        if gap_end - gap_start >= length:
            if i < mm.c.vmas.nr and vm_start_gap(vma[i]) < gap_end:
                high, guarded = vm_start_gap(vma[i]), True
                gap_end = high
            if gap_end - gap_start >= length:
                return gap_end - length, guarded
        if not i:
            break
        gap_end = min(high, vma[i - 1].vm_start)
        if gap_end - low < length:
            break
    return None, guarded


def _top_down_from_hint(mm: MmStruct, length: int, low: int, high: int) -> int | None:
    """_top_down(), skipping what mm.hole says is full: above hole.below no gap has hole.length
    bytes.
    """
    hole = mm.hole
    addr, guarded = None, False
    if length < hole.length or hole.below > high:
        addr, guarded = _top_down(mm, length, low, high)
    elif hole.below > low:
        addr, guarded = _top_down(mm, length, low, hole.below)
    if addr is not None and high == mm.c.mmap_base and length <= hole.length and not guarded:
        hole.length, hole.below = length, addr + length
    return addr


def mmap_address_hint_valid(addr: int, length: int) -> bool:
    """Whether an address wanted, but not insisted on, fits below TASK_SIZE (arch/x86/mm/mmap.c)."""
    return addr <= TASK_SIZE - length


def _hint_is_free(mm: MmStruct, addr: int, length: int) -> bool:
    vmas = mm.c.vmas
    i = lib.vma_index_of(mm.c, addr)
    return i >= vmas.nr or addr + length <= vm_start_gap(vmas.vma[i])


def _unmapped_area_bottomup(mm: MmStruct, addr: int, length: int, flags: int) -> int:
    """arch_get_unmapped_area(): the lowest free place from TASK_UNMAPPED_BASE on, or in 1 to 2 GiB
    for MAP_32BIT.
    """
    begin, end = (0x40000000, 0x80000000) if flags & MAP_32BIT else (TASK_UNMAPPED_BASE, TASK_SIZE)
    if length > end:
        raise LinuxError(errno.ENOMEM)
    if addr and end - length >= addr and _hint_is_free(mm, addr, length):
        return addr
    found = _bottom_up(mm, length, begin, end)
    if found is None:
        raise LinuxError(errno.ENOMEM)
    return found


def _unmapped_area(mm: MmStruct, addr: int, length: int, flags: int) -> int:
    """arch_get_unmapped_area_topdown(): the wanted place if it is free, else the highest below
    mmap_base.
    """
    if length > TASK_SIZE:
        raise LinuxError(errno.ENOMEM)
    if not flags & MAP_32BIT:
        if addr and mmap_address_hint_valid(addr, length) and _hint_is_free(mm, addr, length):
            return addr
        low = max(mm.kernel.mmap_min_addr, (4 << 30) if flags & MAP_ABOVE4G else PAGE_SIZE)
        found = _top_down_from_hint(mm, length, low, mm.c.mmap_base)
        if found is not None:
            return found
    return _unmapped_area_bottomup(mm, addr, length, flags)


def _thp_unmapped_area(mm: MmStruct, addr: int, length: int, offset: int, flags: int) -> int | None:
    """thp_get_unmapped_area(): a place as far from a 2 MiB boundary as offset bytes are; None if
    that is moot.
    """
    aligned = (offset + PMD_SIZE - 1) & -PMD_SIZE
    end, padded = offset + length, length + PMD_SIZE
    if end <= aligned or end - aligned < PMD_SIZE or padded > TASK_SIZE:
        return None
    try:
        found = _unmapped_area(mm, addr, padded, flags)
    except LinuxError:
        return None
    if found == addr:
        return addr
    shift = (offset - found) & (PMD_SIZE - 1)
    return found + (shift or PMD_SIZE)


def get_unmapped_area(
    mm: MmStruct, addr: int, length: int, flags: int, file: MappedFile | None, pgoff: int
) -> int:
    """__get_unmapped_area(): where a mapping of length bytes (whole pages) goes. pgoff in pages.

    Errors: ENOMEM (no room, or beyond TASK_SIZE), EINVAL (a fixed address that is not
    page-aligned), EPERM (below mmap_min_addr).
    """
    if length > TASK_SIZE:
        raise LinuxError(errno.ENOMEM)
    if not flags & MAP_FIXED:
        found = None
        if file is not None and not file.shmem:
            found = _thp_unmapped_area(mm, addr, length, pgoff << PAGE_SHIFT, flags)
        elif (
            file is None
            and not addr
            and not length & (PMD_SIZE - 1)
            and flags & MAP_TYPE != MAP_SHARED
        ):
            found = _thp_unmapped_area(mm, addr, length, 0, flags)
        addr = _unmapped_area(mm, addr, length, flags) if found is None else found
    if addr > TASK_SIZE - length:
        raise LinuxError(errno.ENOMEM)
    if addr & (PAGE_SIZE - 1):
        raise LinuxError(errno.EINVAL)
    if addr < mm.kernel.mmap_min_addr:
        raise LinuxError(errno.EPERM)
    return addr
