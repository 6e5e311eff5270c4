# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/meminfo, vmstat, zoneinfo and buddyinfo (fs/proc/meminfo.c, mm/vmstat.c, v6.18).

What Linux has and this kernel does not do (swap, huge pages, reclaim, slabs) is 0 there, as on a
machine that never did it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cpu.result import total
from mmu._native import lib
from mmu.linux.state import OVERCOMMIT_RATIO
from mmu.linux.vma import vm_committed
from mmu.units import PAGE_SHIFT

if TYPE_CHECKING:
    from cpu.system import System
    from mmu.linux.mm import Mm

KB: Final = PAGE_SHIFT - 10
VMALLOC_TOTAL: Final = (32 << 40) >> 10
"""kB of VMALLOC_SIZE_TB with 4-level paging."""
_COUNTED: Final = (
    "pgfault",
    "pgmajfault",
    "nr_tlb_remote_flush",
    "nr_tlb_remote_flush_received",
    "nr_tlb_local_flush_all",
    "nr_tlb_local_flush_one",
)
"""Counters of mms that /proc/vmstat shows, by its names."""


@dataclass(frozen=True)
class Use:
    """Pages of guest RAM by what they are for: all of them together are RAM."""

    total: int
    free: int
    anon: int
    cached: int
    """Of files and of shared memory."""
    shmem: int
    mapped: int
    """Of files and of shared memory, and mapped."""
    tables: int
    locked: int
    committed: int


def mms_of(system: System) -> Iterator[Mm]:
    """The address spaces of living tasks, each once."""
    mms = {id(task.mm): task.mm for task in system.tasks.values() if not task.exited_mm}
    yield from mms.values()


def use_of(system: System) -> Use:
    """What RAM is used for now. Where processes share anonymous pages, what is not theirs together
    is told as cached.
    """
    memory, mms = system.kernel.memory, list(mms_of(system))
    size, free = memory.size >> PAGE_SHIFT, memory.free_frames

    def rss(*members: int) -> int:
        return sum(int(mm.c.rss_stat[member]) for mm in mms for member in members)

    tables = sum(int(mm.c.pgtables_bytes) for mm in mms) >> PAGE_SHIFT
    used = max(size - free - tables - len(mms), 0)
    anon = min(rss(lib.MM_ANONPAGES), used)
    cached = used - anon
    shmem = min(rss(lib.MM_SHMEMPAGES), cached)
    return Use(
        total=size,
        free=free,
        anon=anon,
        cached=cached,
        shmem=shmem,
        mapped=min(rss(lib.MM_FILEPAGES, lib.MM_SHMEMPAGES), cached),
        tables=tables + len(mms),
        locked=min(sum(int(mm.c.locked_vm) for mm in mms), used),
        committed=sum(vm_committed(mm) for mm in mms),
    )


def meminfo(system: System) -> str:
    """/proc/meminfo."""
    use = use_of(system)
    file = use.cached - use.shmem
    pages = {
        "MemTotal": use.total,
        "MemFree": use.free,
        "MemAvailable": min(use.free + file, use.total),
        "Buffers": 0,
        "Cached": use.cached,
        "SwapCached": 0,
        "Active": use.anon,
        "Inactive": use.cached,
        "Active(anon)": use.anon,
        "Inactive(anon)": use.shmem,
        "Active(file)": 0,
        "Inactive(file)": file,
        "Unevictable": use.locked,
        "Mlocked": use.locked,
        "SwapTotal": 0,
        "SwapFree": 0,
        "Zswap": 0,
        "Zswapped": 0,
        "Dirty": 0,
        "Writeback": 0,
        "AnonPages": use.anon,
        "Mapped": use.mapped,
        "Shmem": use.shmem,
        "KReclaimable": 0,
        "Slab": 0,
        "SReclaimable": 0,
        "SUnreclaim": 0,
        "KernelStack": 0,
        "PageTables": use.tables,
        "SecPageTables": 0,
        "NFS_Unstable": 0,
        "Bounce": 0,
        "WritebackTmp": 0,
        "CommitLimit": use.total * OVERCOMMIT_RATIO // 100,
        "Committed_AS": use.committed,
        "VmallocTotal": VMALLOC_TOTAL >> KB,
        "VmallocUsed": 0,
        "VmallocChunk": 0,
        "Percpu": 0,
        "AnonHugePages": 0,
        "ShmemHugePages": 0,
        "ShmemPmdMapped": 0,
        "FileHugePages": 0,
        "FilePmdMapped": 0,
        "Balloon": 0,
    }
    lines = [f"{name + ':':<16}{value << KB:8} kB\n" for name, value in pages.items()]
    huge = ("HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "HugePages_Surp")
    lines += [f"{name + ':':<16}{0:7}\n" for name in huge]
    lines += ["Hugepagesize:       2048 kB\n", "Hugetlb:               0 kB\n"]
    return "".join(lines)


def _node_counts(system: System) -> dict[str, int]:
    use = use_of(system)
    return {
        "nr_inactive_anon": use.shmem,
        "nr_active_anon": use.anon,
        "nr_inactive_file": use.cached - use.shmem,
        "nr_active_file": 0,
        "nr_unevictable": use.locked,
        "nr_anon_pages": use.anon,
        "nr_mapped": use.mapped,
        "nr_file_pages": use.cached,
        "nr_dirty": 0,
        "nr_writeback": 0,
        "nr_shmem": use.shmem,
        "nr_page_table_pages": use.tables,
    }


def vmstat(system: System) -> str:
    """/proc/vmstat's lines that have a meaning here; the counters are those of all processes so
    far.
    """
    counters = total(
        [process.result.mm_counters for process in system.processes if process.result is not None]
        + [mm.counters() for mm in mms_of(system)]
    )
    lines = {
        "nr_free_pages": system.kernel.memory.free_frames,
        "nr_mlock": use_of(system).locked,
        **_node_counts(system),
        **dict.fromkeys(("pgpgin", "pgpgout", "pswpin", "pswpout"), 0),
        **{name: counters.get(name, 0) for name in _COUNTED},
        **dict.fromkeys(("oom_kill", "thp_fault_alloc", "thp_collapse_alloc", "thp_split_page"), 0),
    }
    return "".join(f"{name} {value}\n" for name, value in lines.items())


def zoneinfo(system: System) -> str:
    """/proc/zoneinfo: one node, all of whose RAM is one zone."""
    use = use_of(system)
    counts = "".join(f"\n      {name:<12} {value}" for name, value in _node_counts(system).items())
    return (
        f"Node 0, zone   Normal\n  per-node stats{counts}\n  pages free     {use.free}\n"
        f"        boost    0\n        min      0\n        low      0\n        high     0\n"
        f"        spanned  {use.total}\n        present  {use.total}\n"
        f"        managed  {use.total}\n"
        "        cma      0\n"
    )


def node_meminfo(system: System) -> str:
    """/sys/devices/system/node/node0/meminfo."""
    use = use_of(system)
    rows = {
        "MemTotal": use.total,
        "MemFree": use.free,
        "MemUsed": use.total - use.free,
        "AnonPages": use.anon,
        "FilePages": use.cached,
        "Mapped": use.mapped,
        "Shmem": use.shmem,
        "PageTables": use.tables,
    }
    return "".join(f"Node 0 {name + ':':<15}{value << KB:8} kB\n" for name, value in rows.items())
