# SPDX-License-Identifier: GPL-2.0-or-later
"""Let a guest go on after an exception.

Unicorn remembers the last contributory exception (SDM vol. 3A table 6-5) until it is delivered
through an IDT, which never happens here: the next one would come as a double fault (#DF), the one
after that as a shutdown. No register holds what it remembers, but a saved context does; where, is
found out by provoking exceptions in an instance of our own and looking what changed from "none" to
their vectors.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from unicorn import UC_ARCH_X86, UC_HOOK_INTR, UC_MODE_64, Uc, UcError

from mmu.units import U32

_NONE = U32
_CODE = 0x1000
_CODE_SIZE = 0x1000
_PROVOKE = {
    0: b"\x31\xc9\x31\xd2\xf7\xf1",  # xor %ecx, %ecx; xor %edx, %edx; div %ecx: #DE
    13: b"\x66\xb8\x34\x12\x8e\xd8",  # mov $0x1234, %ax; mov %ax, %ds: #GP
}


def forget_exception(uc: Uc) -> None:
    """Make Unicorn forget the exception in flight; everything else stays. Call it while the guest
    stands still.
    """
    place = _place()
    if place is None:
        return
    context = uc.context_save()
    context_words(context)[place] = _NONE
    uc.context_restore(context)


@cache
def _place() -> int | None:
    """Number of the 32-bit word of a context that holds the vector in flight; None if no word
    surely does.
    """
    candidates = [_changed(vector, code) for vector, code in _PROVOKE.items()]
    common = set.intersection(*candidates)
    return common.pop() if len(common) == 1 else None


def _changed(vector: int, code: bytes) -> set[int]:
    """The words that were "none" before the code raised its exception, and then its vector."""
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(_CODE, _CODE_SIZE)
    uc.mem_write(_CODE, code)
    uc.hook_add(UC_HOOK_INTR, lambda uc, _vector, _data: uc.emu_stop())
    before = uc.context_save()
    try:
        uc.emu_start(_CODE, _CODE + _CODE_SIZE)
    except UcError:
        return set()
    after = uc.context_save()
    pairs = zip(context_words(before), context_words(after), strict=True)
    return {place for place, pair in enumerate(pairs) if pair == (_NONE, vector)}


def context_words(context: Any) -> ctypes.Array[ctypes.c_uint32]:
    """A context's memory, as 32-bit words; good as long as the context."""
    address = ctypes.cast(context.context, ctypes.c_void_p).value
    assert address is not None
    array_type: type[ctypes.Array[ctypes.c_uint32]] = ctypes.c_uint32 * (context.size // 4)
    return array_type.from_address(address)
