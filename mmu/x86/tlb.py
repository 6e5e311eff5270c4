# SPDX-License-Identifier: GPL-2.0-or-later
"""Set-associative arrays of translations: lookup, fill, eviction, invalidation (SDM 4.10.2).

An array of S sets and W ways keeps the translation of a page in one of the W places of one set::

    page = va / page size
    set = page mod S                            linear; S need not be a power of two
    set = (page xor page / S) mod S             hashed; S = 2^n

               way 0   way 1        way W-1
    set 0    | entry | entry | ... | entry |     An entry serves an address if it is valid, its page
    set 1    | entry | entry | ... | entry |     number and size are the address's, and it is
      ...                                        global or tagged with the PCID in use.
    set S-1  | entry | entry | ... | entry |

An array may hold pages of several sizes; a lookup then asks for each, smallest first. It may also
hold table-referencing entries, which serve walks (TLB_TABLE; caches.py). It serves fetches, loads,
stores, or several of these. A page of a size that an array does not hold may be entered there as a
smaller one: the fragment that the access lies in, with the frame of its own part (SDM 4.10.2.3).

A fill takes an empty place if there is one, of several the one that a tree points to (so it was
measured: a flushed set fills in the order in which it evicts), else the first; in a full set the
array's policy names the victim::

    lru        the least recently used
    fifo       the first that was entered
    random     any
    tree_plru  where a binary tree over the ways points; a use turns each node on its path away
    mru_plru   ways in groups of four: where the tree of group (group used last + 1) mod groups
               points

A use of the entry used last, or entered last, of all changes nothing, under any policy.

An entry keeps the *combined* rights of all levels, and D. It says what the tables said when it was
made; nothing but an invalidation, an eviction or a page fault takes it away (SDM 4.10.2.2).

An array may have room for the entries of so many PCIDs only: loading one more takes away those of
the PCID that was loaded longest ago, global entries excepted.

native/x86/tlb.c is the same in C.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from mmu._native import ffi, lib
from mmu.events import COUNTER_ID, EVENT_ID
from mmu.units import PAGE_SHIFT
from mmu.x86.entries import (
    SIZE_NAMES,
    X86_RW,
    X86_US,
    level_size,
    vpn_of,
)
from mmu.x86.replacement import BY_NUMBER
from mmu.x86.state import Unit
from mmu.x86.walk import Access, Rights, WalkMode, mmu_walk

if TYPE_CHECKING:
    from mmu._native import struct_tlb_array, struct_tlb_entry

TLB_ITLB: Final = 0x1
TLB_DTLB_LOAD: Final = 0x2
TLB_DTLB_STORE: Final = 0x4
TLB_L2_ITLB: Final = 0x8
TLB_L2_DTLB: Final = 0x10
TLB_PSC: Final = 0x20
TRANSLATIONS: Final = TLB_ITLB | TLB_DTLB_LOAD | TLB_DTLB_STORE | TLB_L2_ITLB | TLB_L2_DTLB
"""The kinds of array that serve accesses; TLB_PSC serves walks. An array may do both."""

_FIRST_LEVEL: Final = (
    TLB_DTLB_LOAD, TLB_DTLB_STORE, TLB_ITLB, TLB_DTLB_LOAD, TLB_DTLB_STORE, TLB_DTLB_LOAD,
)  # fmt: skip


TLB_VALID: Final = 0x1
TLB_RW: Final = X86_RW
TLB_US: Final = X86_US
TLB_XD: Final = 0x8
TLB_DIRTY: Final = 0x10
TLB_GLOBAL: Final = 0x20
TLB_SHSTK: Final = 0x40
"""A shadow-stack page: R/W is 1 in all upper levels, 0 in the leaf, and D is 1 there."""
TLB_TABLE: Final = 0x80
"""The entry stands for a table-referencing entry."""

DROP_GLOBAL: Final = 0x1
"""An invalidation takes global entries too."""
DROP_ANY_PCID: Final = 0x2
"""An invalidation takes entries of every PCID."""

_FILL: Final = EVENT_ID["tlb_fill"], EVENT_ID["walk_cache_fill"]
_EVICT: Final = EVENT_ID["tlb_evict"], EVENT_ID["walk_cache_evict"]
_DROP: Final = EVENT_ID["tlb_drop"], EVENT_ID["walk_cache_drop"]
"""Events of a page's entry, and of a table-referencing entry."""
_TLB_EVICTIONS: Final = COUNTER_ID["tlb_evictions"]
_SOFT_FLUSH_MAX: Final[int] = lib.SOFT_FLUSH_MAX
_ANY_PCIDS: Final[int] = lib.TLB_ANY_PCIDS


