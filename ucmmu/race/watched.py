# SPDX-License-Identifier: GPL-2.0-or-later
"""RAM, ``struct page`` and MMUs that tell who watches them of every access.

``WatchedMemory`` is a Memory for the Python engine whose ``watch``, once there is one, does every
load and store; without one it is as any other. Frames come from a list for each CPU, last freed
first out, as Linux's per-CPU lists: so which frame a CPU gets does not hang on what others do, and
a frame that a CPU frees is the one it gets next.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from mmu._native import lib
from mmu.errors import MmuError, OutOfMemory
from mmu.events import EVENT_ID
from mmu.memory import Memory
from mmu.memory.ram import Exchange
from mmu.units import PAGE_SHIFT, PAGE_SIZE, U64
from mmu.x86 import Mmu, Outcome

if TYPE_CHECKING:
    from mmu._native import struct_page
    from mmu.x86.translate import Translation

MAX_CPUS: Final = 8
"""CPUs that a WatchedMemory has frames for."""
RCU_LIST: Final = MAX_CPUS
"""The list of the thread that ends grace periods: nobody takes frames from it."""
BLOCK_LIST: Final = MAX_CPUS + 1
"""The list of blocks of 512 frames, of all CPUs; and of their frames that come back, which nobody
takes again."""

_NR_SINGLE: Final = 1024  # frames that are handed out one by one; those above are blocks
_BLOCK_ORDER: Final = 9

_PAGE_ALLOC: Final = EVENT_ID["mm_page_alloc"]
_PAGE_FREE: Final = EVENT_ID["mm_page_free"]

PageField = tuple[str, int, str]
"""("page", pfn, field): one field of a frame's ``struct page``."""

_UNIONS: Final = {"index": "pmd"}  # one word under two names
_FIELDS: Final = ("flags", "_refcount", "_mapcount", "ptl", "pte_refcount", "next", "pmd", "index")


class MemoryWatch(Protocol):
    """Who is told. Objects are addresses of words of RAM, or PageFields."""

    active: bool
    """Whether a step is being watched; else RAM is used as it is."""

    def load(self, what: Hashable, frame: int) -> int:
        """The CPU that runs reads a word or field of that frame."""

    def load_block(self, words: range, frame: int) -> list[int]:
        """It reads these words, all in that frame, in one step."""

    def load_zeros(self, words: range, frame: int) -> int:
        """It reads these words, all in that frame, up to the first that is not 0; how many are."""

    def store_block(self, words: range, frame: int, values: Sequence[int]) -> None:
        """It writes these words, all of that frame, in one step, by stores that all see at once."""

    def store(self, what: Hashable, frame: int, value: int) -> None:
        """It writes one."""

    def exchange(self, what: Hashable, frame: int, value: int) -> int:
        """It exchanges one, LOCK XCHG; returns what it was."""

    def cmpxchg(self, what: Hashable, frame: int, old: int, value: int) -> bool:
        """It changes one, LOCK CMPXCHG; whether it was ``old``."""

    def lock_prefix(self) -> None:
        """What it reads and then writes next is one locked instruction."""

    def walker_load(self, pa: int) -> int:
        """Its page walker reads a word."""

    def walker_exchange(self, pa: int, old: int, value: int) -> bool:
        """Its page walker sets A or D if the word is still ``old``; whether it did."""

    def put_page(self, pfn: int) -> bool:
        """It drops one owner of a frame; whether that was the last."""

    def allocation(self, pfn: int, place: int) -> None:
        """It takes the frame from, or gives it back to, that list."""

    def looks_at(self, what: Hashable) -> None:
        """Who checks the step looks at that: what is found hangs on it."""

    def viewed(self, frames: range) -> None:
        """It gets the bytes of these frames, and does with them what is not followed."""

    def instruction(self, cpu: int, va: int) -> AbstractContextManager[None]:
        """An instruction of that CPU's translates va: no interrupt comes inside."""

    def tlb(self, cpu: int, *, drops: bool = True) -> None:
        """That CPU's TLB is changed, by a serializing instruction. ``drops``: that is all."""

    def translated(self, pa: int) -> None:
        """The CPU that runs uses a translation to that address."""

    def free_list(self) -> int:
        """Whose list a frame that is freed goes to: a CPU's, or RCU_LIST."""

    def this_cpu(self) -> int:
        """The number of the CPU that runs."""


class PageView:
    """A frame's ``struct page``, each field of which is watched."""

    __slots__ = ("_memory", "_pfn", "_raw")

    def __init__(self, memory: WatchedMemory, pfn: int, raw: Any) -> None:
        self._memory = memory
        self._pfn = pfn
        self._raw = raw


