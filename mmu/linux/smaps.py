# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/PID/smaps and smaps_rollup: what each mapping has in memory, and whose it is
(fs/proc/task_mmu.c, v6.18).

A page is shared where more than one PTE maps it, in whatever address space; its part in Pss is its
size divided by their number (``struct page._mapcount``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mmu._native import ffi, lib
from mmu.linux import vma as flag
from mmu.linux.procfs import NAME_COLUMN, each_vma, show_map_vma
from mmu.linux.state import MmStruct
from mmu.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mmu._native import struct_mem_size_stats_ptr, struct_vm_area_struct_ptr

_MNEMONICS: Final = (
    (flag.VM_READ, "rd"),
    (flag.VM_WRITE, "wr"),
    (flag.VM_EXEC, "ex"),
    (flag.VM_SHARED, "sh"),
    (flag.VM_MAYREAD, "mr"),
    (flag.VM_MAYWRITE, "mw"),
    (flag.VM_MAYEXEC, "me"),
    (flag.VM_MAYSHARE, "ms"),
    (flag.VM_GROWSDOWN, "gd"),
    (flag.VM_PFNMAP, "pf"),
    (flag.VM_LOCKED, "lo"),
    (flag.VM_IO, "io"),
    (flag.VM_SEQ_READ, "sr"),
    (flag.VM_RAND_READ, "rr"),
    (flag.VM_DONTCOPY, "dc"),
    (flag.VM_DONTEXPAND, "de"),
    (flag.VM_LOCKONFAULT, "lf"),
    (flag.VM_ACCOUNT, "ac"),
    (flag.VM_NORESERVE, "nr"),
    (flag.VM_SYNC, "sf"),
    (flag.VM_WIPEONFORK, "wf"),
    (flag.VM_DONTDUMP, "dd"),
    (flag.VM_MIXEDMAP, "mm"),
    (flag.VM_HUGEPAGE, "hg"),
    (flag.VM_NOHUGEPAGE, "nh"),
    (flag.VM_MERGEABLE, "mg"),
    (flag.VM_DROPPABLE, "dp"),
    (flag.VM_SEALED, "sl"),
)
"""The letters of VmFlags, in order of the bits (show_smap_vma_flags())."""


def smap_gather_stats(
    mm: MmStruct, vma: struct_vm_area_struct_ptr, stats: struct_mem_size_stats_ptr
) -> None:
    """Add what the mapping has in memory (native/mm/smaps.c, for both engines). The mmap_lock is
    held.
    """
    before = stats.pss
    lib.smap_gather_stats(mm.c, vma.vm_start, vma.vm_end, stats)
    if vma.vm_flags & flag.VM_LOCKED:
        stats.pss_locked += stats.pss - before


def _new_stats() -> struct_mem_size_stats_ptr:
    return ffi.new("struct mem_size_stats *")


def _lines(names: Sequence[str]) -> str:
    """SEQ_PUT_DEC() of each name: a template for numbers of kB."""
    return "".join(f"{name + ':':<16}%8d kB\n" for name in names)


_RSS_TO_PSS: Final = ("Rss", "Pss", "Pss_Dirty")
_PSS_KINDS: Final = ("Pss_Anon", "Pss_File", "Pss_Shmem")
_PAGES: Final = (
    "Shared_Clean",
    "Shared_Dirty",
    "Private_Clean",
    "Private_Dirty",
    "Referenced",
    "Anonymous",
)
_NONE_HERE: Final = (
    "ShmemPmdMapped",
    "FilePmdMapped",
    "Shared_Hugetlb",
    "Private_Hugetlb",
    "Swap",
    "SwapPss",
)
_REST: Final = _lines((*_PAGES, "KSM", "LazyFree", "AnonHugePages", *_NONE_HERE, "Locked"))
_SMAP: Final = f"{_lines(_RSS_TO_PSS)}{_REST}"
_ROLLUP: Final = f"{_lines((*_RSS_TO_PSS, *_PSS_KINDS))}{_REST}"
_HEAD: Final = _lines(("Size", "KernelPageSize", "MMUPageSize"))


def _show(stats: struct_mem_size_stats_ptr, *, rollup: bool) -> str:
    """__show_smap()."""
    s, pss = stats, lib.PSS_SHIFT + 10
    kinds = (s.pss_anon >> pss, s.pss_file >> pss, s.pss_shmem >> pss) if rollup else ()
    return (_ROLLUP if rollup else _SMAP) % (
        *(s.resident >> 10, s.pss >> pss, s.pss_dirty >> pss, *kinds),
        *(s.shared_clean >> 10, s.shared_dirty >> 10),
        *(s.private_clean >> 10, s.private_dirty >> 10),
        *(s.referenced >> 10, s.anonymous >> 10, 0, s.lazyfree >> 10, s.anonymous_thp >> 10),
        *([0] * len(_NONE_HERE)),
        s.pss_locked >> pss,
    )


def show_smap(mm: MmStruct, vma: struct_vm_area_struct_ptr) -> str:
    """One mapping's lines of smaps."""
    flags, stats = vma.vm_flags, _new_stats()
    smap_gather_stats(mm, vma, stats)
    letters = " ".join([name for bit, name in _MNEMONICS if flags & bit])
    return (
        show_map_vma(mm, vma)
        + _HEAD % (vma.vm_end - vma.vm_start >> 10, PAGE_SIZE >> 10, PAGE_SIZE >> 10)
        + _show(stats, rollup=False)
        + f"THPeligible:    {0:8}\nVmFlags: {letters} \n"
    )


def smaps(mm: MmStruct) -> Iterator[str]:
    """/proc/PID/smaps, mapping by mapping; see each_vma()."""
    return each_vma(mm, lambda vma: show_smap(mm, vma))


def smaps_rollup(mm: MmStruct) -> str:
    """/proc/PID/smaps_rollup: all mappings' sum; "" without any. Takes the mmap_lock for
    reading.
    """
    with mm.mmap_read_lock():
        vmas = list(mm.c.vmas.vma[0 : mm.c.vmas.nr])
        if not vmas:
            return ""
        total = _new_stats()
        for vma in vmas:
            smap_gather_stats(mm, vma, total)
        header = f"{vmas[0].vm_start:08x}-{vmas[-1].vm_end:08x} ---p {0:08x} 00:00 0 "
    return f"{header.ljust(NAME_COLUMN)} [rollup]\n{_show(total, rollup=True)}"


def numa_maps(mm: MmStruct) -> Iterator[str]:
    """/proc/PID/numa_maps, of the one node that there is; see each_vma()."""
    return each_vma(mm, lambda vma: _numa_map(mm, vma))


def _numa_map(mm: MmStruct, vma: struct_vm_area_struct_ptr) -> str:
    """show_numa_map(): address, policy, file or name, and numbers of pages."""
    name = show_map_vma(mm, vma)[NAME_COLUMN + 1 :].rstrip("\n")
    line = f"{vma.vm_start:08x} default"
    if vma.vm_file:
        line += f" file={name}"
    elif name:
        line += f" {name.strip('[]')}"
    stats = _new_stats()
    smap_gather_stats(mm, vma, stats)
    pages = stats.resident >> PAGE_SHIFT
    if pages:
        line += f" anon={stats.nr_anon}" if stats.nr_anon else ""
        line += f" dirty={stats.nr_dirty}" if stats.nr_dirty else ""
        line += f" mapped={pages}" if pages not in (stats.nr_anon, stats.nr_dirty) else ""
        line += f" mapmax={stats.mapcount_max}" if stats.mapcount_max > 1 else ""
        line += f" N0={pages} kernelpagesize_kB={1 << PAGE_SHIFT - 10}"
    return f"{line}\n"
