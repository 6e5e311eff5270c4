# SPDX-License-Identifier: GPL-2.0-or-later
"""The files of /proc and /sys that a guest may see; each is made up when it is opened."""

from __future__ import annotations

from collections.abc import Callable

from mmu.linux import procfs
from mmu.linux.mm import Mm
from mmu.linux.procfs import TaskInfo
from mmu.units import PAGE_SHIFT


def pseudo_files(
    mm: Callable[[], Mm], pid: int, task: Callable[[], TaskInfo]
) -> dict[str, Callable[[], bytes]]:
    """Return what makes each file's contents, by path, for the process ``pid``; ``mm`` and
    ``task`` tell of it at that moment.
    """
    texts: dict[str, Callable[[], str]] = {
        "/proc/meminfo": lambda: _meminfo(mm()),
        "/proc/sys/vm/overcommit_memory": lambda: f"{mm().kernel.overcommit_memory}\n",
        "/sys/devices/system/cpu/online": lambda: _online(mm()),
        "/sys/kernel/mm/transparent_hugepage/enabled": lambda: "always madvise [never]\n",
    }
    for own in ("self", str(pid)):
        texts[f"/proc/{own}/status"] = lambda: procfs.status(mm(), task())
        texts[f"/proc/{own}/maps"] = lambda: procfs.maps(mm())
        texts[f"/proc/{own}/statm"] = lambda: procfs.statm(mm())
        texts[f"/proc/{own}/limits"] = lambda: mm().rlimit.proc_limits()
    return {path: _encoded(text) for path, text in texts.items()}


def _online(mm: Mm) -> str:
    last = len(mm.kernel.cpus) - 1
    return f"0-{last}\n" if last else "0\n"


def _meminfo(mm: Mm) -> str:
    """/proc/meminfo's lines that have a meaning here, kB."""
    total, free = mm.memory.size >> 10, mm.memory.free_frames << (PAGE_SHIFT - 10)
    lines = {
        "MemTotal": total,
        "MemFree": free,
        "MemAvailable": free,
        "PageTables": mm.c.pgtables_bytes >> 10,
    }
    return "".join(f"{name + ':':<16}{value:8} kB\n" for name, value in lines.items())


def _encoded(text: Callable[[], str]) -> Callable[[], bytes]:
    return lambda: text().encode("utf-8", "surrogateescape")
