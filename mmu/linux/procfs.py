# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/PID/status, maps and statm, in Linux's formats (fs/proc/task_mmu.c, fs/proc/array.c,
v6.18).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mmu._native import lib
from mmu.linux.layout import page_align
from mmu.linux.state import MmStruct
from mmu.linux.vma import VM_EXEC, VM_MAYSHARE, VM_READ, VM_WRITE
from mmu.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mmu._native import struct_vm_area_struct_ptr

_PERMS = (("r", VM_READ), ("w", VM_WRITE), ("x", VM_EXEC))
NAME_COLUMN: Final = 25 + 6 * 8 - 1
"""Column of a mapping's name in maps: 25 + 6 * sizeof(void *) - 1."""


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """What status says of the task besides its memory."""

    name: str = "guest"
    pid: int = 1
    """The thread's number, which /proc shows as Pid."""
    ppid: int = 0
    uids: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Real, effective, saved, of files."""
    gids: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: tuple[int, ...] = ()
    capabilities: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    """Inheritable, permitted, effective, bounding, ambient; masks."""
    no_new_privs: bool = False
    threads: int = 1
    fd_size: int = 64
    tgid: int | None = None
    """None: ``pid``."""
    state: str = "R"
    """Its letter."""
    umask: int = 0o22
    pgrp: int | None = None
    session: int | None = None
    """None: ``pid``."""
    sigq: tuple[int, int] = (0, 0)
    """Signals queued for its user, and how many may be."""
    pending: int = 0
    """The thread's; the process's are ``shared_pending``. Bit n - 1 is signal n."""
    shared_pending: int = 0
    blocked: int = 0
    ignored: int = 0
    caught: int = 0
    cpus_allowed: int = 1
    """A mask of CPU numbers."""
    nr_cpus: int = 1
    nvcsw: int = 0
    nivcsw: int = 0


def _text_pages(mm: MmStruct) -> int:
    c = mm.c
    return int(page_align(c.end_code) - (c.start_code & -PAGE_SIZE)) >> PAGE_SHIFT


def vm_stats(mm: MmStruct) -> dict[str, int]:
    """What task_mem() prints, in kB and in its order, and VmPTE_peak, the highest VmPTE so far."""
    c = mm.c
    rss = mm.rss()
    text = min(_text_pages(mm), c.exec_vm)
    pages = {
        "VmPeak": max(c.total_vm, c.hiwater_vm),
        "VmSize": c.total_vm,
        "VmLck": c.locked_vm,
        "VmPin": 0,
        "VmHWM": max(rss, c.hiwater_rss),
        "VmRSS": rss,
        "RssAnon": c.rss_stat[lib.MM_ANONPAGES],
        "RssFile": c.rss_stat[lib.MM_FILEPAGES],
        "RssShmem": c.rss_stat[lib.MM_SHMEMPAGES],
        "VmData": c.data_vm,
        "VmStk": c.stack_vm,
        "VmExe": text,
        "VmLib": c.exec_vm - text,
        "VmPTE": c.pgtables_bytes >> PAGE_SHIFT,
        "VmSwap": c.rss_stat[lib.MM_SWAPENTS],
        "VmPTE_peak": c.hiwater_pgtables >> PAGE_SHIFT,
    }
    return {name: int(value) << (PAGE_SHIFT - 10) for name, value in pages.items()}


def task_mem(mm: MmStruct) -> str:
    """The lines VmPeak to VmSwap of status."""
    lines = [
        f"{name}:\t{value:8} kB\n" for name, value in vm_stats(mm).items() if name != "VmPTE_peak"
    ]
    return "".join(lines)


STATE_NAMES: Final = {
    "R": "running",
    "S": "sleeping",
    "D": "disk sleep",
    "T": "stopped",
    "Z": "zombie",
    "X": "dead",
}
"""task_state_array[] of fs/proc/array.c."""


def cpumask_hex(mask: int, nr_cpus: int) -> str:
    """%*pb: hexadecimal, as many digits as there are CPUs, a comma between each 32 of them."""
    digits = f"{mask & (1 << nr_cpus) - 1:0{-(-nr_cpus // 4)}x}"
    groups = []
    while digits:
        groups.append(digits[-8:])
        digits = digits[:-8]
    return ",".join(reversed(groups))


def cpumask_list(mask: int, nr_cpus: int) -> str:
    """%*pbl: the ranges of numbers, as ``0-2,5``."""
    ranges: list[str] = []
    cpu = 0
    while cpu < nr_cpus:
        first = cpu
        while cpu < nr_cpus and mask >> cpu & 1:
            cpu += 1
        if cpu > first:
            ranges.append(str(first) if cpu == first + 1 else f"{first}-{cpu - 1}")
        cpu += 1
    return ",".join(ranges)


def status(mm: MmStruct | None, task: TaskInfo | None = None) -> str:
    """/proc/PID/status; without the lines of its memory if ``mm`` is None: a zombie's."""
    t = task or TaskInfo()
    tgid = t.pid if t.tgid is None else t.tgid
    pgrp = tgid if t.pgrp is None else t.pgrp
    session = tgid if t.session is None else t.session
    return (
        f"Name:\t{t.name[:15]}\nUmask:\t{t.umask:04o}\n"
        f"State:\t{t.state} ({STATE_NAMES[t.state]})\n"
        f"Tgid:\t{tgid}\nNgid:\t0\nPid:\t{t.pid}\n"
        f"PPid:\t{t.ppid}\nTracerPid:\t0\n"
        f"{_row('Uid', t.uids)}{_row('Gid', t.gids)}FDSize:\t{t.fd_size}\n"
        f"Groups:\t{' '.join(map(str, t.groups))} \n"
        f"NStgid:\t{tgid}\nNSpid:\t{t.pid}\nNSpgid:\t{pgrp}\nNSsid:\t{session}\nKthread:\t0\n"
        f"{'' if mm is None else _memory_lines(mm)}"
        f"Threads:\t{t.threads}\nSigQ:\t{t.sigq[0]}/{t.sigq[1]}\n"
        f"SigPnd:\t{t.pending:016x}\nShdPnd:\t{t.shared_pending:016x}\n"
        f"SigBlk:\t{t.blocked:016x}\nSigIgn:\t{t.ignored:016x}\nSigCgt:\t{t.caught:016x}\n"
        f"{_capability_lines(t)}NoNewPrivs:\t{int(t.no_new_privs)}\n"
        "Seccomp:\t0\nSeccomp_filters:\t0\n"
        "Speculation_Store_Bypass:\tnot vulnerable\nSpeculationIndirectBranch:\tnot affected\n"
        f"Cpus_allowed:\t{cpumask_hex(t.cpus_allowed, t.nr_cpus)}\n"
        f"Cpus_allowed_list:\t{cpumask_list(t.cpus_allowed, t.nr_cpus)}\n"
        f"Mems_allowed:\t{_MEMS_ALLOWED}\nMems_allowed_list:\t0\n"
        f"voluntary_ctxt_switches:\t{t.nvcsw}\nnonvoluntary_ctxt_switches:\t{t.nivcsw}\n"
    )


