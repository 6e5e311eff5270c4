# SPDX-License-Identifier: GPL-2.0-or-later
"""VMAs: their flags, how they merge and split, and what they count for.

A VMA is a ``struct vm_area_struct`` of native/mm/mm.h, kept in one array in order of address;
a VMA's *number* is its place in that array. Numbers and references to VMAs are good until the
next insertion or removal, so the functions here take and give numbers.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mmu._native import ffi, lib
from mmu.errors import LinuxError
from mmu.linux.i_mmap import i_mmap_write
from mmu.linux.layout import STACK_GUARD_GAP
from mmu.linux.mman import PROT_EXEC, PROT_READ, PROT_WRITE
from mmu.linux.resource import Resource
from mmu.linux.rmap import vma_had_uncowed_parents
from mmu.linux.state import OVERCOMMIT_ALWAYS, OVERCOMMIT_GUESS, OVERCOMMIT_RATIO, MmStruct
from mmu.linux.tracepoint import TOTAL_VM, emit
from mmu.linux.vma_lock import vma_start_write
from mmu.units import PAGE_SHIFT

if TYPE_CHECKING:
    from mmu._native import struct_vm_area_struct_ptr

# vm_flags: the kernel's values (include/linux/mm.h, v6.18); those that C needs come from mm.h.
VM_READ: Final = lib.VM_READ
VM_WRITE: Final = lib.VM_WRITE
VM_EXEC: Final = lib.VM_EXEC
VM_SHARED: Final = lib.VM_SHARED
VM_MAYREAD: Final = lib.VM_MAYREAD
VM_MAYWRITE: Final = lib.VM_MAYWRITE
VM_MAYEXEC: Final = lib.VM_MAYEXEC
VM_MAYSHARE = 0x80
VM_GROWSDOWN: Final = lib.VM_GROWSDOWN
VM_PFNMAP: Final = lib.VM_PFNMAP
VM_LOCKED: Final = lib.VM_LOCKED
VM_IO = 0x4000
VM_SEQ_READ = 0x8000
VM_RAND_READ = 0x10000
VM_DONTCOPY = 0x20000
VM_DONTEXPAND: Final = lib.VM_DONTEXPAND
VM_LOCKONFAULT = 0x80000
VM_ACCOUNT: Final = lib.VM_ACCOUNT
VM_NORESERVE: Final = lib.VM_NORESERVE
VM_SYNC = 0x800000
VM_WIPEONFORK = 0x2000000
VM_DONTDUMP = 0x4000000
VM_MIXEDMAP = 0x10000000
VM_HUGEPAGE = 0x20000000
VM_NOHUGEPAGE = 0x40000000
VM_MERGEABLE = 0x80000000
VM_DROPPABLE: Final = lib.VM_DROPPABLE
VM_SEALED = 1 << 42
"""mseal(): VM_SEALED_BIT of v6.18."""

VM_ACCESS_FLAGS = VM_READ | VM_WRITE | VM_EXEC
VM_LOCKED_MASK = VM_LOCKED | VM_LOCKONFAULT
VM_SPECIAL = VM_IO | VM_DONTEXPAND | VM_PFNMAP | VM_MIXEDMAP
VM_DATA_DEFAULT_FLAGS = VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC
VM_STACK_FLAGS = VM_GROWSDOWN | VM_DATA_DEFAULT_FLAGS | VM_ACCOUNT


def calc_vm_prot_bits(prot: int) -> int:
    """The access flags that PROT_* bits ask for; unknown bits ask for nothing."""
    return prot & (PROT_READ | PROT_WRITE | PROT_EXEC)


def vma_is_anonymous(vma: struct_vm_area_struct_ptr) -> bool:
    """Whether the VMA's pages have no file behind them (vma->vm_ops is NULL)."""
    return not vma.vm_file


def vma_is_accessible(vm_flags: int) -> bool:
    """Whether any access at all is allowed: anything but PROT_NONE."""
    return vm_flags & VM_ACCESS_FLAGS != 0


