# SPDX-License-Identifier: GPL-2.0-or-later
"""The counters of a run, rebuilt from its events alone.

Each counter of ``native/trace/events.def`` is a number of events, or a sum over a field of them;
RULES says which. A trace from which kinds of event were left out gives smaller numbers.

::

    COUNTER         of a processor   tlb_hit, tlb_miss, tlb_deny, walk_*, page_fault, invalidations
    MM_COUNTER      of an mm         spans of the fault handler, pte_alloc, pte_free, tlb_flush
    KERNEL_COUNTER  of the kernel    vma_lock, contention_begin, rcu_callback, interrupts
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from mmu._native import lib
from mmu.events import COUNTERS, KERNEL_COUNTER_ID, KERNEL_COUNTERS, MM_COUNTERS, EventDesc
from mmu.trace.tables import numbers_of
from mmu.units import PAGE_SHIFT, U64

if TYPE_CHECKING:
    from mmu.trace.reader import Batch

Values = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.intp]
Amounts = npt.NDArray[np.int64]
Found = tuple[str, Positions, Amounts | None]

_LOAD, _STORE, _FETCH = "dtlb_load_misses", "dtlb_store_misses", "itlb_misses"
_BY_ACCESS: Final = {
    _LOAD: (lib.ACCESS_READ, lib.ACCESS_SHSTK_READ, lib.ACCESS_RMW),
    _STORE: (lib.ACCESS_WRITE, lib.ACCESS_SHSTK_WRITE),
    _FETCH: (lib.ACCESS_FETCH,),
}
_TRANSLATED: Final = {_LOAD: "dTLB-loads", _STORE: "dTLB-stores", _FETCH: "iTLB-loads"}
_SIZES: Final = {1: "4k", 2: "2m_4m", 3: "1g"}
_SECOND_LEVEL: Final = ("stlb", "l2_itlb", "l2_dtlb")
_FIRST_LOCK: Final = KERNEL_COUNTER_ID["pte_lock_contended"]
_CONTENDED: Final = KERNEL_COUNTERS[_FIRST_LOCK : _FIRST_LOCK + lib.NR_LOCK_KINDS]
_VMA_LOCK: Final = {
    lib.VMA_LOCK_SUCCESS: "vma_lock_success",
    lib.VMA_LOCK_ABORT: "vma_lock_abort",
    lib.VMA_LOCK_RETRY: "vma_lock_retry",
    lib.VMA_LOCK_MISS: "vma_lock_miss",
}
_CR3_NOFLUSH: Final = np.uint64(lib.CR3_NOFLUSH)
_ALL: Final = np.uint64(U64)


class Source(Protocol):
    """What of a TraceFile is needed here: kinds of event, sites, and the arrays in its head."""

    @property
    def descs(self) -> Sequence[EventDesc]:
        """The kinds of event, by number."""

    @property
    def sites(self) -> Sequence[str]:
        """Names of kernel functions, by number, as far as they are known."""

    @property
    def head(self) -> Mapping[str, Any]:
        """The parameters of the run."""


@dataclass(frozen=True)
class Counted:
    """Events of a batch that a counter counts: ``positions`` in the batch, in order, and by how
    much each (None: by 1). ``mms``: the PGDs of the mms that counted, for an MM_COUNTER.
    """

    name: str
    positions: Positions
    amounts: Amounts | None = None
    mms: Values | None = None

    @property
    def total(self) -> int:
        """By how much they count in all."""
        return len(self.positions) if self.amounts is None else int(self.amounts.sum())


class Mms:
    """The counters of each mm. One that takes the PGD of another that is gone is another mm."""

    def __init__(self) -> None:
        self.of: list[tuple[int, Counter[str]]] = []
        """PGD and counters of each, in the order of the first event that counted."""
        self._now: dict[int, Counter[str]] = {}

    def add(self, counted: Sequence[Counted], freed: Sequence[tuple[int, int]]) -> None:
        """Add what a batch counted; ``freed`` are positions in it at which frames went back to the
        allocator, and what PGDs lay in them.
        """
        begin = 0
        ends = [(at, pgd) for at, pgd in freed if pgd in self._now or _names(counted, pgd)]
        for end, pgd in [*ends, (None, 0)]:
            for one in counted:
                self._add(one, begin, end)
            if end is not None:
                self._now.pop(pgd, None)
                begin = end

    def _add(self, counted: Counted, begin: int, end: int | None) -> None:
        assert counted.mms is not None
        inside = counted.positions >= begin
        if end is not None:
            inside &= counted.positions < end
        mms = counted.mms[inside]
        amounts = None if counted.amounts is None else counted.amounts[inside]
        for pgd in np.unique(mms).tolist():
            own = mms == pgd
            if pgd not in self._now:
                self._now[pgd] = Counter()
                self.of.append((pgd, self._now[pgd]))
            self._now[pgd][counted.name] += int(
                own.sum() if amounts is None else amounts[own].sum()
            )


def _names(counted: Sequence[Counted], pgd: int) -> bool:
    return any(one.mms is not None and bool((one.mms == pgd).any()) for one in counted)


class CounterReader:
    """Counts the batches of a trace, fed in order, all of them."""

    def __init__(self, trace: Source) -> None:
        self._trace = trace
        self._totals: Counter[str] = Counter()
        self.mms = Mms()
        """The MM_COUNTERs by mm."""
        self._kind = {desc.name: desc.id for desc in trace.descs}
        self._of_mm = frozenset(MM_COUNTERS)
        self._pending_max = 0
        arrays = trace.head.get("arrays", ())
        self._second_level = [i for i, a in enumerate(arrays) if a["kind"] in _SECOND_LEVEL]
        self._free = numbers_of(trace.descs, "mm_page_free")

    def feed(self, batch: Batch) -> Iterator[Counted]:
        """What counts in the next batch. All of it must be taken."""
        records = batch.records
        present = np.bincount(records["id"], minlength=256)
        of_mm: list[Counted] = []
        for names, rule in RULES.items():
            for name in names:
                kind = self._kind.get(name)
                if kind is None or not present[kind]:
                    continue
                at = np.flatnonzero(records["id"] == kind)
                for counter, positions, amounts in rule(self, name, records[at], at):
                    if not len(positions):
                        continue
                    counted = Counted(counter, positions, amounts)
                    if counter in self._of_mm:
                        mms = records[_MM_FIELD[name]][positions]
                        counted = Counted(counter, positions, amounts, mms)
                        of_mm.append(counted)
                    self._totals[counter] += counted.total
                    yield counted
        freed = np.flatnonzero(np.isin(records["id"], self._free))
        pgds = (records["a"][freed] << np.uint64(PAGE_SHIFT)).tolist()
        self.mms.add(of_mm, list(zip(freed.tolist(), pgds, strict=True)))

    def totals(self) -> dict[str, int]:
        """Every counter of the processors, of all mms together, and of the kernel, by name."""
        return {name: self._totals[name] for name in (*COUNTERS, *MM_COUNTERS, *KERNEL_COUNTERS)}

    # One rule for each kind of event, or several: what its events count, by their records, which
    # stand at ``at`` in the batch.

    def _translated(self, name: str, own: Any, at: Positions) -> Iterator[Found]:
        for group, accesses in _BY_ACCESS.items():
            mine = np.isin(own["b"], accesses)
            yield _TRANSLATED[group], at[mine], None
            if name == "tlb_miss":
                yield f"{group}.miss_causes_a_walk", at[mine], None
            elif name == "tlb_hit":
                yield f"{group}.stlb_hit", at[mine & np.isin(own["c"], self._second_level)], None

    def _walked(self, _: str, own: Any, at: Positions) -> Iterator[Found]:
        for group, accesses in _BY_ACCESS.items():
            mine = np.isin(own["d"], accesses)
            yield f"{group}.walk_completed", at[mine], None
            for level, size in _SIZES.items():
                yield f"{group}.walk_completed_{size}", at[mine & (own["c"] == level)], None

    def _same(self, name: str, _: Any, at: Positions) -> Iterator[Found]:
        yield _SAME[name], at, None

    def _invalidated(self, name: str, own: Any, at: Positions) -> Iterator[Found]:
        counts = np.ones(len(at), dtype=bool)
        if name == "invpcid":
            counts = own["a"] < 2  # all others are told by tlb_flush_all
        elif name == "mov_cr3":
            counts = own["a"] & _CR3_NOFLUSH == 0
        elif name == "mov_cr4":
            counts = own["c"] != 0
        elif name == "invlpgb":
            counts = (own["a"] & np.uint64(4) == 0) | (own["c"] & np.uint64(0xFFFF) == 0)
        yield "tlb_invalidations", at[counts], None

    def _fault(self, name: str, own: Any, at: Positions) -> Iterator[Found]:
        """The fault handler's spans: entered, it counts; left, it has read file data or not."""
        sites = self._trace.sites
        wanted = ("handle_mm_fault", "mm_fast_fault")
        numbers = [number for number, site in enumerate(sites) if site in wanted]
        mine = np.isin(own["site"], numbers)
        if name == "funcgraph_entry":
            yield "pgfault", at[mine], None
        else:
            major = own["a"] & np.uint64(lib.VM_FAULT_MAJOR) != 0
            yield "pgmajfault", at[mine & major], None

    def _flushed(self, _: str, own: Any, at: Positions) -> Iterator[Found]:
        local = own["a"] == lib.TLB_LOCAL_MM_SHOOTDOWN
        every = own["b"] == _ALL
        yield "nr_tlb_local_flush_all", at[local & every], None
        some = local & ~every
        yield "nr_tlb_local_flush_one", at[some], own["b"][some].astype(np.int64)
        yield "nr_tlb_remote_flush", at[own["a"] == lib.TLB_REMOTE_SEND_IPI], None

    def _flush_received(self, _: str, __: Any, at: Positions) -> Iterator[Found]:
        yield "nr_tlb_remote_flush_received", at, None
        yield "irq_tlb_count", at, None

    def _contended(self, _: str, own: Any, at: Positions) -> Iterator[Found]:
        for kind, counter in enumerate(_CONTENDED):
            yield counter, at[own["b"] == kind], None

    def _vma_locked(self, _: str, own: Any, at: Positions) -> Iterator[Found]:
        for result, counter in _VMA_LOCK.items():
            yield counter, at[own["a"] == result], None

    def _queued(self, _: str, own: Any, at: Positions) -> Iterator[Found]:
        yield "rcu_callbacks", at, None
        most = np.maximum.accumulate(
            np.concatenate([[self._pending_max], own["b"].astype(np.int64)])
        )
        self._pending_max = int(most[-1])
        grown = np.diff(most)
        yield "rcu_pending_max", at[grown > 0], grown[grown > 0]


