# SPDX-License-Identifier: GPL-2.0-or-later
"""NUMA, of a machine with one node: set_mempolicy(2), get_mempolicy(2), move_pages(2),
migrate_pages(2) (mm/mempolicy.c, mm/migrate.c, v6.18).

A policy is checked, kept and told; there is no other node that memory could come from. Policies of
single mappings (mbind(2)) are not there.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from cpu.cred import CAP_SYS_NICE
from cpu.mempolicy import Mempolicy
from cpu.syscalls.process_memory import mm_access
from cpu.syscalls.registry import s32, syscall
from mmu._native import ffi, lib
from mmu.errors import LinuxError
from mmu.linux.gup import fault_in_page
from mmu.linux.handle_mm_fault import peek_pte
from mmu.linux.mm_users import mmput
from mmu.linux.pgtable import SPECIAL, pte_present
from mmu.units import PAGE_MASK, PAGE_SIZE, U32, U64

if TYPE_CHECKING:
    from cpu.task import Task
    from mmu.linux.mm import Mm

MPOL_DEFAULT, MPOL_PREFERRED, MPOL_BIND, MPOL_INTERLEAVE = 0, 1, 2, 3
MPOL_LOCAL, MPOL_PREFERRED_MANY, MPOL_WEIGHTED_INTERLEAVE = 4, 5, 6
MPOL_F_STATIC_NODES, MPOL_F_RELATIVE_NODES, MPOL_F_NUMA_BALANCING = 1 << 15, 1 << 14, 1 << 13
MPOL_MODE_FLAGS: Final = MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES | MPOL_F_NUMA_BALANCING
MPOL_F_NODE, MPOL_F_ADDR, MPOL_F_MEMS_ALLOWED = 1, 2, 4
MPOL_MF_MOVE, MPOL_MF_MOVE_ALL = 2, 4
MAX_NUMNODES: Final = 1024
NODE_MASK: Final = 1
"""The nodes with memory: node 0."""


def _get_nodes(task: Task, nmask: int, maxnode: int) -> int:
    """get_nodes(): the mask of nodes at a user address. EINVAL for nodes that cannot be, EFAULT."""
    bits = maxnode - 1 & U64
    if not bits or not nmask:
        return 0
    if bits > PAGE_SIZE * 8:
        raise LinuxError(errno.EINVAL)
    data = task.mm.copy_from_user(nmask, -(-bits // 64) * 8)
    nodes = int.from_bytes(data, "little") & (1 << bits) - 1
    if nodes >> MAX_NUMNODES:
        raise LinuxError(errno.EINVAL)
    return nodes


def _copy_nodes_to_user(task: Task, nmask: int, maxnode: int, nodes: int) -> None:
    """copy_nodes_to_user(): whole words, zeros beyond all nodes; EINVAL beyond a page."""
    size = -(-(maxnode - 1 & U64) // 64) * 8
    if size > MAX_NUMNODES // 8 and size > PAGE_SIZE:
        raise LinuxError(errno.EINVAL)
    task.mm.copy_to_user(nmask, nodes.to_bytes(max(size, 8), "little")[:size])


def mpol_new(mode: int, nodes: int) -> Mempolicy | None:
    """sanitize_mpol_flags(), mpol_new() and mpol_set_nodemask(): the policy, None for
    MPOL_DEFAULT; EINVAL.
    """
    flags, mode = mode & MPOL_MODE_FLAGS, mode & ~MPOL_MODE_FLAGS
    of_nodes = flags & (MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES)
    balancing = bool(flags & MPOL_F_NUMA_BALANCING)
    if mode > MPOL_WEIGHTED_INTERLEAVE or of_nodes == MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES:
        raise LinuxError(errno.EINVAL)
    if balancing and mode not in (MPOL_BIND, MPOL_PREFERRED_MANY):
        raise LinuxError(errno.EINVAL)
    if mode == MPOL_DEFAULT:
        if nodes:
            raise LinuxError(errno.EINVAL)
        return None
    if mode == MPOL_LOCAL or (mode == MPOL_PREFERRED and not nodes):
        if nodes or of_nodes:
            raise LinuxError(errno.EINVAL)
        return Mempolicy(MPOL_LOCAL, 0)
    if not nodes & NODE_MASK and not (of_nodes == MPOL_F_RELATIVE_NODES and nodes):
        raise LinuxError(errno.EINVAL)
    return Mempolicy(mode | flags, NODE_MASK)


@syscall("set_mempolicy")
def sys_set_mempolicy(task: Task, mode: int, nmask: int, maxnode: int, *_: int) -> int:
    """set_mempolicy(2)."""
    mode = s32(mode)
    if not 0 <= mode & ~MPOL_MODE_FLAGS <= MPOL_WEIGHTED_INTERLEAVE:
        raise LinuxError(errno.EINVAL)
    task.mempolicy = mpol_new(mode, _get_nodes(task, nmask, maxnode))
    return 0


@syscall("get_mempolicy")
def sys_get_mempolicy(
    task: Task, policy: int, nmask: int, maxnode: int, addr: int, flags: int, *_: int
) -> int:
    """get_mempolicy(2)."""
    if nmask and maxnode < 1:
        raise LinuxError(errno.EINVAL)
    mode, nodes = _answer(task, addr, flags)
    if policy:
        task.mm.copy_to_user(policy, struct.pack("<I", mode))
    if nmask:
        _copy_nodes_to_user(task, nmask, maxnode, nodes)
    return 0


def _answer(task: Task, addr: int, flags: int) -> tuple[int, int]:
    """do_get_mempolicy(): what is written as the policy, and the nodes."""
    if flags & ~(MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED):
        raise LinuxError(errno.EINVAL)
    if flags & MPOL_F_MEMS_ALLOWED:
        if flags & (MPOL_F_NODE | MPOL_F_ADDR):
            raise LinuxError(errno.EINVAL)
        return 0, NODE_MASK
    if flags & MPOL_F_ADDR:
        with task.mm.mmap_read_lock(killable=True):
            vma = lib.find_vma(task.mm.c, addr)
            if vma == ffi.NULL or addr < vma.vm_start:
                raise LinuxError(errno.EFAULT)
    elif addr:
        raise LinuxError(errno.EINVAL)
    own = task.mempolicy
    nodes = 0 if own is None else own.nodes
    if not flags & MPOL_F_NODE:
        return 0 if own is None else own.mode, nodes
    if flags & MPOL_F_ADDR:
        _lookup_node(task.mm, addr)
    elif own is None or own.mode & ~MPOL_MODE_FLAGS not in (
        MPOL_INTERLEAVE,
        MPOL_WEIGHTED_INTERLEAVE,
    ):
        raise LinuxError(errno.EINVAL)
    return 0, nodes


def _lookup_node(mm: Mm, addr: int) -> None:
    """lookup_node(): have the page, which is on node 0; EFAULT if it cannot be had."""
    with mm.mmap_read_lock(killable=True):
        vma = lib.find_vma(mm.c, addr)
        if vma == ffi.NULL or addr < vma.vm_start or not vma.vm_flags & lib.VM_READ:
            raise LinuxError(errno.EFAULT)
        fault_in_page(mm, vma, addr & PAGE_MASK, write=False)


@syscall("migrate_pages")
def sys_migrate_pages(task: Task, pid: int, maxnode: int, old: int, new: int, *_: int) -> int:
    """migrate_pages(2): what is on node 0 stays there."""
    _get_nodes(task, old, maxnode)
    wanted = _get_nodes(task, new, maxnode)
    mm = _mm_of(task, s32(pid))
    mmput(mm)
    if wanted & ~NODE_MASK and not task.cred.capable(CAP_SYS_NICE):
        raise LinuxError(errno.EPERM)
    if not wanted & NODE_MASK:
        raise LinuxError(errno.EINVAL)
    return 0


def _mm_of(task: Task, pid: int) -> Mm:
    """The address space of a process, with one more user; ESRCH, EPERM."""
    other = task.system.tasks.get(pid) if pid else task
    if other is None:
        raise LinuxError(errno.ESRCH)
    try:
        return mm_access(task, other)
    except LinuxError as error:
        raise LinuxError(errno.EPERM if error.errno == errno.EACCES else error.errno) from None


@syscall("move_pages")
def sys_move_pages(
    task: Task, pid: int, count: int, pages: int, nodes: int, status: int, flags: int
) -> int:
    """move_pages(2): tells which pages are on node 0; moves none."""
    flags &= U32
    if flags & ~(MPOL_MF_MOVE | MPOL_MF_MOVE_ALL):
        raise LinuxError(errno.EINVAL)
    if flags & MPOL_MF_MOVE_ALL and not task.cred.capable(CAP_SYS_NICE):
        raise LinuxError(errno.EPERM)
    mm = _mm_of(task, s32(pid))
    try:
        for i in range(count):
            (addr,) = struct.unpack("<Q", task.mm.copy_from_user(pages + 8 * i, 8))
            if nodes:
                (node,) = struct.unpack("<i", task.mm.copy_from_user(nodes + 4 * i, 4))
                if node:
                    raise LinuxError(errno.ENODEV)
            where = struct.pack("<i", _node_of(mm, addr & PAGE_MASK))
            task.mm.copy_to_user(status + 4 * i, where)
    finally:
        mmput(mm)
    return 0


def _node_of(mm: Mm, addr: int) -> int:
    """do_pages_stat_array(): 0, or minus an errno: nothing mapped there, no page, the zero page."""
    with mm.mmap_read_lock(killable=True):
        vma = lib.find_vma(mm.c, addr)
        if vma == ffi.NULL or addr < vma.vm_start:
            return -errno.EFAULT
        pte = peek_pte(mm, addr)
        if not pte_present(pte):
            return -errno.ENOENT
        return -errno.EFAULT if pte & SPECIAL else 0
