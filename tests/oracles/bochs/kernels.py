# SPDX-License-Identifier: GPL-2.0-or-later
"""Random kernels: tables, and operations on them whose outcome the architecture defines.

There are three address spaces. Each has two parts of its PML4 table with four pages under test: one
part is its own, the other is shared by all (the only one that may have global pages). A kernel
edits entries of these tables with stores of its own, invalidates, switches between address spaces
and PCIDs, changes CR0, CR4 and EFER, and accesses the pages at CPL 0 and 3.

What a processor may still have cached of an entry that was changed is undefined (SDM 4.10.4.3). So
the making of a kernel keeps account of which translations may be stale (``Stale``), by what SDM
4.10.4.1 guarantees of each invalidation and no more, and makes no access to a page that may be, in
the PCID it runs in: an invalidation that suffices comes first. What is excluded so:

- any access by a translation that may be stale, also one that an entry with more rights replaced
  (a spurious fault may or may not happen);
- a global page in the part that differs between address spaces;
- MOV CR3 with bit 63 to a PCID that was used with another address space;
- reading tables, in which A of upper entries may differ (deviations.UPPER_ACCESSED).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

from mmu.x86.entries import (
    X86_A,
    X86_D,
    X86_G,
    X86_P,
    X86_PCD,
    X86_PS,
    X86_PWT,
    X86_RW,
    X86_US,
    X86_XD,
    is_leaf,
    level_size,
)
from mmu.x86.registers import (
    CR0_PG,
    CR0_WP,
    CR3_NOFLUSH,
    CR3_PCID_MASK,
    CR4_LA57,
    CR4_PAE,
    CR4_PCIDE,
    CR4_PGE,
    CR4_SMAP,
    CR4_SMEP,
    EFER_NXE,
    is_canonical,
)
from tests.oracles.bochs import kernel_code, layout, states

ROOTS: Final = 3
SHARED: Final = "shared"
PCIDS: Final = (0, 1, 2, 0x7FF)
_SLOTS: Final = {True: 0x1F0, False: 0x11}
"""Of the PML4 table: of the shared part, of an address space's own one."""
_PDPT: Final = (7, 300)
_OFFSET: Final = 0x10
_OFFSETS_END: Final = 0x700
"""Where a page is loaded and stored: not where it is executed."""


class Page(NamedTuple):
    """A page under test: the indexes below the PML4 table's."""

    pdpt: int
    pd: int
    pt: int

    @property
    def address(self) -> int:
        """Within the slot."""
        return self.pdpt << 30 | self.pd << 21 | self.pt << 12


PAGES: Final = (
    Page(_PDPT[0], 1, 5),
    Page(_PDPT[0], 1, 6),
    Page(_PDPT[0], 2, 9),
    Page(_PDPT[1], 1, 3),
)
CROSSING: Final = 0
"""The page that the next one follows."""


class Part(NamedTuple):
    """A part of an address space, with the frames of its tables."""

    name: str
    slot: int
    pdpt: int
    pds: dict[int, int]
    """By index in the PDPT."""
    pts: dict[tuple[int, int], tuple[int, ...]]
    """By the indexes that lead there: those that a PDE may lead to."""

    def address(self, page: Page) -> int:
        va = self.slot << 39 | page.address
        return va | 0xFFFF << 48 if va >> 47 else va


class Place(NamedTuple):
    """An entry that is edited: where it is, and whose translations it takes part in."""

    pa: int
    level: int
    part: str
    pages: tuple[Page, ...]
    targets: tuple[int, ...]
    """The tables it may refer to."""


@functools.cache
def parts() -> dict[str, Part]:
    """The parts: the shared one, and each address space's own."""
    frames = iter(layout.FRAMES[ROOTS:])
    found = {}
    for name in (SHARED, *map(str, range(ROOTS))):
        pdpt = next(frames)
        pds = {index: next(frames) for index in _PDPT}
        pts = {
            key: tuple(itertools.islice(frames, 2 if key == (_PDPT[0], 1) else 1))
            for key in sorted({(page.pdpt, page.pd) for page in PAGES})
        }
        found[name] = Part(name, _SLOTS[name == SHARED], pdpt, pds, pts)
    return found


def root(number: int) -> int:
    """The PML4 table of an address space."""
    return layout.FRAMES[number]


