# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's own accesses to user memory (include/linux/uaccess.h,
arch/x86/include/asm/uaccess_64.h, v6.18).

They are supervisor accesses through the same tables and the same TLB model as the guest's, with
RFLAGS.AC set meanwhile (STAC, CLAC: SDM vol. 3A 4.6.1), and fault in what they touch. Nothing reads
or writes guest memory past them.

A frame that instructions were fetched from and that is written here is noted with every CPU
(note_code_written()), which drops the code it translated from it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Final

from mmu._native import ffi, lib
from mmu.errors import BadTable, LinuxError, MmuError
from mmu.linux import engine
from mmu.linux.fault import do_user_addr_fault
from mmu.linux.layout import TASK_SIZE
from mmu.linux.state import MmStruct
from mmu.linux.user_range import translate_for_kernel
from mmu.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE
from mmu.x86 import Access, Outcome

_OK: Final = lib.XLATE_OK
_PF: Final = lib.XLATE_PF
_GP: Final = lib.XLATE_GP


def access_ok(addr: int, n: int) -> bool:
    """Whether all n bytes from addr on are user addresses."""
    return 0 <= addr <= TASK_SIZE - n


def _must_be_loaded(mm: MmStruct) -> None:
    """What the processor translates is the loaded mm's: of another it would be the wrong bytes."""
    c = mm.kernel.c.this_cpu
    if c.loaded_mm != mm.c:
        raise MmuError(
            f"CPU {c.id} does not have {mm!r} loaded: switch_mm() to it first, "
            "or use access_process_vm()"
        )


def _fault_in(mm: MmStruct, addr: int, result: Outcome, error_code: int) -> bool:
    """Whether the access may be tried again, its page brought in."""
    if result not in (_PF, _GP):
        raise BadTable(f"a table entry for address {addr:#x} refers to what is not guest RAM", addr)
    return result == _PF and do_user_addr_fault(mm, addr, error_code) is None


def _translate(mm: MmStruct, addr: int, access: Access) -> int | None:
    """The guest-physical address of addr for this access, faulted in if needed; None is EFAULT."""
    _must_be_loaded(mm)
    while True:
        answer = translate_for_kernel(mm.kernel.this_cpu.mmu, addr, access)
        if answer.result == _OK:
            return answer.pa
        if not _fault_in(mm, addr, answer.result, answer.error_code):
            return None


def user_pieces(mm: MmStruct, addr: int, n: int, access: Access) -> list[memoryview]:
    """The next user bytes from addr on, at most n of them, in guest RAM, to be read or written in
    place before anything waits; [] is EFAULT.

    They are faulted in if needed, which may wait: then it ends before the next that is not there.
    Raises MmuError if this CPU has not loaded mm: its bytes cannot be reached then.
    """
    if not n or not access_ok(addr, n):
        return []
    _must_be_loaded(mm)
    found, view = mm.kernel.user_range, mm.memory.view
    while True:
        result = engine.user_range(mm, addr, n, access, found)
        c = found.c
        if c.nr == 1:
            return [view(c.pa[0], c.size[0])]
        if c.nr:
            return [view(pa, size) for pa, size in found.stretches()]
        if not _fault_in(mm, addr, result, c.error_code):
            return []


def raw_copy_from_user(mm: MmStruct, addr: int, n: int) -> bytes:
    """Up to n bytes from user address addr on: fewer where the rest cannot be read."""
    if n <= 0 or not access_ok(addr, n):
        return b""
    parts = []
    end = addr + n
    while addr < end:
        pieces = user_pieces(mm, addr, end - addr, Access.READ)
        if not pieces:
            break
        part = b"".join(pieces)
        parts.append(part)
        addr += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def raw_copy_to_user(mm: MmStruct, addr: int, data: bytes | bytearray | memoryview) -> int:
    """Write data to user address addr on; returns how many bytes were written before one could not
    be.
    """
    view = memoryview(data).cast("B")
    n, done = len(view), 0
    if not n or not access_ok(addr, n):
        return 0
    while done < n:
        pieces = user_pieces(mm, addr + done, n - done, Access.WRITE)
        if not pieces:
            break
        for piece in pieces:
            piece[:] = view[done : done + len(piece)]
            done += len(piece)
    return done


def copy_from_user(mm: MmStruct, addr: int, n: int) -> bytes:
    """N bytes from user address addr on; EFAULT if any of them cannot be read."""
    data = raw_copy_from_user(mm, addr, n)
    if len(data) != n:
        raise LinuxError(errno.EFAULT)
    return data


def copy_to_user(mm: MmStruct, addr: int, data: bytes | bytearray | memoryview) -> None:
    """Write data to user address addr on; EFAULT if any of it cannot be (what lies before is
    written).
    """
    if raw_copy_to_user(mm, addr, data) != memoryview(data).nbytes:
        raise LinuxError(errno.EFAULT)


def user_atomic_u32(mm: MmStruct, addr: int, change: Callable[[int], int | None]) -> int:
    """Change the aligned word at user address addr in one step, as a LOCK instruction does; returns
    what was there (futex_atomic_op_inuser()).

    ``change`` gets the old value; None leaves it. EFAULT if the word cannot be written. May wait
    before the step, for the fault.
    """
    if addr % 4 or not access_ok(addr, 4):
        raise LinuxError(errno.EFAULT)
    pa = _translate(mm, addr, Access.RMW)
    if pa is None:
        raise LinuxError(errno.EFAULT)
    memory = mm.memory
    old = int.from_bytes(memory.read(pa, 4), "little")
    new = change(old)
    if new is not None:
        if memory.page(pa >> PAGE_SHIFT).flags & lib.PG_code:
            mm.kernel.note_code_written(pa & PAGE_MASK)
        ffi.memmove(memory.c.ram + (pa - memory.base), new.to_bytes(4, "little"), 4)
    return old


def user_cmpxchg_u32(mm: MmStruct, addr: int, old: int, new: int) -> bool:
    """Write ``new`` to the word at user address addr if it is ``old``; whether it was
    (futex_atomic_cmpxchg_inatomic()). As user_atomic_u32().
    """
    return user_atomic_u32(mm, addr, lambda value: new if value == old else None) == old


def strncpy_from_user(mm: MmStruct, addr: int, limit: int) -> bytes:
    """The string at user address addr without its NUL, at most limit bytes of it; EFAULT if it
    cannot be read.
    """
    parts: list[bytes] = []
    while limit > 0:
        size = min(limit, PAGE_SIZE - (addr & (PAGE_SIZE - 1)))
        part = copy_from_user(mm, addr, size)
        end = part.find(0)
        if end >= 0:
            parts.append(part[:end])
            break
        parts.append(part)
        addr += size
        limit -= size
    return b"".join(parts)
