# SPDX-License-Identifier: GPL-2.0-or-later
"""What each step of the kernel reads and writes that another CPU could see.

Two steps of different CPUs that touch nothing in common, or only read it, may change places: the
explorer need not try both orders. ``WatchedMemory`` and ``Watch`` find out, for the Python engine::

    words of RAM             every read and write, the page walker's too
    struct page              every field, by a view that Memory.page() hands out
    frames                   handed out and taken back, from a list for each CPU, as Linux's pcp
    mm, CPU, gather, RCU     writes: what of their bytes changed in the step; reads: a CPU reads all
                             of its own, and the rest where kernel code says so
                             (Kernel.instrument_read()); what is rarely written, every step reads:
                             of an mm, on CPUs that have had to do with it
    a CPU's TLB              by its Mmu's methods (WatchedMmu)

ucmmu.race.objects says what objects are called.
Counters, high-water marks and events are no accesses; sums that commute (rss_stat, pgtables_bytes)
are none either.

With ``fine`` each step has one such object: before the second one there is a point to switch at,
named by the function that comes to it. What is read and then written stays together, and a frame
that no table entry named yet makes no points.

With ``tso`` each CPU has a store buffer (ucmmu.race.tso) for its plain stores: to RAM, to
``struct page``, and to what kernel code changes by Kernel.write_once(); drain_step() is then a step
of its own. Any other store is seen at once, with all that came before it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mmu._native import lib
from mmu.linux.pgtable import entry_offset
from mmu.linux.rwsem import LockUse
from mmu.linux.state import Cpu, Kernel, MmStruct
from mmu.memory import Memory
from mmu.units import PAGE_SHIFT
from ucmmu.race.counts import Counts
from ucmmu.race.objects import CELLS, Object, field_of, is_lock, seen_by
from ucmmu.race.program import EVERYTHING, Kind, StepAccess
from ucmmu.race.quiet import Quiet
from ucmmu.race.stores import Stores
from ucmmu.race.structs import (
    ADDED,
    KERNEL_REST,
    MMS,
    Diff,
    cpu_object,
    diffs_of_cpu,
    diffs_of_kernel,
    diffs_of_mm,
    mm_object,
)
from ucmmu.race.touched import Touched
from ucmmu.race.watched import RCU_LIST, WatchedMemory

if TYPE_CHECKING:
    from mmu.linux.rwsem import RwSemaphore

_NOT_OURS: Final = ("access.py", "watched.py", "state.py", "contextlib.py")
"""Files whose functions come between the kernel's code and us."""

_LOCAL_FIELDS: Final = frozenset(
    ["rcu_nesting", "irqs_disabled", "ctxs", "next_asid", "loaded_mm_asid", "nr_calls"]
)
"""Fields of a CPU whose change makes no other CPU look for its stores."""

_RCU: Final = frozenset(["rcu_cblist", "rcu_gp", "rcu_qs"])
"""Fields that are used together, by who has RCU's own lock."""

_REPORTED: Final = "rcu_qs"
"""What a CPU looks at that reports a quiescent state, and who begins a grace period writes. A
report that matters takes what the end frees (ucmmu.race.quiet); one that does not changes a bit
that nobody looks at."""

_POLLED: Final = "rcu_poll"
"""The same bit, for who polls: it waits for its stores only if it has something to report."""

_CAUSES: Final = frozenset(["rcu_qs", "rcu_watching"])
"""What the end of a grace period looks at: whoever changes that so that it can come is its cause,
and else it does not matter."""

_KEEPS_FROM_END: Final = frozenset(["rcu_nesting", "irqs"])
"""The same of a CPU that is idle. But who waits for the end may wait for ever, where the CPU waits
for them in a read section."""

_FOUND: Final = ADDED | {"rcu_cblist", "rcu_gp", "irqs", "rcu_watching"}
"""Fields that count as written only if the step leaves them otherwise than they were."""