@functools.cache
def places() -> tuple[Place, ...]:
    """Every entry, but those of the PML4 tables for the shared part and the guest's own pages."""
    found = []
    for part in parts().values():
        if part.name != SHARED:
            pa = root(int(part.name)) + part.slot * 8
            found.append(Place(pa, 4, part.name, PAGES, (part.pdpt,)))
        for pdpt, pd_frame in part.pds.items():
            below = tuple(page for page in PAGES if page.pdpt == pdpt)
            found.append(Place(part.pdpt + pdpt * 8, 3, part.name, below, (pd_frame,)))
        for (pdpt, pd), pts in part.pts.items():
            below = tuple(page for page in PAGES if (page.pdpt, page.pd) == (pdpt, pd))
            found.append(Place(part.pds[pdpt] + pd * 8, 2, part.name, below, pts))
            for pt_frame, page in itertools.product(pts, below):
                found.append(Place(pt_frame + page.pt * 8, 1, part.name, (page,), ()))
    return tuple(found)


@functools.cache
def place_at() -> dict[int, Place]:
    """The places by their guest-physical addresses."""
    return {place.pa: place for place in places()}


class Op(NamedTuple):
    """One operation: a name of ``kernel_code``, and RBX, RCX, RDX."""

    name: str
    rbx: int = 0
    rcx: int = 0
    rdx: int = 0

    def packed(self) -> tuple[int, int, int, int]:
        return kernel_code.addresses()[self.name], self.rbx, self.rcx, self.rdx


def at_cpl3(op: Op) -> str:
    """What an operation that enters CPL 3 does there."""
    return kernel_code.user_names()[op.rdx].partition("_")[2]


class Kernel(NamedTuple):
    """A kernel, whole."""

    seed: int
    number: int
    cr0: int
    cr3: int
    cr4: int
    efer: int
    words: tuple[tuple[int, int], ...]
    """(guest-physical address, entry)."""
    ops: tuple[Op, ...]
    data: tuple[int, ...]
    """The pages of data that it can reach."""


class KernelResult(NamedTuple):
    """What a kernel did."""

    log: tuple[int | None, ...]
    """Words; None for what is not told."""
    control: tuple[int, int, int, int]
    """CR0, CR3, CR4 and EFER in the end."""
    words: tuple[int, ...]
    data: tuple[tuple[int, bytes], ...]
    """Pages that it changed."""
    invalidations: tuple[tuple[str, int], ...]
    """TLB-control events in order: what, and of MOV CR3 the value."""


Translations = set[tuple[str, Page, int]]


class Stale:
    """Which translations may be stale, by (part, page, PCID)."""

    def __init__(self) -> None:
        self.tlb: Translations = set()
        self.upper: Translations = set()
        """In the paging-structure caches."""
        self.everywhere: set[Page] = set()
        """Of the shared part, as global ones."""

    def edited(self, place: Place) -> None:
        """An entry that was present has changed."""
        for page, pcid in itertools.product(place.pages, PCIDS):
            self.tlb.add((place.part, page, pcid))
            if place.level > 1:
                self.upper.add((place.part, page, pcid))
        if place.part == SHARED:
            self.everywhere.update(place.pages)

    def everything(self) -> None:
        """What XD means has changed."""
        for place in places():
            self.edited(place)

    def invlpg(self, part: str, page: Page, pcid: int) -> None:
        self.tlb.discard((part, page, pcid))
        self.upper = {entry for entry in self.upper if entry[2] != pcid}
        if part == SHARED:
            self.everywhere.discard(page)

    def address(self, part: str, page: Page, pcid: int) -> None:
        """INVPCID of one address."""
        self.tlb.discard((part, page, pcid))
        self.upper.discard((part, page, pcid))

    def context(self, pcid: int) -> None:
        """All of a PCID but global translations."""
        self.tlb = {entry for entry in self.tlb if entry[2] != pcid}
        self.upper = {entry for entry in self.upper if entry[2] != pcid}

    def all_contexts(self) -> None:
        """All but global translations."""
        self.tlb.clear()
        self.upper.clear()

    def all(self) -> None:
        self.all_contexts()
        self.everywhere.clear()

    def has(self, part: str, page: Page, pcid: int) -> bool:
        entry = (part, page, pcid)
        is_global = part == SHARED and page in self.everywhere
        return is_global or entry in self.tlb or entry in self.upper


