# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a user's bytes lie in guest RAM, for the kernel's own accesses (mmu.linux.uaccess)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from mmu._native import ffi, lib
from mmu.linux.state import MmStruct
from mmu.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE
from mmu.x86 import Access, Outcome

if TYPE_CHECKING:
    from mmu._native import struct_user_range
    from mmu.x86 import Mmu, Translation

_AC: Final = lib.RFLAGS_AC


class UserRange(NamedTuple):
    """Stretches of guest RAM that hold consecutive user bytes: (guest-physical address, bytes) of
    each, ``done`` bytes in all, and what the access after them came to.
    """

    stretches: list[tuple[int, int]]
    done: int
    result: Outcome
    error_code: int

    @classmethod
    def from_c(cls, c: struct_user_range) -> UserRange:
        """What a ``struct user_range`` holds."""
        nr = c.nr
        stretches = list(zip(ffi.unpack(c.pa, nr), ffi.unpack(c.size, nr), strict=True))
        return cls(stretches, c.done, Outcome(c.result), c.error_code)


def user_range(mm: MmStruct, addr: int, n: int, access: int) -> UserRange:
    """Translate the user bytes [addr, addr + n) for the kernel's access, a page at a time, up to
    the first that faults, or to USER_RANGE_MAX stretches.

    Nothing waits: the frames are the user's as long as nothing does. Those that hold code and are
    to be written are noted (note_code_written()).
    """
    unit = mm.kernel.this_cpu.mmu
    stretches: list[tuple[int, int]] = []
    done = 0
    while done < n and len(stretches) < lib.USER_RANGE_MAX:
        answer = translate_for_kernel(unit, addr + done, access)
        if answer.result != Outcome.OK:
            return UserRange(stretches, done, answer.result, answer.error_code)
        size = min(PAGE_SIZE - (addr + done) % PAGE_SIZE, n - done)
        if access != Access.READ and mm.memory.page(answer.pa >> PAGE_SHIFT).flags & lib.PG_code:
            mm.kernel.note_code_written(answer.pa & PAGE_MASK)
        done += size
        if stretches and sum(stretches[-1]) == answer.pa:
            stretches[-1] = stretches[-1][0], stretches[-1][1] + size
        else:
            stretches.append((answer.pa, size))
    return UserRange(stretches, done, Outcome.OK, 0)


def translate_for_kernel(unit: Mmu, addr: int, access: int) -> Translation:
    """One access of the kernel's to a user address, with RFLAGS.AC set meanwhile."""
    flags = unit.c.rflags
    unit.c.rflags = flags | _AC
    answer = unit.translate(addr, access, user=False)
    unit.c.rflags = flags
    return answer
