# SPDX-License-Identifier: GPL-2.0-or-later
"""The files of /proc and /sys that tell of the whole machine (fs/proc/stat.c, meminfo.c,
mm/vmstat.c, drivers/base/cpu.c).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from cpu.clock import EPOCH_NS
from cpu.fs.pipes import PIPE_MAX_SIZE
from cpu.fs.proc_stat import TICK_NS
from cpu.fs.pseudo_fs import Directory, Inode, TextFile, tree
from cpu.result import total
from cpu.system import PID_MAX
from cpu.thread import State
from mmu.linux.procfs import cpumask_list
from mmu.units import PAGE_SHIFT

if TYPE_CHECKING:
    from cpu.system import System
    from mmu.linux.mm import Mm

Text = Callable[[], str]
SECOND: Final = 10**9
CPU_FLAGS: Final = (
    "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2"
    " syscall nx lm rep_good nopl pni ssse3 cx16 sse4_1 sse4_2 movbe popcnt lahf_lm abm"
)
THREADS_MAX: Final = 2 * PID_MAX
VMSTAT: Final = (
    "pgfault",
    "pgmajfault",
    "nr_tlb_remote_flush",
    "nr_tlb_remote_flush_received",
    "nr_tlb_local_flush_all",
    "nr_tlb_local_flush_one",
)
"""Counters of mms that /proc/vmstat shows, by its names."""


def proc_files(system: System) -> dict[str, Inode]:
    """The machine's files below /proc, by name; directories hold theirs."""
    texts: dict[str, Text] = {
        "cpuinfo": lambda: cpuinfo(len(system.kernel.cpus)),
        "interrupts": lambda: interrupts(system),
        "loadavg": lambda: loadavg(system),
        "meminfo": lambda: meminfo(system),
        "stat": lambda: stat_text(system),
        "uptime": lambda: uptime(system),
        "version": lambda: version(system),
        "vmstat": lambda: vmstat(system),
        "sys/fs/pipe-max-size": lambda: f"{PIPE_MAX_SIZE}\n",
        "sys/kernel/hostname": lambda: f"{system.uts.nodename.decode('utf-8', 'replace')}\n",
        "sys/kernel/osrelease": lambda: f"{system.uts.release.decode()}\n",
        "sys/kernel/ostype": lambda: "Linux\n",
        "sys/kernel/pid_max": lambda: f"{PID_MAX}\n",
        "sys/kernel/threads-max": lambda: f"{THREADS_MAX}\n",
        "sys/vm/max_map_count": lambda: f"{system.kernel.max_map_count}\n",
        "sys/vm/mmap_min_addr": lambda: f"{system.kernel.mmap_min_addr}\n",
        "sys/vm/overcommit_memory": lambda: f"{system.kernel.overcommit_memory}\n",
    }
    return _children(texts)


def sys_files(system: System) -> Directory:
    """/sys."""
    nr = len(system.kernel.cpus)
    cpus = _constant(cpumask_list((1 << nr) - 1, nr) + "\n")
    texts: dict[str, Text] = {
        "devices/system/cpu/online": cpus,
        "devices/system/cpu/possible": cpus,
        "devices/system/cpu/present": cpus,
        "devices/system/cpu/kernel_max": lambda: "63\n",
        "kernel/mm/transparent_hugepage/enabled": lambda: "always madvise [never]\n",
        "kernel/mm/transparent_hugepage/hpage_pmd_size": lambda: f"{2 << 20}\n",
    }
    for cpu in range(nr):
        topology = f"devices/system/cpu/cpu{cpu}/topology"
        texts[f"{topology}/core_id"] = _constant(f"{cpu}\n")
        texts[f"{topology}/physical_package_id"] = _constant("0\n")
    return Directory(_children(texts))


def _constant(text: str) -> Text:
    return lambda: text


def _children(texts: dict[str, Text]) -> dict[str, Inode]:
    root = tree({path: TextFile(text) for path, text in texts.items()})
    children = {name: root.lookup(name) for name in root.names()}
    return {name: child for name, child in children.items() if child is not None}


def cpuinfo(nr: int) -> str:
    """/proc/cpuinfo."""
    return "".join(
        f"processor\t: {cpu}\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 60\n"
        f"model name\t: Intel Core Processor (Haswell)\nstepping\t: 1\ncpu MHz\t\t: 1000.000\n"
        f"physical id\t: 0\nsiblings\t: {nr}\ncore id\t\t: {cpu}\ncpu cores\t: {nr}\n"
        f"fpu\t\t: yes\ncpuid level\t: 13\nwp\t\t: yes\nflags\t\t: {CPU_FLAGS}\n"
        f"clflush size\t: 64\naddress sizes\t: 40 bits physical, 48 bits virtual\n\n"
        for cpu in range(nr)
    )


