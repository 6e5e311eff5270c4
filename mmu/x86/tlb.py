# SPDX-License-Identifier: GPL-2.0-or-later
"""Set-associative arrays of translations: lookup, fill, eviction, invalidation (SDM 4.10.2).

An array of S sets and W ways keeps the translation of a page in one of the W places of one set::

    set = (va / page size) mod S            S need not be a power of two

               way 0   way 1        way W-1
    set 0    | entry | entry | ... | entry |     An entry serves an address if it is valid, its page
    set 1    | entry | entry | ... | entry |     number and page size are the address's, and it is
      ...                                        global or tagged with the PCID in use.
    set S-1  | entry | entry | ... | entry |

An array may hold pages of several sizes; a lookup then asks for each, smallest first. Replacement is least
recently used: ``clock`` ticks at each use, ``used`` keeps the tick, an empty place goes first.

An entry keeps the *combined* rights of all levels, and D. It says what the tables said when it was made;
nothing but an invalidation, an eviction or a page fault takes it away (SDM 4.10.2.2).

The paging-structure caches are arrays too and share this code; caches.py gives them meaning.
native/x86/tlb.c is the same in C.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from mmu._native import lib
from mmu.events import COUNTER_ID, EVENT_ID
from mmu.x86.entries import (
    PAGE_SHIFT,
    SIZE_NAMES,
    X86_RW,
    X86_US,
    level_size,
    vpn_of,
)
from mmu.x86.state import Unit
from mmu.x86.walk import Access, Rights, WalkMode, mmu_walk

TLB_ITLB: Final = 0x1
TLB_DTLB: Final = 0x2
TLB_STLB: Final = 0x4
TLB_PSC: Final = 0x8
TRANSLATIONS: Final = TLB_ITLB | TLB_DTLB | TLB_STLB
"""The kinds of array that hold translations; TLB_PSC holds ways to tables."""

TLB_VALID: Final = 0x1
TLB_RW: Final = X86_RW
TLB_US: Final = X86_US
TLB_XD: Final = 0x8
TLB_DIRTY: Final = 0x10
TLB_GLOBAL: Final = 0x20
TLB_SHSTK: Final = 0x40
"""A shadow-stack page (SDM 4.6.1)."""

DROP_GLOBAL: Final = 0x1
"""An invalidation takes global entries too."""
DROP_ANY_PCID: Final = 0x2
"""An invalidation takes entries of every PCID."""

_TLB_FILL: Final = EVENT_ID["tlb_fill"]
_TLB_EVICT: Final = EVENT_ID["tlb_evict"]
_TLB_EVICTIONS: Final = COUNTER_ID["tlb_evictions"]
_SOFT_FLUSH_MAX: Final[int] = lib.SOFT_FLUSH_MAX


class Hit(NamedTuple):
    """A resident entry: ``entry`` is a ``struct tlb_entry &``, ``array`` the number of its array."""

    array: int
    entry: Any


class NewEntry(NamedTuple):
    """What a fill enters; the fields are those of ``struct tlb_entry``."""

    vpn: int
    frame: int
    table_gen: int
    pcid: int
    flags: int
    level: int
    pkey: int = 0
    pat: int = 0


@dataclass(frozen=True, slots=True)
class TlbEntry:
    """A copy of one valid entry, for people.

    ``va`` and ``pa`` are where its page begins; in a paging-structure cache, where the reach of the
    entry begins and the table it leads to. ``level`` is the page size (1 4 KiB, 2 2 MiB, 3 1 GiB), or the level
    the cache entry stands for.
    """

    array: str
    set: int
    way: int
    va: int
    pa: int
    level: int
    pcid: int
    writable: bool
    user: bool
    xd: bool
    dirty: bool
    is_global: bool
    used: int
    table_gen: int

    def __str__(self) -> str:
        flags = "".join(
            letter if on else "-"
            for letter, on in (
                ("w", self.writable),
                ("u", self.user),
                ("x", not self.xd),
                ("d", self.dirty),
                ("g", self.is_global),
            )
        )
        place = f"{self.array}[{self.set}][{self.way}]"
        size = SIZE_NAMES.get(self.level, "512 GiB")
        return f"{place}: {self.va:#x} -> {self.pa:#x} {size} {flags} pcid {self.pcid:#x}"


def flags_of(rights: Rights) -> int:
    """The TLB_* flags that stand for these rights."""
    return (
        (TLB_RW if rights.writable else 0)
        | (TLB_US if rights.user else 0)
        | (TLB_XD if rights.xd else 0)
        | (TLB_SHSTK if rights.shadow_stack else 0)
    )


def rights_of(entry: Any) -> Rights:
    """What a ``struct tlb_entry`` says of its page's rights."""
    flags = entry.flags
    return Rights(
        bool(flags & TLB_RW), bool(flags & TLB_US), bool(flags & TLB_XD), bool(flags & TLB_SHSTK), entry.pkey
    )