def vm_start_gap(vma: struct_vm_area_struct_ptr) -> int:
    """The lowest address that new mappings must end at or below: a stack wants its guard gap kept
    free.
    """
    start = vma.vm_start
    if vma.vm_flags & VM_GROWSDOWN:
        return max(start - STACK_GUARD_GAP, 0)
    return start


def find_vma_intersection(mm: MmStruct, start: int, end: int) -> int | None:
    """The number of the first VMA that overlaps [start, end), or None."""
    vmas = mm.c.vmas
    i = lib.vma_index_of(mm.c, start)
    return i if i < vmas.nr and vmas.vma[i].vm_start < end else None


def new_vma(
    start: int, end: int, vm_flags: int, pgoff: int, file: int = 0, name: int = 0
) -> struct_vm_area_struct_ptr:
    """A ``struct vm_area_struct`` by value, not yet in any index. pgoff in pages."""
    return ffi.new(
        "struct vm_area_struct *",
        {
            "vm_start": start,
            "vm_end": end,
            "vm_flags": vm_flags,
            "vm_pgoff": pgoff,
            "vm_file": file,
            "vm_name": name,
        },
    )


def vma_insert(mm: MmStruct, vma: struct_vm_area_struct_ptr) -> int:
    """Put a VMA into the index without merging, and into its file's i_mmap; returns its number.
    ENOMEM if the host is out of memory. May sleep.
    """
    with i_mmap_write(mm, vma.vm_file):
        return _vma_link(mm, vma)


def _vma_link(mm: MmStruct, vma: struct_vm_area_struct_ptr) -> int:
    """vma_insert(), its file's i_mmap_rwsem held."""
    if lib.vma_insert(mm.c, vma):
        raise LinuxError(errno.ENOMEM)
    return lib.vma_index_of(mm.c, vma.vm_start)


# Accounting (mm/mmap.c, mm/internal.h).


def is_exec_mapping(vm_flags: int) -> bool:
    """Whether the pages count as text (VmExe + VmLib): executable, not writable, no stack."""
    return vm_flags & (VM_EXEC | VM_WRITE | VM_GROWSDOWN) == VM_EXEC


def is_stack_mapping(vm_flags: int) -> bool:
    """Whether the pages count as stack (VmStk): anything that grows down."""
    return vm_flags & VM_GROWSDOWN != 0


def is_data_mapping(vm_flags: int) -> bool:
    """Whether the pages count as data (VmData, RLIMIT_DATA): private, writable, no stack."""
    return vm_flags & (VM_WRITE | VM_SHARED | VM_GROWSDOWN) == VM_WRITE


def vm_stat_account(mm: MmStruct, vm_flags: int, nr_pages: int) -> None:
    """Add nr_pages (negative: take away) to total_vm and to the kind of memory these flags are."""
    c = mm.c
    c.total_vm += nr_pages
    emit(mm.kernel, TOTAL_VM, c.pgd, c.total_vm)
    if is_exec_mapping(vm_flags):
        c.exec_vm += nr_pages
    elif is_stack_mapping(vm_flags):
        c.stack_vm += nr_pages
    elif is_data_mapping(vm_flags):
        c.data_vm += nr_pages


def may_expand_vm(mm: MmStruct, vm_flags: int, nr_pages: int) -> bool:
    """Whether nr_pages more of such memory keep within RLIMIT_AS and RLIMIT_DATA.

    A soft RLIMIT_DATA of 0 does not bind, the hard one does: valgrind sets it so.
    """
    c, rlimit = mm.c, mm.rlimit
    if c.total_vm + nr_pages > rlimit.address_space >> PAGE_SHIFT:
        return False
    limit = rlimit.data or rlimit[Resource.DATA].max
    return not is_data_mapping(vm_flags) or c.data_vm + nr_pages <= limit >> PAGE_SHIFT