class Account:
    """What a kernel's operations have done so far to registers and tables, as far as it matters to
    which translations may be stale. ``do()`` is told each.
    """

    def __init__(self, cr3: int, cr4: int, words: dict[int, int]) -> None:
        self.cr3, self.cr4, self.words = cr3, cr4, words
        self.stale = Stale()
        self.roots = {self.pcid: self.root}
        """By PCID: the address space that it may have cached translations of."""

    @property
    def root(self) -> int:
        """The number of the present address space."""
        return layout.FRAMES.index(self.cr3 & -layout.PAGE)

    @property
    def pcide(self) -> bool:
        return bool(self.cr4 & CR4_PCIDE)

    @property
    def pcid(self) -> int:
        """The current one; CR3[11:0] are not it without PCIDE."""
        return self.cr3 & CR3_PCID_MASK if self.pcide else 0

    @property
    def parts(self) -> tuple[Part, Part]:
        """Those of the present address space."""
        return parts()[SHARED], parts()[str(self.root)]

    def do(self, op: Op) -> bool:
        """Do an operation. False if the architecture does not define its outcome."""
        doing = _ACCOUNTS.get(op.name)
        return self._access(op) if doing is None else doing(self, op)

    def pages_at(self, va: int, size: int) -> list[tuple[Part, Page]]:
        """The pages that an access touches; none if it is #GP."""
        if not is_canonical(va):
            return []
        slot = va >> 39 & 511
        part = next(part for part in self.parts if part.slot == slot)
        first, last = va & _IN_SLOT, va + size - 1 & _IN_SLOT
        return [
            (part, page) for page in PAGES if first <= page.address | 0xFFF and last >= page.address
        ]

    def defined(self, va: int, size: int) -> bool:
        """Whether an access cannot meet a stale translation."""
        return not any(
            self.stale.has(part.name, page, self.pcid) for part, page in self.pages_at(va, size)
        )

    def _access(self, op: Op) -> bool:
        size = op.rdx if op.name == "rep" else _SIZES.get(op.name, 8)
        if op.name in _TWO_ADDRESSES and not self.defined(op.rcx, size):
            return False
        return self.defined(op.rbx, size)

    def _user(self, op: Op) -> bool:
        name = at_cpl3(op)
        return name in _PRIVILEGED or self.defined(op.rbx, _SIZES.get(name, 8))

    def _store(self, op: Op) -> bool:
        pa = kernel_code.window_of(op.rbx)
        if pa is None:
            return self._access(op)
        place = place_at()[pa]
        if self.words[pa] & X86_P:
            self.stale.edited(place)
        self.words[pa] = op.rcx
        return True

    def _invlpg(self, op: Op) -> bool:
        for part, page in self.pages_at(op.rbx, 1):
            self.stale.invlpg(part.name, page, self.pcid)
        return True

    def _invpcid(self, op: Op) -> bool:
        kind, pcid, va = op.rbx, op.rcx, op.rdx
        if kind == 2:
            self.stale.all()
        elif kind == 3:
            self.stale.all_contexts()
        elif pcid > CR3_PCID_MASK or (pcid and not self.pcide) or not is_canonical(va):
            return True  # #GP
        elif kind == 1:
            self.stale.context(pcid)
        elif kind == 0:
            for part, page in self.pages_at(va, 1):
                if part.name == SHARED or self.roots.get(pcid) == self.root:
                    self.stale.address(part.name, page, pcid)
        return True

    def _mov_cr3(self, op: Op) -> bool:
        keep = op.rbx & CR3_NOFLUSH
        if op.rbx & _CR3_RESERVED or (keep and not self.pcide):
            return True  # #GP
        self.cr3 = op.rbx & ~CR3_NOFLUSH
        known = self.roots.get(self.pcid, self.root) == self.root
        self.roots[self.pcid] = self.root
        if not keep:
            self.stale.context(self.pcid)
        return known or not keep

    def _mov_cr4(self, op: Op) -> bool:
        changed = self.cr4 ^ op.rbx
        if changed & ~(CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP):
            return True  # #GP
        if changed & op.rbx & CR4_PCIDE and self.cr3 & CR3_PCID_MASK:
            return True  # #GP
        if changed & CR4_PGE or changed & self.cr4 & CR4_PCIDE:
            self.stale.all()
            self.roots.clear()
        self.cr4 = op.rbx
        self.roots[self.pcid] = self.root
        return True

    def _wrmsr_efer(self, _op: Op) -> bool:
        self.stale.everything()
        return True

    def _nothing(self, _op: Op) -> bool:
        return True