_MEMS_ALLOWED: Final = ",".join(["00000000"] * 31 + ["00000001"])
"""%*pb of a mask of MAX_NUMNODES (1024) nodes."""


def _row(name: str, ids: tuple[int, int, int, int]) -> str:
    return "\t".join((f"{name}:", *map(str, ids))) + "\n"


def _capability_lines(task: TaskInfo) -> str:
    names = ("Inh", "Prm", "Eff", "Bnd", "Amb")
    return "".join(
        f"Cap{name}:\t{mask:016x}\n" for name, mask in zip(names, task.capabilities, strict=True)
    )


def _memory_lines(mm: MmStruct) -> str:
    return (
        f"{task_mem(mm)}HugetlbPages:\t{0:8} kB\nCoreDumping:\t0\nTHP_enabled:\t0\n"
        "untag_mask:\t0xffffffffffffffff\n"
    )


def statm(mm: MmStruct) -> str:
    """/proc/PID/statm: size, resident, shared, text, lib (0), data, dirty (0); pages."""
    c = mm.c
    shared = c.rss_stat[lib.MM_FILEPAGES] + c.rss_stat[lib.MM_SHMEMPAGES]
    return f"{c.total_vm} {mm.rss()} {shared} {_text_pages(mm)} 0 {c.data_vm + c.stack_vm} 0\n"


def vma_name(mm: MmStruct, start: int, end: int) -> str:
    """What stands for memory without a file in [start, end), a VMA: the heap, the stack, or ""."""
    c = mm.c
    if start < c.brk and end > c.start_brk:
        return "[heap]"
    if c.start_stack and start <= c.start_stack <= end:
        return "[stack]"
    return ""


def perms(vm_flags: int) -> str:
    """The rights of a VMA with these flags, as maps shows them: ``r-xp``."""
    letters = "".join(letter if vm_flags & bit else "-" for letter, bit in _PERMS)
    return letters + ("s" if vm_flags & VM_MAYSHARE else "p")


def show_map_vma(mm: MmStruct, vma: struct_vm_area_struct_ptr) -> str:
    """One line of maps."""
    name, offset, (major, minor), inode = "", 0, (0, 0), 0
    if vma.vm_file:
        name, (major, minor), inode = mm.file(vma.vm_file).shown()
        name, offset = name.replace("\n", "\\012"), vma.vm_pgoff << PAGE_SHIFT
    else:
        name = vma_name(mm, vma.vm_start, vma.vm_end)
    line = (
        f"{vma.vm_start:08x}-{vma.vm_end:08x} {perms(vma.vm_flags)} {offset:08x}"
        f" {major:02x}:{minor:02x} {inode} "
    )
    return f"{line.ljust(NAME_COLUMN)} {name}\n" if name else f"{line}\n"


_BATCH: Final = 32
"""VMAs told of under one hold of mmap_lock."""


def each_vma(mm: MmStruct, show: Callable[[struct_vm_area_struct_ptr], str]) -> Iterator[str]:
    """m_start(), m_next(): what ``show`` says of the VMAs in order of address, some at a time, when
    it is asked for: they may change in between. Takes the mmap_lock for reading; ends with the mm.
    """
    address = 0
    while mm.mm_users:
        with mm.mmap_read_lock():
            i = lib.vma_index_of(mm.c, address)
            batch = list(mm.c.vmas.vma[i : min(i + _BATCH, mm.c.vmas.nr)])
            if not batch:
                return
            text, address = "".join([show(vma) for vma in batch]), batch[-1].vm_end
        yield text


def map_lines(mm: MmStruct) -> Iterator[str]:
    """/proc/PID/maps, line by line; see each_vma()."""
    return each_vma(mm, lambda vma: show_map_vma(mm, vma))


def maps(mm: MmStruct) -> str:
    """/proc/PID/maps as it is now."""
    return "".join(map_lines(mm))