class Hit(NamedTuple):
    """A resident entry, a ``struct tlb_entry`` by reference, and the number of its array."""

    array: int
    entry: struct_tlb_entry


class NewEntry(NamedTuple):
    """What a fill enters; the fields are those of ``struct tlb_entry``. ``page_level`` 0 stands for
    ``level``.
    """

    vpn: int
    frame: int
    table_gen: int
    pcid: int
    flags: int
    level: int
    pkey: int = 0
    pat: int = 0
    page_level: int = 0

    @classmethod
    def of(cls, entry: struct_tlb_entry) -> NewEntry:
        """The same as an entry that is resident."""
        return cls(*(getattr(entry, name) for name in cls._fields))


@dataclass(frozen=True, slots=True)
class TlbEntry:
    """A copy of one valid entry, for people.

    ``va`` and ``pa`` are where its page begins; in a paging-structure cache, where the reach of the
    entry begins and the table it leads to. ``level`` is the size it maps (1 4 KiB, 2 2 MiB, 3 1
    GiB), or the level the cache entry stands for; ``page_level`` is above it in a fragment of a
    page of that size.
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
    shadow_stack: bool = False
    pkey: int = 0
    pat: int = 0
    page_level: int = 0

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
        size = SIZE_NAMES.get(self.level, "512 GiB" if self.level == 4 else "256 TiB")
        if self.page_level > self.level:
            size += f" of {SIZE_NAMES[self.page_level]}"
        return f"{place}: {self.va:#x} -> {self.pa:#x} {size} {flags} pcid {self.pcid:#x}"


def flags_of(rights: Rights) -> int:
    """The TLB_* flags that stand for these rights."""
    return (
        (TLB_RW if rights.writable else 0)
        | (TLB_US if rights.user else 0)
        | (TLB_XD if rights.xd else 0)
        | (TLB_SHSTK if rights.shadow_stack else 0)
    )


def rights_of(entry: struct_tlb_entry) -> Rights:
    """What a ``struct tlb_entry`` says of its page's rights."""
    flags = entry.flags
    return Rights(
        bool(flags & TLB_RW),
        bool(flags & TLB_US),
        bool(flags & TLB_XD),
        bool(flags & TLB_SHSTK),
        entry.pkey,
    )


def first_level(access: int) -> int:
    """The first-level kind of array that serves an access: a shadow-stack read is a load, a write a
    store.
    """
    return _FIRST_LEVEL[access]


def second_level(access: int) -> int:
    """The second-level kind."""
    return TLB_L2_ITLB if access == Access.FETCH else TLB_L2_DTLB


def levels_of(array: struct_tlb_array) -> Iterator[int]:
    """The sizes that an array maps, as levels, smallest first (a ``struct tlb_array``)."""
    return (level for level in (1, 2, 3) if array.sizes >> level & 1)


def set_number(array: struct_tlb_array, vpn: int, level: int) -> int:
    """Number, within its array, of the set that an address maps to."""
    page = vpn >> 9 * (level - 1)
    if array.fold:
        page ^= page >> array.fold
    return page % array.sets


def set_of(array: struct_tlb_array, vpn: int, level: int) -> range:
    """Numbers of the entries in the set that an address maps to."""
    first = array.first + set_number(array, vpn, level) * array.ways
    return range(first, first + array.ways)


def matches(entry: struct_tlb_entry, vpn: int, level: int, pcid: int, table: int) -> bool:
    """Whether an entry's tag is that of the page, or of the table-referencing entry (SDM 4.10.2.1,
    4.10.2.4).
    """
    flags = entry.flags
    return bool(
        flags & (TLB_VALID | TLB_TABLE) == TLB_VALID | table
        and entry.vpn == vpn
        and entry.level == level
        and (entry.pcid == pcid or flags & TLB_GLOBAL)
    )