def _mms(system: System) -> Iterator[Mm]:
    """The address spaces of living tasks, each once."""
    mms = {id(task.mm): task.mm for task in system.tasks.values()}
    yield from mms.values()


def meminfo(system: System) -> str:
    """/proc/meminfo's lines that have a meaning here, kB."""
    memory = system.kernel.memory
    all_, free = memory.size >> 10, memory.free_frames << (PAGE_SHIFT - 10)
    lines = {
        "MemTotal": all_,
        "MemFree": free,
        "MemAvailable": free,
        "Buffers": 0,
        "Cached": 0,
        "SwapCached": 0,
        "SwapTotal": 0,
        "SwapFree": 0,
        "PageTables": sum(mm.c.pgtables_bytes for mm in _mms(system)) >> 10,
    }
    return "".join(f"{name + ':':<16}{value:8} kB\n" for name, value in lines.items())


def vmstat(system: System) -> str:
    """/proc/vmstat's lines that have a meaning here; the counters are those of all processes so
    far.
    """
    counters = total(
        [process.result.mm_counters for process in system.processes if process.result is not None]
        + [mm.counters() for mm in _mms(system)]
    )
    free = system.kernel.memory.free_frames
    pages = sum(mm.c.pgtables_bytes for mm in _mms(system)) >> PAGE_SHIFT
    lines = {
        "nr_free_pages": free,
        "nr_page_table_pages": pages,
        **{name: counters.get(name, 0) for name in VMSTAT},
    }
    return "".join(f"{name} {value}\n" for name, value in lines.items())


def _busy_ns(system: System) -> list[int]:
    """Nanoseconds that each CPU has executed: its instructions."""
    return [rq.vcpu.instructions or 0 for rq in system.scheduler.rqs]


def version(system: System) -> str:
    """/proc/version."""
    uts = system.uts
    return f"{uts.sysname.decode()} version {uts.release.decode()} (ucmmu) {uts.version.decode()}\n"


def stat_text(system: System) -> str:
    """/proc/stat: times in ticks of 10 ms."""
    now, busy = system.clock.now_ns(), _busy_ns(system)
    idle = [max(now - ns, 0) for ns in busy]
    tasks = list(system.tasks.values())
    running = sum(task.state is State.RUNNING for task in tasks)
    switches = sum(task.nvcsw + task.nivcsw for task in tasks)
    lines = [
        _cpu_line("cpu ", sum(busy), sum(idle)),
        *(_cpu_line(f"cpu{cpu}", *times) for cpu, times in enumerate(zip(busy, idle, strict=True))),
        "intr 0",
        f"ctxt {switches}",
        f"btime {EPOCH_NS // SECOND}",
        f"processes {len(system.processes)}",
        f"procs_running {running}",
        "procs_blocked 0",
    ]
    return "\n".join(lines) + "\n"


def _cpu_line(name: str, user_ns: int, idle_ns: int) -> str:
    return f"{name} {user_ns // TICK_NS} 0 0 {idle_ns // TICK_NS} 0 0 0 0 0 0"


def uptime(system: System) -> str:
    """/proc/uptime: seconds since the start, and of all CPUs idle."""
    now = system.clock.now_ns()
    idle = sum(max(now - ns, 0) for ns in _busy_ns(system))
    return f"{now / SECOND:.2f} {idle / SECOND:.2f}\n"


def loadavg(system: System) -> str:
    """/proc/loadavg: as many tasks as want to run now."""
    tasks = list(system.tasks.values())
    running = sum(task.state is State.RUNNING for task in tasks)
    last = max(system.tasks, default=0)
    return f"{running}.00 {running}.00 {running}.00 {running}/{len(tasks)} {last}\n"


def interrupts(system: System) -> str:
    """/proc/interrupts: the calls that other CPUs asked of each, and of these the TLB flushes
    (arch_show_interrupts()).
    """
    cpus = system.kernel.cpus
    calls = [max(cpu.irq_call_count - cpu.irq_tlb_count, 0) for cpu in cpus]
    flushes = [cpu.irq_tlb_count for cpu in cpus]
    header = "".join(f"CPU{cpu.id:<8}" for cpu in cpus)
    rows = [
        f"{name:>3}: {''.join(f'{count:10} ' for count in counts)}  {text}\n"
        for name, counts, text in (
            ("CAL", calls, "Function call interrupts"),
            ("TLB", flushes, "TLB shootdowns"),
        )
    ]
    return f"{'':11}{header}\n{''.join(rows)}"