def accountable_mapping(vm_flags: int) -> bool:
    """Whether the mapping promises memory: private, writable, without MAP_NORESERVE."""
    return vm_flags & (VM_NORESERVE | VM_SHARED | VM_WRITE) == VM_WRITE


def vm_enough_memory(mm: MmStruct, nr_pages: int) -> bool:
    """__vm_enough_memory(): under overcommit_memory 0 one call may not ask for more than all RAM; 1
    allows all; 2 promises OVERCOMMIT_RATIO per cent of RAM to all processes together.
    """
    mode, pages = mm.kernel.overcommit_memory, mm.memory.size >> PAGE_SHIFT
    if mode == OVERCOMMIT_ALWAYS:
        return True
    if mode == OVERCOMMIT_GUESS:
        return nr_pages <= pages
    committed = sum(vm_committed(other) for other in mm.kernel.mms)
    return committed + nr_pages < pages * OVERCOMMIT_RATIO // 100


def vm_committed(mm: MmStruct) -> int:
    """Pages that the mm was promised: its part of vm_committed_as."""
    return sum(
        int(vma.vm_end - vma.vm_start) >> PAGE_SHIFT
        for vma in mm.c.vmas.vma[0 : mm.c.vmas.nr]
        if vma.vm_flags & VM_ACCOUNT
    )


def can_do_mlock(mm: MmStruct) -> bool:
    """Whether the process may lock memory at all: its RLIMIT_MEMLOCK is not 0, or does not bind."""
    return bool(mm.rlimit.memlock) or mm.can_lock_all()


def mlock_future_ok(mm: MmStruct, vm_flags: int, nr_pages: int) -> bool:
    """Whether nr_pages more locked pages keep within RLIMIT_MEMLOCK."""
    if not vm_flags & VM_LOCKED or mm.c.locked_vm + nr_pages <= mm.rlimit.memlock >> PAGE_SHIFT:
        return True
    return mm.can_lock_all()


# Merging and splitting (mm/vma.c).


def _anon_vmas_agree(a: int, b: int) -> bool:
    """Whether VMAs with these anon_vmas may become one: they are equal, or one has none yet."""
    return not a or not b or a == b


def _is_mergeable_anon_vma(vma: struct_vm_area_struct_ptr, new: _NewVma) -> bool:
    """is_mergeable_anon_vma(): the anon_vmas agree, and where one has none, the other has only its
    own (vma_had_uncowed_parents()).
    """
    if not vma.anon_vma:
        return new.nr_anon_vma_chain <= 1
    if not new.anon_vma:
        return not vma_had_uncowed_parents(vma)
    return bool(vma.anon_vma == new.anon_vma)


def _is_mergeable(vma: struct_vm_area_struct_ptr, new: _NewVma) -> bool:
    return (
        vma.vm_flags == new.vm_flags
        and vma.vm_file == new.file
        and vma.vm_name == new.name
        and not new.vm_flags & VM_SPECIAL
        and _is_mergeable_anon_vma(vma, new)
    )


@dataclass(frozen=True, slots=True)
class _NewVma:
    """What a range is to become, for neighbours to be held against: struct vma_merge_struct. pgoff
    in pages.
    """

    start: int
    end: int
    vm_flags: int
    pgoff: int
    file: int
    name: int
    anon_vma: int = 0
    nr_anon_vma_chain: int = 0


def _can_merge_left(mm: MmStruct, i: int, new: _NewVma) -> bool:
    """Whether VMA number i can grow upwards over the range: can_vma_merge_left()."""
    if i < 0:
        return False
    vma = mm.c.vmas.vma[i]
    return (
        vma.vm_end == new.start
        and _is_mergeable(vma, new)
        and vma.vm_pgoff + (vma.vm_end - vma.vm_start >> PAGE_SHIFT) == new.pgoff
    )