_TOGETHER: Final = _RCU | {"vmas", "rcu_watching", "rcu_nesting", "irqs", "tlb"}
"""Fields that are read together with what was come to before: VMAs and the lock of one by a single
function, CPUs by who has RCU's own lock, their TLBs by the checker."""

_ONLY_OF_THE_LIVING: Final = frozenset(["ptl", "pte_refcount", "pmd"])
"""Fields that nobody may look at once the frame is free."""


class Found(NamedTuple):
    """What only the first time that a step is taken is found out."""

    drained: bool
    """Its end had the CPU's stores reach memory."""
    known: frozenset[Object]
    """What its CPU knows of after it."""
    quiet: frozenset[int]
    """The CPUs that the grace period waits for no more after it."""


class Watch:
    """Watches the kernel's steps; its memory is a WatchedMemory, its engine the Python one.

    Before a CPU goes on: begin_step(); when it stops again: end_step(). ``on_freed(pfn, what)`` is
    called when a free frame is used. ``reuse``: frames whose grace period is over go to the list of
    CPU 0, to be had again; else what CPU 0 gets does not hang on when that was. ``of_the_user``:
    code runs that is not ours, and may wait for anything.
    """

    def __init__(
        self,
        kernel: Kernel,
        *,
        fine: bool = True,
        tso: bool = False,
        reuse: bool = False,
        of_the_user: bool = True,
    ) -> None:
        memory = kernel.memory
        if not isinstance(memory, WatchedMemory) or kernel.native:
            raise TypeError("only a kernel of the Python engine over a WatchedMemory is watched")
        self.kernel = kernel
        self.memory = memory
        self.fine = fine
        self._reuse = reuse
        self._of_the_user = of_the_user
        self.active = False
        self.coarse = False
        """Whether a step may pass a lock's point: what it waits for is then no reason not to begin
        it."""
        self.waited = False
        """Whether the step began when a lock could be had that it takes first."""
        self.on_freed: Callable[[int, Object], None] | None = None
        nr_cpus = len(kernel.cpus)
        self._counts = Counts(nr_cpus, buffered=tso)
        self._stores = Stores(memory, self._counts, nr_cpus if tso else 0)
        self.buffers = self._stores.buffers
        """The CPUs' store buffers; none without ``tso``."""
        self._cpu = 0
        self._buffered = False  # stores of the step wait in its CPU's buffer
        self._kind = Kind.CPU
        self._touched = Touched()
        self._shared: Object = None
        self._locked: dict[int, Object] = {}
        self._spinning: set[int] = set()
        self._drained = False
        self._behind = False  # what steps taken again changed of structs was not looked at yet
        self._quiet_frame = -1
        self._sweep = -1, ""  # the page of a block that the step came to last, and which field
        self._changed: set[int] = set()
        """CPUs whose operation changed a table entry that was present."""
        self._numbers = range(nr_cpus)
        self._reports = frozenset(cpu_object(cpu, _REPORTED) for cpu in kernel.cpus)
        """To begin a grace period before a report is as good as after it: the CPU has been quiet in
        it then, but the end may come as late. Unless somebody waits for that, perhaps for ever."""
        self._flushes = frozenset(("flushes", cpu.id) for cpu in kernel.cpus)
        """A grace period ends before a flush as well as after it, or that is found wrong."""
        self._operations = frozenset(cpu_object(cpu, "operation_end") for cpu in kernel.cpus)
        self._quiet = Quiet(kernel)
        self._mms: list[MmStruct] = []
        self._diffs: list[Diff] = diffs_of_kernel(kernel)
        for cpu in kernel.cpus:
            self._diffs += diffs_of_cpu(cpu)
        self._always: list[set[Object]] = [{KERNEL_REST} for _ in kernel.cpus]
        """What every step of a CPU reads. Of an mm, from when on the CPU has it loaded, changes it
        or tells of it: before that it cannot come to it, or only by Kernel.mms."""
        self._known: set[Object] = set()
        """The same of what is running: an interrupt knows what was sent to it, no more."""
        self._meet_mms()
        memory.watch = self
        kernel.instrument = self

    def close(self) -> None:
        """Watch no more; what waits in store buffers reaches memory."""
        self._stores.close()
        self.active = False
        self.memory.watch = None
        self.kernel.instrument = None

    # The scheduler calls these.

    def begin_step(self, cpu: int, kind: Kind = Kind.CPU) -> None:
        """CPU ``cpu`` goes on from here, takes an interrupt, or a grace period is ended as by it:
        then its store buffer has nothing to do with that.
        """
        if self._behind:
            self._catch_up()
        self._quiet.begin_step()
        self.begin_again(cpu, kind)

    def begin_again(self, cpu: int, kind: Kind = Kind.CPU) -> None:
        """A step is taken again that was taken in an earlier run: until end_again()."""
        self._cpu = cpu
        self._kind = kind
        self._buffered = bool(self.buffers) and kind is not Kind.GRACE_PERIOD
        self._known = self._always[cpu] if kind is Kind.CPU else {KERNEL_REST}
        self._touched = Touched()
        self.waited = False
        self._shared = None
        self._quiet_frame = -1
        self._sweep = -1, ""
        self._knows_loaded()
        self.active = True

    def end_step(self) -> StepAccess:
        """It stops; what it touched since begin_step()."""
        self.active = False
        self._meet_mms()
        drains = False
        own, mix = ("cpu", self._cpu), self.memory.mix
        for diff in self._diffs:
            for what, field, before, now in diff.changes():
                mix((what, field), before, now)
                if what[-1] == _REPORTED:
                    if now or self._kind is Kind.GRACE_PERIOD:
                        self._touched.writes.add((*what[:2], _POLLED))
                    continue
                if what[0] == "mm":
                    self._known.add(("mm", what[1], "rest"))
                adds = field in ADDED and what not in self._touched.reads
                (self._touched.adds if adds else self._touched.writes).add(what)
                local = field in _LOCAL_FIELDS and what[:2] == own
                drains = drains or not (local or what in self._touched.fenced)
        takes, frees = self._quiet.end_step(ends=self._kind is Kind.GRACE_PERIOD)
        self._touched.takes |= takes
        self._touched.frees |= frees
        if self._kind is Kind.GRACE_PERIOD:
            self._touched.early |= self._flushes
        if self._quiet.begun and not self._gp_awaited():
            self._touched.early |= self._reports
        self._drained = drains and self._buffered
        if self._drained:
            self._stores.drain(self._touched, self._cpu)
        self._knows_loaded()
        self._touched.reads |= self._known
        return self._touched.access(coarse=self.coarse)

    def _gp_awaited(self) -> bool:
        """Whether somebody waits for a grace period to end, or may: code of the user's can do so in
        ways that are not known here.
        """
        rcu = self.kernel.c.rcu
        return self._of_the_user or bool(rcu.gp_seq < rcu.gp_seq_needed)

    def found(self) -> Found:
        """What end_step() came to that end_again() is to know."""
        return Found(self._drained, frozenset(self._known), self._quiet.cpus)

    def end_again(self, found: Found) -> None:
        """It stops, where end_step() stopped it; ``found`` is what that came to."""
        self.active = False
        self._meet_mms()
        self._known |= found.known
        self._quiet.cpus = found.quiet
        if found.drained:
            self._stores.drain(self._touched, self._cpu)
        self._behind = True

    def _catch_up(self) -> None:
        """Have state_hash, and what structs are compared with, as of now."""
        self._behind = False
        mix = self.memory.mix
        for diff in self._diffs:
            for what, field, before, now in diff.changes():
                mix((what, field), before, now)

    def waits_of(self, cpu: Cpu, ready: Callable[[], bool]) -> StepAccess:
        """What a CPU waits for that goes on when it is ``ready``: what that looks at."""
        kernel, number = self.kernel, int(cpu.id)
        before, kernel.this_cpu = kernel.this_cpu, cpu
        self.begin_step(number)
        try:
            ready()
        except Exception:  # the CPU raises it again when it goes on
            return EVERYTHING
        finally:
            self.active = False
            kernel.this_cpu = before
        touched = self._touched.reads | self._touched.writes
        if not touched and self.buffers and self.buffers[number]:
            touched.add(self._stores.last(number))
        return StepAccess(waits=frozenset(touched)) if touched else EVERYTHING

    def locks_when(self, cpu: int, ready: Callable[[], bool]) -> Callable[[], bool]:
        """When that CPU can take a lock that is free when it is ``ready``: with an empty buffer, so
        that to find the lock held, and to wait then, is no step.
        """
        if not self.buffers:
            return ready
        buffer = self.buffers[cpu]
        return lambda: not buffer and ready()

    def drainable(self) -> list[int]:
        """The CPUs that have stores which no other CPU sees yet: each may drain_step()."""
        return [cpu for cpu, buffer in enumerate(self.buffers) if buffer]

    def drain_step(self, cpu: int) -> StepAccess:
        """The oldest store of that CPU reaches memory."""
        access = self._stores.next_drain(cpu)
        assert access is not None
        self._stores.drain_one(cpu)
        return access

    def drain_again(self, cpu: int) -> None:
        """drain_step(), again."""
        self._stores.drain_one(cpu)

    def next_drain(self, cpu: int) -> StepAccess | None:
        """What drain_step() would touch now; None if no store waits."""
        return self._stores.next_drain(cpu)

    @property
    def state_hash(self) -> int:
        """A hash of all that CPUs share, what waits in store buffers too; equal states have equal
        ones.
        """
        if self._behind:
            self._catch_up()
        return self.memory.state_hash ^ hash(self._stores.waiting())

    # What memory tells (MemoryWatch).

    def free_list(self) -> int:
        """See MemoryWatch."""
        ends_gp = self.active and self._kind is Kind.GRACE_PERIOD
        return RCU_LIST if ends_gp and not self._reuse else self.this_cpu()

    def this_cpu(self) -> int:
        """The number of the CPU that runs."""
        return int(self.kernel.c.this_cpu.id)

    def load(self, what: Object, frame: int) -> int:
        """See MemoryWatch."""
        self._touch(what, frame)
        return self._load_once(what)

    def _load_once(self, what: Object) -> int:
        self._touched.reads.update(self._loads(what))
        if self._locked.get(self.this_cpu()) != what:
            self._touched.plain.add(what)
        return self._value(what)

    def load_block(self, words: range, frame: int) -> list[int]:
        """See MemoryWatch."""
        self._touch(words[0], frame)
        self._touched.reads.update(self._loads_of(words))
        if not self._stores.any_waits():
            return self.memory.words[words.start >> 3 : words.stop + 7 >> 3].tolist()
        return [self._value(word) for word in words]

    def store_block(self, words: range, frame: int, values: Sequence[int]) -> None:
        """See MemoryWatch."""
        self._touch(words[0], frame)
        self._fence(self.this_cpu())
        for word, value in zip(words, values, strict=True):
            self._touched.writes |= self._counts.parts(word).whole
            self._stores.commit(word, value)

    def load_zeros(self, words: range, frame: int) -> int:
        """See MemoryWatch: one word after the other, where a step has one or may see a store that
        waits.
        """
        if self.fine or self._stores.any_waits():
            zeros = takewhile(lambda word: not self.load(word, frame), words)
            return sum(1 for _ in zeros)
        nr = Memory.nr_zero_words(self.memory, words.start, len(words))
        if words:
            self.load_block(words[: nr + 1], frame)
        return nr

    def _value(self, what: Object) -> int:
        if self._buffered:
            value = self.buffers[self.this_cpu()].load(what)
            if value is not None:
                return value
        return self._stores.load(what)

    def store(self, what: Object, frame: int, value: int) -> None:
        """See MemoryWatch: a plain store, unless it ends a locked read-modify-write."""
        self._touch(what, frame)
        self._store(what, value)

    def _store(self, what: Object, value: int) -> None:
        cpu = self.this_cpu()
        locked = self._locked.get(cpu) == what
        modifies = locked or self._modifies(what, value)
        if locked:
            del self._locked[cpu]
        if isinstance(what, int) and self._value(what) & lib.X86_P:
            self._changed.add(cpu)
        if not modifies:
            self._counts.begin(what, cpu, value)
        if self._buffered and not modifies and not self._nobody_sees(what, cpu):
            self._stores.hold(self._touched, what, value, cpu)
            if is_lock(what):
                self._touched.reads.discard(what)
            return
        self._note_store(what, value, cpu, modifies)
        if self._buffered:
            self._stores.drain(self._touched, cpu)
        self._stores.commit(what, value)

    def _nobody_sees(self, what: Object, cpu: int) -> bool:
        """Whether a store to a block that nobody else knows of may reach memory at once: none waits
        before it, and who comes to know of the block sees it in any case.
        """
        frame = what[1] if isinstance(what, tuple) and what[0] == "page" else -1
        known = frame not in self.memory.private or not self.memory.block_of(frame)
        return not known and not self.buffers[cpu]

    def _modifies(self, what: Object, value: int) -> bool:
        """Whether the store ends a read-modify-write: the same step has read the field."""
        if field_of(what) not in CELLS or what not in self._touched.reads:
            return False
        return not is_lock(what) or value != 0

    def _note_store(self, what: Object, value: int, cpu: int, modifies: bool) -> None:
        """References that are taken, and those that are dropped, are so in any order."""
        touched = self._touched
        spun = cpu in self._spinning and touched.came_first_to(what)
        if is_lock(what) and modifies and value and spun:
            touched.reads.discard(what)
            touched.waits.add(what)
            touched.takes.add(what)
        elif is_lock(what) and not value and self._value(what) == cpu + 1:
            touched.reads.discard(what)
            touched.frees.add(what)
        else:
            if modifies and self._counts.change(touched, what, cpu, self._value(what), value):
                return
            touched.writes |= self._counts.parts(what).whole

    def _loads(self, what: Object) -> Iterable[Object]:
        """What a load by the CPU that runs touches."""
        return self._loads_of((what,)) if isinstance(what, int) else self._counts.parts(what).whole

    def _loads_of(self, words: Iterable[int]) -> Iterable[Object]:
        if not self._buffered:
            return words
        cpu = self.this_cpu()
        seen: list[Object] = [seen_by(cpu, word) for word in words]
        if (
            self._kind is Kind.INTERRUPT or cpu != self._cpu
        ):  # a handler: the stores are not its own
            seen += words
        return seen

    def exchange(self, what: Object, frame: int, value: int) -> int:
        """See MemoryWatch."""
        self.lock_prefix()
        old = self.load(what, frame)
        self.store(what, frame, value)
        return old

    def cmpxchg(self, what: Object, frame: int, old: int, value: int) -> bool:
        """See MemoryWatch."""
        self.lock_prefix()
        if self.load(what, frame) != old:
            self._locked.pop(self.this_cpu(), None)
            return False
        self.store(what, frame, value)
        return True

    def walker_load(self, pa: int) -> int:
        """See MemoryWatch: what memory has, for a walk passes the store buffer by."""
        frame = pa >> PAGE_SHIFT
        self._touch(pa, frame, quiet=not self.memory.c.pages[frame].pmd)
        self._touched.reads.add(pa)
        return self.memory.raw_load(pa)

    def walker_exchange(self, pa: int, old: int, value: int) -> bool:
        """See MemoryWatch."""
        self._touch(pa, pa >> PAGE_SHIFT, quiet=True)
        self._touched.reads.add(pa)
        if self.memory.raw_load(pa) != old:
            return False
        self._touched.writes |= self._counts.parts(pa).whole
        self.memory.raw_store(pa, value)
        return True

    def put_page(self, pfn: int) -> bool:
        """See MemoryWatch."""
        what = ("page", pfn, "_refcount")
        if self._sweeps(pfn, "_refcount"):
            self._fence(self.this_cpu())
            self._locked[self.this_cpu()] = None
        else:
            self.lock_prefix()
        nr = self.load(what, pfn) - 1
        self.store(what, pfn, nr)
        return nr == 0

    def allocation(self, pfn: int, place: int) -> None:
        """See MemoryWatch."""
        if not self.active:
            return
        self._fence(self.this_cpu())
        if pfn in self.memory.in_use and not self._sweeps(pfn, "_refcount"):
            self._before(("frame", pfn))
        self._touched.writes.update((("pcp", place), ("frame", pfn)))

    def looks_at(self, what: Object) -> None:
        """See MemoryWatch."""
        self._touched.reads.add(what)

    def handler(self, cpu: int, *, changes: bool) -> None:
        """The step of that CPU begins or ends in the handler of an interrupt: what it does next
        hangs on it.
        """
        (self._touched.writes if changes else self._touched.reads).add(("handler", cpu))

    def viewed(self, frames: range) -> None:
        """See MemoryWatch: whoever comes to a frame after its allocation depends on that."""
        new = self.memory.private
        if not all(pfn in new and ("frame", pfn) in self._touched.writes for pfn in frames):
            self._touched.everything = True

    @contextmanager
    def instruction(self, cpu: int, va: int) -> Iterator[None]:
        """See MemoryWatch. Interrupts are off meanwhile, and with them grace periods.

        What is cached of an entry is as if it had been read. Whether it is stale hangs on who
        changed that, and then on whether the operation that did is over.
        """
        self.tlb(cpu, serializing=False)
        c, unit = self.kernel.cpus[cpu].c, self.kernel.cpus[cpu].mmu.c
        c.irqs_disabled += 1
        try:
            yield
        finally:
            c.irqs_disabled -= 1
            self._touched.reads.update(self._entries_of(int(unit.cr3) & lib.X86_ADDR_MASK, va))
            if not unit.check or unit.check.nr_ranges:
                self._touched.reads |= self._operations

    def _entries_of(self, table: int, va: int) -> Iterator[int]:
        """The words of the entries that translate an address now, from the PML4E on."""
        for level in (4, 3, 2, 1):
            entry = table + entry_offset(va, level)
            yield entry
            value = self.memory.raw_load(entry)
            if not value & lib.X86_P or (level > 1 and value & lib.X86_PS):
                return
            table = value & lib.X86_ADDR_MASK

    def tlb(self, cpu: int, *, serializing: bool = True, drops: bool = True) -> None:
        """See MemoryWatch."""
        what = ("tlb", cpu)
        self._before(what)
        if serializing:
            self._touched.writes.add(("flushes", cpu))
            if not drops:
                self._touched.writes.add(("cr3", cpu))
            if cpu == self.this_cpu():
                self._fence(cpu)
        self._touched.writes.add(what)

    def translated(self, pa: int) -> None:
        """See MemoryWatch: the access itself is part of the same instruction."""
        self._quiet_frame = pa >> PAGE_SHIFT
        self._check_frame(pa >> PAGE_SHIFT, pa)
        self._touched.reads.add(("frame", pa >> PAGE_SHIFT))

    # What the kernel tells (mmu.linux.state.Instrument).

    def lock_prefix(self, *, spin_lock: bool = False) -> None:
        """See Instrument."""
        if not self.active:
            return
        cpu = self.this_cpu()
        if self._shared is not None and self._locked.get(cpu) == self._shared:
            return  # it has begun already: what is locked is the whole of it
        if self._shared is not None and self._quiet_frame < 0:
            self._switch()
        self._fence(cpu)
        self._locked[cpu] = None
        (self._spinning.add if spin_lock else self._spinning.discard)(cpu)

    def instrument_read(self, owner: object, field: str) -> None:
        """See Instrument."""
        if not self.active:
            return
        what = self._object(owner, field)
        if what == MMS:
            self._knows(*self.kernel.all_mms)
            self._touched.reads.update(mm_object(mm, "vmas") for mm in self.kernel.all_mms)
        elif field not in _TOGETHER:
            self._before(what)
        if field == "tlb" and isinstance(owner, Cpu):
            self._touched.reads.add(("cr3", owner.id))
        if self._kind is not Kind.GRACE_PERIOD or not self._makes_gp_end(field):
            self._touched.reads.add(what)

    def _makes_gp_end(self, field: str) -> bool:
        """Whether who changes the field so that a grace period can end is its cause, and else it
        does not matter when that ends.
        """
        return field in _CAUSES or (field in _KEEPS_FROM_END and not self._gp_awaited())

    def instrument_write(self, owner: object, field: str) -> None:
        """See Instrument: seen at once by all, and so is all that this CPU stored before; but CLI
        and STI wait for nothing.
        """
        if self.active:
            what = self._object(owner, field)
            if field not in _RCU and field != "rcu_watching":
                self._before(what)
            if field != "irqs":
                self._fence(self.this_cpu())
            if field not in _FOUND and not self._unseen(owner, field):
                self._touched.writes.add(what)
            self._touched.fenced.add(what)

    def write_once(self, owner: object, field: str, value: int) -> None:
        """See Instrument."""
        if not self.active:
            setattr(owner, field, value)
            return
        what = self._meet(owner, field)
        self._come_to(what)
        self._store(what, value)

    def read_once(self, owner: object, field: str) -> int:
        """See Instrument."""
        if not self.active:
            return int(getattr(owner, field))
        what = self._meet(owner, field)
        self._come_to(what)
        return self._load_once(what)

    def peek(self, owner: object, field: str) -> int:
        """See Instrument."""
        return self._stores.newest(self._stores.fields.meet(owner, field))

    def smp_mb(self) -> None:
        """See Instrument."""
        if self.active:
            self._fence(self.this_cpu())

    def _unseen(self, owner: object, field: str) -> bool:
        """Whether nobody can tell that an operation begins or ends: from its end on whoever uses
        what it left stale is told, but it changed no entry that was present.
        """
        if not isinstance(owner, Cpu) or not field.startswith("operation_"):
            return False
        if field == "operation_begin":
            self._changed.discard(owner.id)
        return owner.id not in self._changed

    def instrument_lock(
        self,
        lock: RwSemaphore | object,
        number: int,
        *,
        write: bool,
        use: LockUse = LockUse.TRIED,
    ) -> None:
        """See Instrument: readers come and go in any order."""
        if not self.active:
            return
        what = ("lock", getattr(lock, "name", lock), number)
        self._knows(*(mm for mm in self._mms if mm.c.pgd == number))
        self._before(what)
        cpu = self.this_cpu()
        self._fence(cpu)
        parts = {(*what, n) for n in (self._numbers if write else (cpu,))}
        if use is LockUse.RELEASED:
            self._touched.frees |= parts
        elif use is LockUse.DOWNGRADED:
            self._touched.frees |= parts - {(*what, cpu)}
        elif use is LockUse.TAKEN and self.waited:
            self._touched.waits |= parts
            self._touched.takes |= parts
        else:
            self._touched.writes |= parts

    def _object(self, owner: object, field: str) -> Object:
        if isinstance(owner, MmStruct):
            self._knows(owner)
        return self._stores.fields.object_of(owner, field)

    def _meet(self, owner: object, field: str) -> Object:
        if isinstance(owner, MmStruct):
            self._knows(owner)
        return self._stores.fields.meet(owner, field)

    # One shared object a step.

    def _touch(self, what: Object, frame: int, *, quiet: bool = False) -> None:
        """The CPU that runs comes to a word of that frame, or a field of its struct page."""
        field = field_of(what)
        if quiet or frame in self.memory.private or frame == self._quiet_frame:
            self._begin_locked(what)
        elif self._sweeps(frame, field):
            self._shared = what
            self._begin_locked(what)
            self._sweep = frame, field
        else:
            self._come_to(what)
            self._sweep = frame, field
        self._touched.reads.add(("frame", frame))
        if isinstance(what, int) or field in _ONLY_OF_THE_LIVING:
            self._check_frame(frame, what)

    def _sweeps(self, frame: int, field: str) -> bool:
        """Whether the step goes from page to page of a huge page, and comes to one field of each:
        all of that is one step, for they are different pages.
        """
        last, swept = self._sweep
        return bool(
            field == swept != ""
            and 0 <= frame - last <= 1
            and self.memory.block_of(frame) == self.memory.block_of(last) != 0
        )

    def _come_to(self, what: Object) -> None:
        self._before(what)
        self._begin_locked(what)

    def _begin_locked(self, what: Object) -> None:
        """What comes after a lock prefix is what it locks."""
        cpu = self.this_cpu()
        if self._locked.get(cpu, self) is None:
            self._locked[cpu] = what

    def _check_frame(self, frame: int, what: Object) -> None:
        if frame not in self.memory.in_use and self.on_freed is not None:
            self.on_freed(frame, what)

    def _before(self, what: Object) -> None:
        """If the step has touched another object, end it here."""
        if self._shared is not None and self._shared != what:
            self._switch()
        self._shared = what
        self._sweep = -1, ""

    def _switch(self) -> None:
        if self.fine and self.this_cpu() == self._cpu:
            self.kernel.point(_label(sys._getframe(2)))

    # Store buffers.

    def _fence(self, cpu: int) -> None:
        """Wait until the CPU's stores are all in memory."""
        if not self._buffered or self._stores.last(cpu) is None:
            return
        buffer = self.buffers[cpu]
        if buffer and cpu == self._cpu:
            self.kernel.point("store_buffer", lambda: not buffer)
        if buffer:
            self._stores.drain(self._touched, cpu)
        else:  # the handler of an interrupt may have made stores meanwhile
            self._touched.waits.add(self._stores.last(cpu))

    def drain(self, cpu: int) -> None:
        """All stores of that CPU reach memory now: it takes an interrupt.

        A step that is one interrupt can be taken only when its CPU's buffer is empty: it waits for
        the last store. As part of another CPU's step it is taken at any time.
        """
        if not self.buffers:
            return
        touched = self._touched
        touched.writes.add(("stores", cpu))
        if self.buffers[cpu] or cpu != self._cpu:
            touched.reads.add(("store_buffer", cpu))
            self._stores.drain(touched, cpu)
            return
        last = self._stores.last(cpu)
        waits = set() if last is None else {last}
        touched.waits |= waits
        if self._kind is Kind.INTERRUPT:
            touched.early |= {("stores", cpu)} | waits

    # Address spaces come and go.

    def _knows(self, *mms: MmStruct) -> None:
        """Whose step it is has to do with these from now on."""
        self._known.update(mm_object(mm, "rest") for mm in mms)

    def _knows_loaded(self) -> None:
        mm = self.kernel.cpus[self._cpu].loaded_mm
        if self._kind is not Kind.GRACE_PERIOD and mm is not None:
            self._knows(mm)

    def _meet_mms(self) -> None:
        if self._mms == self.kernel.all_mms:
            return
        for mm in self.kernel.all_mms:
            if mm not in self._mms:
                self._diffs += diffs_of_mm(mm)
        self._mms = list(self.kernel.all_mms)
        self._touched.writes.add(MMS)


def _label(frame: Any) -> str:
    """The name of the kernel's function that touches something."""
    while frame is not None and frame.f_code.co_filename.endswith(_NOT_OURS):
        frame = frame.f_back
    return "" if frame is None else str(frame.f_code.co_name).lstrip("_")
