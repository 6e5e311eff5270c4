# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/self/status, maps and statm, in Linux's formats (fs/proc/task_mmu.c, fs/proc/array.c,
v6.18).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmu._native import lib
from mmu.linux.layout import page_align
from mmu.linux.state import MmStruct
from mmu.linux.vma import VM_EXEC, VM_MAYSHARE, VM_READ, VM_WRITE
from mmu.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from mmu._native import struct_vm_area_struct_ptr

_PERMS = (("r", VM_READ), ("w", VM_WRITE), ("x", VM_EXEC))
# Column of a mapping's name: 25 + 6 * sizeof(void *) - 1.
_NAME_COLUMN = 25 + 6 * 8 - 1


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """What status says of the task besides its memory."""

    name: str = "guest"
    pid: int = 1
    ppid: int = 0
    uid: int = 0
    gid: int = 0
    threads: int = 1
    fd_size: int = 64


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


def status(mm: MmStruct, task: TaskInfo | None = None) -> str:
    """/proc/self/status."""
    t = task or TaskInfo()
    return (
        f"Name:\t{t.name[:15]}\nUmask:\t0022\nState:\tR (running)\n"
        f"Tgid:\t{t.pid}\nNgid:\t0\nPid:\t{t.pid}\n"
        f"PPid:\t{t.ppid}\nTracerPid:\t0\nUid:\t{t.uid}\t{t.uid}\t{t.uid}\t{t.uid}\n"
        f"Gid:\t{t.gid}\t{t.gid}\t{t.gid}\t{t.gid}\nFDSize:\t{t.fd_size}\nGroups:\t \n"
        f"NStgid:\t{t.pid}\nNSpid:\t{t.pid}\nNSpgid:\t{t.pid}\nNSsid:\t{t.pid}\nKthread:\t0\n"
        f"{task_mem(mm)}"
        f"HugetlbPages:\t{0:8} kB\nCoreDumping:\t0\nTHP_enabled:\t0\n"
        f"untag_mask:\t0xffffffffffffffff\n"
        f"Threads:\t{t.threads}\nSigQ:\t0/0\nSigPnd:\t{0:016x}\nShdPnd:\t{0:016x}\nSigBlk:\t{0:016x}\n"
        f"SigIgn:\t{0:016x}\nSigCgt:\t{0:016x}\nNoNewPrivs:\t0\nSeccomp:\t0\nSeccomp_filters:\t0\n"
        "Cpus_allowed:\t1\nCpus_allowed_list:\t0\nMems_allowed:\t1\nMems_allowed_list:\t0\n"
        "voluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n"
    )


def statm(mm: MmStruct) -> str:
    """/proc/self/statm: size, resident, shared, text, lib (0), data, dirty (0); pages."""
    c = mm.c
    shared = c.rss_stat[lib.MM_FILEPAGES] + c.rss_stat[lib.MM_SHMEMPAGES]
    return f"{c.total_vm} {mm.rss()} {shared} {_text_pages(mm)} 0 {c.data_vm + c.stack_vm} 0\n"


def _name(mm: MmStruct, vma: struct_vm_area_struct_ptr) -> str:
    c = mm.c
    if vma.vm_file:
        return mm.file(vma.vm_file).path
    if vma.vm_start < c.brk and vma.vm_end > c.start_brk:
        return "[heap]"
    if c.start_stack and vma.vm_start <= c.start_stack <= vma.vm_end:
        return "[stack]"
    return ""


def show_map_vma(mm: MmStruct, vma: struct_vm_area_struct_ptr) -> str:
    """One line of maps."""
    flags = vma.vm_flags
    perms = "".join(letter if flags & bit else "-" for letter, bit in _PERMS)
    perms += "s" if flags & VM_MAYSHARE else "p"
    offset, (major, minor), inode = 0, (0, 0), 0
    if vma.vm_file:
        file = mm.file(vma.vm_file)
        offset, (major, minor), inode = vma.vm_pgoff << PAGE_SHIFT, file.device, file.inode
    line = (
        f"{vma.vm_start:08x}-{vma.vm_end:08x} {perms} {offset:08x} {major:02x}:{minor:02x} {inode} "
    )
    name = _name(mm, vma)
    return f"{line.ljust(_NAME_COLUMN)} {name}\n" if name else f"{line}\n"


def maps(mm: MmStruct) -> str:
    """/proc/self/maps."""
    return "".join(show_map_vma(mm, vma) for vma in mm.c.vmas.vma[0 : mm.c.vmas.nr])