_ACCOUNTS: Final[dict[str, Callable[[Account, Op], bool]]] = {
    "store": Account._store,
    **dict.fromkeys(kernel_code.ENTERS_CPL3, Account._user),
    "invlpg": Account._invlpg,
    "invpcid": Account._invpcid,
    "cr3": Account._mov_cr3,
    "cr4": Account._mov_cr4,
    "efer": Account._wrmsr_efer,
    **dict.fromkeys(("cr0", "stac", "clac", "end"), Account._nothing),
}
_TWO_ADDRESSES: Final = ("movs", "rep")
_SIZES: Final = {"load1": 1, "store1": 1, "call": 1}
_PRIVILEGED: Final = ("invlpg", "cr3")
_IN_SLOT: Final = (1 << 39) - 1
_CR3_RESERVED: Final = (1 << 63) - (1 << layout.MAXPHYADDR)


def is_defined(kernel: Kernel) -> bool:
    """Whether the architecture defines everything that a kernel does."""
    account = Account(kernel.cr3, kernel.cr4, dict(kernel.words))
    return all(account.do(op) for op in kernel.ops)


_CHANCES: Final = {
    X86_P: 0.9, X86_RW: 0.85, X86_US: 0.85, X86_PWT: 0.1, X86_PCD: 0.1,
    X86_A: 0.4, X86_D: 0.4, X86_G: 0.3, 1 << 9: 0.1, 1 << 58: 0.1, X86_XD: 0.1,
}  # fmt: skip
_POOL: Final = 1 << 12
_RESERVED: Final = 0.015


@functools.cache
def _flags() -> list[int]:
    """Many random values of an entry's bits, to draw from."""
    random_ = Random(_POOL)
    pool = []
    for _ in range(_POOL):
        bits = sum(bit for bit, chance in _CHANCES.items() if random_.random() < chance)
        if random_.random() < _RESERVED:
            bits |= 1 << random_.randrange(layout.MAXPHYADDR, 52)
        pool.append(bits)
    return pool


def random_kernel(seed: int, index: int) -> Kernel:
    """Kernel number ``index`` of a seed."""
    return Maker(seed, index).make()


