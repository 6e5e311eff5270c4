# SPDX-License-Identifier: GPL-2.0-or-later
"""/sys: CPUs, the one memory node, huge pages (drivers/base, mm/huge_memory.c, v6.18)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpu.fs.proc_meminfo import node_meminfo
from cpu.fs.pseudo_fs import Directory, Inode, TextFile, tree
from mmu.linux.procfs import cpumask_hex, cpumask_list

if TYPE_CHECKING:
    from cpu.system import System


def sys_files(system: System) -> Directory:
    """/sys."""
    nr = len(system.kernel.cpus)
    mask = (1 << nr) - 1
    all_list, all_hex = cpumask_list(mask, nr), cpumask_hex(mask, nr)
    lines: dict[str, object] = {
        "devices/system/cpu/online": all_list,
        "devices/system/cpu/possible": all_list,
        "devices/system/cpu/present": all_list,
        "devices/system/cpu/offline": "",
        "devices/system/cpu/isolated": "",
        "devices/system/cpu/kernel_max": 63,
        "devices/system/node/online": 0,
        "devices/system/node/possible": 0,
        "devices/system/node/has_cpu": 0,
        "devices/system/node/has_memory": 0,
        "devices/system/node/has_normal_memory": 0,
        "devices/system/node/node0/cpulist": all_list,
        "devices/system/node/node0/cpumap": all_hex,
        "devices/system/node/node0/distance": 10,
        "kernel/mm/transparent_hugepage/enabled": "always madvise [never]",
        "kernel/mm/transparent_hugepage/defrag": "always defer defer+madvise [madvise] never",
        "kernel/mm/transparent_hugepage/shmem_enabled": (
            "always within_size advise [never] deny force"
        ),
        "kernel/mm/transparent_hugepage/use_zero_page": 1,
        "kernel/mm/transparent_hugepage/hpage_pmd_size": 2 << 20,
        "kernel/mm/transparent_hugepage/khugepaged/defrag": 1,
        "kernel/mm/transparent_hugepage/khugepaged/max_ptes_none": 511,
        "kernel/mm/ksm/run": 0,
    }
    for cpu in range(nr):
        lines |= _cpu(cpu, nr)
    files: dict[str, Inode] = {path: _constant(value) for path, value in lines.items()}
    files["devices/system/node/node0/meminfo"] = TextFile(lambda: node_meminfo(system))
    return tree(files)


def _cpu(cpu: int, nr: int) -> dict[str, object]:
    """One CPU: a core of the one package."""
    top = f"devices/system/cpu/cpu{cpu}/topology"
    own, everyone = 1 << cpu, (1 << nr) - 1
    return {
        f"{top}/core_id": cpu,
        f"{top}/physical_package_id": 0,
        f"{top}/thread_siblings": cpumask_hex(own, nr),
        f"{top}/thread_siblings_list": cpu,
        f"{top}/core_cpus": cpumask_hex(own, nr),
        f"{top}/core_cpus_list": cpu,
        f"{top}/core_siblings": cpumask_hex(everyone, nr),
        f"{top}/core_siblings_list": cpumask_list(everyone, nr),
        f"{top}/package_cpus": cpumask_hex(everyone, nr),
        f"{top}/package_cpus_list": cpumask_list(everyone, nr),
    }


def _constant(value: object) -> Inode:
    text = f"{value}\n"
    return TextFile(lambda: text)
