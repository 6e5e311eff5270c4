# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a user's bytes lie in guest RAM, for the kernel's own accesses (mmu.linux.uaccess)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mmu._native import lib
from mmu.linux.state import MmStruct
from mmu.linux.user_stretches import UserRange
from mmu.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE
from mmu.x86 import Access, Outcome

if TYPE_CHECKING:
    from mmu.x86 import Mmu, Translation

_AC: Final = lib.RFLAGS_AC


def user_range(mm: MmStruct, addr: int, n: int, access: int, into: UserRange) -> Outcome:
    """Translate the user bytes [addr, addr + n) for the kernel's access, a page at a time, up to
    the first that faults, or to USER_RANGE_MAX stretches.

    Nothing waits: the frames are the user's as long as nothing does. Those that hold code and are
    to be written are noted (note_code_written()).
    """
    unit, c = mm.kernel.this_cpu.mmu, into.c
    c.done = c.nr = c.result = c.error_code = 0
    while c.done < n and c.nr < lib.USER_RANGE_MAX:
        answer = translate_for_kernel(unit, addr + c.done, access)
        c.result = answer.result
        if answer.result != Outcome.OK:
            c.error_code = answer.error_code
            break
        size = min(PAGE_SIZE - (addr + c.done) % PAGE_SIZE, n - c.done)
        if access != Access.READ and mm.memory.page(answer.pa >> PAGE_SHIFT).flags & lib.PG_code:
            mm.kernel.note_code_written(answer.pa & PAGE_MASK)
        _add_stretch(into, answer.pa, size)
    return Outcome(c.result)


def _add_stretch(into: UserRange, pa: int, size: int) -> None:
    """The bytes follow: they make the last stretch longer, or a new one."""
    c = into.c
    c.done += size
    last = c.nr - 1
    if c.nr and c.pa[last] + c.size[last] == pa:
        c.size[last] += size
        return
    c.pa[c.nr], c.size[c.nr] = pa, size
    c.nr += 1


def translate_for_kernel(unit: Mmu, addr: int, access: int) -> Translation:
    """One access of the kernel's to a user address, with RFLAGS.AC set meanwhile."""
    flags = unit.c.rflags
    unit.c.rflags = flags | _AC
    answer = unit.translate(addr, access, user=False)
    unit.c.rflags = flags
    return answer
