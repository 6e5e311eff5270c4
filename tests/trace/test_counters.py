# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the counters rebuilt from a trace are the run's own, exactly; and the counts in the events
of each PTE table are one chain (tests/trace/test_chains.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cpu.cred import Cred
from mmu._native import lib
from mmu.events import COUNTERS, EVENT_ID, EVENTS, KERNEL_COUNTERS, MM_COUNTERS, EventRing
from mmu.trace.chains import check_chains
from mmu.trace.counters import RULES, CounterReader, Mms
from mmu.units import PAGE_SHIFT, PAGE_SIZE
from tests.guests.build import build
from tests.guests.machine import HAS_JEMALLOC, POLICIES
from tests.guests.ordinary_user import UID
from tests.linux.world import BASE, World
from tests.trace.recorded import Recorded, record
from ucmmu.testing.rings import batch_of

GUESTS = [
    ("hello",),
    ("sparse",),
    ("faults", "code:c3"),
    ("signals",),
    ("limits",),
    ("mm_random", "3", "300"),
    ("dontneed_loop", "64M"),
    ("multi_fault", "4", "64", "2"),
    ("memory_loop", "1M", "1"),
    ("fork_tree",),
    ("threads", "4", "2000"),
    *([("jemalloc_churn", "1", "159")] if HAS_JEMALLOC else []),
]
TEST_GUESTS = {
    "memory_calls.c": (),
    "futexes.c": ("-pthread",),
    "sysv_ipc.c": ("-w",),
    "signal_threads.c": ("-pthread",),
    "processes.c": (),
    "sched.c": ("-pthread",),
}


def counted(run: Recorded) -> CounterReader:
    """The reader that has read all of the trace."""
    reader = CounterReader(run.trace)
    for batch in run.trace.batches():
        assert sum(one.total for one in reader.feed(batch)) >= 0
    return reader


def assert_equal(run: Recorded, *, processor: bool = True) -> CounterReader:
    """Compare every counter, and look at the chains."""
    reader = counted(run)
    totals, own = reader.totals(), run.counters()
    names = [*(COUNTERS if processor else ()), *MM_COUNTERS, *KERNEL_COUNTERS]
    assert {name: totals[name] for name in names} == {name: own[name] for name in names}
    assert [str(found) for found in check_chains(run.trace)] == []
    return reader


@pytest.mark.parametrize(
    ("program", "policy", "cpus"),
    [
        (("hello",), "never", 1),
        (("sparse",), "scan", 1),
        (("sparse",), "refcount-pmdlock", 1),
        (("multi_fault", "2", "16", "2"), "refcount", 2),
        (("threads", "2", "200"), "refcount", 4),
        (("fork_tree", "1", "1M"), "refcount", 2),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else value,
)
def test_counters_of_a_run(program: Sequence[str], policy: str, cpus: int) -> None:
    reader = assert_equal(record(*program, policy=policy, cpus=cpus))
    assert all(reader.totals()[name] for name in ("iTLB-loads", "pgfault", "page_walker_loads"))
    if program[0] == "multi_fault":
        assert reader.totals()["nr_tlb_remote_flush_received"] and reader.totals()["irq_call_count"]


@pytest.mark.parametrize("policy", ["never", "refcount"])
def test_without_the_processor_the_kernel_counts_alike(policy: str) -> None:
    """In fast no look-up is an event; what the kernel does is."""
    run = record("fork_tree", "1", "1M", policy=policy, fidelity="fast")
    reader = assert_equal(run, processor=False)
    assert len(reader.mms.of) >= 3, "the parent's first mm, and two children's"


@pytest.mark.stress
@pytest.mark.parametrize("program", GUESTS, ids=lambda program: program[0])
@pytest.mark.parametrize("policy", POLICIES)
def test_counters_of_every_guest(program: Sequence[str], policy: str) -> None:
    for cpus in (1, 2, 4):
        run = record(*program, policy=policy, cpus=cpus, cred=Cred.of(UID, UID))
        assert run.figures["exit_code"] == 0, "it did not do its work"
        assert_equal(run)


@pytest.mark.stress
@pytest.mark.parametrize("source", TEST_GUESTS)
def test_counters_of_the_guests_of_tests(source: str) -> None:
    program = build(source, "-static", "-O1", *TEST_GUESTS[source])
    assert_equal(record(str(program), policy="refcount", cpus=2))


@pytest.mark.stress
@pytest.mark.parametrize("policy", POLICIES)
def test_counters_of_the_python_engine(policy: str) -> None:
    assert_equal(record("hello", policy=policy, engine="python"))


class InMemory:
    """A ring as a trace; array 1 of its geometry is a second-level TLB."""

    def __init__(self, ring: EventRing) -> None:
        self.descs = EVENTS
        self.head = {"arrays": [{"kind": "dtlb"}, {"kind": "stlb"}]}
        self._ring = ring

    @property
    def sites(self) -> list[str]:
        """See TraceFile."""
        return self._ring.sites()


def fed(*events: tuple[str, Sequence[int]], site: str = "") -> dict[str, int]:
    """The counters that are not 0 after these events."""
    ring = EventRing(64)
    ring.enable()
    for name, values in events:
        ring.emit(EVENT_ID[name], *values, site=site)
    reader = CounterReader(InMemory(ring))
    assert list(reader.feed(batch_of(ring)))
    return {name: value for name, value in reader.totals().items() if value}


U64 = (1 << 64) - 1
ONE_BY_ONE = {
    "a load's hit": (("tlb_hit", (0, lib.ACCESS_READ, 0)), {"dTLB-loads": 1}),
    "a store's second-level hit": (
        ("tlb_hit", (0, lib.ACCESS_WRITE, 1)),
        {"dTLB-stores": 1, "dtlb_store_misses.stlb_hit": 1},
    ),
    "a fetch's miss": (
        ("tlb_miss", (0, lib.ACCESS_FETCH)),
        {"iTLB-loads": 1, "itlb_misses.miss_causes_a_walk": 1},
    ),
    "a denied read-modify-write": (("tlb_deny", (0, lib.ACCESS_RMW)), {"dTLB-loads": 1}),
    "a walk to 2 MiB": (
        ("walk_done", (0, 0, 2, lib.ACCESS_SHSTK_READ)),
        {
            "dtlb_load_misses.walk_completed": 1,
            "dtlb_load_misses.walk_completed_2m_4m": 1,
        },
    ),
    "invpcid of a context": (("invpcid", (1, 5, 0)), {"tlb_invalidations": 1}),
    "mov to CR3": (("mov_cr3", (0x1000,)), {"tlb_invalidations": 1}),
    "a local flush of 3 pages": (
        ("tlb_flush", (lib.TLB_LOCAL_MM_SHOOTDOWN, 3, 0x1000)),
        {"nr_tlb_local_flush_one": 3},
    ),
    "a local flush of all": (
        ("tlb_flush", (lib.TLB_LOCAL_MM_SHOOTDOWN, U64, 0x1000)),
        {"nr_tlb_local_flush_all": 1},
    ),
    "a PMD lock waited for": (
        ("contention_begin", (7, lib.LOCK_PMD, 1)),
        {"pmd_lock_contended": 1},
    ),
    "a folio lock waited for": (
        ("contention_begin", (7, lib.LOCK_FOLIO, 4)),
        {"folio_lock_contended": 1},
    ),
    "an i_mmap_rwsem waited for": (
        ("contention_begin", (1, lib.LOCK_I_MMAP, 2)),
        {"i_mmap_rwsem_contended": 1},
    ),
    "no VMA": (("vma_lock", (lib.VMA_LOCK_MISS, 0, 0)), {"vma_lock_miss": 1}),
}


@pytest.mark.parametrize("case", ONE_BY_ONE)
def test_one_event(case: str) -> None:
    event, counters = ONE_BY_ONE[case]
    assert fed(event) == counters


def test_invalidations_that_keep_everything_count_nothing() -> None:
    kept = [
        ("mov_cr3", (lib.CR3_NOFLUSH | 0x1000,)),
        ("mov_cr4", (0, 1, 0)),
        ("invpcid", (2, 0, 0)),
    ]
    assert fed(("invlpg", (0,)), *kept) == {"tlb_invalidations": 1}


def test_faults_are_spans_of_the_handler() -> None:
    major = ("funcgraph_exit", (lib.VM_FAULT_MAJOR, 0x1000))
    assert fed(("funcgraph_entry", (0, 0, 0x1000)), major, site="handle_mm_fault") == {
        "pgfault": 1,
        "pgmajfault": 1,
    }


def test_the_most_that_waited_for_rcu_is_kept() -> None:
    queued = [("rcu_callback", (7, waiting)) for waiting in (1, 2, 1, 3, 2)]
    assert fed(*queued) == {"rcu_callbacks": 5, "rcu_pending_max": 3}


def test_who_takes_the_pgd_of_one_that_is_gone_is_another_mm() -> None:
    ring = EventRing(64)
    ring.enable()
    pgd = 5 << PAGE_SHIFT
    alloc, free = EVENT_ID["pte_alloc"], EVENT_ID["mm_page_free"]

    class Trace:
        descs, sites, head = EVENTS, [""], {}

    reader = CounterReader(Trace())
    for _ in range(2):
        for event in (
            (alloc, 0, 9, pgd),
            (alloc, 0, 8, pgd),
            (free, 5),
            (free, 6),
            (alloc, 0, 9, pgd),
        ):
            ring.emit(*event)
        list(reader.feed(batch_of(ring)))
    assert [(mm, dict(counts)) for mm, counts in reader.mms.of] == [
        (pgd, {"pte_tables_allocated": 2}),
        (pgd, {"pte_tables_allocated": 3}),
        (pgd, {"pte_tables_allocated": 1}),
    ]


@pytest.mark.parametrize("engine", ["c", "python"])
def test_the_counters_of_one_mm(engine: str) -> None:
    world = World(engine)
    world.map()
    for page in range(40):
        world.touch(BASE + page * PAGE_SIZE, write=page % 2 == 0)
    world.dontneed(BASE, 512)
    reader = CounterReader(InMemory(world.ring))
    list(reader.feed(batch_of(world.ring)))
    (one,) = reader.mms.of
    assert one == (world.mm.c.pgd, {k: v for k, v in world.mm.counters().items() if v})


def test_every_rule_is_of_a_kind_of_event() -> None:
    names = [name for kinds in RULES for name in kinds]
    assert len(names) == len(set(names)) and set(names) <= EVENT_ID.keys()
    assert Mms().of == []