def _watched_field(name: str) -> property:
    key = _UNIONS.get(name, name)

    def get(view: PageView) -> int:
        watch = view._memory.watch
        if watch is None or not watch.active:
            return int(getattr(view._raw, key))
        return watch.load(("page", view._pfn, key), view._pfn)

    def set_(view: PageView, value: int) -> None:
        watch = view._memory.watch
        if watch is None or not watch.active:
            view._memory.raw_store(("page", view._pfn, key), int(value))
        else:
            watch.store(("page", view._pfn, key), view._pfn, int(value))

    return property(get, set_)


for _name in _FIELDS:
    setattr(PageView, _name, _watched_field(_name))


class WatchedMemory(Memory):
    """A Memory that ``watch`` is told of. There are single frames, and a few blocks of 512 frames,
    which come back one by one.

    ``in_use`` are the frames handed out. ``private`` are those that no table entry named yet: only
    who took them knows them. ``state_hash`` is a hash of all words and fields ever written.
    """

    def __init__(self, size: int = 8 << 20) -> None:
        super().__init__(size)
        self.watch: MemoryWatch | None = None
        self.state_hash = 0
        first = self.zero_pfn + 1
        share = (_NR_SINGLE - first) // MAX_CPUS
        self._blocks = list(range(_NR_SINGLE, self.c.nr_pages, 1 << _BLOCK_ORDER))
        self._fresh = [range(first + n * share, first + (n + 1) * share) for n in range(MAX_CPUS)]
        self._freed: list[list[int]] = [[] for _ in range(MAX_CPUS + 2)]
        self._views: dict[int, PageView] = {}
        self.in_use: set[int] = set(range(first))
        self.private: set[int] = set()
        self._allocated: set[int] = set()

    # As it is, for whoever watches.

    def _word_at(self, pa: int) -> int:
        """Memory.read_u64(), in half the time: RAM begins at 0 here."""
        if pa & 7 or not 0 <= pa < self.size:
            return super().read_u64(pa)  # which says what is wrong
        return self.words[pa >> 3]

    def raw_load(self, what: Hashable) -> int:
        """What memory has of a word or field."""
        if isinstance(what, int):
            return self._word_at(what)
        _, pfn, field = cast("PageField", what)
        return int(getattr(self.c.pages[pfn], field))

    def raw_store(self, what: Hashable, value: int) -> None:
        """Have memory take a word or field."""
        if isinstance(what, int):
            old = self._word_at(what)
            self.words[what >> 3] = value
            pfn = (value & lib.X86_ADDR_MASK) >> PAGE_SHIFT
            self.private.discard(pfn)
            if value & lib.X86_PS and pfn >= _NR_SINGLE:
                self.private.difference_update(range(pfn, pfn + (1 << _BLOCK_ORDER)))
        else:
            _, pfn, field = cast("PageField", what)
            page = self.c.pages[pfn]
            old = int(getattr(page, field))
            setattr(page, field, value)
        if old != value:
            self.mix(what, old, value)

    def mix(self, what: Hashable, old: Hashable, value: Hashable) -> None:
        """Have state_hash follow a change of what."""
        if old:
            self.state_hash ^= hash((what, old))
        if value:
            self.state_hash ^= hash((what, value))

    # Watched.

    def read_u64(self, pa: int) -> int:
        """See Memory."""
        watch = self.watch
        if watch is None or not watch.active:
            return self._word_at(pa)
        return watch.load(pa, pa >> PAGE_SHIFT)

    def write_u64(self, pa: int, value: int) -> None:
        """See Memory: a plain store."""
        watch = self.watch
        if watch is None or not watch.active:
            self.raw_store(pa, value)
        else:
            watch.store(pa, pa >> PAGE_SHIFT, value)

    def xchg_u64(self, pa: int, value: int) -> int:
        """See Memory."""
        watch = self.watch
        if watch is None or not watch.active:
            old = super().read_u64(pa)
            self.raw_store(pa, value)
            return old
        return watch.exchange(pa, pa >> PAGE_SHIFT, value)

    def cmpxchg_u64(self, pa: int, old: int, value: int) -> bool:
        """See Memory."""
        watch = self.watch
        if watch is None or not watch.active:
            if super().read_u64(pa) != old:
                return False
            self.raw_store(pa, value)
            return True
        return watch.cmpxchg(pa, pa >> PAGE_SHIFT, old, value)

    def load(self, pa: int) -> int | None:
        """See Memory: the page walker's load."""
        watch = self.watch
        if watch is None or not watch.active or not self.holds(pa, 8):
            return super().load(pa)
        return watch.walker_load(pa)

    def exchange(self, pa: int, old: int, value: int) -> Exchange:
        """See Memory: the page walker's, to set A and D."""
        watch = self.watch
        if watch is None or not watch.active or not self.holds(pa, 8):
            if super().read_u64(pa) != old:
                return Exchange.CHANGED
            self.raw_store(pa, value)
            return Exchange.DONE
        return Exchange.DONE if watch.walker_exchange(pa, old, value) else Exchange.CHANGED

    def read(self, pa: int, n: int) -> bytes:
        """See Memory."""
        if self.watch is None or not self.watch.active:
            return super().read(pa, n)
        words = range(pa & -8, pa + n, 8)
        values = self.watch.load_block(words, pa >> PAGE_SHIFT)
        data = array("Q", values).tobytes()
        return data[pa % 8 : pa % 8 + n]

    def write(self, pa: int, data: bytes) -> None:
        """See Memory."""
        if not pa % PAGE_SIZE and len(data) == PAGE_SIZE:
            self._write_page(pa, data)
            return
        start, end = pa & -8, pa + len(data)
        for word in range(start, end, 8):
            first, last = max(pa, word), min(end, word + 8)
            part = int.from_bytes(data[first - pa : last - pa], "little") << (first - word) * 8
            if last - first == 8:
                self.write_u64(word, part)
            else:
                mask = (1 << (last - first) * 8) - 1 << (first - word) * 8
                self._write_part(word, mask, part)

    def _write_page(self, pa: int, data: bytes) -> None:
        """All words of a frame: in one step, where it is new, or a table, which is filled whole
        before an entry names it.
        """
        words, values = range(pa, pa + PAGE_SIZE, 8), memoryview(data).cast("Q")
        pfn = pa >> PAGE_SHIFT
        new = pfn in self.private or self.c.pages[pfn].flags & lib.PG_table
        if self.watch is not None and self.watch.active and new:
            self.watch.store_block(words, pfn, values)
            return
        for word, value in zip(words, values, strict=True):
            self.write_u64(word, value)

    def _write_part(self, word: int, mask: int, part: int) -> None:
        """A store of some bytes of a word, which is seen at once: the buffers have whole words."""
        watch = self.watch
        if watch is None or not watch.active:
            self.raw_store(word, self.raw_load(word) & ~mask | part)
            return
        watch.lock_prefix()
        watch.store(word, word >> PAGE_SHIFT, watch.load(word, word >> PAGE_SHIFT) & ~mask | part)

    def nr_zero_words(self, pa: int, nr: int) -> int:
        """See Memory."""
        if self.watch is None or not self.watch.active:
            return super().nr_zero_words(pa, nr)
        return self.watch.load_zeros(range(pa, pa + nr * 8, 8), pa >> PAGE_SHIFT)

    def view(self, pa: int, n: int) -> memoryview:
        """See Memory: nobody can tell what is done with it."""
        if self.watch is not None and self.watch.active:
            self.watch.viewed(range(pa >> PAGE_SHIFT, (pa + n - 1 >> PAGE_SHIFT) + 1))
        return super().view(pa, n)

    def page(self, pfn: int) -> struct_page:
        """See Memory."""
        view = self._views.get(pfn)
        if view is None:
            view = self._views[pfn] = PageView(self, pfn, super().page(pfn))
        return cast("struct_page", view)

    # The frame allocator.

    @property
    def free_frames(self) -> int:
        """See Memory."""
        return sum(map(len, self._fresh)) + sum(map(len, self._freed))

    @property
    def _cpu(self) -> int:
        return 0 if self.watch is None else self.watch.this_cpu()

    def alloc_pages(self, order: int = 0, *, zero: bool = True) -> int:
        """See Memory: one frame, of the list of the CPU that runs, or a block of 512."""
        if order not in (0, _BLOCK_ORDER):
            raise MmuError("a watched memory has single frames, and blocks of 512")
        cpu = self._cpu
        if self.c.fail_after != U64:
            if not self.c.fail_after:
                raise OutOfMemory("an allocation that was to fail")
            self.c.fail_after -= 1
        if order:
            return self._alloc_block(zero)
        if self._freed[cpu]:
            pfn = self._freed[cpu].pop()
        elif self._fresh[cpu]:
            pfn, self._fresh[cpu] = self._fresh[cpu][0], self._fresh[cpu][1:]
        else:
            raise OutOfMemory(f"CPU {cpu} has no free frame left")
        self._allocated_from(pfn, cpu, zero)
        self._tell(_PAGE_ALLOC, pfn)
        return pfn

    def _alloc_block(self, zero: bool) -> int:
        if not self._blocks:
            raise OutOfMemory("no free block of 512 frames is left")
        first = self._blocks.pop(0)
        for pfn in range(first, first + (1 << _BLOCK_ORDER)):
            self._allocated_from(pfn, BLOCK_LIST, zero)
        self._tell(_PAGE_ALLOC, first, _BLOCK_ORDER)
        return first

    def block_of(self, pfn: int) -> int:
        """The number of the block that a frame is of, from 1 up; 0: of none."""
        return 0 if pfn < _NR_SINGLE else 1 + (pfn - _NR_SINGLE >> _BLOCK_ORDER)

    def _allocated_from(self, pfn: int, place: int, zero: bool) -> None:
        if self.watch is not None:
            self.watch.allocation(pfn, place)
        self._hand_out(pfn, zero)
        self.in_use.add(pfn)
        self.private.add(pfn)
        self.c.allocs += 1

    def _hand_out(self, pfn: int, zero: bool) -> None:
        pa = pfn << PAGE_SHIFT
        if zero and pfn in self._allocated:
            for at, word in enumerate(self.words[pa >> 3 : pa + PAGE_SIZE >> 3]):
                if word:
                    self.raw_store(pa + at * 8, 0)
        self._allocated.add(pfn)
        fields = {"flags": lib.PG_host, "_refcount": 1, "next": lib.PAGE_NONE}
        raw = self.c.pages[pfn]
        for name in ("flags", "_refcount", "ptl", "pte_refcount", "next", "pmd"):
            value = fields.get(name, 0)
            if int(getattr(raw, name)) != value:
                self.raw_store(("page", pfn, name), value)

    def free_pages(self, pfn: int, order: int = 0, *, zero: bool = False) -> None:
        """See Memory: to the list of the CPU that runs, those of a block too."""
        for frame in range(pfn, pfn + (1 << order)):
            page = super().page(frame)
            if page._refcount != 1 or page.flags & lib.PG_reserved:
                raise MmuError(f"frame {frame:#x} cannot be freed: it has {page._refcount} owners")
            self._take_back(frame)

    def _take_back(self, pfn: int) -> None:
        place = BLOCK_LIST if self.block_of(pfn) else self._cpu
        if self.watch is not None:
            place = place if place == BLOCK_LIST else self.watch.free_list()
            self.watch.allocation(pfn, place)
        self._tell(_PAGE_FREE, pfn)
        self.raw_store(("page", pfn, "_refcount"), 0)
        self.raw_store(("page", pfn, "flags"), lib.PG_host)
        self.in_use.discard(pfn)
        self.private.discard(pfn)
        self.c.frees += 1
        if self.c.nr_freed:
            self.c.nr_freed[pfn] += 1
        self._freed[place].append(pfn)

    def put_page(self, pfn: int) -> None:
        """See Memory."""
        raw = super().page(pfn)
        if not raw._refcount:
            raise MmuError(f"frame {pfn:#x} has no owner to drop")
        if self.watch is not None and self.watch.active:
            last = self.watch.put_page(pfn)
        else:
            self.raw_store(("page", pfn, "_refcount"), raw._refcount - 1)
            last = not raw._refcount
        if not last:
            return
        if raw.flags & lib.PG_reserved:
            self.raw_store(("page", pfn, "_refcount"), 1)
            return
        self._take_back(pfn)

    def _tell(self, event: int, pfn: int, order: int = 0) -> None:
        ring = getattr(self, "_ring", None)
        if ring is not None:
            ring.emit(event, pfn, order, 0, 0)