def _find_in(
    u: Unit, array: struct_tlb_array, va: int, level: int, pcid: int, table: int
) -> struct_tlb_entry | None:
    entries, vpn = u.c.tlb.entry, vpn_of(va, level)
    for number in set_of(array, vpn, level):
        entry = entries[number]
        if matches(entry, vpn, level, pcid, table):
            return entry
    return None


def arrays_of(u: Unit, kinds: int) -> Iterator[tuple[int, struct_tlb_array]]:
    """Arrays of those kinds with their numbers, in order."""
    tlb = u.c.tlb
    for number in range(tlb.nr_arrays):
        array = tlb.array[number]
        if array.kind & kinds:
            yield number, array


def _arrays_for_tables(u: Unit, level: int) -> Iterator[struct_tlb_array]:
    return (array for _, array in arrays_of(u, TLB_PSC) if array.tables >> level & 1)


def tlb_find(u: Unit, va: int, kinds: int) -> Hit | None:
    """The first entry of those kinds, in order of array, size and way, that maps va."""
    pcid = u.pcid
    for number, array in arrays_of(u, kinds):
        for level in levels_of(array):
            entry = _find_in(u, array, va, level, pcid, 0)
            if entry is not None:
                return Hit(number, entry)
    return None


def tlb_find_table(u: Unit, va: int, level: int) -> struct_tlb_entry | None:
    """The first table-referencing entry of that level that leads to va."""
    for array in _arrays_for_tables(u, level):
        entry = _find_in(u, array, va, level, u.pcid, TLB_TABLE)
        if entry is not None:
            return entry
    return None


def _prefer(u: Unit, number: int, array: struct_tlb_array) -> None:
    """Entry number is the last used of its set: tell its policy."""
    states = u.c.tlb.set
    at, way = divmod(number - array.first, array.ways)
    at += array.first_set
    states[at] = BY_NUMBER[array.policy].use(states[at], way, array.ways)


def _tick(u: Unit, entry: struct_tlb_entry) -> None:
    tlb = u.c.tlb
    tlb.clock += 1
    entry.used = tlb.clock


def tlb_touch(u: Unit, entry: struct_tlb_entry) -> None:
    """A use of an entry, which counts unless that was the last one used, or entered, of all."""
    tlb = u.c.tlb
    array = tlb.array[entry.array]
    if entry.used == tlb.clock or not BY_NUMBER[array.policy].by_use:
        return
    _prefer(u, number_of(u, entry), array)
    _tick(u, entry)


def number_of(u: Unit, entry: struct_tlb_entry) -> int:
    """The number of an entry among all of ``struct tlb``."""
    return ffi.addressof(entry) - u.c.tlb.entry


