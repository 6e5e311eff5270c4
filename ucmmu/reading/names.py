# SPDX-License-Identifier: GPL-2.0-or-later
"""The values of events in words: one list for every reader."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from cpu.syscalls.numbers import syscall_name
from mmu._native import lib
from mmu.linux.pgtable import PROTNONE, PTE_GUARD_MARKER, SAVED_DIRTY, SPECIAL, TLB_FLUSH_ALL
from mmu.linux.pte_ref import TryGet
from mmu.linux.tlbflush import TlbFlushReason
from mmu.units import U64
from mmu.x86 import Access
from mmu.x86.entries import (
    LEVEL_NAMES,
    SIZE_NAMES,
    X86_P,
    entry_flags,
    is_leaf,
    leads_to,
)
from mmu.x86.faults import describe_error_code

ACCESS: Final = {int(access): access.label for access in Access}
"""What an access does, by its number."""
TRYGET: Final = {int(result): result.name.lower().removeprefix("failed_") for result in TryGet}
"""What pte_try_get() ended in."""
VMA_LOCK: Final = {0: "success", 1: "abort", 2: "retry", 3: "miss"}
"""What came of a page fault's try with the lock of its VMA, as vmstat counts it (vma_lock_*)."""
REASON: Final = {int(reason): reason.label for reason in TlbFlushReason}
"""Why a TLB was flushed (enum tlb_flush_reason), as ftrace says it."""
HOLDER: Final = {0: "visitor", 1: "entries", 2: "policy"}
"""Whose references pte_get and pte_put count."""
LOCK: Final = {
    0: "PTE table",
    1: "PMD table",
    2: "page_table_lock",
    3: "mmap_lock",
    4: "VMA",
    5: "folio",
    6: "i_mmap_rwsem",
}
"""Kinds of locks that are waited for."""
LOCK_FLAGS: Final = {1: "SPIN", 2: "READ", 4: "WRITE"}
"""How a lock is waited for (LCB_F_*)."""
GRACE_PERIOD: Final = {0: "start", 1: "quiescent state", 2: "end"}
"""What happened to a grace period."""
RSS_MEMBER: Final = {0: "MM_FILEPAGES", 1: "MM_ANONPAGES", 2: "MM_SWAPENTS", 3: "MM_SHMEMPAGES"}
"""Resident-set counters of an mm, as ftrace's rss_stat says them."""
INVPCID_TYPE: Final = {
    0: "individual address",
    1: "single context",
    2: "all contexts with globals",
    3: "all contexts",
}
"""Types of INVPCID (SDM vol. 2)."""
SET_LEVEL: Final = {"set_pte": 1, "set_pmd": 2, "set_pud": 3, "set_p4d": 4, "set_pgd": 4}
"""The level of the entry that each of the kernel's stores changes, with 4-level paging."""
_MAX_ERRNO: Final = 4095

_DECIMAL: Final = frozenset(
    {
        *("size", "order", "old", "count", "level", "nr", "global", "freed_tables", "cpu", "csd"),
        *("slot", "gp_seq", "qlen", "prev_pid", "next_pid", "pages", "write", "success", "holder"),
        *("result", "reason", "kind", "member", "event", "type", "array", "access", "pcid"),
    }
)
_ENTRIES: Final = frozenset({"walk_entry", "walk_set_ad", *SET_LEVEL})
_ENTRY_FIELDS: Final = frozenset({"old", "new", "entry"})
_SYSCALLS: Final = ("sys_enter", "sys_exit")


class EntryWord(NamedTuple):
    """The field ``entry`` of tlb_fill, tlb_evict, tlb_drop and walk_cache_*, as
    native/trace/ring.h draws it.
    """

    slot: int
    pcid: int
    pat: int
    level: int
    page_level: int
    pkey: int
    flags: int

    @classmethod
    def of(cls, word: int) -> EntryWord:
        """Its parts."""
        return cls(
            slot=word >> lib.EVENT_ENTRY_SLOT_SHIFT & 0xFFFF,
            pcid=word >> lib.EVENT_ENTRY_PCID_SHIFT & 0xFFF,
            pat=word >> lib.EVENT_ENTRY_PAT_SHIFT & 0xF,
            level=word >> lib.EVENT_ENTRY_LEVEL_SHIFT & 0xF,
            page_level=word >> lib.EVENT_ENTRY_PAGE_LEVEL_SHIFT & 0xF,
            pkey=word >> lib.EVENT_ENTRY_PKEY_SHIFT & 0xFF,
            flags=word >> lib.EVENT_ENTRY_FLAGS_SHIFT,
        )

    @property
    def rights(self) -> str:
        """What the entry allows and is: ``R/W U/S D G XD``, as a paging-structure entry's bits."""
        return " ".join(name for bit, name in _TLB_FLAGS if self.flags & bit)

    def __str__(self) -> str:
        """``4 KiB PCID 1 R/W U/S``; Names.place() says where it is."""
        if self.flags & lib.TLB_TABLE:
            size = LEVEL_NAMES.get(self.level, f"level {self.level}")
        else:
            size = SIZE_NAMES.get(self.level, f"level {self.level}")
        page = f" of a {SIZE_NAMES[self.page_level]} page" if self._is_fragment else ""
        pkey = f" PK={self.pkey}" if self.pkey else ""
        rights = f" {self.rights}" if self.rights else ""
        return f"{size}{page} PCID {self.pcid}{rights}{pkey}"

    @property
    def _is_fragment(self) -> bool:
        return self.page_level in SIZE_NAMES and self.page_level != self.level and self.level > 0


