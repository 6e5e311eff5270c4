# SPDX-License-Identifier: GPL-2.0-or-later
"""Which VMAs may share anonymous pages: their anon_vma (mm/rmap.c, mm/vma.c, v6.18).

A VMA gets an anon_vma at its first private write, and keeps it when it is split. Two VMAs whose
anon_vmas differ never become one, because each page names the one anon_vma that leads to all PTEs
that may map it. So neighbours that could be joined but for their rights are given the same one from
the start.

A child's VMA gets an anon_vma of its own at fork, and keeps a way to those of its parents, to which
the pages belong that are not yet copied. Such a VMA shares with nobody: it is not joined with one
that has no anon_vma, nor is its anon_vma given to a neighbour.

Here an anon_vma is its number (``vm_area_struct.anon_vma``, 0 for none), counted from 1 in each mm,
and the chain of those that a VMA's pages may belong to is its length
(``vm_area_struct.nr_anon_vma_chain``): nothing here follows it, for a page's PTEs in other mms are
known by their number, ``struct page._mapcount``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mmu._native import lib
from mmu.linux.state import MmStruct
from mmu.units import PAGE_SHIFT

if TYPE_CHECKING:
    from mmu._native import struct_vm_area_struct_ptr

_VM_ACCESS_FLAGS: Final = lib.VM_READ | lib.VM_WRITE | lib.VM_EXEC


def anon_vma_prepare(mm: MmStruct, vma: struct_vm_area_struct_ptr) -> None:
    """Give the VMA, by reference into mm's index, an anon_vma if it has none: a neighbour's if they
    fit, or a new one.

    __anon_vma_prepare(). Called before a page of its own is mapped; the mmap_lock is held or nobody
    else runs.
    """
    if vma.anon_vma:
        return
    anon_vma = _find_mergeable_anon_vma(mm, vma)
    if not anon_vma:
        mm.c.nr_anon_vmas += 1
        anon_vma = mm.c.nr_anon_vmas
    vma.anon_vma = anon_vma
    vma.nr_anon_vma_chain = 1


def anon_vma_fork(
    mm: MmStruct, vma: struct_vm_area_struct_ptr, parent: struct_vm_area_struct_ptr
) -> None:
    """Give a VMA of the child mm, about to be inserted, what its parent's VMA leads to and an
    anon_vma of its own; nothing if the parent's has none.
    """
    if not parent.anon_vma:
        return
    mm.c.nr_anon_vmas += 1
    vma.anon_vma = mm.c.nr_anon_vmas
    vma.nr_anon_vma_chain = parent.nr_anon_vma_chain + 1


def vma_had_uncowed_parents(vma: struct_vm_area_struct_ptr) -> bool:
    """Whether pages of the VMA may belong to the anon_vma of a parent process."""
    return vma.nr_anon_vma_chain > 1


def _find_mergeable_anon_vma(mm: MmStruct, vma: struct_vm_area_struct_ptr) -> int:
    """The anon_vma of the next VMA, or else of the one before, if the VMA may use it; 0 for
    neither.
    """
    vmas = mm.c.vmas
    i = lib.vma_index_of(mm.c, vma.vm_start)
    after = vmas.vma[i + 1] if i + 1 < vmas.nr else None
    if after is not None and _reusable(after) and _anon_vma_compatible(vma, after):
        return after.anon_vma
    if i and _reusable(vmas.vma[i - 1]) and _anon_vma_compatible(vmas.vma[i - 1], vma):
        return vmas.vma[i - 1].anon_vma
    return 0


def _reusable(vma: struct_vm_area_struct_ptr) -> bool:
    """Whether a neighbour may use the VMA's anon_vma: reusable_anon_vma()."""
    return bool(vma.anon_vma) and not vma_had_uncowed_parents(vma)


def _anon_vma_compatible(a: struct_vm_area_struct_ptr, b: struct_vm_area_struct_ptr) -> bool:
    """Whether a and b, in this order, could become one VMA if their rights were the same."""
    return bool(
        a.vm_end == b.vm_start
        and a.vm_file == b.vm_file
        and not (a.vm_flags ^ b.vm_flags) & ~_VM_ACCESS_FLAGS
        and b.vm_pgoff == a.vm_pgoff + (b.vm_start - a.vm_start >> PAGE_SHIFT)
    )