def levels_of(array: Any) -> Iterator[int]:
    """The page sizes that an array holds, as levels, smallest first (a ``struct tlb_array``)."""
    return (level for level in (1, 2, 3, 4) if array.sizes >> level & 1)


def set_of(array: Any, vpn: int, level: int) -> range:
    """Numbers of the entries in the set that a page maps to."""
    first = array.first + (vpn >> 9 * (level - 1)) % array.sets * array.ways
    return range(first, first + array.ways)


def matches(entry: Any, vpn: int, level: int, pcid: int) -> bool:
    """Whether an entry's tag is that of the page: SDM 4.10.2.1, 4.10.2.4."""
    flags = entry.flags
    return bool(
        flags & TLB_VALID
        and entry.vpn == vpn
        and entry.level == level
        and (entry.pcid == pcid or flags & TLB_GLOBAL)
    )


def _find_in(u: Unit, array: Any, va: int, level: int, pcid: int) -> Any | None:
    entries, vpn = u.c.tlb.entry, vpn_of(va, level)
    for number in set_of(array, vpn, level):
        entry = entries[number]
        if matches(entry, vpn, level, pcid):
            return entry
    return None


def arrays_of(u: Unit, kinds: int) -> Iterator[tuple[int, Any]]:
    """Arrays of those kinds with their numbers, in order."""
    tlb = u.c.tlb
    for number in range(tlb.nr_arrays):
        array = tlb.array[number]
        if array.kind & kinds:
            yield number, array


def tlb_find(u: Unit, va: int, kinds: int) -> Hit | None:
    """The first entry of those kinds, in order of array, page size and way, that va's tag matches."""
    pcid = u.pcid
    for number, array in arrays_of(u, kinds):
        for level in levels_of(array):
            entry = _find_in(u, array, va, level, pcid)
            if entry is not None:
                return Hit(number, entry)
    return None


def tlb_find_level(u: Unit, va: int, kinds: int, level: int) -> Any | None:
    """The same for one level only; used for paging-structure caches."""
    for _, array in arrays_of(u, kinds):
        if array.sizes >> level & 1:
            entry = _find_in(u, array, va, level, u.pcid)
            if entry is not None:
                return entry
    return None


def tlb_touch(u: Unit, entry: Any) -> None:
    """Make an entry the most recently used of all."""
    tlb = u.c.tlb
    tlb.clock += 1
    entry.used = tlb.clock


def victim_of(u: Unit, places: range) -> Any:
    """The place to fill: the first empty one, else the least recently used."""
    entries = u.c.tlb.entry
    for number in places:
        if not entries[number].flags & TLB_VALID:
            return entries[number]
    return min((entries[number] for number in places), key=lambda entry: int(entry.used))


def tlb_fill(u: Unit, kind: int, new: NewEntry) -> None:
    """Enter a translation into the array of that kind that holds its page size; if none does, nowhere.

    It goes over an entry with its own tag, if there is one, so that a set never holds the tag twice.
    """
    for number, array in arrays_of(u, kind):
        if array.sizes >> new.level & 1:
            _fill_array(u, number, array, new)
            return


def _fill_array(u: Unit, number: int, array: Any, new: NewEntry) -> None:
    is_cache = array.kind == TLB_PSC
    entry = _find_in(u, array, new.vpn << PAGE_SHIFT, new.level, new.pcid)
    if entry is None:
        entry = victim_of(u, set_of(array, new.vpn, new.level))
        if entry.flags & TLB_VALID and not is_cache:
            _evict(u, number, entry)
    entry.vpn, entry.frame, entry.table_gen = new.vpn, new.frame, new.table_gen
    entry.pcid, entry.flags, entry.level = new.pcid, new.flags, new.level
    entry.pkey, entry.pat = new.pkey, new.pat
    tlb_touch(u, entry)
    if not is_cache:
        u.emit(_TLB_FILL, new.vpn << PAGE_SHIFT, new.frame, number)