def _can_merge_right(mm: MmStruct, i: int, new: _NewVma, left: int | None) -> bool:
    """Whether VMA number i can grow downwards over the range, and become one with number left, if
    that one grows too.

    can_vma_merge_right(): what fits the range on either side need not fit together.
    """
    if i >= mm.c.vmas.nr:
        return False
    vma = mm.c.vmas.vma[i]
    return (
        vma.vm_start == new.end
        and _is_mergeable(vma, new)
        and vma.vm_pgoff == new.pgoff + (new.end - new.start >> PAGE_SHIFT)
        and (left is None or _anon_vmas_agree(mm.c.vmas.vma[left].anon_vma, vma.anon_vma))
    )


def _move_start(vma: struct_vm_area_struct_ptr, start: int) -> None:
    vma.vm_pgoff = vma.vm_pgoff + (start - vma.vm_start >> PAGE_SHIFT)
    vma.vm_start = start


def _dup_anon_vma(vma: struct_vm_area_struct_ptr, *sources: struct_vm_area_struct_ptr) -> None:
    """A VMA that takes others over takes their anon_vma over, if it has none."""
    for source in sources:
        if not vma.anon_vma:
            vma.anon_vma = source.anon_vma
            vma.nr_anon_vma_chain = source.nr_anon_vma_chain


def vma_merge_new_range(
    mm: MmStruct, start: int, end: int, vm_flags: int, pgoff: int, file: int = 0, name: int = 0
) -> int:
    """Cover the hole [start, end) by growing its neighbours if they fit, else by a new VMA; returns
    its number.

    Neighbours fit if flags, file and name are equal, offsets continue, and none is special
    (can_vma_merge_before(), can_vma_merge_after()); both grow into one only if their anon_vmas
    allow it, else the left one grows. ENOMEM if the host is out of memory.
    """
    new = _NewVma(start, end, vm_flags, pgoff, file, name)
    merged = _merge_new_range(mm, new)
    if merged is not None:
        return merged
    return vma_insert(mm, new_vma(start, end, vm_flags, pgoff, file, name))


def vma_merge_copy(
    mm: MmStruct, source: struct_vm_area_struct_ptr, start: int, end: int, pgoff: int
) -> int | None:
    """Cover the hole [start, end) by growing neighbours, as if a part of ``source`` stood there;
    the number of the one that did, or None. ``source`` may be one of them, and gone afterwards.
    """
    new = _NewVma(
        start,
        end,
        source.vm_flags,
        pgoff,
        source.vm_file,
        source.vm_name,
        source.anon_vma,
        source.nr_anon_vma_chain,
    )
    return _merge_new_range(mm, new, source)


def _merge_new_range(
    mm: MmStruct, new: _NewVma, source: struct_vm_area_struct_ptr | None = None
) -> int | None:
    vmas = mm.c.vmas
    i = lib.vma_index_of(mm.c, new.start)
    left = _can_merge_left(mm, i - 1, new)
    right = _can_merge_right(mm, i, new, i - 1 if left else None)
    also = [] if source is None else [source]
    if left:
        vma_start_write(mm, vmas.vma[i - 1])
    if right:
        vma_start_write(mm, vmas.vma[i])
    if not left and not right:
        return None
    with i_mmap_write(mm, new.file):
        if left and right:
            _dup_anon_vma(vmas.vma[i - 1], vmas.vma[i], *also)
            vmas.vma[i - 1].vm_end = vmas.vma[i].vm_end
            lib.vma_remove(mm.c, i, 1)
            return i - 1
        if left:
            _dup_anon_vma(vmas.vma[i - 1], *also)
            vmas.vma[i - 1].vm_end = new.end
            return i - 1
        _dup_anon_vma(vmas.vma[i], *also)
        _move_start(vmas.vma[i], new.start)
        return i