class Maker:
    """The making of one kernel."""

    def __init__(self, seed: int, index: int) -> None:
        self.seed, self.index = seed, index
        self.random = random_ = Random((seed << 40) + index)
        coin = random_.getrandbits(8)
        self.cr0 = states.CR0 | (CR0_WP if coin & 1 else 0)
        self.efer = states.EFER | (EFER_NXE if coin & 6 else 0)
        self.ops: list[Op] = []
        self.data: set[int] = set()
        self.pool = [
            random_.choice(layout.BLOCKS) + random_.randrange(511) * layout.PAGE for _ in range(5)
        ]
        cr4 = states.CR4 | random_.getrandbits(32) & (CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP)
        pcid = random_.choice(PCIDS) if cr4 & CR4_PCIDE else 0
        self.account = Account(root(random_.randrange(ROOTS)) | pcid, cr4, self._laid_out())

    def make(self) -> Kernel:
        account = self.account
        first = self.cr0, account.cr3, account.cr4, self.efer
        words = tuple(account.words.items())
        for _ in range(self.random.randrange(20, 45)):
            self._choose()
        self._do("end")
        data = tuple(sorted(self.data))
        return Kernel(self.seed, self.index, *first, words, tuple(self.ops), data)

    def _do(self, name: str, rbx: int = 0, rcx: int = 0, rdx: int = 0) -> None:
        op = Op(name, rbx, rcx, rdx)
        defined = self.account.do(op)
        assert defined, op
        self.ops.append(op)

    def _laid_out(self) -> dict[int, int]:
        words = {place.pa: self._entry(place) for place in place_at().values()}
        shared = parts()[SHARED]
        for number in range(ROOTS):
            entry = shared.pdpt | X86_P | X86_RW | X86_US | X86_A
            words[root(number) + shared.slot * 8] = entry
            words[root(number) + layout.CODE_SLOT * 8] = layout.ROOT_ENTRY
        return words

    def _entry(self, place: Place) -> int:
        bits = _flags()[self.random.getrandbits(12)]
        if place.level == 1:
            entry = self.random.choice(self.pool) | bits
        elif place.level < 4 and self.random.random() < 0.2:
            blocks = layout.BLOCKS if place.level == 2 else (layout.GIB_OF[1] << 30,)
            entry = self.random.choice(blocks) | bits | X86_PS
        else:
            entry = self.random.choice(place.targets) | bits
        if place.part != SHARED:
            entry &= ~X86_G
        if is_leaf(entry, place.level):
            self._reaches(entry, place)
        return entry

    def _reaches(self, entry: int, place: Place) -> None:
        size = level_size(place.level)
        base = entry & (1 << layout.MAXPHYADDR) - size
        for page in place.pages:
            self.data.add(base | page.address & size - 1)

    def _choose(self) -> None:
        (kind,) = self.random.choices(_KINDS, cum_weights=_WEIGHTS)
        kind(self)

    def _any(self) -> tuple[Part, Page]:
        """A page that is in the present address space."""
        return self.random.choice(self.account.parts), self.random.choice(PAGES)

    # Operations.

    def _edit(self) -> None:
        place = self.random.choice(tuple(place_at().values()))
        self._do("store", kernel_code.window(place.pa), self._entry(place))

    def _access(self) -> None:
        part, page = self._any()
        user = self.random.random() < 0.4
        name = self.random.choice(_USER_ACCESSES if user else _ACCESSES)
        crosses = page == PAGES[CROSSING] and name in _CROSS and self.random.random() < 0.3
        pages = [page, PAGES[CROSSING + 1]] if crosses else [page]
        if not self._cleaned(part, pages):
            return
        offset = 0xFF9 + self.random.randrange(7) if crosses else self._offset()
        if name == "call":
            offset = layout.RET
        va, value = part.address(page) + offset, self.random.getrandbits(64)
        size = self.random.randrange(1, 24) if name == "rep" else 8
        if name in _TWO_ADDRESSES:
            other, target = self._any()
            value = other.address(target) + self._offset()
            if not self.account.defined(value, size) or not self.account.defined(va, size):
                return
        if user:
            self._at_cpl3(name, va, value)
        else:
            self._do(name, va, value, size if name == "rep" else 0)

    def _at_cpl3(self, name: str, rbx: int, rcx: int = 0) -> None:
        back = self.random.choice(("user", "syscall"))
        there = self.random.choice(kernel_code.ENTERS_CPL3)
        self._do(there, rbx, rcx, kernel_code.addresses()[f"{back}_{name}"])

    def _offset(self) -> int:
        return self.random.randrange(_OFFSET, _OFFSETS_END, self.random.choice((1, 8)))

    def _cleaned(self, part: Part, pages: list[Page]) -> bool:
        """Have the pages' translations not be stale, by invalidations that may suffice; now and
        then leave it.
        """
        stale, pcid = self.account.stale, self.account.pcid
        for page in pages:
            if not stale.has(part.name, page, pcid):
                continue
            if self.random.random() < 0.3:
                return False
            is_global = part.name == SHARED and page in stale.everywhere
            self.random.choice(_GLOBAL_CLEANERS if is_global else _CLEANERS)(self, part, page)
        return not any(stale.has(part.name, page, self.account.pcid) for page in pages)

    def _random_invalidation(self) -> None:
        self.random.choice(_CLEANERS)(self, *self._any())

    def _invlpg(self, part: Part, page: Page) -> None:
        self._do("invlpg", part.address(page) + self.random.getrandbits(12))

    def _invpcid_address(self, part: Part, page: Page) -> None:
        self._do("invpcid", 0, self.account.pcid, part.address(page))

    def _invpcid_context(self, _part: Part, _page: Page) -> None:
        self._do("invpcid", 1, self.account.pcid)

    def _invpcid_all(self, _part: Part, _page: Page) -> None:
        self._do("invpcid", 2)

    def _invpcid_contexts(self, _part: Part, _page: Page) -> None:
        self._do("invpcid", 3)

    def _reload(self, _part: Part, _page: Page) -> None:
        self._do("cr3", self.account.cr3)

    def _pge(self, _part: Part, _page: Page) -> None:
        self._do("cr4", self.account.cr4 ^ CR4_PGE)

    def _invpcid_of_another(self) -> None:
        """INVPCID of any PCID; #GP of one that is not 0 without PCIDE."""
        part, page = self._any()
        pcid = self.random.choice(PCIDS)
        self._do("invpcid", self.random.randrange(2), pcid, part.address(page))

    def _switch(self) -> None:
        account, number = self.account, self.random.randrange(ROOTS)
        low = self.random.choice(PCIDS) if account.pcide else 0
        known = account.pcide and account.roots.get(low, number) == number
        keep = known and self.random.random() < 0.7
        self._do("cr3", root(number) | low | (CR3_NOFLUSH if keep else 0))

    def _toggle_pcide(self) -> None:
        """Perhaps #GP: PCIDE is set while CR3[11:0] are not 0."""
        self._do("cr4", self.account.cr4 ^ CR4_PCIDE)

    def _toggle_cr4(self) -> None:
        self._do("cr4", self.account.cr4 ^ self.random.choice((CR4_SMEP, CR4_SMAP)))

    def _toggle_pge(self) -> None:
        self._do("cr4", self.account.cr4 ^ CR4_PGE)

    def _toggle_wp(self) -> None:
        self.cr0 ^= CR0_WP
        self._do("cr0", self.cr0)

    def _toggle_nxe(self) -> None:
        self.efer ^= EFER_NXE
        self._do("efer", self.efer)

    def _ac(self) -> None:
        self._do(self.random.choice(("stac", "clac")))

    def _illegal(self) -> None:
        """What is #GP, and changes nothing."""
        cr3, cr4, at = self.account.cr3, self.account.cr4, kernel_code.addresses()
        choices = [
            Op("cr3", cr3 | 1 << self.random.randrange(52, 63)),
            Op("cr4", cr4 & ~CR4_PAE),
            Op("cr4", cr4 ^ CR4_LA57),
            Op("cr4", cr4 | 1 << self.random.randrange(32, 64)),
            Op("cr0", self.cr0 & ~CR0_PG),
            Op("cr0", self.cr0 | 1 << self.random.randrange(32, 64)),
            Op("invpcid", 4 + self.random.randrange(100)),
            Op("invpcid", 0, 0, 1 << 62),
            Op("invpcid", 1, 1 << self.random.randrange(12, 64)),
            Op("user", 0, 0, at["user_invlpg"]),
            Op("sysret", cr3, 0, at["syscall_cr3"]),
            Op("load", 1 << 62),
            Op("user", 1 << 62, 0, at["user_load"]),
            Op("sysret", 1 << 62, 0, at["syscall_load"]),
        ]
        if not self.account.pcide:
            choices += [Op("cr3", cr3 | CR3_NOFLUSH), Op("invpcid", 1, 1)]
        self._do(*self.random.choice(choices))


