# SPDX-License-Identifier: GPL-2.0-or-later
"""Several mms of one kernel, for tests of fork(): accesses to each, and a look at every frame."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator

from mmu.linux.fault import Segv
from mmu.linux.mm import Mm
from mmu.linux.pgtable import RW, SPECIAL, D, P, entry_pfn, mm_find_pmd, pmd_none, pte_present
from mmu.linux.state import Kernel, MmStruct
from mmu.linux.tlbflush import switch_mm
from mmu.x86 import Access
from ucmmu.testing.mm import access_once, check_mm

PAGE = 4096


def run(mm: Mm) -> Mm:
    """Have this CPU run the mm; returns it."""
    if mm.kernel.this_cpu.loaded_mm is not mm:
        switch_mm(mm.kernel, mm)
    return mm


def access(mm: Mm, addr: int, access: Access = Access.WRITE) -> Segv | None:
    """One access of the process whose mm this is, its faults handled."""
    return access_once(run(mm), addr, access)


def read(mm: Mm, addr: int, n: int = 1) -> bytes:
    """What the process reads at addr."""
    return run(mm).copy_from_user(addr, n)


def write(mm: Mm, addr: int, data: bytes) -> None:
    """Have the process write at addr."""
    run(mm).copy_to_user(addr, data)


def pte(mm: MmStruct, addr: int) -> int:
    """The PTE of addr, 0 without a table."""
    pmd = mm_find_pmd(mm, addr)
    value = 0 if pmd is None else mm.memory.read_u64(pmd)
    if pmd_none(value):
        return 0
    return mm.memory.read_u64((entry_pfn(value) << 12) + (addr >> 12 & 511) * 8)


def pfn(mm: MmStruct, addr: int) -> int:
    """The frame that addr's PTE maps."""
    value = pte(mm, addr)
    assert pte_present(value), hex(value)
    return entry_pfn(value)


def vma_list(mm: MmStruct) -> list[tuple[int, int]]:
    """Extents of the VMAs, bytes."""
    return [(int(v.vm_start), int(v.vm_end)) for v in mm.c.vmas.vma[0 : mm.c.vmas.nr]]


def present_ptes(mm: MmStruct) -> Iterator[int]:
    """Every present PTE of the mm that maps a counted page."""
    for value in _entries(mm, mm.c.pgd, 4):
        if pte_present(value) and not value & SPECIAL:
            yield value


def _entries(mm: MmStruct, table: int, level: int) -> Iterator[int]:
    for (value,) in struct.iter_unpack("<Q", mm.memory.read(table, PAGE)):
        if value and level == 1:
            yield value
        elif value:
            yield from _entries(mm, entry_pfn(value) << 12, level - 1)


def check_processes(kernel: Kernel) -> None:
    """Each mm's tables agree with its counters, and each mapped frame's owners with the PTEs of all
    mms and the page cache.
    """
    mapped: Counter[int] = Counter()
    writable: Counter[int] = Counter()
    for mm in kernel.mms:
        check_mm(mm)  # type: ignore[arg-type]
        for value in present_ptes(mm):
            mapped[entry_pfn(value)] += 1
            assert value & (RW | D) != D, f"{value:#x} is a shadow stack's page"
            writable[entry_pfn(value)] += bool(value & P and value & 2)
    caches = {id(file.mapping): file.mapping for mm in kernel.mms for file in mm.files}
    cached = Counter(pfn for cache in caches.values() for pfn in cache._pages.values())
    for frame, nr in mapped.items():
        page = kernel.memory.page(frame)
        assert page._mapcount == nr, f"frame {frame:#x}: mapcount {page._mapcount}, {nr} PTEs"
        owners = nr + cached[frame]
        assert page._refcount == owners, f"frame {frame:#x}: {page._refcount} owners of {owners}"
        if not cached[frame] and writable[frame]:
            assert nr == 1, f"anonymous frame {frame:#x} is mapped {nr} times and writable"
