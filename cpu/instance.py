# SPDX-License-Identifier: GPL-2.0-or-later
"""What attach() asks of an instance before it changes anything: whether it can be attached to,
whose page tables translate, where RAM of ours goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Final

from unicorn import UC_ARCH_X86, UC_MODE_64, UC_PROT_ALL, UC_QUERY_ARCH, UC_QUERY_MODE, Uc
from unicorn.unicorn_const import UC_CTL_CONTEXT_MEMORY
from unicorn.unicorn_py3.unicorn import HOOK_TLB_FILL_CFUNC
from unicorn.x86_const import UC_X86_REG_CR0, UC_X86_REG_CR2

from cpu._engine import ffi, lib
from cpu.door import is_attached
from cpu.linkage import private_parts
from cpu.vcpu import Fidelity
from mmu.errors import MmuError
from mmu.units import PAGE_SIZE
from mmu.x86 import Geometry, load_geometry
from mmu.x86.registers import ARCHITECTURAL_MAXPHYADDR, CR0_PG

_CANONICAL: Final = (
    (0, 1 << 47, 0),
    ((1 << 52) - (1 << 47), 1 << 52, (1 << 64) - (1 << 52)),
)
"""Guest-physical begin and end of what a canonical address can mean, and what to add for it."""
_LAST_PHYSICAL: Final = (1 << ARCHITECTURAL_MAXPHYADDR) - 1
GIB: Final = 1 << 30


class Paging(Enum):
    """Whose page tables translate."""

    OWN = "own"
    """Tables of ours, in RAM of ours: filled by ``identity`` and map()."""
    GUEST = "guest"
    """Tables in the instance's own memory, under the control registers it has, or gets: no register
    is changed by attach()."""


def fidelity_of(fidelity: Fidelity | str) -> Fidelity:
    """The fidelity that an option names; MmuError if it names none."""
    if isinstance(fidelity, str):
        return Fidelity.from_label(fidelity)
    try:
        return Fidelity(fidelity)
    except ValueError:
        known = ", ".join(repr(f.label) for f in Fidelity)
        raise MmuError(f"no fidelity {fidelity!r}: known are {known}") from None


def geometry_of(geometry: str | Geometry) -> Geometry:
    """The geometry that an option names; MmuError if it names none."""
    if isinstance(geometry, str):
        return load_geometry(geometry)
    if not isinstance(geometry, Geometry):
        raise MmuError(f"geometry is a name, a file's path or a Geometry, not {geometry!r}")
    return geometry


def check_instance(uc: Uc) -> None:
    """MmuError if the instance cannot be attached to."""
    if not isinstance(uc, Uc):
        raise MmuError(f"an MMU is attached to a unicorn.Uc, not to {uc!r}")
    if uc.query(UC_QUERY_ARCH) != UC_ARCH_X86 or not uc.query(UC_QUERY_MODE) & UC_MODE_64:
        raise MmuError("only an x86-64 instance, Uc(UC_ARCH_X86, UC_MODE_64), can be attached to")
    if is_attached(uc):
        raise MmuError("an MMU is attached to this instance already: detach() it first")
    if any(isinstance(hook, HOOK_TLB_FILL_CFUNC) for hook in uc._callbacks.values()):
        raise MmuError("the instance has a hook UC_HOOK_TLB_FILL: the MMU would not be asked")
    if _saves_memory(uc):
        raise MmuError(
            "the instance saves memory with its contexts (UC_CTL_CONTEXT_MEMORY): such snapshots"
            " would not hold what the MMU writes to page tables"
        )


def _saves_memory(uc: Uc) -> bool:
    """Whether context_save() makes a snapshot of memory: a store behind it goes elsewhere then."""
    if private_parts() & lib.PRIVATE_CONTEXT:
        mode = lib.private_context_mode(ffi.cast("void *", uc._uch.value))
        return bool(mode & UC_CTL_CONTEXT_MEMORY)
    page = _free_page(uc)
    buffer = ffi.new("u8[]", 2 * PAGE_SIZE)
    pointer = int(ffi.cast("uintptr_t", buffer))
    cr2 = uc.reg_read(UC_X86_REG_CR2)
    uc.mem_map_ptr(page, PAGE_SIZE, UC_PROT_ALL, pointer + -pointer % PAGE_SIZE)
    try:
        context = uc.context_save()
        uc.mem_write(page, b"\1")
        if 1 in bytes(ffi.buffer(buffer)):
            return False
        uc.context_restore(context)
        return True
    finally:
        uc.mem_unmap(page, PAGE_SIZE)
        uc.reg_write(UC_X86_REG_CR2, cr2)  # Unicorn may have looked the page up by its own walk


def _free_page(uc: Uc) -> int:
    """The address of a page where the instance has none: the highest below 2^52 behind a region."""
    regions = list(uc.mem_regions())
    begins = {begin for begin, _, _ in regions}
    behind = {end + 1 for _, end, _ in regions if end < _LAST_PHYSICAL}
    return max((behind | {0}) - begins)


def identity_pieces(address: int, size: int) -> Iterator[tuple[int, int, int]]:
    """The pieces of guest-physical [address, address + size) that have a virtual address of the
    same low 52 bits: virtual address, guest-physical address, size.

    Without an MMU, Unicorn takes the low 52 bits of a virtual address. Canonical are those below
    2^47, and those whose upper 17 bits are set.
    """
    for begin, end, offset in _CANONICAL:
        first, last = max(address, begin), min(address + size, end)
        if first < last:
            yield first + offset, first, last - first


def paging_of(uc: Uc, paging: Paging | str | None, identity: bool) -> Paging:
    """Whose tables translate, by the options and, if they leave it open, by CR0.PG; MmuError for
    options that contradict each other.
    """
    if paging is None:
        own = identity or not uc.reg_read(UC_X86_REG_CR0) & CR0_PG
        return Paging.OWN if own else Paging.GUEST
    try:
        chosen = Paging(paging)
    except ValueError:
        known = ", ".join(repr(p.value) for p in Paging)
        raise MmuError(f"no paging {paging!r}: known are {known}") from None
    if identity and chosen is Paging.GUEST:
        raise MmuError("identity fills tables of ours, and paging='guest' uses the guest's")
    return chosen


def width_of(regions: list[tuple[int, int, int]]) -> int:
    """Bits of the highest guest-physical address of the regions."""
    return max((end.bit_length() for _, end, _ in regions if end <= _LAST_PHYSICAL), default=0)


def place_of_ram(
    regions: list[tuple[int, int, int]], size: int, base: int | None, width: int
) -> int:
    """Where our RAM goes: base if it is free there, or the highest free place of the physical
    addresses that is aligned to 1 GiB.
    """
    if base is None:
        at = (1 << width) - size & -GIB
        for begin, end, _ in sorted(regions, reverse=True):
            if begin < at + size and at <= end:
                at = begin - size & -GIB
        if at < 0:
            raise MmuError(f"no room for {size:#x} bytes of RAM of ours between the regions")
        return at
    for begin, end, _ in regions:
        if base <= end and begin < base + size:
            raise MmuError(
                f"base {base:#x}: the instance has a region at [{begin:#x}, {end + 1:#x})"
            )
    return base