def place_in(u: Unit, array: struct_tlb_array, vpn: int, level: int) -> int:
    """Number of the entry to fill in the set that an address maps to.

    An empty place, if there is one, and of several the one that a tree points to, else the first;
    in a full set the victim's.
    """
    entries = u.c.tlb.entry
    places = set_of(array, vpn, level)
    empty = [number for number in places if not entries[number].flags & TLB_VALID]
    policy = BY_NUMBER[array.policy]
    if empty and not policy.names_empty:
        return empty[0]
    state = u.c.tlb.set[array.first_set + (places.start - array.first) // array.ways]
    pointed = places[policy.victim(u.c.tlb, places, state)]
    return empty[0] if empty and pointed not in empty else pointed


def part_of(page: NewEntry, va: int, level: int) -> NewEntry:
    """A page as an entry of that level: the whole of it, or the fragment that va lies in."""
    size = level_size(page.page_level)
    inside = size - level_size(level)
    frame = page.frame & -size | va & inside
    return page._replace(vpn=vpn_of(va, level), frame=frame, level=level)


def tlb_fill(u: Unit, kind: int, va: int, new: NewEntry) -> None:
    """Enter va's translation into the array of that kind that takes its page size; if none does,
    nowhere.

    ``new`` may be a fragment of the page that another array holds: this one enters what it would
    enter of the page. It goes over an entry with its own tag, if there is one, so that a set never
    holds the tag twice.
    """
    page = new if new.page_level else new._replace(page_level=new.level)
    for number, array in arrays_of(u, kind):
        level = array.enters[page.page_level]
        if level:
            if level < page.page_level:
                u.c.tlb.fragments = 1
            _fill_array(u, number, array, part_of(page, va, level))
            return


def tlb_fill_table(u: Unit, new: NewEntry) -> None:
    """Enter a table-referencing entry into the array for its level; if there is none, nowhere."""
    for number, array in arrays_of(u, TLB_PSC):
        if array.tables >> new.level & 1:
            _fill_array(u, number, array, new._replace(page_level=new.level))
            return


def _fill_array(u: Unit, number: int, array: struct_tlb_array, new: NewEntry) -> None:
    table = new.flags & TLB_TABLE
    entry = _find_in(u, array, new.vpn << PAGE_SHIFT, new.level, new.pcid, table)
    if entry is None:
        entry = u.c.tlb.entry[place_in(u, array, new.vpn, new.level)]
        if entry.flags & TLB_VALID:
            _evict(u, entry)
    for name, value in zip(NewEntry._fields, new, strict=True):
        setattr(entry, name, value)
    entry.array = number
    _tick(u, entry)
    _prefer(u, number_of(u, entry), array)
    if u.c.check:
        lib.check_filled(u.c, number_of(u, entry))
    if not table:
        u.c.tlb.entered |= 1 << new.level
    _emit_entry(u, _FILL, entry)


def event_entry(u: Unit, entry: struct_tlb_entry) -> int:
    """What events say of an entry, packed as native/trace/ring.h draws it."""
    return (
        number_of(u, entry) << lib.EVENT_ENTRY_SLOT_SHIFT
        | entry.pcid << lib.EVENT_ENTRY_PCID_SHIFT
        | entry.pat << lib.EVENT_ENTRY_PAT_SHIFT
        | entry.level << lib.EVENT_ENTRY_LEVEL_SHIFT
        | entry.page_level << lib.EVENT_ENTRY_PAGE_LEVEL_SHIFT
        | entry.pkey << lib.EVENT_ENTRY_PKEY_SHIFT
        | entry.flags << lib.EVENT_ENTRY_FLAGS_SHIFT
    )


def _emit_entry(u: Unit, events: tuple[int, int], entry: struct_tlb_entry) -> None:
    """An event of an entry: the first number for a page's, the second for a table-referencing
    one.
    """
    if u.records:
        event = events[bool(entry.flags & TLB_TABLE)]
        va = entry.vpn << PAGE_SHIFT
        u.emit(event, va, entry.frame, entry.array, event_entry(u, entry))


def take_out(u: Unit, entry: struct_tlb_entry) -> None:
    """Take a valid entry out of its array."""
    _emit_entry(u, _DROP, entry)
    entry.flags = 0


def _evict(u: Unit, entry: struct_tlb_entry) -> None:
    """A valid entry gives its place away; one of a page is counted."""
    _emit_entry(u, _EVICT, entry)
    if entry.flags & TLB_TABLE:
        return
    u.count(_TLB_EVICTIONS)
    _forget_if_stale(u, entry)


def is_stale(u: Unit, entry: struct_tlb_entry) -> bool:
    """Whether a walk of today's tables would give another answer than this entry.

    Tables that were not announced as changed since (table_gen) need no walk. An entry of another
    PCID is in no soft TLB, which MOV to CR3 empties, and counts as fresh. The probe's privilege is
    the page's own, so that SMAP does not stand in its way.
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
        and walk.level == entry.page_level
        and walk.rights == flags & (TLB_RW | TLB_US)
        and walk.xd == bool(flags & TLB_XD)
        and (walk.dirty or not flags & TLB_DIRTY)
        and walk.pkey == entry.pkey
        and walk.shadow_stack == bool(flags & TLB_SHSTK)
    )


def _forget_if_stale(u: Unit, entry: struct_tlb_entry) -> None:
    """An entry is about to go: whoever learned it from us must forget it if the tables say
    otherwise now.
    """
    if is_stale(u, entry):
        mmu_soft_flush(u, entry.vpn << PAGE_SHIFT, level_size(entry.level) >> PAGE_SHIFT)


def mmu_soft_flush(u: Unit, va: int, nr_pages: int) -> None:
    """Name pages whose translations a consumer of ours must forget; everything, when they are too
    many.
    """
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
    """Drop whatever lookups for va would find, in every array, and every fragment of va's page (SDM
    4.10.2.3).
    """
    if u.c.check:
        lib.check_drop_page(u.c, va, u.pcid, DROP_GLOBAL)
    while (hit := tlb_find(u, va, TRANSLATIONS)) is not None:
        _forget_if_stale(u, hit.entry)
        take_out(u, hit.entry)
    for entry in _fragments_around(u, va, u.pcid, DROP_GLOBAL):
        _forget_if_stale(u, entry)
        take_out(u, entry)


def _fragments_around(u: Unit, va: int, pcid: int, what: int) -> Iterator[struct_tlb_entry]:
    """The fragments, wherever they are, of the page of their size that va lies in; global ones with
    DROP_GLOBAL.
    """
    tlb = u.c.tlb
    if not tlb.fragments:
        return
    for number in range(tlb.nr_entries):
        entry = tlb.entry[number]
        flags, size = entry.flags, entry.page_level
        if flags & (TLB_VALID | TLB_TABLE) != TLB_VALID or size <= entry.level:
            continue
        if vpn_of(entry.vpn << PAGE_SHIFT, size) != vpn_of(va, size):
            continue
        if _falls_with_page(entry, pcid, what):
            yield entry


def tlb_drop_context(u: Unit, pcid: int, what: int) -> None:
    """Drop the entries of a PCID, paging-structure caches included; what is a set of DROP_*."""
    if u.c.check:
        lib.check_drop_context(u.c, pcid, what)
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
            take_out(u, entry)


def tlb_drop_address(u: Unit, va: int, pcid: int, what: int) -> None:
    """Drop the translations of va's page that a PCID would use; with DROP_GLOBAL the global ones
    too.

    With DROP_ANY_PCID those of any PCID. Pages of every size are looked for: INVLPG of any address
    in a large page drops it whole (SDM 4.10.4.1), and all the fragments it was entered as
    (4.10.2.3).
    """
    if u.c.check:
        lib.check_drop_page(u.c, va, pcid, what)
    entries = u.c.tlb.entry
    for _, array in arrays_of(u, TRANSLATIONS):
        for level in levels_of(array):
            vpn = vpn_of(va, level)
            for number in set_of(array, vpn, level):
                entry = entries[number]
                is_page = entry.flags & (TLB_VALID | TLB_TABLE) == TLB_VALID
                tagged = entry.vpn == vpn and entry.level == level and is_page
                if tagged and _falls_with_page(entry, pcid, what):
                    take_out(u, entry)
    for entry in _fragments_around(u, va, pcid, what):
        take_out(u, entry)


def _falls_with_page(entry: struct_tlb_entry, pcid: int, what: int) -> bool:
    """Does an invalidation of its page take the entry? A global one is every PCID's."""
    if entry.flags & TLB_GLOBAL:
        return bool(what & DROP_GLOBAL)
    return bool(entry.pcid == pcid or what & DROP_ANY_PCID)