_TLB_FLAGS: Final = (
    (lib.TLB_RW, "R/W"),
    (lib.TLB_US, "U/S"),
    (lib.TLB_DIRTY, "D"),
    (lib.TLB_GLOBAL, "G"),
    (lib.TLB_SHSTK, "SHSTK"),
    (lib.TLB_XD, "XD"),
)


def entry_text(entry: int, level: int) -> str:
    """A paging-structure entry of that level in a few words: ``P R/W U/S A D -> page 0x5000``;
    ``none`` for 0.
    """
    if entry == 0:
        return "none"
    if entry & X86_P:
        ours = ((SPECIAL, " SPECIAL"), (SAVED_DIRTY, " SAVED_DIRTY")) if level == 1 else ()
        special = "".join(name for bit, name in ours if entry & bit)
        to = "page" if is_leaf(entry, level) else "table"
        flags = " ".join(entry_flags(entry, level))
        return f"{flags}{special} -> {to} {leads_to(entry, level):#x}"
    if entry == PTE_GUARD_MARKER:
        return "guard marker"
    return f"PROT_NONE -> page {leads_to(entry, level):#x}" if entry & PROTNONE else "not present"


def error_name(value: int) -> str | None:
    """``ENOMEM`` for a system call's result -12; None if it is no error."""
    if U64 + 1 - _MAX_ERRNO <= value <= U64:
        number = U64 + 1 - value
        return errno.errorcode.get(number, f"E{number}")
    return None


def lock_flags(flags: int) -> str:
    """``SPIN``, ``READ|WRITE``, as ftrace's contention_begin says them."""
    names = [name for bit, name in LOCK_FLAGS.items() if flags & bit]
    rest = flags & ~sum(LOCK_FLAGS)
    return "|".join([*names, *([f"{rest:#x}"] if rest or not names else [])])


def as_signed(value: int) -> int:
    """A 64-bit value as a C long."""
    return value - (1 << 64) if value >> 63 else value


Meaning = Callable[[str, int], "str | None"]


def _of(names: Mapping[int, str], events: Sequence[str] = ()) -> Meaning:
    return lambda event, value: names.get(value) if not events or event in events else None


_MEANINGS: Final[dict[str, Meaning]] = {
    "access": _of(ACCESS),
    "error_code": lambda _event, value: describe_error_code(value),
    "result": lambda event, value: (VMA_LOCK if event == "vma_lock" else TRYGET).get(value),
    "holder": _of(HOLDER),
    "reason": _of(REASON),
    "kind": _of(LOCK),
    "flags": lambda event, value: lock_flags(value) if event == "contention_begin" else None,
    "event": _of(GRACE_PERIOD),
    "member": _of(RSS_MEMBER),
    "type": _of(INVPCID_TYPE),
    "nr": lambda event, value: syscall_name(value) if event in _SYSCALLS else None,
    "ret": lambda event, value: error_name(value),
    "pages": lambda event, value: (
        "all" if event == "tlb_flush" and value == TLB_FLUSH_ALL else None
    ),
}


class Names:
    """Values in words. ``head`` is the trace's: the names of its TLB arrays are in there."""

    def __init__(self, head: Mapping[str, Any]) -> None:
        self._heads = list(head.get("arrays", []))
        self.arrays = [_array_name(array) for array in self._heads]

    def place(self, array: int, slot: int) -> str:
        """Where an entry is, by the array's number and the place among all arrays', as `ucmmu walk`
        has it: ``STLB[4][1]``, set and way.
        """
        name = self.arrays[array] if array < len(self.arrays) else f"array {array}"
        found = self.set_and_way(array, slot)
        return f"{name} slot {slot}" if found is None else f"{name}[{found[0]}][{found[1]}]"

    def array_of(self, slot: int) -> int | None:
        """The number of the array that has the place ``slot``; None if the trace does not say."""
        firsts = [
            (int(head["first"]), number)
            for number, head in enumerate(self._heads)
            if isinstance(head, Mapping) and "first" in head and int(head["first"]) <= slot
        ]
        return max(firsts)[1] if firsts else None

    def set_and_way(self, array: int, slot: int) -> tuple[int, int] | None:
        """Set and way of a place of an array; None if the trace does not say how it is made."""
        head = self._heads[array] if array < len(self._heads) else None
        if not isinstance(head, Mapping) or not head.get("ways"):
            return None
        inside, ways = slot - int(head.get("first", 0)), int(head["ways"])
        if inside < 0 or inside >= ways * int(head.get("sets", inside + 1)):
            return None
        return divmod(inside, ways)

    def meaning(self, event: str, field: str, value: int) -> str | None:
        """What a field's value means, in words; None where the number says all."""
        if field == "array":
            return self.arrays[value] if value < len(self.arrays) else None
        if field in _ENTRY_FIELDS and event in _ENTRIES:
            return entry_text(value, SET_LEVEL.get(event, 1)) if event in SET_LEVEL else None
        meaning = _MEANINGS.get(field)
        return None if meaning is None else meaning(event, value)

    def number(self, event: str, field: str, value: int) -> str:
        """A field's value as a number: decimal for what people count, else hexadecimal."""
        if field == "ret":
            signed = as_signed(value)
            return str(signed) if abs(signed) < 1 << 16 else f"{value:#x}"
        if field in _DECIMAL and not (field in _ENTRY_FIELDS and event in _ENTRIES):
            return f"{value:#x}" if value == U64 else str(value)
        return f"{value:#x}"

    def shown(self, event: str, field: str, value: int) -> str:
        """A field's value in words, if it has some, else as a number."""
        return self.meaning(event, field, value) or self.number(event, field, value)


def _array_name(array: Any) -> str:
    """An array as the head has it: its name, or what describes it."""
    return str(array["name"]) if isinstance(array, Mapping) else str(array)
