# SPDX-License-Identifier: GPL-2.0-or-later
"""The files of /proc that tell of the whole machine (fs/proc/, kernel/sched, v6.18)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from cpu.clock import EPOCH_NS
from cpu.cpuid import cpuid
from cpu.fs.proc_meminfo import meminfo, vmstat, zoneinfo
from cpu.fs.proc_stat import TICK_NS
from cpu.fs.pseudo_fs import Inode, Link, TextFile, tree
from cpu.fs.sysctl import sysctl_files
from cpu.thread import State

if TYPE_CHECKING:
    from cpu.system import System

Text = Callable[[], str]
SECOND: Final = 10**9
MHZ: Final = 1000
"""An instruction a nanosecond."""

_CONSTANTS: Final = {
    "buddyinfo": "",
    "cmdline": "",
    "consoles": "",
    "devices": "Character devices:\n  1 mem\n  5 /dev/tty\n136 pts\n\nBlock devices:\n",
    "diskstats": "",
    "filesystems": "nodev\tproc\nnodev\tsysfs\nnodev\ttmpfs\nnodev\toverlay\nnodev\tdevpts\n",
    "locks": "",
    "modules": "",
    "partitions": "major minor  #blocks  name\n\n",
    "swaps": "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
}
"""What there is none of here."""


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
        "zoneinfo": lambda: zoneinfo(system),
        "sysvipc/msg": lambda: system.ipc.msg.proc(),
        "sysvipc/sem": lambda: system.ipc.sem.proc(),
        "sysvipc/shm": lambda: system.ipc.shm.proc(),
    }
    files: dict[str, Inode] = {name: TextFile(text) for name, text in texts.items()}
    files |= {name: _constant(text) for name, text in _CONSTANTS.items()}
    files["mounts"] = Link(lambda: "self/mounts")
    files["net"] = Link(lambda: "self/net")
    files |= sysctl_files(system)
    root = tree(files)
    children = {name: root.lookup(name) for name in root.names()}
    return {name: child for name, child in children.items() if isinstance(child, Inode)}


def _constant(text: str) -> Inode:
    return TextFile(lambda: text)


def cpuinfo(nr: int) -> str:
    """/proc/cpuinfo: what CPUID says, and the clock rate of virtual time."""
    it = cpuid()
    return "".join(
        f"processor\t: {cpu}\nvendor_id\t: {it.vendor}\ncpu family\t: {it.family}\n"
        f"model\t\t: {it.model}\nmodel name\t: {it.brand}\nstepping\t: {it.stepping}\n"
        f"microcode\t: 0x1\ncpu MHz\t\t: {MHZ}.000\ncache size\t: 2048 KB\n"
        f"physical id\t: 0\nsiblings\t: {nr}\ncore id\t\t: {cpu}\ncpu cores\t: {nr}\n"
        f"apicid\t\t: {cpu}\ninitial apicid\t: {cpu}\nfpu\t\t: yes\nfpu_exception\t: yes\n"
        f"cpuid level\t: {it.level}\nwp\t\t: yes\nflags\t\t: {' '.join(it.flags)}\n"
        f"bugs\t\t:\nbogomips\t: {2 * MHZ}.00\nclflush size\t: {it.clflush_size}\n"
        f"cache_alignment\t: {it.clflush_size}\naddress sizes\t: {it.physical_bits} bits physical,"
        f" {it.virtual_bits} bits virtual\npower management:\n\n"
        for cpu in range(nr)
    )


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