class WatchedMmu(Mmu):
    """An MMU over a WatchedMemory, on the Python engine."""

    def _watch(self) -> MemoryWatch | None:
        watch = self.memory.watch if isinstance(self.memory, WatchedMemory) else None
        return watch if watch is not None and watch.active else None

    def translate(self, va: int, access: int, *, user: int = True) -> Translation:
        """See Mmu: no interrupt breaks the instruction, but other CPUs go on between its loads."""
        watch = self._watch()
        if watch is None:
            return super().translate(va, access, user=user)
        with watch.instruction(int(self.c.cpu), va):
            answer = super().translate(va, access, user=user)
        if answer.result == Outcome.OK:
            watch.translated(answer.pa)
        return answer

    def _serialize(self, *, drops: bool = True) -> None:
        watch = self._watch()
        if watch is not None:
            watch.tlb(int(self.c.cpu), drops=drops)

    def invlpg(self, va: int) -> None:
        """See Mmu."""
        self._serialize()
        super().invlpg(va)

    def invpcid(self, kind: int, pcid: int = 0, va: int = 0) -> Outcome:
        """See Mmu."""
        self._serialize()
        return super().invpcid(kind, pcid, va)

    def invlpgb(self, rax: int, ecx: int = 0, edx: int = 0) -> Outcome:
        """See Mmu."""
        self._serialize()
        return super().invlpgb(rax, ecx, edx)

    def write_cr3(self, value: int) -> Outcome:
        """See Mmu."""
        same = (value ^ int(self.c.cr3)) & lib.CR3_PCID_MASK == 0
        self._serialize(drops=same and not value & lib.CR3_NOFLUSH)
        return super().write_cr3(value)

    def write_cr4(self, value: int) -> Outcome:
        """See Mmu."""
        self._serialize(drops=False)
        return super().write_cr4(value)