_USER_ACCESSES: Final = ("load", "store", "add", "call")
_ACCESSES: Final = (*_USER_ACCESSES, "load1", "store1", "movs", "rep")
_CROSS: Final = ("load", "store", "add", "rep")
_CLEANERS: Final[tuple[Callable[[Maker, Part, Page], None], ...]] = (
    Maker._invlpg,
    Maker._invlpg,
    Maker._invpcid_address,
    Maker._invpcid_address,
    Maker._invpcid_context,
    Maker._invpcid_all,
    Maker._invpcid_contexts,
    Maker._invpcid_contexts,
    Maker._reload,
    Maker._pge,
)
_GLOBAL_CLEANERS: Final[tuple[Callable[[Maker, Part, Page], None], ...]] = (
    Maker._invlpg,
    Maker._invpcid_all,
    Maker._pge,
)
_CHANCE_OF: Final[dict[Callable[[Maker], None], int]] = {
    Maker._access: 50,
    Maker._edit: 20,
    Maker._random_invalidation: 3,
    Maker._invpcid_of_another: 2,
    Maker._switch: 8,
    Maker._toggle_pcide: 2,
    Maker._toggle_cr4: 4,
    Maker._toggle_pge: 1,
    Maker._toggle_wp: 3,
    Maker._toggle_nxe: 1,
    Maker._ac: 4,
    Maker._illegal: 3,
}
_KINDS: Final = tuple(_CHANCE_OF)
_WEIGHTS: Final = tuple(itertools.accumulate(_CHANCE_OF.values()))