def tlb_switch_pcid(u: Unit, pcid: int) -> None:
    """MOV to CR3, or a change of CR4.PCIDE, loads a PCID, which may be in use already.

    In arrays that limit PCIDs it is live from now on. If that is one too many, the one loaded
    longest ago loses its entries there, the global ones excepted. With a limit of 0 even a PCID
    loaded again does.
    """
    tlb = u.c.tlb
    for _, array in arrays_of(u, TRANSLATIONS | TLB_PSC):
        if array.pcids == _ANY_PCIDS:
            continue
        out = _make_live(array, pcid) if array.pcids else None
        if array.pcids and out is None:
            continue
        for number in range(array.first, array.first + array.sets * array.ways):
            entry = tlb.entry[number]
            if entry.flags & (TLB_VALID | TLB_GLOBAL) != TLB_VALID:
                continue
            if out is None or entry.pcid == out:
                take_out(u, entry)


def _make_live(array: struct_tlb_array, pcid: int) -> int | None:
    """Put the PCID at the front of the live ones; the one that this pushes out, if any."""
    live = [array.live[i] for i in range(array.nr_live)]
    if pcid in live:
        live.remove(pcid)
    live.insert(0, pcid)
    out = live.pop() if len(live) > array.pcids else None
    array.nr_live = len(live)
    for i, one in enumerate(live):
        array.live[i] = one
    return out