def split_vma(mm: MmStruct, i: int, address: int) -> None:
    """Cut VMA number i at address, which lies inside it: number i ends there, number i + 1 begins.

    EINVAL if it is a special mapping, ENOMEM if the host is out of memory. Whether one more VMA is
    allowed is the caller's to ask (__split_vma(), which munmap() uses to go one over the limit).
    """
    vma = mm.c.vmas.vma[i]
    if vma.vm_file and mm.file(vma.vm_file).special:
        raise LinuxError(errno.EINVAL)
    vma_start_write(mm, vma)
    upper = ffi.new("struct vm_area_struct *", vma[0])
    _move_start(upper, address)
    old_end = vma.vm_end
    with i_mmap_write(mm, vma.vm_file):
        vma.vm_end = address
        try:
            _vma_link(mm, upper)
        except LinuxError:
            mm.c.vmas.vma[i].vm_end = old_end
            raise


def _split_vma_limited(mm: MmStruct, i: int, address: int) -> None:
    if mm.c.vmas.nr >= mm.kernel.max_map_count:
        raise LinuxError(errno.ENOMEM)
    split_vma(mm, i, address)


def vma_modify_flags(mm: MmStruct, i: int, start: int, end: int, vm_flags: int) -> int:
    """Give [start, end), a part of VMA number i, new flags: merge with neighbours where that fits,
    else split.

    Returns the number of the VMA that then covers the range. ENOMEM at max_map_count, EINVAL for a
    part of a special mapping; a first split that succeeded stays, as in Linux.
    """
    merged = _vma_merge_existing_range(mm, i, start, end, vm_flags)
    if merged is not None:
        return merged
    if mm.c.vmas.vma[i].vm_start < start:
        _split_vma_limited(mm, i, start)
        i += 1
    if mm.c.vmas.vma[i].vm_end > end:
        _split_vma_limited(mm, i, end)
    vma_start_write(mm, mm.c.vmas.vma[i])
    mm.c.vmas.vma[i].vm_flags = vm_flags
    return i


def _vma_merge_existing_range(
    mm: MmStruct, i: int, start: int, end: int, vm_flags: int
) -> int | None:
    """Let neighbours of [start, end), a part of VMA number i, take it over; the number of the one
    that did, or None.
    """
    middle = mm.c.vmas.vma[i]
    at_start, at_end = middle.vm_start == start, middle.vm_end == end
    pgoff = middle.vm_pgoff + (start - middle.vm_start >> PAGE_SHIFT)
    new = _NewVma(
        start,
        end,
        vm_flags,
        pgoff,
        middle.vm_file,
        middle.vm_name,
        middle.anon_vma,
        middle.nr_anon_vma_chain,
    )
    left = at_start and _can_merge_left(mm, i - 1, new)
    right = at_end and _can_merge_right(mm, i + 1, new, i - 1 if left else None)
    if not left and not right:
        return None
    vma_start_write(mm, middle)
    if left:
        vma_start_write(mm, mm.c.vmas.vma[i - 1])
    if right:
        vma_start_write(mm, mm.c.vmas.vma[i + 1])
    with i_mmap_write(mm, new.file):
        return _grow_over(mm, i, new, left=left, right=right)


def _grow_over(mm: MmStruct, i: int, new: _NewVma, *, left: bool, right: bool) -> int:
    """commit_merge(): the neighbours of VMA number i that are given take ``new``, a part of it,
    over; the number of the one that did. All are write-locked, as is their file's i_mmap.
    """
    vma, start, end = mm.c.vmas.vma, new.start, new.end
    middle = vma[i]
    at_start, at_end = middle.vm_start == start, middle.vm_end == end
    if left and right:
        _dup_anon_vma(vma[i - 1], vma[i + 1], middle)
        vma[i - 1].vm_end = vma[i + 1].vm_end
        lib.vma_remove(mm.c, i, 2)
        return i - 1
    if left:
        _dup_anon_vma(vma[i - 1], middle)
        vma[i - 1].vm_end = end
        if at_end:
            lib.vma_remove(mm.c, i, 1)
        else:
            _move_start(middle, end)
        return i - 1
    _dup_anon_vma(vma[i + 1], middle)
    _move_start(vma[i + 1], start)
    if not at_start:
        middle.vm_end = start
        return i + 1
    lib.vma_remove(mm.c, i, 1)
    return i