Rule = Callable[[CounterReader, str, Any, Positions], Iterator[Found]]

_SAME: Final = {
    "walk_entry": "page_walker_loads",
    "walk_cache_hit": "walk_cache_hits",
    "tlb_evict": "tlb_evictions",
    "page_fault": "page_faults_hw",
    "pte_alloc": "pte_tables_allocated",
    "pte_free": "pte_tables_freed",
    "call_function_entry": "irq_call_count",
}
RULES: Final[dict[tuple[str, ...], Rule]] = {
    ("tlb_hit", "tlb_miss", "tlb_deny"): CounterReader._translated,
    ("walk_done",): CounterReader._walked,
    tuple(_SAME): CounterReader._same,
    (
        *("invlpg", "invpcid", "invlpgb"),
        *("mov_cr3", "mov_cr4", "tlb_flush_all"),
    ): CounterReader._invalidated,
    ("funcgraph_entry", "funcgraph_exit"): CounterReader._fault,
    ("tlb_flush",): CounterReader._flushed,
    ("flush_tlb_func",): CounterReader._flush_received,
    ("contention_begin",): CounterReader._contended,
    ("vma_lock",): CounterReader._vma_locked,
    ("rcu_callback",): CounterReader._queued,
}
"""By names of events: what they count."""
_MM_FIELD: Final = {
    "funcgraph_entry": "c",
    "funcgraph_exit": "b",
    "pte_alloc": "c",
    "pte_free": "c",
    "tlb_flush": "c",
    "flush_tlb_func": "a",
}