def _evict(u: Unit, number: int, entry: Any) -> None:
    u.emit(_TLB_EVICT, entry.vpn << PAGE_SHIFT, entry.frame, number)
    u.count(_TLB_EVICTIONS)
    _forget_if_stale(u, entry)


def is_stale(u: Unit, entry: Any) -> bool:
    """Whether a walk of today's tables would give another answer than this entry.

    Tables that were not announced as changed since (table_gen) need no walk. An entry of another PCID
    is in no soft TLB, which MOV to CR3 empties, and counts as fresh. The probe's privilege is the
    page's own, so that SMAP does not stand in its way.
    """
    flags = entry.flags
    if entry.table_gen == u.c.table_gen:
        return False
    if entry.pcid != u.pcid and not flags & TLB_GLOBAL:
        return False
    walk = mmu_walk(u, entry.vpn << PAGE_SHIFT, Access.READ, bool(flags & TLB_US), WalkMode.PROBE)
    return not (
        walk.ok
        and walk.pa == entry.frame
        and walk.level == entry.level
        and walk.rights == flags & (TLB_RW | TLB_US)
        and walk.xd == bool(flags & TLB_XD)
        and (walk.dirty or not flags & TLB_DIRTY)
        and walk.pkey == entry.pkey
        and walk.shadow_stack == bool(flags & TLB_SHSTK)
    )


def _forget_if_stale(u: Unit, entry: Any) -> None:
    """An entry is about to go: whoever learned it from us must forget it if the tables say otherwise now."""
    if is_stale(u, entry):
        mmu_soft_flush(u, entry.vpn << PAGE_SHIFT, level_size(entry.level) >> PAGE_SHIFT)


def mmu_soft_flush(u: Unit, va: int, nr_pages: int) -> None:
    """Name pages whose translations a consumer of ours must forget; everything, when they are too many."""
    c = u.c
    soft = c.soft
    if soft.all:
        return
    if nr_pages > _SOFT_FLUSH_MAX - soft.nr:
        soft.all, soft.nr, c.large = 1, 0, 0
        return
    page = va >> PAGE_SHIFT << PAGE_SHIFT
    for i in range(nr_pages):
        soft.page[soft.nr] = page + (i << PAGE_SHIFT) & 0xFFFF_FFFF_FFFF_FFFF
        soft.nr += 1


def tlb_drop_page(u: Unit, va: int) -> None:
    """Drop whatever lookups for va would find, in every array of translations."""
    while (hit := tlb_find(u, va, TRANSLATIONS)) is not None:
        _forget_if_stale(u, hit.entry)
        hit.entry.flags = 0


def tlb_drop_context(u: Unit, pcid: int, what: int) -> None:
    """Drop the entries of a PCID, paging-structure caches included; what is a set of DROP_*."""
    tlb = u.c.tlb
    if not tlb.clock:
        return  # nothing was ever entered
    entries = tlb.entry
    for number in range(tlb.nr_entries):
        entry = entries[number]
        flags = entry.flags
        if not flags or (flags & TLB_GLOBAL and not what & DROP_GLOBAL):
            continue
        if what & DROP_ANY_PCID or entry.pcid == pcid:
            entry.flags = 0


def tlb_drop_address(u: Unit, va: int, pcid: int, what: int) -> None:
    """Drop the translations of va's page that a PCID would use; with DROP_GLOBAL the global ones too.

    With DROP_ANY_PCID those of any PCID.
    Pages of every size are looked for: INVLPG of any address in a large page drops it whole (SDM 4.10.4.1).
    """
    entries = u.c.tlb.entry
    for _, array in arrays_of(u, TRANSLATIONS):
        for level in levels_of(array):
            vpn = vpn_of(va, level)
            for number in set_of(array, vpn, level):
                entry = entries[number]
                if entry.vpn == vpn and entry.level == level and _falls_with_page(entry, pcid, what):
                    entry.flags = 0


def _falls_with_page(entry: Any, pcid: int, what: int) -> bool:
    """Does an invalidation of its page take the entry? A global one is every PCID's."""
    if entry.flags & TLB_GLOBAL:
        return bool(what & DROP_GLOBAL)
    return bool(entry.pcid == pcid or what & DROP_ANY_PCID)
